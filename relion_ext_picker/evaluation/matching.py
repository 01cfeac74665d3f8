"""Which picks are particles: one-to-one matching of picks with true centres."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

_SLACK = 1e-9  # the tree may round differently; the distances that decide are computed anew


def match(
    truth_xy: ArrayLike, xy: ArrayLike, score: ArrayLike | None, radius: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Match the picks of one micrograph with the true centres, best pick first.

    Each pick, in order of falling score (equal scores in the order given), takes the nearest true centre that is still
    free and not farther than `radius`.

    Parameters
    ----------
    truth_xy : array, shape (m, 2)
        True centres.
    xy : array, shape (n, 2)
        Picks.
    score : array, shape (n,), or None
        NaN counts as 0; with None the order given decides.
    radius : float
        Largest distance of a match, in the unit of the coordinates; a pick at exactly this distance matches.

    Returns
    -------
    hit : ndarray, shape (n,), bool
        Whether a pick has a true centre, in the order of `xy`.
    index : ndarray, shape (n,), int
        Row of `truth_xy` that it has, -1 without.
    """
    truth = np.asarray(truth_xy, np.float64).reshape(-1, 2)
    places = np.asarray(xy, np.float64).reshape(-1, 2)
    index = np.full(len(places), -1, np.int64)
    if len(truth) and len(places):
        values = np.zeros(len(places)) if score is None else np.nan_to_num(np.asarray(score, np.float64), nan=0.0)
        rank = np.empty(len(places), np.int64)
        rank[np.argsort(-values, kind="stable")] = np.arange(len(places))
        near = cKDTree(truth).query_ball_point(places, radius * (1 + _SLACK), return_sorted=True)
        counts = np.fromiter((len(each) for each in near), np.int64, len(near))
        picks = np.repeat(np.arange(len(places)), counts)
        centres = np.fromiter((centre for each in near for centre in each), np.int64, counts.sum())
        distance = np.hypot(*(truth[centres] - places[picks]).T)
        order = np.lexsort((centres, distance, rank[picks]))
        order = order[distance[order] <= radius]
        free = [True] * len(truth)
        waiting = [True] * len(places)
        for pick, centre in zip(picks[order].tolist(), centres[order].tolist(), strict=True):
            if waiting[pick] and free[centre]:
                waiting[pick] = free[centre] = False
                index[pick] = centre
    return index >= 0, index
