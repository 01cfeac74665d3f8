"""Scores that know how many particles there are.

A score is the probability that a candidate is a particle, where particles are as common as they were in training. In a
micrograph with hardly any, the same likeness to a particle is more often chance. How common they are is told by the
scores themselves (Saerens, Latinne and Decaestecker 2002, Neural Computation 14:21, eq. 2.6: expectation maximisation
of the prior).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.types import Array

ROUNDS = 500
LEAST = 0.05  # of the usual density: below this scores fall no further and keep their order between micrographs


def share_of_usual(score: Array, area: float, usual: float) -> float:
    """How common particles are in a micrograph, as a share of what is usual: `LEAST` to 1.

    Parameters
    ----------
    score : ndarray, shape (n,)
        Of all candidates of one micrograph, weak ones included.
    area : float
        Of the micrograph, in squares of the particle diameter.
    usual : float
        Particles per such square where the scores are probabilities.
    """
    odds = _odds(score)
    share, before = 1.0, 2.0
    for _ in range(ROUNDS):
        if abs(before - share) < 1e-6:
            break
        posterior = share * odds / (1 + share * odds)
        before, share = share, float(np.clip(posterior.sum() / (area * usual), LEAST, 1.0))
    return share


def conditioned(score: Array, share: float) -> Array:
    """Scores (n,) where particles are as common as `share` of the usual; with a share of 1 they stay as they are."""
    if share >= 1:
        return score
    odds = share * _odds(score)
    return np.asarray(odds / (1 + odds), np.float32)


def _odds(score: Array) -> NDArray[np.float64]:
    clipped = np.clip(score, 0, 1 - 1e-6).astype(np.float64)
    return np.asarray(clipped / (1 - clipped))
