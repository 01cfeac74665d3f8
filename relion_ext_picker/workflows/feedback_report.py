"""What a feedback job shows of itself: the table of rounds, and logfile.pdf."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from relion_ext_picker.feedback.labels import Label
from relion_ext_picker.feedback.rounds import FeedbackRound
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.report.feedback import FeedbackReport, Kept, write_feedback_report
from relion_ext_picker.workflows.feedback_threshold import Advice, Labelled

REPORT = "logfile.pdf"
_HEAD = (
    "round", "picks", "particles", "good", "share", "good classes", "resolution", "E_od", "views", "threshold",
)  # fmt: skip
_WIDE = (5, 5, 9, 4, 5, 12, 10, 4, 5, 9)

_log = logging.getLogger(__name__)


def tell(rounds: Sequence[FeedbackRound]) -> None:
    """The table of rounds into run.out."""
    for row in (_HEAD, *map(_cells, rounds)):
        _log.info("%s", "  ".join(cell.rjust(width) for cell, width in zip(row, _WIDE, strict=True)))


def write_report(
    job: JobDirectory, rounds: Sequence[FeedbackRound], labelled: Labelled, advice: Advice, verdict: str
) -> None:
    """Write logfile.pdf and declare it.

    Parameters
    ----------
    job : JobDirectory
    rounds : sequence of FeedbackRound
    labelled : Labelled
    advice : Advice
    verdict : str
        Whether another round pays.
    """
    scored = np.isfinite(labelled.score)
    scores = {
        label.name.lower(): labelled.score[scored & (labelled.label == label)]
        for label in (Label.TRUE, Label.RARE, Label.OPEN, Label.FALSE)
    }
    report = FeedbackReport(
        f"{job.prefix.rstrip('/')}: feedback", [_HEAD, *map(_cells, rounds)],
        np.array([(row.particles, row.good_particles) for row in rounds], np.float64), verdict,
        {name: values for name, values in scores.items() if len(values)},
        advice.threshold.score if advice.threshold else None, advice.curve, _kept(advice),
    )  # fmt: skip
    job.write(REPORT, partial(write_feedback_report, report=report))
    job.declare(REPORT, "logfile")


def _kept(advice: Advice) -> Kept | None:
    if advice.groups is None:
        return None
    told = "2D classes stand for views here; a refinement tells the directions."
    if advice.before is not None and advice.after is not None:
        told = (
            f"Efficiency of the views (E_od) {advice.before.e_od:.3f} before, {advice.after.e_od:.3f} after; views out "
            f"of 12,288: {advice.before.views:,} and {advice.after.views:,}. Cells of about 29 degrees, opposite ones "
            "joined."
        )
    groups = advice.groups
    names = [str(number) for number in range(len(groups.before))]
    return Kept(groups.what, names, groups.before.astype(np.float64), groups.after.astype(np.float64), told)


def _cells(row: FeedbackRound) -> tuple[str, ...]:
    def number(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        str(row.round), str(row.picks), str(row.particles), str(row.good_particles), f"{row.share:.2f}",
        "-" if row.classes is None else f"{row.good_classes}/{row.classes}", number(row.resolution, 2),
        number(row.e_od, 3), "-" if row.views is None else str(row.views), number(row.threshold, 3),
    )  # fmt: skip
