"""Which pickers find which particles: picks of several sets that mean the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_ext_picker.evaluation.matching import match


@dataclass(frozen=True)
class Places:
    """Places in one micrograph that at least one set of picks has.

    Attributes
    ----------
    xy : ndarray, shape (m, 2)
        As in the first set that has the place.
    found : ndarray, shape (m, sets), bool
        Which sets have it.
    """

    xy: NDArray[np.float64]
    found: NDArray[np.bool_]


def merge_picks(sets: Sequence[tuple[ArrayLike, ArrayLike | None]], radius: float) -> Places:
    """Merge several sets of picks of one micrograph.

    The places of the first set are the start. Every further set is matched one-to-one with the places so far (its best
    picks first), and what finds none is a new place. Two picks of one set never share a place.

    Parameters
    ----------
    sets : sequence of (array, shape (n, 2); array, shape (n,), or None)
        Coordinates and scores.
    radius : float
        Largest distance of picks that mean the same place, in the unit of the coordinates.
    """
    xy = np.zeros((0, 2))
    found = np.zeros((0, len(sets)), bool)
    for number, (places, score) in enumerate(sets):
        new = np.asarray(places, np.float64).reshape(-1, 2)
        hit, index = match(xy, new, score, radius)
        found[index[hit], number] = True
        fresh = np.zeros((int((~hit).sum()), len(sets)), bool)
        fresh[:, number] = True
        xy, found = np.concatenate([xy, new[~hit]]), np.concatenate([found, fresh])
    return Places(xy, found)


def combinations(found: NDArray[np.bool_]) -> list[tuple[tuple[int, ...], NDArray[np.bool_]]]:
    """Every combination of sets that occurs, the most frequent first, with the rows that have it."""
    if not len(found):
        return []
    code = found @ (1 << np.arange(found.shape[1]))
    codes, counts = np.unique(code, return_counts=True)
    ordered = codes[np.lexsort((codes, -counts))]
    return [
        (tuple(k for k in range(found.shape[1]) if int(value) >> k & 1), np.asarray(code == value)) for value in ordered
    ]
