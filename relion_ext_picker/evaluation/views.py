"""Views of particles: merged into cells, made symmetric, counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.healpix import Vectors, cell_count, cells_of, centres
from relion_ext_picker.evaluation.symmetry import Rotations, fold

COUNTED_AT = 5  # HEALPix order of paper 002, table 3: 12,288 cells
FINE, COARSE = (7,), (6, 5)  # orders of merging: 0.5°; 0.9°, or 1.8° where there are more views than half the cells
_PARTS = 3  # orders by which cells are divided to find how much of them lies in an asymmetric unit


@dataclass(frozen=True)
class Views:
    """Directions of view and how many particles show each.

    Attributes
    ----------
    vectors : ndarray, shape (n, 3)
        Unit vectors.
    weight : ndarray, shape (n,)
    """

    vectors: Vectors
    weight: NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """How many views there are.

    Attributes
    ----------
    particles : int
    occupied : int
        Cells of 12,288 that hold the view of a particle, angles as they are in the file: the "angular views" of paper
        002, table 3. It grows with the number of particles, and with symmetry only an asymmetric unit is filled.
    unit_occupied : int
        The same after all views were moved into one asymmetric unit.
    unit_expected : float
        Cells that as many random views, uniform over the asymmetric unit, would be expected to fill.
    """

    particles: int
    occupied: int
    unit_occupied: int
    unit_expected: float

    @property
    def ratio(self) -> float:
        """Occupied cells over those of uniform views, in the asymmetric unit; 1 is uniform."""
        return self.unit_occupied / self.unit_expected if self.unit_expected else 0.0


def merged(vectors: Vectors, weight: NDArray[np.float64] | None = None, orders: tuple[int, ...] = COARSE) -> Views:
    """Views that are the same, or opposite, but for the size of a cell become one, in their mean direction.

    A view and the opposite one are the same slice of the Fourier transform.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
    weight : ndarray, shape (n,), optional
    orders : tuple of int
        HEALPix orders of the cells: the first that leaves no more views than half the cells of the last.
    """
    x, y, z = vectors.T
    flat = np.abs(z) < 1e-9
    back = (z < 0) & ~flat | flat & ((y < -1e-9) | (np.abs(y) <= 1e-9) & (x < 0))
    half = np.where(back[:, None], -vectors, vectors) + 0.0  # without negative zeros, which have other longitudes
    for order in orders:
        found, which = np.unique(cells_of(half, order), return_inverse=True)
        if len(found) <= cell_count(orders[-1]) // 2:
            break
    size = len(found)
    given = np.ones(len(vectors)) if weight is None else weight
    total = np.asarray(np.bincount(which, given, size), np.float64)
    mean = np.stack([np.bincount(which, given * half[:, axis], size) for axis in range(3)], axis=1)
    return Views(mean / np.linalg.norm(mean, axis=1, keepdims=True), total)


def symmetric(views: Views, group: Rotations, orders: tuple[int, ...] = COARSE) -> Views:
    """Views with all those that are equivalent under a point group, each with its full weight."""
    if len(group) == 1:
        return views
    vectors = np.concatenate([views.vectors @ element.T for element in group])
    return merged(vectors, np.tile(views.weight, len(group)), orders)


def coverage(vectors: Vectors, group: Rotations, order: int = COUNTED_AT) -> Coverage:
    """Count the cells that views fall into.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
        A view per particle.
    group : ndarray, shape (k, 3, 3)
        Point group of the refinement.
    order : int
    """
    moved = fold(vectors, group)
    occupied = len(np.unique(cells_of(vectors, order)))
    if len(group) == 1:
        share = np.full(cell_count(order), 1.0 / cell_count(order))
    else:
        # Of small cells, those in the asymmetric unit are the ones that folding leaves where they are.
        fine = centres(order + _PARTS)
        inside = np.abs(fold(fine, group) - fine).max(axis=1) < 1e-6
        count = np.bincount(cells_of(fine[inside], order), minlength=cell_count(order))
        share = count / count.sum()
    expected = float(np.sum(1.0 - (1.0 - share) ** len(vectors)))
    return Coverage(len(vectors), occupied, len(np.unique(cells_of(moved, order))), expected)
