"""Grading: which of the found particles are good enough to learn from.

The measures are the paper's - circularity (eq. 5), mean area (eq. 6), Feret diameters - and two of our own, contrast
and clearance. The paper gives no tolerances: those of :class:`.settings.GradeSettings` are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.image.fourier import bin_by
from relion_ext_picker.pickers.deepcryopicker.settings import GradeSettings
from relion_ext_picker.pickers.deepcryopicker.shapes import Shape
from relion_ext_picker.types import Array

Flags = NDArray[np.bool_]

BLOCK = 4  # px of the working image, a tenth of a particle


def column(shapes: Sequence[Shape], name: str) -> NDArray[np.float64]:
    """One measure of all shapes, shape (n,)."""
    return np.array([getattr(shape, name) for shape in shapes], np.float64)


def noise_level(image: Array, block: int = BLOCK) -> float:
    """Standard deviation that white noise would need, per pixel, to vary as much from block to block as the image does.

    Second differences of the blocks leave smooth structure out; blocks leave out what a camera or resampling did to the
    finest noise. For white noise any block gives its standard deviation.
    """
    small = bin_by(np.asarray(image, np.float32), max(1, min(block, min(image.shape) // 3)))
    bend = np.diff(np.diff(small, axis=0), axis=1)
    return float(np.median(np.abs(bend)) / 0.6745 / 2 * (image.shape[0] // small.shape[0])) if bend.size else 0.0


def contrast(image: Array, shapes: Sequence[Shape]) -> NDArray[np.float64]:
    """How much darker each particle is than the ring around it, in standard errors of the noise.

    What clustering makes of an image of ice alone reaches about 4, because it is chosen for being dark.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        The working image, before the preprocessing chain.
    shapes : sequence of Shape

    Returns
    -------
    ndarray, shape (n,)
    """
    noise = noise_level(image)
    value = np.zeros(len(shapes))
    for index, shape in enumerate(shapes):
        far = 1.6 * shape.radius
        rows = slice(max(0, int(shape.row - far)), int(shape.row + far) + 2)
        cols = slice(max(0, int(shape.col - far)), int(shape.col + far) + 2)
        part = image[rows, cols]
        down = np.arange(rows.start, rows.start + part.shape[0])[:, None] - shape.row
        right = np.arange(cols.start, cols.start + part.shape[1])[None, :] - shape.col
        distance = np.hypot(down, right)
        inner, outer = distance <= shape.radius, (distance > 1.1 * shape.radius) & (distance <= far)
        if inner.any() and outer.any():
            error = noise * np.sqrt(1 / np.count_nonzero(inner) + 1 / np.count_nonzero(outer))
            value[index] = (part[outer].mean() - part[inner].mean()) / max(error, 1e-12)
    return value


def grade(
    shapes: Sequence[Shape], strength: NDArray[np.float64], settings: GradeSettings | None = None
) -> tuple[Flags, NDArray[np.float64]]:
    """Good or bad, and how good.

    Parameters
    ----------
    shapes : sequence of Shape
        Of one micrograph.
    strength : ndarray, shape (n,)
        Their :func:`contrast`.
    settings : GradeSettings, optional

    Returns
    -------
    good : ndarray, shape (n,), bool
    quality : ndarray, shape (n,), float64
        0..1, for ranking: support of a top view, overlap of a side view with its rectangle, and for an irregular one
        how near its area is to the mean; halved for the bad.
    """
    use = settings or GradeSettings()
    kind = np.array([shape.kind for shape in shapes])
    good = np.zeros(len(shapes), bool)
    quality = np.zeros(len(shapes))
    for name, rule in (("top", _top), ("side", _side), ("irregular", _irregular)):
        some = np.flatnonzero(kind == name)
        if len(some):
            good[some], quality[some] = rule([shapes[index] for index in some.tolist()], use)
    good &= (strength >= use.contrast) & column(shapes, "certain").astype(bool)
    if good.any():
        good &= strength <= use.outlier * np.median(strength[good])
    good &= _clear(shapes, use)
    counts = {name: np.count_nonzero(good & (kind == name)) for name in set(kind.tolist())}
    for name, count in counts.items():
        if count < use.share * max(counts.values()):
            good[kind == name] = False
    return good, np.clip(np.where(good, quality, 0.5 * quality), 0, 1)


def _top(shapes: Sequence[Shape], use: GradeSettings) -> tuple[Flags, NDArray[np.float64]]:
    """Algorithm 1: a full circle, as round as the average one."""
    support, roundness = column(shapes, "support"), column(shapes, "circularity")
    radius = column(shapes, "radius")
    full = (support >= use.support) & (column(shapes, "fill") >= use.fill)
    usual = float(np.median(radius[full])) if full.any() else float(np.median(radius))
    good = full & (roundness <= use.circularity * roundness.mean())
    good &= (np.abs(radius / usual - 1) <= use.radius) & column(shapes, "whole").astype(bool)
    return good, support


def _side(shapes: Sequence[Shape], use: GradeSettings) -> tuple[Flags, NDArray[np.float64]]:
    """The rectangle of the Feret diameters covers the object, which is of the usual size and overlaps no other."""
    rectangle, ratio, radius = column(shapes, "rectangle"), column(shapes, "ratio"), column(shapes, "radius")
    good = (rectangle >= use.rectangle) & (column(shapes, "fill") >= use.fill) & column(shapes, "whole").astype(bool)
    if good.any():
        good &= np.abs(ratio - np.median(ratio[good])) <= use.ratio
    if good.any():  # an even number has no value at its median
        good &= np.abs(radius / np.median(radius[good]) - 1) <= use.radius
    return good, rectangle


def _irregular(shapes: Sequence[Shape], use: GradeSettings) -> tuple[Flags, NDArray[np.float64]]:
    """Algorithm 2: an area near the mean of the image."""
    area = column(shapes, "area")
    spread = float(area.std()) or 1.0
    off = np.abs(area - area.mean()) / spread
    return (off <= use.area) & column(shapes, "whole").astype(bool), np.exp(-0.5 * off**2)


def _clear(shapes: Sequence[Shape], use: GradeSettings) -> Flags:
    """Whether no other particle is too near."""
    clear = np.ones(len(shapes), bool)
    if len(shapes) < 2:
        return clear
    place, radius = np.stack([column(shapes, "row"), column(shapes, "col")], axis=1), column(shapes, "radius")
    for first, second in cKDTree(place).query_pairs(use.clearance * float(radius.max())):
        if np.hypot(*(place[first] - place[second])) < use.clearance * 0.5 * (radius[first] + radius[second]):
            clear[[first, second]] = False
    return clear


def spread_of(values: NDArray[np.float64]) -> float:
    """Robust standard deviation: interquartile range over 1.349."""
    low, high = np.percentile(values, [25, 75])
    return float((high - low) / 1.349)


def consistency(shapes: Sequence[Shape], good: Flags) -> float:
    """How alike the particles are, 0..1: the share of the separate objects that are good, less the spread of size.

    Objects that touch others or the border are left out, since crowding says nothing about shape.
    """
    size = np.sqrt(column([shape for shape, fine in zip(shapes, good, strict=True) if fine], "area"))
    if not len(size):
        return 0.0
    whole = column(shapes, "whole").astype(bool) | good
    return float(len(size) / np.count_nonzero(whole) * max(0.0, 1 - size.std() / size.mean()))
