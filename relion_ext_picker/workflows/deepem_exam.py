"""How good the pickers of a training are on micrographs that they have not seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.curves import Curve, precision_recall
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.training.calibration import unmarked_particle
from relion_ext_picker.training.deepem import HALF
from relion_ext_picker.training.windows import HIT_RADIUS, WindowSet
from relion_ext_picker.workflows.deepem_lesson import Frames, WindowPicker, judged
from relion_ext_picker.workflows.training_set import Marks, Set

UNDECIDED = 0.5  # threshold of a network that finds nothing on the held-out micrographs

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exam:
    """How pickers do on micrographs that they were not trained on.

    Attributes
    ----------
    curve : Curve
        Of all their candidates; may be empty.
    at : int
        Place on the curve where F2 is highest.
    particles : int
        True ones; estimated where micrographs were picked in part.
    """

    curve: Curve
    at: int
    particles: int

    @property
    def threshold(self) -> float:
        """Score where F2 is highest, rounded down so that the pick it belongs to is kept."""
        return float(np.floor(self.curve.threshold[self.at] * 1e4) / 1e4) if len(self.curve.threshold) else UNDECIDED

    def scores(self) -> dict[str, float]:
        """Precision, recall, F1 and F2 at the threshold, and average precision."""
        curve = self.curve
        values = {"precision": curve.precision, "recall": curve.recall, "f1": curve.f1, "f2": curve.f_beta(2)}
        found = {name: float(value[self.at]) if len(value) else 0.0 for name, value in values.items()}
        return {**found, "average_precision": curve.average_precision}


def examine(
    pickers: Sequence[tuple[WindowPicker, Set]], frames: Frames, options: TrainOptions, marked: Mapping[str, float]
) -> Exam:
    """Pick held-out micrographs and compare.

    Parameters
    ----------
    pickers : sequence of (WindowPicker, Set)
        Each with the set whose held-out micrographs it is to pick.
    frames : Frames
    options : TrainOptions
    marked : mapping of float
        Of some micrographs, the share of the particles that is marked. Where it is less than 1, a pick that nobody has
        marked is right with the probability that its score stands for.
    """
    scores, right, particles = [np.zeros(0)], [np.zeros(0)], 0.0
    for picker, found in pickers:
        for name, marks in found.items():
            if not (marks.held_out and marks.complete):
                continue
            score, hit = _picks(picker, marks, frames, options)
            share = marked.get(name, 1.0)
            odds = score * share / np.maximum(1 - score * share, 1e-9)
            scores.append(score)
            right.append(np.where(hit, 1.0, unmarked_particle(odds, np.full(len(score), share))))
            particles += len(marks.particles) - int(hit.sum()) + float(right[-1].sum())
    curve = precision_recall(np.concatenate(scores), np.concatenate(right), particles)
    f2 = curve.f_beta(2)
    if not len(f2) or not f2.max() > 0:
        _log.warning("none of the %.0f particles on the held-out micrographs is found", particles)
    return Exam(curve, int(np.argmax(f2)) if len(f2) else 0, round(particles))


def _picks(
    picker: WindowPicker, marks: Marks, frames: Frames, options: TrainOptions
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of all candidates of a micrograph, and which of them are marked."""
    frame, pixel_size = frames(marks.micrograph), marks.micrograph.pixel_size
    request = Request(options.diameter, threshold=0.0, bright=options.contrast == "bright")
    xy, score = pick_prepared(picker, frame.image, frame.shape, pixel_size, request)
    hit, _ = match(marks.particles, xy, score, HIT_RADIUS * options.diameter / pixel_size)
    return score.astype(np.float64), hit


def share_wrong(pickers: Sequence[tuple[WindowPicker, WindowSet]]) -> float:
    """Share of windows that pickers put on the wrong side of 0.5; particles and others count alike.

    `pickers` each with the windows that it is to judge.
    """
    shares = []
    for answer in (True, False):
        parts = [
            (judged(picker, windows.positives if answer else windows.negatives) > HALF) != answer
            for picker, windows in pickers
        ]
        wrong = np.concatenate(parts)
        if len(wrong):
            shares.append(float(wrong.mean()))
    return float(np.mean(shares)) if shares else 0.0
