"""Local maxima of window scores as the authors' program finds them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.types import Array


def two_pass_maxima(
    score: Array, candidates: NDArray[np.bool_], step: int, ranges: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows that are the best of their surroundings.

    In the first pass every candidate is replaced by the best one that is at most ``ranges[0]`` away along either axis,
    in the second pass every one that is left by the best of those at most ``ranges[1]`` away. This is not greedy
    suppression: a window that has a better neighbour stays if it is the best that another one sees. Of equal scores
    that with the larger x wins, and of these that with the larger y.

    Parameters
    ----------
    score : ndarray, shape (h, w)
        Of all windows.
    candidates : ndarray of bool, shape (h, w)
        Windows that take part.
    step : int
        Px between windows.
    ranges : (float, float)
        Px.

    Returns
    -------
    rows, columns : ndarray of int, shape (n,)
        From top to bottom.
    """
    rows, columns = np.nonzero(candidates)
    rank = np.full(score.shape, -1, np.int64)
    order = np.lexsort((rows, columns, score[rows, columns]))
    rows, columns = rows[order], columns[order]
    rank[rows, columns] = np.arange(len(order))
    for reach in ranges:
        best = ndimage.maximum_filter(rank, 2 * int(reach // step) + 1, mode="constant", cval=-1)
        left = np.unique(best[rank >= 0])
        rank.fill(-1)
        rank[rows[left], columns[left]] = left
    return tuple(np.nonzero(rank >= 0))  # type: ignore[return-value]
