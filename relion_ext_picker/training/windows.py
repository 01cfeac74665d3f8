"""Windows to learn from, and places for those that hold no particle: near particles and far from them.

Arrays in, arrays out. Where windows come from is a picker's business: ``cut(frame, xy)`` returns them as its network
sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.types import Array

HIT_RADIUS = 0.4  # of the diameter: a pick farther than this from every free centre is a false one
TRIES = 40  # draws of as many places as are missing, before a micrograph counts as full


@dataclass(frozen=True)
class WindowSet:
    """Windows with the answer.

    Attributes
    ----------
    positives : ndarray, shape (n, box, box), float32
        Particles.
    negatives : ndarray, shape (m, box, box), float32
        Anything else.
    """

    positives: Array
    negatives: Array

    def __len__(self) -> int:
        return len(self.positives) + len(self.negatives)

    def stacked(self) -> tuple[Array, Array]:
        """Windows (n + m, box, box), particles first, and their answers (n + m,), 1 or 0."""
        labels = np.repeat(np.array([1, 0], np.float32), [len(self.positives), len(self.negatives)])
        return np.concatenate([self.positives, self.negatives]), labels


def frame_places(item: Labelled) -> NDArray[np.float64]:
    """Rows and columns of the particles in the prepared image, shape (n, 2)."""
    return np.stack(item.frame.grid.from_original(item.xy), axis=1)


def distance_to(places: Array, xy: Array) -> NDArray[np.float64]:
    """Distance of each of `xy`, shape (n, 2), to the nearest of `places`, shape (m, 2); infinite without any."""
    if not len(places):
        return np.full(len(xy), np.inf)
    return np.asarray(cKDTree(places).query(xy)[0], np.float64)


def far_places(
    places: NDArray[np.float64], shape: tuple[int, int], apart: float, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random places of an image that are at least `apart` px from all of `places`: rows and columns, (<= count, 2).

    Fewer than asked for where the particles leave little room.
    """
    return _accepted(lambda size: rng.uniform(0, 1, (size, 2)) * (np.array(shape) - 1), places, apart, count)


def near_places(
    places: NDArray[np.float64],
    shape: tuple[int, int],
    diameter: float,
    ring: tuple[float, float],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # fmt: skip
    """Near misses: random places in rings around particles, (<= count, 2), none within the inner radius of another one.

    `ring` in diameters, evenly by area; places outside the image are left out.
    """
    if not len(places):
        return np.zeros((0, 2))
    last = np.array(shape) - 1

    def propose(size: int) -> NDArray[np.float64]:
        radius = diameter * np.sqrt(rng.uniform(ring[0] ** 2, ring[1] ** 2, size))
        angle = rng.uniform(0, 2 * np.pi, size)
        beside = places[rng.integers(len(places), size=size)]
        beside = beside + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        return np.asarray(beside[np.all((beside >= 0) & (beside <= last), axis=1)])

    return _accepted(propose, places, ring[0] * diameter, count)


def _accepted(
    propose: Callable[[int], NDArray[np.float64]], places: NDArray[np.float64], apart: float, count: int
) -> NDArray[np.float64]:
    """The first `count` proposals that are at least `apart` from all places."""
    tree = cKDTree(places) if len(places) else None
    kept = [np.zeros((0, 2))]
    missing = count
    for _ in range(TRIES):
        if missing <= 0:
            break
        found = propose(missing)
        if tree is not None and len(found):
            found = found[tree.query(found)[0] >= apart]
        kept.append(found[:missing])
        missing -= len(kept[-1])
    return np.concatenate(kept)
