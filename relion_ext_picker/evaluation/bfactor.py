"""How resolution grows with the number of particles (Rosenthal & Henderson, J. Mol. Biol. 333, 721, 2003).

ln N = B / (2 d²) + constant: resolution d from N particles in both halves together. The steeper 1/d² rises with ln N,
the smaller B and the better the particles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class BFactorFit:
    """Straight line 1/d² = slope · ln N + intercept.

    Attributes
    ----------
    b_factor : float
        2 / slope, Å²; infinite where more particles bring nothing.
    low, high : float
        95 % confidence interval of `b_factor` from the scatter about the line; NaN with fewer than three points.
        `high` is infinite where the scatter allows for a slope of 0.
    slope, intercept : float
        Å⁻².
    used : ndarray, shape (n,), bool
        Which points were fitted: those at Nyquist are not, for they flatten the line.
    scatter : float
        Standard deviation about the line, Å⁻²; NaN with fewer than three points.
    mean, spread : float
        Of ln N of the fitted points: mean, and sum of squared distances from it.
    """

    b_factor: float
    low: float
    high: float
    slope: float
    intercept: float
    used: NDArray[np.bool_]
    scatter: float
    mean: float
    spread: float

    def line(self, particles: ArrayLike) -> NDArray[np.float64]:
        """1/d² of the line, Å⁻², for numbers of particles."""
        return np.asarray(self.slope * np.log(np.asarray(particles, np.float64)) + self.intercept)

    def band(self, particles: ArrayLike) -> NDArray[np.float64]:
        """Half the height of the 95 % confidence band of the line, Å⁻²; NaN with fewer than three points."""
        count = int(self.used.sum())
        if count < 3:
            return np.full(np.shape(particles), np.nan)
        away = (np.log(np.asarray(particles, np.float64)) - self.mean) ** 2 / self.spread
        return np.asarray(_student(count) * self.scatter * np.sqrt(1 / count + away))


def fit_b_factor(particles: ArrayLike, resolution: ArrayLike, nyquist: ArrayLike) -> BFactorFit:
    """Fit a series of reconstructions.

    1/d² is regressed on ln N, for N is known and d is measured.

    Parameters
    ----------
    particles : array, shape (n,)
        In both halves together.
    resolution : array, shape (n,)
        Å, interpolated between shells where possible.
    nyquist : array, shape (n,)
        Highest resolution that each map could have, Å. Points within half a per cent of it are left out.

    Raises
    ------
    ValueError
        Fewer than two points of different N are left.
    """
    count, found = np.asarray(particles, np.float64), np.asarray(resolution, np.float64)
    used = np.isfinite(found) & (found > np.asarray(nyquist, np.float64) * 1.005) & (count > 0)
    x, y = np.log(count[used]), 1.0 / found[used] ** 2
    if len(np.unique(x)) < 2:
        raise ValueError("a B-factor needs at least two numbers of particles with a resolution short of Nyquist")
    mean, spread = float(x.mean()), float(np.sum((x - x.mean()) ** 2))
    slope = float(np.sum((x - mean) * (y - y.mean())) / spread)
    intercept = float(y.mean() - slope * mean)
    scatter = low = high = math.nan
    if len(x) > 2:
        scatter = float(np.sqrt(np.sum((y - slope * x - intercept) ** 2) / (len(x) - 2)))
        room = _student(len(x)) * scatter / math.sqrt(spread)
        low, high = _b(slope + room), _b(slope - room)
    return BFactorFit(_b(slope), low, high, slope, intercept, used, scatter, mean, spread)


def _b(slope: float) -> float:
    return 2.0 / slope if slope > 0 else math.inf


def _student(count: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 2))
