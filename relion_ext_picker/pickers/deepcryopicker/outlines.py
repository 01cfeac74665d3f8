"""A mask for every particle of its own: the outline that its shape is judged by.

Algorithm 1 of the paper begins with a binary mask of each particle. The mask of the whole image does not serve: its one
limit is chosen for all, after the contrast was equalised, and at low signal the noise of the ice is in it. Here each
particle is cut out of the smoothed working image and divided midway between its own grey level and that of its ice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from relion_ext_picker.pickers.deepcryopicker.preprocess import disc
from relion_ext_picker.pickers.deepcryopicker.settings import OutlineSettings
from relion_ext_picker.pickers.deepcryopicker.shapes import Mask, Shape, circularity, overlap
from relion_ext_picker.types import Array

ANGLES = 15  # directions of a rectangle over a quarter of a turn
TRIM = 0.05  # share of the pixels left out at either end: spurs do not widen a rectangle


@dataclass(frozen=True)
class Rectangle:
    """The rectangle that covers a mask best.

    Attributes
    ----------
    row, col : float
        Centre, px.
    width, length : float
        Trimmed Feret diameters along its sides, px; the lesser and the greater.
    overlap : float
        With the mask, intersection over union.
    fill : float
        Share of it that the mask fills.
    """

    row: float
    col: float
    width: float
    length: float
    overlap: float
    fill: float


def rectangle_of(mask: Mask) -> Rectangle:
    """Of the rectangles around a mask in all directions, the one that overlaps it best.

    Their sides are Feret diameters, measured between the places within which 90 % of the pixels lie and made longer by
    a ninth: exact for a rectangle, and a spur counts for little.

    Parameters
    ----------
    mask : ndarray, shape (h, w), bool
        At least one pixel.
    """
    angle = np.radians(np.arange(ANGLES) * 90 / ANGLES)[:, None]
    rows, cols = np.nonzero(mask)
    down, right = (each.ravel() for each in np.indices(mask.shape))
    inside, middles, sides = np.ones((ANGLES, mask.size), bool), [], []
    for across, along in ((np.sin(angle), np.cos(angle)), (np.cos(angle), -np.sin(angle))):
        low, high = np.percentile(rows * along + cols * across, [100 * TRIM, 100 * (1 - TRIM)], axis=1)
        middle, side = 0.5 * (low + high), (high - low + 1) / (1 - 2 * TRIM)
        inside &= np.abs(down * along + right * across - middle[:, None]) <= 0.5 * side[:, None]
        middles.append(middle)
        sides.append(side)
    common = np.count_nonzero(inside & mask.ravel(), axis=1)
    size = np.count_nonzero(inside, axis=1)
    shared = common / np.maximum(size + len(rows) - common, 1)
    best = int(shared.argmax())
    sine, cosine = float(np.sin(angle[best, 0])), float(np.cos(angle[best, 0]))
    first, second = float(middles[0][best]), float(middles[1][best])
    width, length = sorted((float(sides[0][best]), float(sides[1][best])))
    return Rectangle(
        first * cosine - second * sine, first * sine + second * cosine, width, length, float(shared[best]),
        float(common[best] / max(1, int(size[best]))),
    )  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """The mask of one particle.

    Attributes
    ----------
    mask : ndarray, shape (h, w), bool
        In a window around the particle.
    corner : (int, int)
        First row and column of the window in the image.
    alone : bool
        It hangs together with nothing else.
    """

    mask: Mask
    corner: tuple[int, int]
    alone: bool


def outline_of(
    smooth: Array, near: NDArray[np.bool_], radius: float, corner: tuple[int, int], use: OutlineSettings
) -> Outline | None:
    """The outline of the particle in the middle of a square window.

    Parameters
    ----------
    smooth : ndarray, shape (h, h)
        The window, smoothed; particles dark.
    near : ndarray, shape (h, h), bool
        Pixels that are nearer to this particle than to any other.
    radius : float
        Of the particle, roughly, px.
    corner : (int, int)
        Of the window in the image.
    use : OutlineSettings

    Returns
    -------
    Outline or None
        None where nothing stands out.
    """
    middle = smooth.shape[0] // 2
    down, right = np.ogrid[: smooth.shape[0], : smooth.shape[1]]
    distance = np.hypot(down - middle, right - middle)
    ice, inside = near & (distance > 1.25 * radius), near & (distance <= radius)
    if np.count_nonzero(ice) < radius or not inside.any():
        return None
    behind = float(np.median(smooth[ice]))
    dark = smooth < behind + use.level * (float(smooth[inside].mean()) - behind)
    allowed = near & (distance <= use.reach * radius)
    mask = ndimage.binary_opening(ndimage.binary_fill_holes(dark & allowed), disc(use.opening))
    labels, count = ndimage.label(mask)
    if not count:
        return None
    mask = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    touching = np.count_nonzero(ndimage.binary_dilation(mask) & dark & ~allowed)
    margin = use.closing
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask, margin), disc(margin)))
    alone = touching <= use.contact * 2 * np.pi * radius
    return Outline(np.asarray(closed, bool), (corner[0] - margin, corner[1] - margin), bool(alone))


def outlines_at(image: Array, places: NDArray[np.float64], radius: float, use: OutlineSettings) -> list[Outline | None]:
    """The outlines of particles of about one size; None at the edge of the image, and where nothing stands out.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        The working image, before the preprocessing chain.
    places : ndarray, shape (n, 2)
        Rows and columns of all particles.
    radius : float
        px.
    use : OutlineSettings
    """
    if not len(places):
        return []
    smooth, tree = ndimage.gaussian_filter(image, use.smoothing), cKDTree(places)
    far = round(1.8 * radius)
    around = np.indices((2 * far + 1, 2 * far + 1)).reshape(2, -1).T
    found: list[Outline | None] = []
    for index, (top, left) in enumerate((np.rint(places) - far).astype(int).tolist()):
        if min(top, left) < 0 or top + 2 * far >= image.shape[0] or left + 2 * far >= image.shape[1]:
            found.append(None)
            continue
        window = smooth[top : top + 2 * far + 1, left : left + 2 * far + 1]
        near = (tree.query(around + (top, left))[1] == index).reshape(window.shape)
        found.append(outline_of(window, near, radius, (top, left), use))
    return found


def outlined(
    image: Array, shapes: Sequence[Shape], regular: bool, settings: OutlineSettings | None = None
) -> list[Shape]:
    """The same particles, each with the kind and measures of its own outline; without one it stays as it is.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        The working image, before the preprocessing chain.
    shapes : sequence of Shape
        Of the mask of the whole image.
    regular : bool
        Tell circles, rectangles and the rest apart; otherwise all stay irregular.
    settings : OutlineSettings, optional
    """
    use = settings or OutlineSettings()
    places = np.array([(shape.row, shape.col) for shape in shapes]).reshape(-1, 2)
    radius = float(np.median([shape.radius for shape in shapes])) if shapes else 1.0
    found = outlines_at(image, places, radius, use)
    return [
        shape if outline is None else _judged(shape, outline, regular, use)
        for shape, outline in zip(shapes, found, strict=True)
    ]


def kinds_at(
    image: Array, places: NDArray[np.float64], radius: float, settings: OutlineSettings | None = None
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """What particles look like that were found in another way, and how large they are.

    Parameters
    ----------
    image, places, radius, settings
        See :func:`outlines_at`.

    Returns
    -------
    kinds : ndarray, shape (n,), str
        "top", "side", or "" where that is not sure, as where the outline's middle is elsewhere: it is of two particles.
    radii : ndarray, shape (n,)
        Of the circles that have the area of the outlines, px; 0 where there is none.
    """
    use = settings or OutlineSettings()
    found = outlines_at(image, places, radius, use)
    middles = [None if each is None else np.add(ndimage.center_of_mass(each.mask), each.corner) for each in found]
    off = [np.inf if middle is None else np.hypot(*(middle - at)) for middle, at in zip(middles, places, strict=True)]
    kinds = [_kind(each.mask, use)[0] if each is not None and each.alone and away <= use.away * radius else ""
             for each, away in zip(found, off, strict=True)]  # fmt: skip
    area = np.array([np.count_nonzero(each.mask) if each is not None else 0 for each in found], np.float64)
    return np.array(["" if kind == "irregular" else kind for kind in kinds], dtype="<U9"), np.sqrt(area / np.pi)


def _kind(mask: Mask, use: OutlineSettings) -> tuple[str, Mask, Rectangle]:
    """Kind of an outline, the circle of its area and the rectangle that overlaps it best."""
    row, col = ndimage.center_of_mass(mask)
    down, right = np.ogrid[: mask.shape[0], : mask.shape[1]]
    circle = np.hypot(down - row, right - col) <= np.sqrt(np.count_nonzero(mask) / np.pi)
    box, shared = rectangle_of(mask), overlap(mask, circle)
    kind = "irregular"
    if box.overlap <= shared - use.margin:
        kind = "top"
    elif box.overlap >= shared + use.margin:
        kind = "side"
    return kind, circle, box


def _judged(shape: Shape, outline: Outline, regular: bool, use: OutlineSettings) -> Shape:
    """A particle with the measures of its outline; its kind remains where the outline is of neither."""
    mask = outline.mask
    seen, circle, box = _kind(mask, use)
    kind = "irregular" if not regular else shape.kind if seen == "irregular" else seen
    area = float(np.count_nonzero(mask))
    if kind == "side":
        row, col, radius, fill = box.row, box.col, 0.5 * box.length, box.fill
    else:
        row, col = (float(each) for each in ndimage.center_of_mass(mask))
        radius, fill = float(np.sqrt(area / np.pi)), float(np.count_nonzero(mask & circle)) / area
    return replace(
        shape, kind=kind, row=row + outline.corner[0], col=col + outline.corner[1], radius=radius, area=area,
        circularity=circularity(mask), ratio=box.width / box.length, rectangle=box.overlap, fill=fill,
        whole=outline.alone, certain=not regular or seen != "irregular",
    )  # fmt: skip
