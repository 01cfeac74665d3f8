"""What a DeepEM network learns from and is tested on: marks of a training set as windows of prepared micrographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.deepem.default import INTERCEPT, SLOPE
from relion_ext_picker.training.deepem import HALF, judge, on_line
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import WindowSet, far_places
from relion_ext_picker.types import Array, Micrograph, ScoreMap
from relion_ext_picker.workflows.training_set import RANDOM, VERIFIED, Marks, Set, marks_of

APART = 0.7  # diameters: random windows are at least this far from every particle


class WindowPicker(Picker, Protocol):
    """What the pickers of the DeepEM mode have besides."""

    def cut(self, frame: ScoreMap, xy: Array) -> Array:
        """Windows (n, box, box) at micrograph coordinates (n, 2) of a prepared micrograph."""
        ...

    def network(self) -> nn.Module:
        """A copy of the network to train."""
        ...

    def with_network(self, state: Mapping[str, Tensor]) -> WindowPicker:
        """A picker like this one with other weights."""
        ...


@dataclass(frozen=True)
class Frame:
    """A prepared micrograph, and what is needed to draw places in it.

    Attributes
    ----------
    image : ScoreMap
    shape : (int, int)
        Rows and columns of the micrograph as stored.
    diameter : float
        Of the particle, px of the prepared image.
    """

    image: ScoreMap
    shape: tuple[int, int]
    diameter: float


class Frames:
    """Prepared micrographs, made when they are asked for.

    Parameters
    ----------
    picker : WindowPicker
        Prepares them.
    options : TrainOptions
    keep : bool
        Keep them in memory: for micrographs that are made smaller.
    """

    def __init__(self, picker: WindowPicker, options: TrainOptions, keep: bool) -> None:
        self._picker, self._options, self._keep = picker, options, keep
        self._kept: dict[str, Frame] = {}

    def __call__(self, micrograph: Micrograph) -> Frame:
        """Read and prepare a micrograph. Raises InputError where that cannot be."""
        if micrograph.name in self._kept:
            return self._kept[micrograph.name]
        options = self._options
        image = read_micrograph(Path(micrograph.name))
        prepared = self._picker.prepare(
            image, micrograph.pixel_size, options.diameter, bright=options.contrast == "bright"
        )
        scale = float(np.mean(prepared.grid.scale))
        frame = Frame(prepared, (image.shape[0], image.shape[1]), options.diameter / micrograph.pixel_size / scale)
        if self._keep:
            self._kept[micrograph.name] = frame
        return frame


@dataclass(frozen=True)
class Lesson:
    """What is learnt from, and what is tested with.

    Attributes
    ----------
    marks : dict of Marks
        What the rest is made from.
    windows : WindowSet
        Marked places of the micrographs to train on.
    verified : WindowSet
        Those among them that were verified.
    held : WindowSet
        Particles of held-out micrographs and as many random windows; none where nothing is held out.
    labelled : list of Labelled
        Micrographs to train on of which all particles are known.
    """

    marks: Set
    windows: WindowSet
    verified: WindowSet
    held: WindowSet
    labelled: list[Labelled]


def draw_negatives(found: Set, frames: Frames, seed: int) -> Set:
    """Add random windows away from the particles, until there are as many others as particles.

    Only where all particles are known: elsewhere a random window may hold one. Held-out micrographs get their own;
    places that were drawn before stay.
    """
    rng = np.random.default_rng(seed)
    filled = dict(found)
    training = [marks for marks in found.values() if not marks.held_out]
    known = sum(len(marks.particles) for marks in training if marks.complete)
    missing = sum(2 * len(marks.particles) - len(marks) for marks in training)
    for name, marks in found.items():
        if not marks.complete:
            continue
        own = len(marks.particles)
        wanted = 2 * own - len(marks) if marks.held_out else round(missing * own / known)
        if wanted > 0:
            drawn = random_places(marks, frames(marks.micrograph), wanted, rng)
            number = int(marks.round.max())
            filled[name] = marks.plus(marks_of(marks.micrograph, drawn, False, number, RANDOM))
    return filled


def random_places(marks: Marks, frame: Frame, count: int, rng: np.random.Generator) -> Array:
    """At most `count` places of a micrograph that are away from its particles, (n, 2)."""
    grid, values = frame.image.grid, frame.image.values
    places = np.stack(grid.from_original(marks.particles), axis=1)
    drawn = far_places(places, (values.shape[0], values.shape[1]), APART * frame.diameter, count, rng)
    return grid.to_original(*drawn.T)


def make_lesson(found: Set, picker: WindowPicker, frames: Frames) -> Lesson:
    """Windows of all marks, cut by `picker`."""
    parts: dict[str, list[WindowSet]] = {"windows": [], "verified": [], "held": []}
    labelled = []
    for name, marks in found.items():
        frame = frames(marks.micrograph)
        if marks.held_out:
            parts["held"].append(_windows(marks.only(marks.source != VERIFIED), frame, picker))
            continue
        parts["windows"].append(_windows(marks, frame, picker))
        parts["verified"].append(_windows(marks.only(marks.source == VERIFIED), frame, picker))
        if marks.complete:
            labelled.append(Labelled(name, frame.image, marks.particles))
    joined = {name: _joined(sets) for name, sets in parts.items()}
    return Lesson(found, joined["windows"], joined["verified"], joined["held"], labelled)


def _windows(marks: Marks, frame: Frame, picker: WindowPicker) -> WindowSet:
    windows = picker.cut(frame.image, marks.xy)
    return WindowSet(windows[marks.particle], windows[~marks.particle])


def _joined(sets: list[WindowSet]) -> WindowSet:
    if not sets:
        return WindowSet(np.zeros((0, 1, 1), np.float32), np.zeros((0, 1, 1), np.float32))
    return WindowSet(np.concatenate([s.positives for s in sets]), np.concatenate([s.negatives for s in sets]))


def judged(picker: WindowPicker, windows: Array) -> NDArray[np.float64]:
    """Scores that a picker gives windows (n, box, box), calibrated where its picks are."""
    score = judge(picker.network().to(picker.device), windows)
    constants = picker.card.calibration
    return on_line(score, (constants.get(SLOPE, 1.0), constants.get(INTERCEPT, 0.0)))


def sorted_by_verdict(picker: WindowPicker, frames: Frames, found: Set) -> tuple[Set, Set]:
    """Marks whose windows a picker puts on the wrong side of 0.5, and those that it gets right."""
    wrong: Set = {}
    right: Set = {}
    for name, marks in found.items():
        score = judged(picker, picker.cut(frames(marks.micrograph).image, marks.xy))
        missed = (score > HALF) != marks.particle
        for which, verdict in ((missed, wrong), (~missed, right)):
            if which.any():
                verdict[name] = marks.only(which)
    return wrong, right
