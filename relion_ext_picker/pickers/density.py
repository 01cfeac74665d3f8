"""Scores that know how many particles there are.

A score is the probability that a candidate is a particle, where particles are as common as they were in training. In a
micrograph with hardly any, the same likeness to a particle is more often chance. How common they are is told by the
scores themselves (Saerens, Latinne and Decaestecker 2002, Neural Computation 14:21, eq. 2.6: expectation maximisation
of the prior).
"""

from __future__ import annotations

import numpy as np

from relion_ext_picker.types import Array

ROUNDS = 500
LEAST = 0.05  # of the usual density: below this scores fall no further and keep their order between micrographs


def conditioned(score: Array, area: float, usual: float) -> Array:
    """Scores corrected for a micrograph with fewer particles than usual; one with more keeps its scores.

    Parameters
    ----------
    score : ndarray, shape (n,)
        Of all candidates of one micrograph, weak ones included.
    area : float
        Of the micrograph, in squares of the particle diameter.
    usual : float
        Particles per such square where the scores are probabilities.

    Returns
    -------
    ndarray, shape (n,), float32
        In the order of `score`, none higher than before.
    """
    odds = np.clip(score, 0, 1 - 1e-6).astype(np.float64)
    odds /= 1 - odds
    share, before = 1.0, 2.0  # particles here over particles usual
    for _ in range(ROUNDS):
        if abs(before - share) < 1e-6:
            break
        posterior = share * odds / (1 + share * odds)
        before, share = share, float(np.clip(posterior.sum() / (area * usual), LEAST, 1.0))
    return (share * odds / (1 + share * odds)).astype(np.float32) if share < 1 else score
