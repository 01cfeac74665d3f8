"""How evenly views sample Fourier space, and what tilting the specimen would change.

Baldwin & Lyumkis, Prog. Biophys. Mol. Biol. 150, 160 (2020): S(u) is the density of views on the great circle
perpendicular to u, that is of slices through the direction u, with mean 1; the sampling compensation factor (SCF) is
1 / mean(1 / S).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.healpix import Vectors, centres
from relion_ext_picker.evaluation.psf import efficiency
from relion_ext_picker.evaluation.symmetry import Rotations
from relion_ext_picker.evaluation.views import FINE, Views, merged, symmetric

DIRECTIONS = 4  # HEALPix order of the directions u; half of the 3,072 are enough
HALF_WIDTH = 0.02  # a slice reaches this far from its plane, as the sine of an angle: 1.1°
EXACT = 200_000  # views; more are merged first
TILTS = tuple(range(0, 50, 10))  # degrees
AROUND = 12  # azimuths of a tilted view
GOOD = 0.8  # an efficiency that needs no tilt


@dataclass(frozen=True)
class Sampling:
    """Evenness of the sampling of Fourier space.

    Attributes
    ----------
    scf : float
        Over the directions that some view samples: 1 for uniform views, 0.81 for side views only. May exceed 1 where
        `empty` is large, since empty directions are left out of the mean.
    scf_star : float
        SCF / (1 + Q/P · SCF · n), n the mean number of views per direction and Q/P the share of empty over the
        share of sampled directions: near 0 as soon as a direction is missed. It falls with the number of particles.
    empty : float
        Share of directions that no view samples.
    directions : ndarray, shape (k, 3)
    density : ndarray, shape (k,)
        S of each direction.
    """

    scf: float
    scf_star: float
    empty: float
    directions: Vectors
    density: NDArray[np.float64]


@dataclass(frozen=True)
class TiltAdvice:
    """What tilting the specimen would do for the orientation efficiency (by rays).

    Attributes
    ----------
    tilts : sequence of float
        Degrees.
    efficiencies : sequence of float
        Of a specimen tilted by each.
    best : float
        The smallest tilt that gives an efficiency of 0.8, or else that of the highest; 0 where none is needed.
    """

    tilts: Sequence[float]
    efficiencies: Sequence[float]
    best: float


def sampling(vectors: Vectors, group: Rotations) -> Sampling:
    """Evenness of a set of views.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
        A view per particle.
    group : ndarray, shape (k, 3, 3)
        Point group, whose equivalent views count as well.
    """
    if len(vectors) * len(group) <= EXACT:
        moved = np.concatenate([vectors @ element.T for element in group])
        views = Views(moved, np.ones(len(moved)))
    else:
        views = symmetric(merged(vectors, orders=FINE), group, FINE)
    directions = centres(DIRECTIONS)
    directions = directions[: len(directions) // 2]  # in ring order the others are their opposites
    count = np.zeros(len(directions))
    for start in range(0, len(views.weight), 4096):
        part = slice(start, start + 4096)
        near = np.abs(directions @ views.vectors[part].T) <= HALF_WIDTH
        count += near @ views.weight[part]
    sampled = count > 0
    share, mean = float(sampled.mean()), float(count.mean())
    scf = float(1.0 / (np.mean(1.0 / count[sampled]) * mean))
    star = scf / (1.0 + (1.0 - share) / share * mean * scf)
    return Sampling(scf, star, 1.0 - share, directions, count / mean)


def tilted(views: Views, degrees: float) -> Views:
    """The views that particles would show on a tilted specimen.

    Particles lie at every angle about the beam, so that each view becomes a ring of views, as far from it as the tilt.
    """
    if degrees == 0:
        return views
    normal = views.vectors
    helper = np.where(np.abs(normal[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    across = np.cross(normal, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    along = np.cross(normal, across)
    angle = np.radians(degrees)
    ring = [
        np.cos(angle) * normal + np.sin(angle) * (np.cos(azimuth) * across + np.sin(azimuth) * along)
        for azimuth in 2 * np.pi * np.arange(AROUND) / AROUND
    ]
    return merged(np.concatenate(ring), np.tile(views.weight / AROUND, AROUND))


def tilt_advice(views: Views, group: Rotations, box: int = 32) -> TiltAdvice:
    """Efficiencies of the specimen tilted by 0 to 40 degrees.

    Parameters
    ----------
    views : Views
        As they are, without equivalent ones.
    group : ndarray, shape (k, 3, 3)
        Point group.
    box : int
        Of the model; 32 is enough to choose.
    """
    found = [efficiency(symmetric(tilted(views, tilt), group), box).rays for tilt in TILTS]
    enough = (tilt for tilt, value in zip(TILTS, found, strict=True) if value >= GOOD)
    return TiltAdvice(TILTS, found, float(next(enough, TILTS[int(np.argmax(found))])))
