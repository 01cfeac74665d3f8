"""Nested random subsets of particles, for a series of reconstructions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nested_subsets(
    count: int, smallest: int, seed: int, half: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """Rows of random subsets, each about twice as large as the one before and holding it.

    Parameters
    ----------
    count : int
        Particles.
    smallest : int
        Of the first subset at least this many, unless there are no more in all.
    seed : int
    half : ndarray, shape (count,), optional
        Half of the data, 1 or 2, of each particle: every subset then takes from both alike, as far as they go.

    Returns
    -------
    list of ndarray of int
        Rising rows; the last subset is everything.
    """
    order = np.random.default_rng(seed).permutation(count)
    if half is not None:
        place = np.empty(count, np.float64)
        for value in np.unique(half):
            mine = order[half[order] == value]
            place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)  # so that any beginning has the same share of both
        order = order[np.argsort(place[order], kind="stable")]
    sizes = [count]
    while sizes[-1] // 2 >= smallest:
        sizes.append(sizes[-1] // 2)
    return [np.sort(order[:size]).astype(np.int64) for size in reversed(sizes)]
