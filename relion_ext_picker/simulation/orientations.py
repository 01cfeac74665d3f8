"""Orientations of particles: all alike, or with a preference that the ice imposes.

A particle that adheres to the surface of the ice shows one face: the view is along its z axis (cap), or the axis lies
in the plane of the ice (belt). Euler angles follow RELION's convention, in which tilt is the angle between the beam
and the particle's z axis.
"""

from __future__ import annotations

import numpy as np

from relion_ext_picker.types import Array

KINDS = ("uniform", "cap", "belt", "both", "mixed")
PREFERRED = 0.7  # share of "mixed" that has a preference, half of it for the cap and half for the belt


def uniform_orientations(count: int, rng: np.random.Generator) -> Array:
    """Euler angles of orientations uniform over all rotations, shape (count, 3), degrees."""
    return _with_tilt(np.degrees(np.arccos(rng.uniform(-1, 1, count))), rng)


def cap_orientations(count: int, spread: float, rng: np.random.Generator) -> Array:
    """Views along the z axis or against it, shape (count, 3), degrees.

    The tilt away from the nearer pole is that of a direction whose two components, as arcs, are normal with standard
    deviation `spread` in degrees.
    """
    tilt = np.minimum(np.hypot(*rng.normal(0, spread, (2, count))), 90.0)
    return _with_tilt(np.where(rng.random(count) < 0.5, tilt, 180 - tilt), rng)


def belt_orientations(count: int, spread: float, rng: np.random.Generator) -> Array:
    """Views across the z axis: tilt normal about 90 with standard deviation `spread`; shape (count, 3), degrees."""
    return _with_tilt(np.clip(rng.normal(90, spread, count), 0, 180), rng)


def draw_orientations(kind: str, spread: float, count: int, rng: np.random.Generator) -> Array:
    """Random orientations.

    Parameters
    ----------
    kind : str
        "uniform", "cap" (along the particle's z axis, from both sides), "belt" (across it), "both" (cap or belt with
        equal chance) or "mixed" (of 70 % every particle is in the cap or in the belt with equal chance, 30 % are
        uniform).
    spread : float
        Standard deviation about the preferred direction, degrees; unused by "uniform".
    count : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (count, 3), float32
        rot, tilt and psi in degrees.

    Raises
    ------
    ValueError
        Unknown kind.
    """
    if kind == "uniform":
        return uniform_orientations(count, rng)
    if kind == "cap":
        return cap_orientations(count, spread, rng)
    if kind == "belt":
        return belt_orientations(count, spread, rng)
    if kind not in ("both", "mixed"):
        raise ValueError(f"orientations {kind!r}: must be one of {', '.join(KINDS)}")
    share = 1.0 if kind == "both" else PREFERRED
    chance = rng.random(count)[:, None]
    preferred = np.where(
        chance < share / 2, cap_orientations(count, spread, rng), belt_orientations(count, spread, rng)
    )
    return np.where(chance < share, preferred, uniform_orientations(count, rng))


def _with_tilt(tilt: np.ndarray[tuple[int], np.dtype[np.float64]], rng: np.random.Generator) -> Array:
    rot, psi = rng.uniform(-180, 180, (2, len(tilt)))
    return np.stack([rot, tilt, psi], axis=1).astype(np.float32)
