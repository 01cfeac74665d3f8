"""From a score map to picks, as the paper cleans it: large areas out, then the best box of every heap.

And the factor by which a micrograph is scaled so that its particles fill the window of the paper's network.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from relion_ext_picker.types import Array

WINDOW = 227  # px, see the paper's Table 9
STEPS = 8  # scale factors are multiples of one eighth


def scale_factor(side: float) -> float:
    """Largest multiple of 0.125 that makes a particle of `side` px no larger than the window (the paper's Table 4).

    At least 0.125, whatever the size.
    """
    return max(1, math.floor(STEPS * WINDOW / side)) / STEPS


def without_large_areas(score: Array, threshold: float, largest: float, closeness: float = 1.0) -> Array:
    """Score map without the connected areas that are too large to be one particle: carbon, ice.

    Parameters
    ----------
    score : ndarray, shape (h, w)
    threshold : float
        Samples from this score on are joined with their eight neighbours.
    largest : float
        Areas of more samples than this become 0.
    closeness : float
        Neighbours are joined only if their scores differ by at most this.

    Returns
    -------
    ndarray, shape (h, w), float32
    """
    above = score >= threshold
    if closeness < 1:
        spread = ndimage.maximum_filter(score, 3) - ndimage.minimum_filter(score, 3)
        # A sample between two far values is part of a slope; areas are what is level.
        above &= spread <= closeness
    labels, _ = ndimage.label(above, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.where((sizes > largest)[labels], np.float32(0), score).astype(np.float32)


def overlap(distance: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    """Intersection over union of square boxes of one `side` whose centres differ by `distance`, shape (..., 2)."""
    common = np.prod(np.clip(side - np.abs(distance), 0, None), axis=-1)
    return np.asarray(common / (2 * side**2 - common), np.float64)


def best_boxes(places: NDArray[np.float64], score: Array, side: float, limit: float) -> NDArray[np.int64]:
    """Non-maximum suppression of one class: indices of the boxes that are kept, best first.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
        Centres.
    score : ndarray, shape (n,)
    side : float
        Of the boxes, in the unit of `places`.
    limit : float
        A box that overlaps a kept one by more than this (intersection over union) is dropped.
    """
    order = np.argsort(-score, kind="stable")
    if len(order) < 2:
        return order.astype(np.int64)
    near: list[list[int]] = cKDTree(places).query_ball_point(places, side, p=np.inf)
    alive = np.ones(len(places), bool)
    kept = []
    for index in order:
        if alive[index]:
            kept.append(index)
            around = np.asarray(near[index])
            alive[around[overlap(places[around] - places[index], side) > limit]] = False
    return np.asarray(kept, np.int64)
