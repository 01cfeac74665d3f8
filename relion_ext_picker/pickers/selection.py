"""A threshold for a whole data set, from the scores of all its candidates.

A score that is the probability that a candidate is a particle says by itself how good the picks above a threshold are:
of candidates with scores p, the expected number of particles is the sum of p. The threshold of the highest expected F1
follows without any truth (Ye, Chai, Lee and Chieu 2012, "Optimizing F-measures", ICML, section 2: the expected F is
highest with all candidates down to some score).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relion_ext_picker.types import Array

LEAST = 0.1  # below, nine of ten candidates are none, whatever else the data set holds


@dataclass(frozen=True)
class Choice:
    """A threshold and what is expected of the picks that reach it.

    Attributes
    ----------
    threshold : float
    picks : int
    precision, recall : float
        Expected, if scores are probabilities; recall is of the particles among the candidates. 0 without candidates.
    """

    threshold: float
    picks: int
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Expected F1."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def best_threshold(scores: Sequence[Array], usual: float) -> Choice:
    """The threshold of the highest expected F1 over a data set, not below `LEAST`.

    Parameters
    ----------
    scores : sequence of ndarray, shape (n,)
        Of all candidates, weak ones included; one entry per micrograph.
    usual : float
        The threshold where there is no candidate that reaches `LEAST`.
    """
    falling = _falling(scores)
    inside = falling[falling >= LEAST]
    if not len(inside):
        return Choice(usual, 0, 0.0, 0.0)
    kept = np.arange(1, len(inside) + 1)
    expected = 2 * np.cumsum(inside) / (kept + falling.sum())
    return _choice(falling, int(np.argmax(expected)) + 1)


def threshold_for_count(scores: Sequence[Array], count: int) -> Choice:
    """The threshold that as many candidates of a data set reach, best first, as particles are expected.

    Parameters
    ----------
    scores : sequence of ndarray, shape (n,)
        As of :func:`best_threshold`.
    count : int
        Particles in all micrographs together.
    """
    falling = _falling(scores)
    return _choice(falling, min(max(1, count), len(falling)))


def _falling(scores: Sequence[Array]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    every = np.concatenate([np.zeros(0), *(np.asarray(each, np.float64) for each in scores)])
    return np.sort(every)[::-1]


def _choice(falling: np.ndarray[tuple[int], np.dtype[np.float64]], count: int) -> Choice:
    """The first `count` scores; those that equal the last of them come along."""
    if not len(falling):
        return Choice(0.0, 0, 0.0, 0.0)
    # Rounded down, so that the pick it belongs to is kept when the number is given by hand; scores that are remembered
    # with as many digits stay as they are. Compared in 32 bits, as picks are when they are written.
    threshold = float(np.floor(falling[count - 1] * 1e4 + 0.01) / 1e4)
    kept = falling[falling.astype(np.float32) >= np.float32(threshold)]
    return Choice(threshold, len(kept), float(kept.mean()), float(kept.sum() / max(falling.sum(), 1e-12)))
