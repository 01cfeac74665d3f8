"""How like a candidate is to the particles of its own micrograph.

A general network has to recognise any particle; faint ones of a data set are found more surely by who knows what they
look like. The likely particles of the micrograph tell that: their windows, weighted by the squares of their scores,
give a mean particle, of which the profile around the centre is taken, since candidates are turned anyhow. A candidate's
likeness is the largest product of that profile with its own, within `REACH` px of its centre. Likeness is taken as
normally distributed among particles and among other candidates, with means and deviations weighted by the scores, and
the log of the ratio of both densities is added to the log odds of the score (Bayes' rule), at most `LIMIT`: dirt can
be more like a particle than any particle, and in noise the best candidates are alike because a network chose them.

A candidate does not contribute to the mean particle that it is compared with, or noise would look like itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from relion_ext_picker.types import Array

REACH = 2  # px of the window: candidates are as exact as that, and better where particles are plain
BEYOND = 2  # px left out at the edge of the window
LIMIT = 1.0  # of what is added to the log odds: the networks have seen some of it already
FEWEST = 3.0  # expected particles, and other candidates, from which there is something to compare
SURE = 1e-5  # scores nearer to 0 or 1 count as this near


def informed(windows: Array, score: Array) -> Array:
    """Scores that take account of how like the candidates of a micrograph are to its particles.

    Parameters
    ----------
    windows : ndarray, shape (n, side, side), float32
        Around all candidates of one micrograph.
    score : ndarray, shape (n,), float32
        Probabilities.

    Returns
    -------
    ndarray, shape (n,), float32
        The same where too few particles or other candidates are to be expected.
    """
    chance = score.astype(np.float64)
    if min(chance.sum(), (1 - chance).sum()) < FEWEST:
        return score
    ratio = log_ratio(compared(windows, score).likeness, chance)
    clipped = np.clip(chance, SURE, 1 - SURE)
    return np.asarray(expit(np.log(clipped / (1 - clipped)) + np.clip(ratio, -LIMIT, LIMIT)), np.float32)


@dataclass(frozen=True)
class Compared:
    """Candidates of a micrograph beside its mean likely particle.

    Attributes
    ----------
    likeness : ndarray, shape (n,), float64
        Product of a candidate's profile, at the best place near its centre, with the mean one of the other windows, in
        units of its own.
    own : ndarray, shape (n, rings), float32
        Profile of each candidate at that place.
    mean : ndarray, shape (n, rings), float64
        Mean profile of the others.
    counts : ndarray, shape (rings,), float32
        Px of each ring.
    """

    likeness: NDArray[np.float64]
    own: Array
    mean: NDArray[np.float64]
    counts: Array


def compared(windows: Array, score: Array) -> Compared:
    """Compare every window with the mean of the others.

    Parameters
    ----------
    windows : ndarray, shape (n, side, side), float32
    score : ndarray, shape (n,), float32
        Weights before they are squared; not all 0.
    """
    side = windows.shape[1]
    averages, counts = _rings(side)
    profiles = (windows.reshape(len(windows), -1) @ averages).reshape(len(windows), -1, len(counts))
    profiles -= (profiles @ counts / counts.sum())[:, :, None]
    weight = np.square(score, dtype=np.float64)
    weight /= weight.sum()
    own = weight[:, None] * profiles[:, profiles.shape[1] // 2]
    others = (own.sum(axis=0) - own) / np.maximum(1 - weight[:, None], 1e-3)
    products = np.einsum("npr,nr->np", profiles, others * counts)
    best = products.argmax(axis=1)
    each = np.arange(len(windows))
    return Compared(products[each, best], profiles[each, best], others, counts)


def log_ratio(likeness: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of how much denser particles lie at a likeness than other candidates; 0 where there is too little of either.

    Parameters
    ----------
    likeness : ndarray, shape (n,)
    chance : ndarray, shape (n,)
        That a candidate is a particle.
    """
    if min(chance.sum(), (1 - chance).sum()) < FEWEST:
        return np.zeros(len(chance))
    return _log_normal(likeness, chance) - _log_normal(likeness, 1 - chance)


@lru_cache(maxsize=2)
def _rings(side: int) -> tuple[Array, Array]:
    """What averages a flat window over rings around each place near its centre, and how many px a ring has.

    Returns
    -------
    averages : ndarray, shape (side * side, places * rings), float32
        The middle one of the places is the centre.
    counts : ndarray, shape (rings,), float32
    """
    count = side // 2 - BEYOND
    y, x = np.mgrid[:side, :side] - side // 2
    steps = range(-REACH, REACH + 1)
    found = []
    for down in steps:
        for right in steps:
            ring = np.rint(np.hypot(y - down, x - right)).astype(int).ravel()
            member = (ring[:, None] == np.arange(count)).astype(np.float32)
            found.append(member / member.sum(axis=0))
    middle = np.rint(np.hypot(y, x)).astype(int).ravel()
    return np.concatenate(found, axis=1), np.bincount(middle)[:count].astype(np.float32)


def _log_normal(value: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the normal density with the weighted mean and deviation, but for a constant."""
    mean = np.average(value, weights=weight)
    variance = max(float(np.average((value - mean) ** 2, weights=weight)), 1e-12)
    return np.asarray(-0.5 * (value - mean) ** 2 / variance - 0.5 * np.log(variance))
