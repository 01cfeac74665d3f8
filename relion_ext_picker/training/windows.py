"""Windows to learn from: particles, what is near them, what is far from them, and what a picker took for them.

Arrays in, arrays out. Where windows come from is a picker's business: ``cut(frame, xy)`` returns them as its network
sees them, so that the same code serves every network that judges one window at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.training.loop import Batch
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.types import Array, ScoreMap

Cut = Callable[[ScoreMap, Array], Array]
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

    def joined(self, other: WindowSet) -> WindowSet:
        """Both sets as one."""
        return WindowSet(
            np.concatenate([self.positives, other.positives]), np.concatenate([self.negatives, other.negatives])
        )

    def turned(self) -> WindowSet:
        """Four times as many: every window in its four rotations by 90°."""
        return WindowSet(_turned(self.positives), _turned(self.negatives))

    def stacked(self) -> tuple[Array, Array]:
        """Windows (n + m, box, box), particles first, and their answers (n + m,), 1 or 0."""
        labels = np.repeat(np.array([1, 0], np.float32), [len(self.positives), len(self.negatives)])
        return np.concatenate([self.positives, self.negatives]), labels


@dataclass(frozen=True)
class Drawing:
    """Which windows are drawn. Lengths are fractions of the particle diameter.

    Attributes
    ----------
    jitter : float
        Standard deviation of the shift of a positive window along each axis.
    repeats : int
        Windows per particle, each with a shift of its own.
    negatives : float
        Negative windows per positive one.
    near : float
        Share of the negatives that lie in a ring around a particle: near misses.
    ring : (float, float)
        Inner and outer radius of the ring; no other particle is closer than the inner one.
    apart : float
        The other negatives are at least this far from every particle.
    limit : int
        Particles used at most, drawn at random from all micrographs; 0 uses all.
    """

    jitter: float = 0.0
    repeats: int = 1
    negatives: float = 1.0
    near: float = 0.0
    ring: tuple[float, float] = (0.35, 1.0)
    apart: float = 0.7
    limit: int = 0


def draw_windows(
    cut: Cut, labelled: Sequence[Labelled], diameter: float, drawing: Drawing, rng: np.random.Generator
) -> WindowSet:
    """Windows of micrographs with known particles.

    Negatives keep away from all particles of a micrograph, those beyond ``drawing.limit`` included.

    Parameters
    ----------
    cut : callable
        Of a picker: prepared image, micrograph coordinates (n, 2) -> windows (n, box, box).
    labelled : sequence of Labelled
    diameter : float
        Of the particle, px of the prepared images.
    drawing : Drawing
    rng : Generator

    Raises
    ------
    InputError
        There are no particles, or they leave no room for negatives.
    """
    counts = [len(item.xy) for item in labelled]
    if not sum(counts):
        raise InputError("there are no particles to learn from: check the coordinates")
    chosen = np.sort(rng.permutation(sum(counts))[: drawing.limit or None])
    bounds = np.cumsum([0, *counts])
    positives, negatives = [], []
    for index, item in enumerate(labelled):
        mine = chosen[(chosen >= bounds[index]) & (chosen < bounds[index + 1])] - bounds[index]
        places = frame_places(item)
        picked = np.repeat(places[mine], drawing.repeats, axis=0)
        shifted = picked + rng.normal(0, drawing.jitter * diameter, picked.shape)
        wanted = round(drawing.negatives * len(picked))
        near = round(drawing.near * wanted)
        shape = (item.frame.values.shape[0], item.frame.values.shape[1])
        beside = near_places(places, shape, diameter, drawing.ring, near, rng)
        apart = far_places(places, shape, drawing.apart * diameter, wanted - len(beside), rng)
        positives.append(cut(item.frame, item.frame.grid.to_original(*shifted.T)))
        negatives.append(cut(item.frame, item.frame.grid.to_original(*np.concatenate([beside, apart]).T)))
    found = WindowSet(np.concatenate(positives), np.concatenate(negatives))
    if drawing.negatives > 0 and not len(found.negatives):
        raise InputError(
            f"no place in {len(labelled)} micrographs is {drawing.apart:g} diameters away from every particle: "
            "check the particle diameter"
        )
    return found


def frame_places(item: Labelled) -> NDArray[np.float64]:
    """Rows and columns of the particles in the prepared image, shape (n, 2)."""
    return np.stack(item.frame.grid.from_original(item.xy), axis=1)


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


def false_picks(
    picker: Picker, item: Labelled, floor: float, distance: float, radius: float = HIT_RADIUS
) -> tuple[Array, Array]:
    """Where a picker finds particles that are none: hard negatives.

    Parameters
    ----------
    picker : Picker
    item : Labelled
        A training micrograph all of whose particles are known.
    floor : float
        Score from which a candidate counts.
    distance : float
        Smallest distance of two candidates, px of the micrograph.
    radius : float
        A candidate farther than this, as a fraction of the diameter, from every free centre is false.

    Returns
    -------
    xy : ndarray, shape (n, 2), float32
        Micrograph coordinates, highest score first.
    score : ndarray, shape (n,), float32
    """
    score_map = picker.propose(item.frame)
    rows, cols, score = picker.peaks(score_map, distance, floor)
    xy = score_map.to_original(rows, cols)
    reach = radius * picker.card.reference_diameter * float(np.mean(item.frame.grid.scale))
    hit, _ = match(item.xy, xy, score, reach)
    false = np.flatnonzero(~hit & (score >= floor))
    false = false[np.argsort(-score[false], kind="stable")]
    return xy[false], score[false]


def window_batches(windows: WindowSet, seed: int, batch: int, mirror: bool = False) -> Iterator[Batch]:
    """Endless batches (windows (b, 1, box, box), answers (b,)), half particles, each turned by a random 90° step.

    Raises
    ------
    InputError
        There are no particles, or nothing else.
    """
    if not len(windows.positives) or not len(windows.negatives):
        raise InputError(
            f"{len(windows.positives)} particles and {len(windows.negatives)} other windows: training needs both; "
            "check the coordinates"
        )
    rng = np.random.default_rng(seed)
    half = batch // 2
    labels = torch.from_numpy(np.repeat(np.array([1, 0], np.float32), [half, batch - half]))
    particles, others = _shuffled(len(windows.positives), rng), _shuffled(len(windows.negatives), rng)
    while True:
        chosen = [windows.positives[next(particles)] for _ in range(half)]
        chosen += [windows.negatives[next(others)] for _ in range(batch - half)]
        turned = [np.rot90(window, int(rng.integers(4))) for window in chosen]
        if mirror:
            turned = [window[:, ::-1] if rng.random() < 0.5 else window for window in turned]
        yield torch.from_numpy(np.stack(turned))[:, None], labels


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Indices in random order, all of them before any comes again."""
    while True:
        yield from (int(index) for index in rng.permutation(count))


def _turned(windows: Array) -> Array:
    return np.concatenate([np.rot90(windows, turn, axes=(1, 2)) for turn in range(4)])


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
