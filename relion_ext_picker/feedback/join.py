"""Which pick a particle came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class PickTable:
    """The picks of a job, of all its micrographs one after the other.

    Attributes
    ----------
    micrograph : ndarray, shape (n,), int
        Index of the micrograph.
    xy : ndarray, shape (n, 2), float64
        px of the micrograph.
    score : ndarray, shape (n,), float64
        NaN where the picks have none.
    """

    micrograph: NDArray[np.int64]
    xy: NDArray[np.float64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True)
class Places:
    """Where particles are.

    Attributes
    ----------
    micrograph : ndarray, shape (m,), int
        Index of the micrograph as in the picks, -1 for a particle of another one.
    extracted : ndarray, shape (m, 2), float64
        Where they were cut out, px of the micrograph.
    centre : ndarray, shape (m, 2), float64
        The same with the shift found by alignment undone: coordinate minus origin.
    """

    micrograph: NDArray[np.int64]
    extracted: NDArray[np.float64]
    centre: NDArray[np.float64]


def join_particles(picks: PickTable, places: Places, reach: NDArray[np.float64]) -> NDArray[np.int64]:
    """The pick of every particle, one to one, the closest pairs first.

    A particle cut out at a pick lies on it to the pixel. One that was extracted again and centred lies where its centre
    is, away from its pick by the shift: RELION moves the coordinate by the whole pixels of the shift and keeps the rest
    as the origin. So the smaller one of both distances counts.

    Parameters
    ----------
    picks : PickTable
    places : Places
    reach : ndarray, shape (number of micrographs,)
        Largest distance of a particle from its pick, px of each micrograph.

    Returns
    -------
    ndarray, shape (m,), int
        Row of the picks, -1 for a particle that has none.
    """
    found = np.full(len(places.micrograph), -1, np.int64)
    for index in np.unique(picks.micrograph):
        mine, theirs = np.flatnonzero(picks.micrograph == index), np.flatnonzero(places.micrograph == index)
        if not len(theirs):
            continue
        tree = cKDTree(picks.xy[mine])
        pairs: list[NDArray[np.float64]] = []
        for where in (places.extracted[theirs], places.centre[theirs]):
            near = tree.query_ball_point(where, reach[index])
            count = np.fromiter((len(each) for each in near), np.int64, len(near))
            particle = np.repeat(np.arange(len(theirs)), count)
            pick = np.fromiter((one for each in near for one in each), np.int64, int(count.sum()))
            distance = np.hypot(*(picks.xy[mine][pick] - where[particle]).T)
            pairs.append(np.stack([distance, particle, pick], axis=1))
        free_pick, free_particle = np.ones(len(mine), bool), np.ones(len(theirs), bool)
        joined = np.concatenate(pairs)
        for particle, pick in joined[np.lexsort(joined.T[::-1])][:, 1:].astype(np.int64).tolist():
            if free_particle[particle] and free_pick[pick]:
                free_particle[particle] = free_pick[pick] = False
                found[theirs[particle]] = mine[pick]
    return found
