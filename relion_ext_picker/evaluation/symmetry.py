"""Point groups in RELION's setting: axes as in its list of symmetry operators."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.healpix import Vectors

Rotations = NDArray[np.float64]

# (fold, axis) of generating rotations
_POLYHEDRAL = {
    "T": ((3, (0.0, 0.0, 1.0)), (2, (0.0, np.sqrt(2 / 3), np.sqrt(1 / 3)))),
    "O": ((3, (1.0, 1.0, 1.0)), (4, (0.0, 0.0, 1.0))),
}
_GOLDEN = (1 + np.sqrt(5)) / 2
_FIVE = (1.0, 0.0, _GOLDEN)  # a fivefold axis of RELION's I2, where 2-folds lie along x, y and z
_THREE = (0.0, 1 / _GOLDEN, _GOLDEN)
_ICOSAHEDRAL = {
    "I": ((2, (0.0, 0.0, 1.0)), (5, _FIVE), (3, _THREE)),
    "I1": ((2, (1.0, 0.0, 0.0)), (5, (_GOLDEN, 0.0, -1.0)), (3, (_GOLDEN, 1 / _GOLDEN, 0.0))),
    "I2": ((2, (0.0, 0.0, 1.0)), (5, _FIVE), (3, _THREE)),
    "I3": ((2, (-1.0, 0.0, _GOLDEN)), (5, (0.0, 0.0, 1.0))),
    "I4": ((2, (1.0, 0.0, _GOLDEN)), (5, (2.0, 0.0, 1.0))),
}
NAMES = "Cn, Dn, T, O, I, I1, I2, I3 or I4"


def rotation(axis: ArrayLike, degrees: float) -> Rotations:
    """Rotation about an axis (any length), shape (3, 3)."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def point_group(name: str) -> Rotations:
    """All rotations of a point group, identity first.

    Parameters
    ----------
    name : str
        As RELION writes it: C1, C4, D2, T, O, I, I1 to I4, in capitals or not.

    Returns
    -------
    ndarray, shape (k, 3, 3)

    Raises
    ------
    InputError
        Another name. Groups with mirror planes do not occur in particles of one hand.
    """
    match = re.fullmatch(r"([CD])([1-9]\d{0,2})|(T|O|I[1-4]?)", name.strip().upper())
    if match is None:
        raise InputError(f"symmetry {name}: must be {NAMES}, as in RELION")
    if match[1]:
        generators = [rotation((0, 0, 1), 360 / int(match[2]))]
        if match[1] == "D":
            generators.append(rotation((1, 0, 0), 180))
    else:
        table = {**_POLYHEDRAL, **_ICOSAHEDRAL}[match[3]]
        generators = [rotation(axis, 360 / fold) for fold, axis in table]
    return _closed(generators)


def _closed(generators: list[Rotations]) -> Rotations:
    """The group that some rotations generate."""
    found = [np.eye(3)]
    for element in found:  # grows while it is walked through
        for generator in generators:
            new = generator @ element
            if not any(np.allclose(new, old, atol=1e-6) for old in found):
                found.append(new)
    return np.stack(found)


def fold(vectors: Vectors, group: Rotations) -> Vectors:
    """Move every direction into one asymmetric unit.

    Of the equivalent directions the one nearest to a fixed direction without symmetry is taken, so that any two
    equivalent directions become the same.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
    group : ndarray, shape (k, 3, 3)
    """
    if len(group) == 1:
        return vectors
    reference = np.array([0.2671, 0.1473, 0.9523])
    best, result = np.full(len(vectors), -np.inf), vectors.copy()
    for element in group:
        moved = vectors @ element.T
        nearness = moved @ reference
        better = nearness > best + 1e-9
        best[better], result[better] = nearness[better], moved[better]
    return np.asarray(result)
