"""A training together with its test: in parts of the micrographs, each held out once, and then on all of them.

Where one part is held out for good, its micrographs are the test and the model that is kept has not seen them. In a
cross-validation every part is scored by a model that has not seen it, and the model that is kept learns from all.
Either way, what turns scores into probabilities and the threshold come from micrographs that were not learnt from.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import cast

import numpy as np

from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.deepem.default import DefaultDeepEM
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.training.calibration import (
    DENSITY,
    SAME,
    Calibration,
    adjusted,
    calibration_of,
    judged_candidates,
    with_calibration,
)
from relion_ext_picker.training.deepem import Line, Point
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import WindowSet
from relion_ext_picker.workflows.deepem_exam import Exam, examine, share_wrong
from relion_ext_picker.workflows.deepem_learning import Learnt, learn
from relion_ext_picker.workflows.deepem_lesson import Frames, Lesson, WindowPicker, make_lesson
from relion_ext_picker.workflows.training_set import Set, hold_out, parts_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A training and how it went.

    Attributes
    ----------
    lesson : Lesson
        What the model that is kept learnt from.
    learnt : Learnt
        That model; its learning curve is the mean over the parts.
    exam : Exam
        Of the picks on the held-out micrographs of all parts.
    error : float
        Share of their windows judged wrongly at 0.5.
    """

    lesson: Lesson
    learnt: Learnt
    exam: Exam
    error: float


@dataclass(frozen=True)
class Part:
    """The training that left one part out."""

    found: Set
    held: WindowSet
    learnt: Learnt


def teach(job: JobDirectory, start: WindowPicker, found: Set, frames: Frames, options: TrainOptions) -> Outcome:
    """Train and test.

    Parameters
    ----------
    job : JobDirectory
        Its abort is heeded.
    start : WindowPicker
        What to begin with; in a cross-validation it has seen none of the micrographs.
    found : Set
        With its parts, see :func:`~relion_ext_picker.workflows.training_set.hold_out`.
    frames : Frames
    options : TrainOptions
    """
    count = parts_of(found)
    parts: list[Part] = []
    for number in range(1, count + 1):
        if count > 1:
            _log.info("cross-validation: part %d of %d is left out", number, count)
        own = hold_out(found, number)
        lesson = _lesson(own, start, frames)
        parts.append(Part(own, lesson.held, learn(job, start, lesson, options)))
    learnt = parts[0].learnt
    if count > 1:
        _log.info("training of the model that is kept, on all parts")
        lesson = _lesson(hold_out(found, 0), start, frames)
        learnt = replace(learn(job, start, lesson, options), curve=_mean([part.learnt.curve for part in parts]))
    calibration = _calibration(parts, frames)
    density = _density(parts, frames, options.diameter, calibration.marked)
    pickers = [_calibrated(part.learnt.picker, calibration.line, density) for part in parts]
    exam = examine(
        [(picker, part.found) for picker, part in zip(pickers, parts, strict=True)], frames, options,
        calibration.marked,
    )  # fmt: skip
    error = share_wrong([(picker, part.held) for picker, part in zip(pickers, parts, strict=True)])
    kept = _calibrated(learnt.picker, calibration.line, density)
    return Outcome(lesson, replace(learnt, picker=kept), exam, error)


def _lesson(found: Set, picker: WindowPicker, frames: Frames) -> Lesson:
    lesson = make_lesson(found, picker, frames)
    held = sum(marks.held_out for marks in found.values())
    _log.info(
        "training on %d particles and %d other windows of %d micrographs%s",
        len(lesson.windows.positives), len(lesson.windows.negatives), len(found) - held,
        f", testing on {held} micrographs" if held else "",
    )  # fmt: skip
    return lesson


def _calibration(parts: Sequence[Part], frames: Frames) -> Calibration:
    """From the candidates on held-out micrographs; the published networks have none."""
    judged = []
    for part in parts:
        picker = part.learnt.picker
        for name, marks in part.found.items():
            if isinstance(picker, DefaultDeepEM) and marks.held_out and marks.complete:
                judged.append(
                    judged_candidates(picker, Labelled(name, frames(marks.micrograph).image, marks.particles))
                )
    if not judged:
        return Calibration(SAME, {})
    found = calibration_of(judged)
    for name, share in found.marked.items():
        if share < 1:
            _log.info("%s: only %.0f %% of what looks like a particle is marked", name, 100 * share)
    return found


def _density(parts: Sequence[Part], frames: Frames, diameter: float, marked: Mapping[str, float]) -> float:
    """Particles per square of the diameter (Å) on the held-out micrographs."""
    particles = area = 0.0
    for part in parts:
        for name, marks in part.found.items():
            if marks.held_out and marks.complete:
                rows, columns = frames(marks.micrograph).shape
                particles += len(marks.particles) / marked.get(name, 1.0)
                area += rows * columns * (marks.micrograph.pixel_size / diameter) ** 2
    return particles / area


def _calibrated(picker: WindowPicker, line: Line, density: float) -> WindowPicker:
    """The default picker with its scores made probabilities, which fall where particles are rarer than usual."""
    if not isinstance(picker, DefaultDeepEM):
        return picker
    found = adjusted(picker, line)
    constants = {**found.card.calibration, DENSITY: round(density, 4)}
    return cast(WindowPicker, with_calibration(found, constants))


def _mean(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """One learning curve of several that have the same points."""
    names = [item.name for item in fields(Point)]
    means = [
        {name: np.mean([getattr(point, name) for point in points]) for name in names}
        for points in zip(*curves, strict=True)
    ]
    return [Point(int(mean["at"]), *(float(mean[name]) for name in names[1:])) for mean in means]
