"""Circles by Hough transform: the top views.

Every edge pixel of the mask votes for centres inside the object, along its gradient, at each radius of the range; the
phase of its vote codes the radius, so that one accumulator serves all radii (Atherton and Kerbyson, Image and Vision
Computing 17, 795). A circle is then measured where the votes meet: its radius, its centre, and how much of its
circumference is edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.image.peaks import local_maxima, thin
from relion_ext_picker.pickers.deepcryopicker.settings import CircleSettings
from relion_ext_picker.types import Array

ANGLES = 48  # directions in which a circle is measured
STEEP = 0.25  # of the steepest possible slope of the smoothed mask: an edge


@dataclass(frozen=True)
class Circles:
    """Circles of one mask, best first.

    Attributes
    ----------
    rows, cols : ndarray, shape (n,), float64
    radius : ndarray, shape (n,), float64
    support : ndarray, shape (n,), float64
        Share of the circumference that is an edge of the mask, 0..1.
    """

    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    radius: NDArray[np.float64]
    support: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Circles:
        """Some of the circles."""
        return Circles(self.rows[index], self.cols[index], self.radius[index], self.support[index])


def find_circles(
    mask: NDArray[np.bool_], radii: tuple[float, float], settings: CircleSettings | None = None
) -> Circles:
    """Circles around bright areas of a mask.

    Parameters
    ----------
    mask : ndarray, shape (h, w), bool
        True inside particles. A ring counts by its outer edge.
    radii : (float, float)
        Smallest and greatest radius, px.
    settings : CircleSettings, optional

    Returns
    -------
    Circles
        No two centres closer than `settings.apart` times the mean of their radii.
    """
    use = settings or CircleSettings()
    soft = ndimage.gaussian_filter(mask.astype(np.float32), use.smoothing)
    votes = np.abs(accumulate(soft, radii, use))
    votes = ndimage.gaussian_filter(votes, max(1.0, 0.08 * radii[0]))
    rows, cols, height = local_maxima(votes.astype(np.float32), 0.6 * radii[0], 0.0)
    # As the published sensitivity: the lower limit of a centre is a share of the highest.
    strong = height > (1 - use.sensitivity) * height.max(initial=0.0)
    found = measure(soft, rows[strong], cols[strong], radii, use)
    found = measure(soft, found.rows, found.cols, radii, use)  # once more from the centre just found
    found = found.take(found.support >= use.least_support)
    return found.take(_separate(found, use.apart))


def accumulate(soft: Array, radii: tuple[float, float], use: CircleSettings) -> NDArray[np.complex128]:
    """Votes for centres, shape (h, w): modulus in circumferences, phase from the logarithm of the radius."""
    down, right = ndimage.sobel(soft, 0), ndimage.sobel(soft, 1)
    slope = np.hypot(down, right)
    rows, cols = np.nonzero(slope > STEEP * slope.max(initial=1e-6))
    along = slope[rows, cols]
    down, right = down[rows, cols] / along, right[rows, cols] / along
    height, width = soft.shape
    votes = np.zeros(height * width, np.complex128)
    span = np.log(radii[1] / radii[0]) or 1.0
    for radius in np.arange(radii[0], radii[1] + 0.5, max(1.0, 0.04 * radii[0])):
        at_row = np.rint(rows + radius * down).astype(np.int64)
        at_col = np.rint(cols + radius * right).astype(np.int64)
        inside = (at_row >= 0) & (at_row < height) & (at_col >= 0) & (at_col < width)
        count = np.bincount(at_row[inside] * width + at_col[inside], minlength=len(votes))
        # A phase over half a turn keeps the least and the greatest radius from being taken for one another.
        votes += count * np.exp(1j * np.pi * np.log(radius / radii[0]) / span) / (2 * np.pi * radius)
    return votes.reshape(soft.shape)


def measure(
    soft: Array, rows: NDArray[np.float64], cols: NDArray[np.float64], radii: tuple[float, float], use: CircleSettings
) -> Circles:
    """Measure the circle around each centre on rays from it.

    The radius is where most rays leave the mask; the centre moves to the middle of the places where they do.

    Parameters
    ----------
    soft : ndarray, shape (h, w)
        Smoothed mask.
    rows, cols : ndarray, shape (n,)
    radii : (float, float)
    use : CircleSettings

    Returns
    -------
    Circles
        In the order given.
    """
    if not len(rows):
        return Circles(*(np.zeros(0) for _ in range(4)))
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    unit = np.stack([np.sin(angle), np.cos(angle)])  # rows, columns
    reach = np.arange(max(1.0, radii[0] * 0.8), radii[1] * 1.2 + 1)
    place = np.stack([rows, cols])[:, :, None, None] + unit[:, None, :, None] * reach
    ray = ndimage.map_coordinates(soft, place.reshape(2, -1), order=1, mode="nearest").reshape(place.shape[1:])
    # Leaving the mask is a fall; its steepest possible value belongs to a straight edge under the smoothing.
    fall = -np.gradient(ray, axis=2) * (np.sqrt(2 * np.pi) * use.smoothing)
    edge = np.clip(fall, 0, 1)
    inside = (place[0] > 0) & (place[0] < soft.shape[0] - 1) & (place[1] > 0) & (place[1] < soft.shape[1] - 1)
    edge *= inside
    mean = ndimage.gaussian_filter1d(edge.mean(axis=1), max(1.0, 0.06 * radii[0]), axis=1)
    mean[:, (reach < radii[0]) | (reach > radii[1])] = 0
    best = reach[mean.argmax(axis=1)]
    band = np.abs(reach - best[:, None]) <= use.tolerance * best[:, None]
    near = np.where(band[:, None, :], edge, 0)
    hit = near.max(axis=2) > STEEP
    support = hit.mean(axis=1)
    where = reach[near.argmax(axis=2)]
    # Least-squares circle for rays at equal angles: shift = 2 <r u>, over the rays that met an edge.
    weight = hit / np.maximum(hit.sum(axis=1, keepdims=True), 1)
    radius = np.where(support > 0, (where * weight).sum(axis=1), best)
    excess = (where - radius[:, None]) * weight
    limit = 0.3 * radius
    shift = [np.clip(2 * (excess * each).sum(axis=1), -limit, limit) for each in unit]
    return Circles(
        np.clip(rows + shift[0], 0, soft.shape[0] - 1), np.clip(cols + shift[1], 0, soft.shape[1] - 1), radius, support
    )


def _separate(found: Circles, apart: float) -> NDArray[np.int64]:
    """Indices of the circles kept when of two that overlap the less supported goes."""
    if not len(found):
        return np.zeros(0, np.int64)
    xy = np.stack([found.cols, found.rows], axis=1).astype(np.float32)
    order = thin(xy, found.support.astype(np.float32), apart * float(found.radius.min()))
    kept: list[int] = []
    for index in order:
        near = np.asarray(kept, np.int64)
        distance = np.hypot(found.rows[near] - found.rows[index], found.cols[near] - found.cols[index])
        if np.all(distance >= apart * 0.5 * (found.radius[near] + found.radius[index])):
            kept.append(int(index))
    return np.asarray(kept, np.int64)
