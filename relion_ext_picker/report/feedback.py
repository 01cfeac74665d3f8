"""The report of a feedback job: logfile.pdf."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relion_ext_picker.evaluation.curves import Curve
from relion_ext_picker.report.statistics import Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Kept:
    """Good particles in groups, and how many of each a threshold keeps.

    Attributes
    ----------
    what : str
        "class" or "direction".
    names : sequence of str
        Of the groups.
    before, after : ndarray, shape (k,)
    told : str
        What it means for the views.
    """

    what: str
    names: Sequence[str]
    before: Values
    after: Values
    told: str


@dataclass(frozen=True)
class FeedbackReport:
    """What a feedback report shows.

    Attributes
    ----------
    title : str
    rounds : sequence of rows of str
        Table of the rounds, its first row the head.
    counts : ndarray, shape (r, 2)
        Particles and good ones of each round.
    verdict : str
        Whether another round pays.
    scores : mapping of ndarray
        Label -> scores of its picks.
    threshold : float or None
        Score recommended.
    curve : Curve or None
        Of the labelled picks.
    kept : Kept or None
    """

    title: str
    rounds: Sequence[Sequence[str]]
    counts: Values
    verdict: str
    scores: Mapping[str, Values] = field(default_factory=dict)
    threshold: float | None = None
    curve: Curve | None = None
    kept: Kept | None = None


def write_feedback_report(path: Path, report: FeedbackReport) -> None:
    """Write the report as PDF: rounds, picks and threshold, what the threshold keeps. Equal input gives equal bytes.

    Parameters
    ----------
    path : Path
        Written in place: give a temporary name and rename.
    report : FeedbackReport
    """
    from relion_ext_picker.report import plots  # matplotlib takes half a second to import; only reports need it

    drawn: list[Callable[[str], Figure]] = [
        partial(plots.feedback_rounds_page, report.rounds, report.counts, report.verdict),
        partial(plots.labels_page, report.scores, report.threshold, report.curve),
    ]
    if report.kept is not None and np.sum(report.kept.before):
        drawn.append(partial(plots.kept_page, report.kept))
    pages = [
        partial(draw, f"relion_ext_picker  ·  {report.title}  ·  page {number} of {len(drawn)}")
        for number, draw in enumerate(drawn, 1)
    ]
    plots.save_pdf(path, pages, report.title)
