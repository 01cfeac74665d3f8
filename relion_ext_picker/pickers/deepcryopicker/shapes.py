"""Shapes: what each area of a mask looks like, and whether it is a circle, a rectangle or neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import perimeter_crofton

from relion_ext_picker.pickers.deepcryopicker.circles import Circles
from relion_ext_picker.pickers.deepcryopicker.preprocess import disc
from relion_ext_picker.pickers.deepcryopicker.settings import ShapeSettings

Mask = NDArray[np.bool_]
Window = tuple[slice, slice]

TURNS = 90  # directions of calipers over half a turn


@dataclass(frozen=True)
class Shape:
    """One object of a mask; lengths in px of the mask.

    Attributes
    ----------
    kind : str
        "top" (circle), "side" (rectangle) or "irregular".
    row, col : float
        Centre.
    radius : float
        Of a circle; half the length of a rectangle; half the greatest Feret diameter of anything else.
    area, circularity : float
        Px², and perimeter² / (4 pi area) (eq. 5), 1 for a disc, of the filled object.
    ratio : float
        Least Feret diameter over the one across it, 0..1.
    rectangle : float
        Overlap (intersection over union) with the rectangle of those two diameters.
    fill : float
        Share of the shape that stands for the object (circle or rectangle) that the object fills.
    support : float
        Share of the circle's circumference that is an edge; 0 without circle.
    whole : bool
        A connected area of its own, cut neither by the border nor from a neighbour.
    certain : bool
        Its outline is clearly of its kind.
    """

    kind: str
    row: float
    col: float
    radius: float
    area: float
    circularity: float
    ratio: float
    rectangle: float
    fill: float
    support: float
    whole: bool
    certain: bool = True


@dataclass(frozen=True)
class Box:
    """The rectangle of the least Feret diameter and the one across it.

    Attributes
    ----------
    row, col : float
        Centre, px.
    width, length : float
        Least Feret diameter and the diameter across it, px.
    angle : float
        Direction of the width, radians from the row axis.
    longest : float
        Greatest Feret diameter, px.
    """

    row: float
    col: float
    width: float
    length: float
    angle: float
    longest: float

    def covers(self, shape: tuple[int, int]) -> Mask:
        """The rectangle as a mask of `shape`."""
        rows, cols = np.indices(shape, np.float64)
        down, right = np.cos(self.angle), np.sin(self.angle)
        across = (rows - self.row) * down + (cols - self.col) * right
        along = (cols - self.col) * down - (rows - self.row) * right
        return np.asarray((np.abs(across) <= 0.5 * self.width) & (np.abs(along) <= 0.5 * self.length))


def _labelled(mask: Mask) -> NDArray[np.int64]:
    """Connected areas, by edges, numbered from 1."""
    return np.asarray(ndimage.label(mask)[0], np.int64)


def feret(area: Mask) -> Box:
    """Feret diameters of an area, by calipers in `TURNS` directions.

    Parameters
    ----------
    area : ndarray, shape (h, w), bool
        At least one pixel.
    """
    rows, cols = np.nonzero(area & ~ndimage.binary_erosion(area))
    angle = np.pi * np.arange(TURNS) / TURNS
    place = rows * np.cos(angle)[:, None] + cols * np.sin(angle)[:, None]
    low, high = place.min(axis=1), place.max(axis=1)
    # A pixel is a square of side 1: seen obliquely it adds more than 1 to the distance of the outermost centres.
    extent = high - low + np.abs(np.cos(angle)) + np.abs(np.sin(angle)) * (1 - np.abs(np.cos(angle)))
    least = int(extent.argmin())
    across = (least + TURNS // 2) % TURNS
    middle = 0.5 * (low + high)
    down, right = np.cos(angle[[least, across]]), np.sin(angle[[least, across]])
    return Box(
        float(middle[least] * down[0] + middle[across] * down[1]),
        float(middle[least] * right[0] + middle[across] * right[1]),
        float(extent[least]),
        float(extent[across]),
        float(angle[least]),
        float(extent.max()),
    )


def circularity(area: Mask) -> float:
    """Perimeter² / (4 pi area), eq. 5 of the paper; 1 for a disc, greater for all else."""
    perimeter: Callable[..., float] = perimeter_crofton
    around = perimeter(np.pad(area, 1), 4)
    return float(around**2 / (4 * np.pi * max(1, int(np.count_nonzero(area)))))


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 0.0


def regular_shapes(mask: Mask, circles: Circles, smallest: float, settings: ShapeSettings | None = None) -> list[Shape]:
    """Top views, side views and what is left.

    Parameters
    ----------
    mask : ndarray, shape (h, w), bool
        Cleaned.
    circles : Circles
        Those of the mask.
    smallest : float
        Areas below this are no objects, px².
    settings : ShapeSettings, optional

    Returns
    -------
    list of Shape
    """
    use = settings or ShapeSettings()
    labels = _labelled(mask)
    home = _homes(labels, circles)
    found = []
    rest = mask.copy()
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        area = labels[window] == number
        inside = np.flatnonzero(home == number)
        if not len(inside) or np.count_nonzero(area) < smallest:
            continue
        shape = _shape(area, window, circles, inside[0], not _touches(window, mask.shape), use)
        if shape.kind == "side":  # one rectangle explains the area better than the circles in it do
            found.append(shape)
            home[inside] = 0
            rest[window] &= ~area
    circles = circles.take(home > 0)
    for index, area, window, alone in _regions(rest.copy(), circles, use):
        found.append(_shape(area, window, circles, index, alone, use))
        rest[window] &= ~area
    return found + _remaining(rest, mask, smallest, use)


def _homes(labels: NDArray[np.int64], circles: Circles) -> NDArray[np.int64]:
    """The area that each circle goes around: the one it shares most pixels with, 0 for none."""
    home = np.zeros(len(circles), np.int64)
    for index in range(len(circles)):
        row, col, radius = circles.rows[index], circles.cols[index], circles.radius[index]
        window = _window((row, col), radius, labels.shape)
        down, right = np.ogrid[window]
        around = (down - row) ** 2 + (right - col) ** 2 <= radius**2
        count = np.bincount(labels[window][around])
        home[index] = count[1:].argmax() + 1 if count[1:].any() else 0
    return home


def _remaining(rest: Mask, mask: Mask, smallest: float, use: ShapeSettings) -> list[Shape]:
    """What no circle claims, as rectangles or irregular objects; `whole` where nothing was taken away from it."""
    found = []
    labels = _labelled(rest)
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        area = labels[window] == number
        if np.count_nonzero(area) < smallest:
            continue
        wide = _window([0.5 * (cut.start + cut.stop - 1) for cut in window], 0.5 * max(area.shape) + 2, mask.shape)
        mine = labels[wide] == number
        cut = np.any(ndimage.binary_dilation(mine) & mask[wide] & ~mine)
        whole = not (cut or _touches(window, mask.shape))
        found.append(_shape(area, window, None, 0, whole, use))
    return found


def _window(centre: Sequence[float], far: float, shape: tuple[int, ...]) -> Window:
    """The part of an image within `far` px of a place along either axis."""
    rows, cols = (
        slice(max(0, int(place - far)), min(side, int(place + far) + 2))
        for place, side in zip(centre, shape, strict=True)
    )
    return rows, cols


def irregular_shapes(mask: Mask, smallest: float, settings: ShapeSettings | None = None) -> list[Shape]:
    """Every connected area as an object of its own; see :func:`regular_shapes`."""
    use = settings or ShapeSettings()
    labels = _labelled(mask)
    found = []
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        area = labels[window] == number
        if np.count_nonzero(area) >= smallest:
            found.append(_describe("irregular", area, window, not _touches(window, mask.shape), use))
    return found


def _regions(mask: Mask, circles: Circles, use: ShapeSettings) -> Iterator[tuple[int, Mask, Window, bool]]:
    """For each circle the pixels of the mask that are nearer to it than to any other, and whether nothing was cut."""
    if not len(circles):
        return
    tree = cKDTree(np.stack([circles.rows, circles.cols], axis=1))
    rows, cols = np.nonzero(mask)
    nearest = np.full(mask.shape, -1, np.int64)
    nearest[rows, cols] = tree.query(np.stack([rows, cols], axis=1))[1]
    for index in range(len(circles)):
        row, col, radius = circles.rows[index], circles.cols[index], circles.radius[index]
        window = _window((row, col), use.reach * radius + 2, mask.shape)
        down, right = np.ogrid[window]
        near = (down - row) ** 2 + (right - col) ** 2 <= (use.reach * radius) ** 2
        mine = near & (nearest[window] == index)
        labels = _labelled(mine)
        if not labels.any():
            continue
        mine = labels == np.bincount(labels.ravel())[1:].argmax() + 1
        # Pixels of the mask just outside are those of a neighbour, or of an object larger than the circle.
        rim = ndimage.binary_dilation(mine) & ~mine & mask[window]
        alone = np.count_nonzero(rim) <= use.contact * 2 * np.pi * radius
        edge = min(row, col, mask.shape[0] - 1 - row, mask.shape[1] - 1 - col) < 0.9 * radius
        yield index, mine, window, bool(alone and not edge)


def _shape(area: Mask, window: Window, circles: Circles | None, index: int, whole: bool, use: ShapeSettings) -> Shape:
    """An area as a circle or rectangle, whichever it overlaps better, or as irregular where neither does."""
    side = _describe("side", area, window, whole, use)
    if circles is None:
        return side if side.rectangle >= use.least_overlap else _describe("irregular", area, window, whole, use)
    row, col, radius = circles.rows[index], circles.cols[index], circles.radius[index]
    down, right = np.ogrid[window]
    circle = (down - row) ** 2 + (right - col) ** 2 <= radius**2
    filled = ndimage.binary_fill_holes(area)
    if side.rectangle >= max(use.least_overlap, overlap(filled, circle) + use.margin):
        return side
    fill = np.count_nonzero(filled & circle) / max(1.0, np.pi * radius**2)
    return Shape(
        "top", row, col, radius, side.area, side.circularity, side.ratio, side.rectangle, min(1.0, fill),
        float(circles.support[index]), whole,
    )  # fmt: skip


def _describe(kind: str, area: Mask, window: Window, whole: bool, use: ShapeSettings) -> Shape:
    """Measures of an area that is no circle."""
    filled = ndimage.binary_fill_holes(np.pad(area, 1))
    smooth = ndimage.binary_opening(filled, disc(use.smoothing))
    smooth = smooth if np.count_nonzero(smooth) >= 0.5 * np.count_nonzero(filled) else filled
    box = feret(smooth)
    rectangle = box.covers(filled.shape)
    top, left = window[0].start - 1, window[1].start - 1
    if kind == "side":
        row, col, radius = box.row, box.col, 0.5 * box.length
    else:
        row, col = ndimage.center_of_mass(filled)
        radius = 0.5 * box.longest
    return Shape(
        kind, float(row + top), float(col + left), radius, float(np.count_nonzero(filled)), circularity(smooth),
        min(box.width, box.length) / max(box.width, box.length), overlap(smooth, rectangle),
        float(np.count_nonzero(filled & rectangle) / max(1, int(np.count_nonzero(rectangle)))), 0.0, whole,
    )  # fmt: skip


def _touches(window: Window, shape: tuple[int, ...]) -> bool:
    """Whether an object reaches the border of the mask."""
    return any(cut.start == 0 or cut.stop == side for cut, side in zip(window, shape, strict=True))
