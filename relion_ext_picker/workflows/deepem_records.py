"""What a DeepEM training job leaves beside the model: rounds.star, scores.star, training.json, logfile.pdf."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from relion_ext_picker.errors import StarError
from relion_ext_picker.options import TrainOptions, default_of, info_of
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.tables import read_tables, write_table, write_tables
from relion_ext_picker.report.statistics import Values
from relion_ext_picker.report.training import Choice, LearningCurve, TrainingReport, number, write_training_report
from relion_ext_picker.training.deepem import Point
from relion_ext_picker.training.windows import WindowSet
from relion_ext_picker.workflows.deepem_validation import Outcome
from relion_ext_picker.workflows.training_set import parts_of

ROUNDS = "rounds.star"
SCORES = "scores.star"
SHOWN = 42  # windows of either kind in the report: what has room on its page


@dataclass(frozen=True)
class Round:
    """Scores of one round of training.

    Attributes
    ----------
    round : int
        From 1, counted on over jobs.
    positives, negatives : int
        Windows that were learnt from.
    error : float
        Share of held-out windows judged wrongly at 0.5.
    precision, recall, f1, f2 : float
        Of the picks on the held-out micrographs at the threshold.
    average_precision, threshold : float
    """

    round: int
    positives: int
    negatives: int
    error: float
    precision: float
    recall: float
    f1: float
    f2: float
    average_precision: float
    threshold: float


def round_of(number: int, outcome: Outcome) -> Round:
    """The row of a round."""
    windows, exam = outcome.lesson.windows, outcome.exam
    return Round(
        number, len(windows.positives), len(windows.negatives), outcome.error, **exam.scores(), threshold=exam.threshold
    )


def _column(name: str) -> str:
    return "picker" + "".join(part.capitalize() for part in name.split("_"))


def read_rounds(model: str) -> list[Round]:
    """The rounds beside a model file; none where there is no such table.

    Raises
    ------
    StarError
        It is another kind of table.
    """
    path = Path(model).parent / ROUNDS
    if not model or not path.is_file():
        return []
    (table,) = read_tables(path, ()).values()
    try:
        columns = [table[_column(item.name)] for item in fields(Round)]
    except KeyError as error:
        raise StarError(f"{path}: no column {error.args[0]}: move it away, or train without --from") from error
    return [Round(*(int(v) for v in row[:3]), *(float(v) for v in row[3:])) for row in zip(*columns, strict=True)]


def write_rounds(path: Path, rounds: Sequence[Round]) -> None:
    """rounds.star: one row per round."""
    columns = {_column(item.name): [getattr(row, item.name) for row in rounds] for item in fields(Round)}
    write_table(path, "rounds", columns)


def write_scores(path: Path, row: Round, outcome: Outcome) -> None:
    """scores.star: the scores of the model, its learning curve, and what every threshold gives."""
    told = {_column(item.name): [getattr(row, item.name)] for item in fields(Round)}
    learning = {
        _column(item.name): [getattr(point, item.name) for point in outcome.learnt.curve] for item in fields(Point)
    }
    found = outcome.exam.curve
    thresholds: dict[str, Sequence[Any]] = {
        "pickerThreshold": found.threshold.tolist(), "pickerPrecision": found.precision.tolist(),
        "pickerRecall": found.recall.tolist(), "pickerF1": found.f1.tolist(), "pickerF2": found.f_beta(2).tolist(),
    }  # fmt: skip
    write_tables(path, {"scores": told, "learning": learning, "thresholds": thresholds})


def write_report(job: JobDirectory, options: TrainOptions, rounds: Sequence[Round], outcome: Outcome) -> None:
    """logfile.pdf."""
    lesson, learnt, exam = outcome.lesson, outcome.learnt, outcome.exam
    row, curve, parts = rounds[-1], learnt.curve, parts_of(lesson.marks)
    training = sum(not marks.held_out for marks in lesson.marks.values())
    held = sum(marks.part > 0 for marks in lesson.marks.values())
    headlines = [
        ("Particles", f"{row.positives:,}", f"on {training} micrographs"),
        ("Other windows", f"{row.negatives:,}", "to learn from"),
        ("Held out", f"{held:,}", f"in {parts} parts in turn" if parts > 1 else f"with {exam.particles:,} particles"),
        ("AP", number(row.average_precision), "average precision"),
        ("F2", number(row.f2), f"F1 {row.f1:.3f}"),
        ("Error", f"{row.error:.1%}", "of held-out windows"),
        ("Threshold", number(row.threshold), "where F2 is highest"),
    ]

    def values(name: str) -> Values:
        return np.array([getattr(point, name) for point in curve], np.float64)

    learning = LearningCurve(
        learnt.unit, values("at"), values("loss"), values("held_loss"), values("held_error"), options.until_error
    )
    told = {"AP": "average_precision", "F2": "f2", "F1": "f1", "error": "error"}
    history = {key: np.array([getattr(each, name) for each in rounds], np.float64) for key, name in told.items()}
    shown = _some(lesson.windows, options.seed)
    report = TrainingReport(
        f"{job.prefix.rstrip('/')}: DeepEM training", headlines, _settings(options), learning,
        Choice(exam.curve, row.threshold), history, shown.positives, shown.negatives,
    )  # fmt: skip
    job.write("logfile.pdf", lambda path: write_training_report(path, report))
    job.declare("logfile.pdf", "logfile")


def _some(windows: WindowSet, seed: int) -> WindowSet:
    rng = np.random.default_rng(seed)
    return WindowSet(*(part[rng.permutation(len(part))[:SHOWN]] for part in (windows.positives, windows.negatives)))


def _settings(options: TrainOptions) -> dict[str, str]:
    """What the user gave, and what is not as by default."""
    text = {
        "micrographs": options.in_mics or options.mics,
        "coordinates": options.in_coords,
        "mode, preset": f"{options.mode}, {options.preset}",
        "diameter": f"{options.diameter:g} Å",
        "hits": "picks within 0.4 diameters of a particle",
    }
    for item in fields(options):
        value, group = getattr(options, item.name), info_of(item).group
        if item.name not in ("mode", "preset", "diameter", "mics") and group != "RELION" and value != default_of(item):
            text[item.name.replace("_", " ")] = f"{value} {info_of(item).unit}".strip()
    return text


def training_json(card: Any, rounds: Sequence[Round]) -> str:
    """training.json: threshold, provenance and all rounds."""
    told = [{item.name: getattr(row, item.name) for item in fields(Round)} for row in rounds]
    return json.dumps({"threshold": card.threshold, **card.provenance, "rounds": told}, indent=1) + "\n"
