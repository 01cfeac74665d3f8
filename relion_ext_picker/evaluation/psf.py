"""Orientation efficiency: how uniform the point spread function is that a set of views gives.

Naydenova & Russo, Nat. Commun. 8, 629 (2017): the Fourier transform of a reconstruction is known where the slices of
its particles lie. The surface of the point spread function at 1/e² of its maximum is a sphere if all directions are
seen alike; E = 1 - 2 sd(R) / mean(R) of its radii R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from relion_ext_picker.evaluation.healpix import Vectors, centres
from relion_ext_picker.evaluation.views import Views

BOX = 64  # px of 1 Å
B_FACTOR = 160.0  # Å², cryoEF's default
PADDING = 2
RAYS = 3  # HEALPix order of the 768 directions along which radii are measured
STEP = 0.25  # px between the points of a ray
_BATCH = 256  # views at a time


@dataclass(frozen=True)
class Efficiency:
    """Orientation efficiency and the radii that it comes from.

    Attributes
    ----------
    cells : float
        By the statistic of cryoEF and its re-implementations: every cell of 2 x 2 x 2 voxels that the surface passes
        counts once, its radius taken to a corner. The lattice caps it at about 0.805: compare with published values.
    rays : float
        By radii along equally spaced directions, interpolated: 1 for uniform views. Never compare with the former.
    directions : ndarray, shape (k, 3)
        Of the rays.
    radius : ndarray, shape (k,)
        Along the rays in Å of the model (slices to 1 Å at B = 160 Å²): relative sizes mean something.
    touches_box : bool
        The surface reaches the edge of the box: the views are so one-sided that both numbers depend on the box.
    """

    cells: float
    rays: float
    directions: Vectors
    radius: NDArray[np.float64]
    touches_box: bool

    @property
    def worst(self) -> Vectors:
        """Direction, shape (3,), in which the point spread function is longest and detail is lost; z is not below 0."""
        found: Vectors = self.directions[int(np.argmax(self.radius))]
        return -found if found[2] < 0 else found

    @property
    def best(self) -> Vectors:
        """Direction, shape (3,), in which it is shortest; z is not below 0."""
        found: Vectors = self.directions[int(np.argmin(self.radius))]
        return -found if found[2] < 0 else found


def information(views: Views, box: int = BOX, b_factor: float = B_FACTOR) -> NDArray[np.float64]:
    """Information that views give at every point of the Fourier transform, shape (box, box, box), origin at box // 2.

    A slice holds a voxel whose foot vector on the plane, (r·n) n, has no component above 0.5. Every view gives the same
    information in all, so that it is divided by its number of voxels, and falls with exp(-B s² / 2).
    """
    half = box // 2
    side = np.arange(box) - half
    first, second = (item.reshape(-1).astype(np.float64) for item in np.meshgrid(side, side, indexing="ij"))
    reach = (half - 2.0) ** 2
    flat = first**2 + second**2
    keep = flat < reach
    first, second, flat = first[keep], second[keep], flat[keep]
    total = np.zeros(box**3)
    main = np.argmax(np.abs(views.vectors), axis=1)
    stride = np.array([box * box, box, 1])  # index is x, y, z
    for axis in range(3):
        mine = np.flatnonzero(main == axis)
        others = [other for other in range(3) if other != axis]
        base = ((first + half) * stride[others[0]] + (second + half) * stride[others[1]]).astype(np.int64)
        for start in range(0, len(mine), _BATCH):
            part = mine[start : start + _BATCH]
            normal, weight = views.vectors[part], views.weight[part]
            lead = normal[:, axis, None]
            away = normal[:, others[0], None] * first + normal[:, others[1], None] * second
            limit = 0.5 / np.abs(lead) + 1e-12
            lowest = np.ceil(np.minimum((-limit - away) / lead, (limit - away) / lead))
            index, share = [], []
            for more in range(4):  # a slice is at most three voxels thick along its main axis
                place = lowest + more
                member = (np.abs(place * lead + away) <= limit) & (place**2 + flat < reach)
                view, column = np.nonzero(member)
                index.append(base[column] + (place[view, column] + half).astype(np.int64) * stride[axis])
                share.append(view)
            which = np.concatenate(share)
            count = np.bincount(which, minlength=len(part))
            total += np.bincount(np.concatenate(index), (weight / count)[which], box**3)
    squared = sum(np.meshgrid(side**2, side**2, side**2, indexing="ij"))
    return total.reshape(box, box, box) * np.exp(-b_factor * squared / (2.0 * box**2))


def point_spread(known: NDArray[np.float64], padding: int = PADDING) -> NDArray[np.float64]:
    """Point spread function of :func:`information`: same shape, origin at box // 2, ``1 / padding`` Å per voxel."""
    box = known.shape[0]
    room = (padding - 1) * box // 2
    amplitude = fft.ifftshift(np.pad(np.sqrt(known / known.sum()), room))
    spread = fft.fftshift(np.abs(fft.ifftn(amplitude.astype(np.complex64))))
    inner = slice(room, room + box)
    return np.asarray(spread[inner, inner, inner], np.float64)


def efficiency(views: Views, box: int = BOX, b_factor: float = B_FACTOR) -> Efficiency:
    """Orientation efficiency of a set of views.

    Parameters
    ----------
    views : Views
        With all equivalent ones; see :func:`~relion_ext_picker.evaluation.views.symmetric`.
    box : int
        Even.
    b_factor : float
        Å².
    """
    spread = point_spread(information(views, box, b_factor))
    level = float(spread.max()) / np.e**2
    directions = centres(RAYS)
    radius = _ray_radii(spread, level, directions)
    return Efficiency(
        cells=_efficiency(_cell_radii(spread, level)),
        rays=_efficiency(radius),
        directions=directions,
        radius=radius / PADDING,
        touches_box=_touches_box(spread, level),
    )


def _efficiency(radius: NDArray[np.float64]) -> float:
    return float(1.0 - 2.0 * radius.std() / radius.mean())


def _cell_radii(spread: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Radius, px, of every cell of 2 x 2 x 2 voxels of which some are above the level and some are not."""
    above = spread >= level
    corners = [
        above[i : len(above) - 1 + i, j : len(above) - 1 + j, k : len(above) - 1 + k]
        for i in (0, 1) for j in (0, 1) for k in (0, 1)
    ]  # fmt: skip
    inside = sum(corner.astype(np.int8) for corner in corners)
    place = np.argwhere((inside > 0) & (inside < 8)) + 1 - len(spread) // 2
    return np.asarray(np.sqrt((place**2).sum(axis=1)), np.float64)


def _ray_radii(spread: NDArray[np.float64], level: float, directions: Vectors) -> NDArray[np.float64]:
    """Radius, px, at which each ray first falls below the level; at most that of the sphere that the box holds."""
    half = len(spread) // 2
    distance = np.arange(0, half - 1 + STEP, STEP)
    points = directions.T[:, :, None] * distance + half
    values = ndimage.map_coordinates(spread, points.reshape(3, -1), order=1, mode="nearest").reshape(points.shape[1:])
    below = values < level
    first = np.argmax(below, axis=1)
    ray = np.arange(len(directions))
    crosses = below[ray, first]
    before, after = values[ray, first - 1], values[ray, first]
    part = (before - level) / np.where(crosses, before - after, 1.0)
    return np.asarray(np.where(crosses, (first - 1 + part) * STEP, distance[-1]))


def _touches_box(spread: NDArray[np.float64], level: float) -> bool:
    """Whether a voxel at the edge of the box is above the level."""
    inner = slice(2, -2)
    edge = np.ones(spread.shape, bool)
    edge[inner, inner, inner] = False
    return bool((spread[edge] >= level).any())
