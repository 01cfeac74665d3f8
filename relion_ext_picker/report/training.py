"""The report of a training job: logfile.pdf."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relion_ext_picker.evaluation.curves import Curve
from relion_ext_picker.report.statistics import Values
from relion_ext_picker.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LearningCurve:
    """How the network got on.

    Attributes
    ----------
    unit : str
        What `at` counts: "epoch" or "step".
    at, loss, held_loss, held_error : ndarray, shape (n,)
        Loss on training windows, on windows of held-out micrographs, and the share of these judged wrongly.
    goal : float
        Error that is good enough.
    """

    unit: str
    at: Values
    loss: Values
    held_loss: Values
    held_error: Values
    goal: float


@dataclass(frozen=True)
class Choice:
    """How the threshold was chosen.

    Attributes
    ----------
    curve : Curve
        Of the picks on the held-out micrographs.
    threshold : float
    """

    curve: Curve
    threshold: float


@dataclass(frozen=True)
class TrainingReport:
    """What a training report shows.

    Attributes
    ----------
    title : str
    headlines : sequence of (label, value, note)
        Up to seven numbers in large type.
    settings : mapping of str
    learning : LearningCurve
    choice : Choice
    rounds : mapping of ndarray, shape (r,)
        Name of a score -> its value in every round; one round is not drawn.
    particles, others : ndarray, shape (n, box, box)
        Windows that were learnt from, as the network sees them.
    """

    title: str
    headlines: Sequence[tuple[str, str, str]]
    settings: Mapping[str, str]
    learning: LearningCurve
    choice: Choice
    rounds: Mapping[str, Values] = field(default_factory=dict)
    particles: Array = field(default_factory=lambda: np.zeros((0, 1, 1), np.float32))
    others: Array = field(default_factory=lambda: np.zeros((0, 1, 1), np.float32))


def write_training_report(path: Path, report: TrainingReport) -> None:
    """Write the report as PDF: numbers and settings, learning curve, threshold, rounds, windows.

    Equal input gives equal bytes.

    Parameters
    ----------
    path : Path
        Written in place: give a temporary name and rename.
    report : TrainingReport
    """
    from relion_ext_picker.report import plots  # matplotlib takes half a second to import; only reports need it

    drawn: list[Callable[[str], Figure]] = [
        partial(plots.cover_page, report.title, report.headlines, report.settings, []),
        partial(plots.learning_page, report.learning),
        partial(plots.threshold_page, report.choice),
    ]
    if max((len(values) for values in report.rounds.values()), default=0) > 1:
        drawn.append(partial(plots.rounds_page, report.rounds))
    if len(report.particles) and len(report.others):
        drawn.append(partial(plots.windows_page, report.particles, report.others))
    count = len(drawn)
    pages = [
        partial(draw, f"relion_ext_picker  ·  {report.title}  ·  page {number} of {count}")
        for number, draw in enumerate(drawn, 1)
    ]
    plots.save_pdf(path, pages, report.title)


def number(value: float, digits: int = 3) -> str:
    """A number for a headline, a dash where there is none."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "–"
