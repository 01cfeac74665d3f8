"""The training set of the DeepCryoPicker mode: windows of every class, from particles that clustering found.

Clustering misses particles. What it did not find is therefore not background: background is drawn far from every
candidate, good or bad, or from the ring around a good particle where no other one has room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepcryopicker.classes import BACKGROUND, KINDS, NEGATIVE
from relion_ext_picker.pickers.deepcryopicker.find import Found
from relion_ext_picker.training.loop import Batch
from relion_ext_picker.training.windows import far_places, near_places
from relion_ext_picker.types import Array, ScoreMap

Cut = Callable[[ScoreMap, Array], Array]
FEWEST = 30  # good examples of the commonest kind; with fewer there is no training
FEWER = 15  # of any further class; one with fewer is not made


@dataclass(frozen=True)
class Marked:
    """A prepared micrograph and the candidates that were found in it.

    Attributes
    ----------
    name : str
        Micrograph name.
    frame : ScoreMap
        Prepared image.
    xy : ndarray, shape (n, 2), float32
        Centres of all candidates in px of the micrograph.
    kind : ndarray, shape (n,), int64
        Which of :data:`~relion_ext_picker.pickers.deepcryopicker.classes.KINDS`.
    good : ndarray, shape (n,), bool
        Whether a candidate serves as an example of its kind.
    shapes : ScoreMap or None
        The working image, in which circles are told from rectangles; None where all particles are irregular.
    """

    name: str
    frame: ScoreMap
    xy: Array
    kind: NDArray[np.int64]
    good: NDArray[np.bool_]
    shapes: ScoreMap | None = None


def marked_of(name: str, frame: ScoreMap, found: Found, shapes: ScoreMap | None = None) -> Marked:
    """A prepared micrograph with what clustering found in it, and the image of its shapes; see :class:`Marked`."""
    kind = np.asarray([KINDS.index(str(kind)) for kind in found.kind], np.int64)
    return Marked(name, frame, found.xy, kind, found.good, shapes)


@dataclass(frozen=True)
class Drawing:
    """Which windows are drawn. Lengths are fractions of the particle diameter.

    Attributes
    ----------
    per_class : int
        Windows of each particle class at most, and of the bad examples.
    repeats : int
        Windows per particle, each with a shift of its own.
    jitter : float
        Standard deviation of the shift along each axis.
    background : float
        Background windows per window of a particle.
    near : float
        Share of the background that lies in a ring around a good particle: near misses.
    ring : (float, float)
        Inner and outer radius of the ring; no candidate is closer than the inner one.
    apart : float
        The rest of the background is at least this far from every candidate.
    border : float
        No background is closer than this to the edge, because clustering does not find particles cut by it.
    """

    per_class: int = 3000
    repeats: int = 2
    jitter: float = 0.04
    background: float = 1.5
    near: float = 0.5
    ring: tuple[float, float] = (0.4, 1.0)
    apart: float = 0.8
    border: float = 0.5


@dataclass(frozen=True)
class TrainingSet:
    """Windows with their classes.

    Attributes
    ----------
    classes : tuple of str
        Names, in the order of the labels.
    windows : ndarray, shape (n, side, side)
    labels : ndarray, shape (n,), int64
    """

    classes: tuple[str, ...]
    windows: NDArray[np.generic]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self) -> dict[str, int]:
        """Windows of each class."""
        return {name: int((self.labels == index).sum()) for index, name in enumerate(self.classes)}


def classes_of(
    marked: Sequence[Marked], fewest: int = FEWEST, negative: bool = False, fewer: int = FEWER
) -> tuple[str, ...]:
    """Classes that there are enough good examples of, and background.

    Parameters
    ----------
    marked : sequence of Marked
    fewest : int
        Good examples that the commonest kind needs.
    negative : bool
        Make bad examples a class of their own, where there are enough.
    fewer : int
        Good examples that a further kind needs.

    Raises
    ------
    InputError
        No kind has enough.
    """
    counts = [sum(int((item.good & (item.kind == kind)).sum()) for item in marked) for kind in range(len(KINDS))]
    found = [name for name, count in zip(KINDS, counts, strict=True) if count >= min(fewest, fewer)]
    if max(counts) < fewest:
        listed = ", ".join(f"{count} {name}" for name, count in zip(KINDS, counts, strict=True))
        count = len({item.name for item in marked})  # one alone is cut in two
        where = f"{count} micrograph{'s' if count > 1 else ''}"
        raise InputError(
            f"too few particles were found by clustering to learn from: {listed} in {where}, and a class needs "
            f"{fewest}: check the contrast and --diameter, or give more micrographs"
        )
    if negative and sum(int((~item.good).sum()) for item in marked) >= fewest:
        return (*found, BACKGROUND, NEGATIVE)
    return (*found, BACKGROUND)


def split(count: int, shares: tuple[float, float], seed: int) -> tuple[list[int], list[int], list[int]]:
    """Micrographs for training, validation and testing, before any window is drawn.

    Parameters
    ----------
    count : int
        Number of micrographs.
    shares : (float, float)
        Of validation and testing. A share above 0 gets one micrograph at least, as long as one remains for training.
    seed : int

    Returns
    -------
    training, validation, testing : list of int
        Indices, each rising. With one micrograph all of it is for training.
    """
    order = np.random.default_rng(seed).permutation(count).tolist()
    sizes: list[int] = []
    for share in shares:
        room = count - 1 - sum(sizes)
        sizes.append(min(room, max(1, round(share * count)) if share > 0 else 0))
    first, second = sizes
    cut = count - first - second
    return sorted(order[:cut]), sorted(order[cut : cut + first]), sorted(order[cut + first :])


def draw_examples(
    cut: Cut,
    marked: Sequence[Marked],
    classes: tuple[str, ...],
    diameter: float,
    drawing: Drawing,
    rng: np.random.Generator,
) -> TrainingSet:
    """Windows of every class from micrographs with candidates.

    Parameters
    ----------
    cut : callable
        Of a picker: prepared image, micrograph coordinates (n, 2) -> windows (n, side, side).
    marked : sequence of Marked
    classes : tuple of str
        See :func:`classes_of`.
    diameter : float
        Of the particle, px of the prepared images.
    drawing : Drawing
    rng : Generator

    Raises
    ------
    InputError
        The candidates leave no room for background.
    """
    chosen = _chosen(marked, classes, drawing, rng)
    windows: list[Array] = []
    labels: list[NDArray[np.int64]] = []
    for item, mine in zip(marked, chosen, strict=True):
        places = np.stack(item.frame.grid.from_original(item.xy), axis=1)
        drawn = [(index, places[which], drawing.jitter) for index, which in mine.items()]
        count = sum(len(which) for which in mine.values()) * drawing.repeats
        behind = _background(places, item, diameter, round(drawing.background * count), drawing, rng)
        for index, centres, jitter in drawn:
            centres = np.repeat(centres, drawing.repeats, axis=0)
            centres = centres + rng.normal(0, jitter * diameter, centres.shape)
            windows.append(cut(item.frame, item.frame.grid.to_original(*centres.T)))
            labels.append(np.full(len(centres), index))
        windows.append(cut(item.frame, item.frame.grid.to_original(*behind.T)))
        labels.append(np.full(len(behind), classes.index(BACKGROUND)))
    found = TrainingSet(classes, np.concatenate(windows), np.concatenate(labels))
    if not found.counts()[BACKGROUND]:
        raise InputError(
            f"no place in {len(marked)} micrographs is background: the candidates cover everything; check --diameter"
        )
    return found


def balanced_batches(examples: TrainingSet, seed: int, batch: int, particles: float = 0.5) -> Iterator[Batch]:
    """Endless batches (windows (b, 1, side, side), labels (b,)), turned and mirrored at random.

    Particle classes share `particles` of a batch evenly, the other classes the rest; classes without windows are left
    out.

    Raises
    ------
    InputError
        There are no particles, or nothing else.
    """
    rng = np.random.default_rng(seed)
    mine = [np.flatnonzero(examples.labels == index) for index in range(len(examples.classes))]
    filled = np.array([len(which) > 0 for which in mine])
    kinds = np.array([name in KINDS for name in examples.classes])
    if not (filled & kinds).any() or not (filled & ~kinds).any():
        listed = ", ".join(f"{count} {name}" for name, count in examples.counts().items())
        raise InputError(f"training needs particles and background, but the training set has {listed}")
    share = filled * np.where(kinds, particles / (filled & kinds).sum(), (1 - particles) / (filled & ~kinds).sum())
    while True:
        labels = rng.choice(len(mine), batch, p=share)
        chosen = [examples.windows[rng.choice(mine[label])] for label in labels]
        turned = np.stack([_turned(window, int(rng.integers(8))) for window in chosen])
        yield torch.from_numpy(turned)[:, None], torch.from_numpy(labels)


def _turned(window: NDArray[np.generic], which: int) -> NDArray[np.generic]:
    """One of the eight symmetries of the square."""
    return np.rot90(window.T if which & 4 else window, which & 3)


def _chosen(
    marked: Sequence[Marked], classes: tuple[str, ...], drawing: Drawing, rng: np.random.Generator
) -> list[dict[int, NDArray[np.int64]]]:
    """For every micrograph the candidates used of each class but the background; the largest classes are thinned."""
    chosen: list[dict[int, NDArray[np.int64]]] = [{} for _ in marked]
    for index, name in enumerate(classes):
        if name == BACKGROUND:
            continue
        fits = [
            np.flatnonzero(~item.good if name == NEGATIVE else item.good & (item.kind == KINDS.index(name)))
            for item in marked
        ]
        total = sum(map(len, fits))
        limit = max(1, drawing.per_class // drawing.repeats)
        kept = np.zeros(total, bool)
        kept[rng.permutation(total)[:limit]] = True
        bounds = np.cumsum([0, *map(len, fits)])
        for mine, which, start in zip(chosen, fits, bounds[:-1], strict=True):
            mine[index] = which[kept[start : start + len(which)]]
    return chosen


def _background(
    places: NDArray[np.float64], item: Marked, diameter: float, count: int, drawing: Drawing, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Rows and columns of background: near misses of good particles, and places far from every candidate."""
    shape = np.array(item.frame.values.shape)
    margin = min(drawing.border * diameter, 0.4 * float(shape.min()))
    inner = (int(shape[0] - 2 * margin), int(shape[1] - 2 * margin))
    places = places - margin
    beside = near_places(places[item.good], inner, diameter, drawing.ring, round(drawing.near * count), rng)
    if len(beside):
        gap, _ = cKDTree(places).query(beside)
        beside = beside[gap >= drawing.ring[0] * diameter]
    far = far_places(places, inner, drawing.apart * diameter, count - len(beside), rng)
    return np.concatenate([beside, far]) + margin
