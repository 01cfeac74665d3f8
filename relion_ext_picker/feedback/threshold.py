"""The score from which a pick is worth keeping, and what a higher threshold would cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.curves import Curve

BETA = 2.0  # a missed particle counts for more than a false pick, which 2D classification takes out
KEEPS_LESS = 0.5  # a class that keeps less than this share of what the others keep on average is lost


@dataclass(frozen=True)
class Threshold:
    """A score, and how the labelled picks would do with it.

    Attributes
    ----------
    score : float
    precision, recall, f2 : float
        Of the labelled picks; recall is of the true ones that were picked.
    """

    score: float
    precision: float
    recall: float
    f2: float


def at_threshold(curve: Curve, score: float | None) -> Threshold:
    """The lowest point of a curve at or above a score, or its point of the highest F2 with None."""
    f2 = curve.f_beta(BETA)
    if score is None:
        place = int(np.argmax(f2))
    else:
        place = max(0, int(np.searchsorted(-curve.threshold, -score, side="right")) - 1)
    # Rounded down, so that the pick it belongs to is kept.
    value = float(np.floor(curve.threshold[place] * 1e4) / 1e4)
    return Threshold(value, float(curve.precision[place]), float(curve.recall[place]), float(f2[place]))


def lost_groups(
    group: NDArray[np.int64], score: NDArray[np.float64], threshold: float, count: int
) -> NDArray[np.int64]:
    """Groups of particles, such as classes, that a threshold would take away from more than from the others.

    A group is lost if it keeps less than half of the share that all keep together, beyond what chance does to a group
    of its size (two standard deviations of a binomial).

    Parameters
    ----------
    group : ndarray, shape (n,), int
        From 0; only particles that are worth keeping.
    score : ndarray, shape (n,)
    threshold : float
    count : int
        Number of groups.

    Returns
    -------
    ndarray, shape (k,), int
        The groups lost, in order.
    """
    kept = score >= threshold
    size = np.bincount(group, minlength=count)
    stays = np.bincount(group[kept], minlength=count)
    share = float(kept.mean()) if len(kept) else 1.0
    spread = np.sqrt(size * share * (1 - share))
    lost = (size > 0) & (stays < KEEPS_LESS * share * size) & (stays < share * size - 2 * spread)
    return np.flatnonzero(lost)


def safe_threshold(score: NDArray[np.float64], group: NDArray[np.int64], wanted: float, count: int) -> float:
    """The highest threshold up to `wanted` that loses no group; parameters as of :func:`lost_groups`."""
    levels = np.unique(score[np.isfinite(score) & (score < wanted)])
    for level in (wanted, *(float(value) for value in levels[::-1])):
        if not len(lost_groups(group, score, level, count)):
            return float(np.floor(level * 1e4) / 1e4)
    return 0.0
