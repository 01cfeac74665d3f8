"""Where the particles among the finds of a network begin, read from the distribution of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.types import Array

LEAST_REACH = 0.5  # log odds; less spread than this is chance
NEAREST = 0.5  # of the reach: no fence is nearer to the middle of the heap
DOUBT = 2.0  # log odds below the valley, down to where a find may still be a particle
LEAST_ODDS = -14.0  # logarithm of the odds of the lowest score that is told from 0
STEP, SMOOTH = 0.1, 0.5  # log odds: sampling and smoothing of the distribution of scores
ONE = 1.0  # value more than the emptiest place has is chance
ENOUGH = 20  # confirmed finds of a kind


@dataclass(frozen=True)
class Finds:
    """What a network finds in a micrograph.

    Attributes
    ----------
    xy : ndarray, shape (n, 2), float32
        Micrograph coordinates.
    kind : ndarray, shape (n,), int64
    odds : ndarray, shape (n,), float64
        Logarithm of the odds of being a particle.
    confirmed : ndarray, shape (n,), bool
        Whether a good candidate lies there.
    """

    xy: Array
    kind: NDArray[np.int64]
    odds: NDArray[np.float64]
    confirmed: NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Where particles begin, logarithm of the odds.

    Attributes
    ----------
    sure : float
        From here on a find teaches the next round.
    valley : float
        Between the heap of particles and the heap of everything else.
    doubtful : float
        From here on a find is at least not taken for background.
    """

    sure: float
    valley: float
    doubtful: float


def limits_of(finds: Sequence[Finds]) -> dict[int, Limits]:
    """Where the finds of a network over several micrographs divide into particles and others, for each kind.

    Scores of particles lie about a value that depends on how many were missed in training, and so does the gap
    between them and those of anything else. Where the heap of particles is, the finds tell that good candidates
    confirm: its middle is their commonest score, for every kind another, since some stand out less. It ends at Tukey's
    boundary of ordinary values (2.7 standard deviations below the middle, for normal values), taken from the scores
    above the middle alone, because those below hold the mistakes of the clustering. The valley is where finds of any
    kind are fewest, between the two heaps. A kind with fewer than `ENOUGH` confirmed finds has the limits of all.
    """
    kind, odds, confirmed = (
        np.concatenate([getattr(found, name) for found in finds]) for name in ("kind", "odds", "confirmed")
    )
    if not confirmed.any():
        return dict.fromkeys(range(len(KINDS)), Limits(0.0, 0.0, -DOUBT))
    together = _middle(odds[confirmed], float(odds.max()))
    middle = {
        each: _middle(odds[confirmed & (kind == each)], float(odds.max()))
        if np.count_nonzero(confirmed & (kind == each)) >= ENOUGH else together for each in range(len(KINDS))
    }  # fmt: skip
    above = odds[confirmed] - np.array([middle[each] for each in kind[confirmed].tolist()])
    reach = max(4 * float(np.median(above[above >= 0])) if (above >= 0).any() else 0.0, LEAST_REACH)
    limits = {}
    for each in range(len(KINDS)):
        mine = odds[kind == each] if np.count_nonzero(confirmed & (kind == each)) >= ENOUGH else odds
        fence = max(middle[each] - reach, LEAST_ODDS)
        # Where noise reaches beyond the fence, the heaps divide above it.
        highest = max(fence, middle[each] - NEAREST * reach)
        fence = min(max(fence, valley_of(mine, fence, middle[each], ONE)), highest)
        valley = min(fence, valley_of(mine, fence, fence))
        limits[each] = Limits(fence, valley, valley - DOUBT)
    return limits


def _middle(odds: NDArray[np.float64], upper: float) -> float:
    """The commonest value."""
    grid, density = _density(odds, upper)
    return float(grid[density.argmax()])


def valley_of(odds: NDArray[np.float64], fence: float, upper: float, slack: float = 0.0) -> float:
    """Where values are fewest between the heap that lies below `fence` and `upper`.

    The lowest place that has at most `slack` values more than the emptiest.
    """
    grid, density = _density(odds, upper)
    lower = int(density[grid <= fence].argmax())
    few = density[lower:] <= density[lower:].min() + slack
    return float(grid[lower + int(few.argmax())])


def _density(odds: NDArray[np.float64], upper: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How frequent values are, smoothed: places up to `upper`, and the frequency there."""
    grid = np.arange(LEAST_ODDS, upper + STEP, STEP)
    return grid, np.exp(-0.5 * ((grid[:, None] - odds[None]) / SMOOTH) ** 2).sum(1)
