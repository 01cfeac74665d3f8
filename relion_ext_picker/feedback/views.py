"""Rare views: what of them a higher threshold would cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.healpix import cell_count, cells_of, view_vectors
from relion_ext_picker.evaluation.psf import efficiency
from relion_ext_picker.evaluation.symmetry import Rotations, fold
from relion_ext_picker.evaluation.views import coverage, merged, symmetric

ORDER = 1  # HEALPix cells of about 29 degrees: few enough that each holds particles to count
DROP = 0.02  # of the efficiency that is more than its scatter


@dataclass(frozen=True)
class ViewCount:
    """The views of some particles.

    Attributes
    ----------
    e_od : float
        Efficiency of the orientation distribution, by rays.
    views : int
        Directions out of 12,288 that have particles.
    """

    e_od: float
    views: int


def count_views(angles: NDArray[np.float64], group: Rotations) -> ViewCount:
    """Efficiency and number of the views of particles with angles (n, 3) in degrees and a point group (k, 3, 3)."""
    vectors = view_vectors(angles[:, 0], angles[:, 1])
    found = efficiency(symmetric(merged(vectors), group))
    return ViewCount(found.rays, coverage(vectors, group).occupied)


def view_groups(angles: NDArray[np.float64], group: Rotations) -> tuple[NDArray[np.int64], int]:
    """The coarse cell that each view lies in, shape (n,), and the number of cells; opposite views are one."""
    vectors = fold(view_vectors(angles[:, 0], angles[:, 1]), group)
    vectors = np.where((vectors[:, 2] < 0)[:, None], -vectors, vectors)
    return np.asarray(cells_of(vectors, ORDER), np.int64), cell_count(ORDER)
