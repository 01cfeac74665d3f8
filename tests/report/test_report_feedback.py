"""The report of a feedback job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.evaluation.curves import precision_recall
from relion_ext_picker.report.feedback import FeedbackReport, Kept, write_feedback_report

HEAD = ["round", "picks", "particles", "good", "share"]


@pytest.fixture(scope="module")
def report() -> FeedbackReport:
    rng = np.random.default_rng(0)
    scores = {"true": rng.uniform(0.4, 1, 80), "open": rng.uniform(0.2, 1, 20), "false": rng.uniform(0.1, 0.6, 30)}
    curve = precision_recall(np.concatenate([scores["true"], scores["false"]]), np.repeat([True, False], [80, 30]), 80)
    kept = Kept("class", ["0", "1", "2"], np.array([0.0, 50, 30]), np.array([0.0, 50, 10]), "told")
    rounds = [HEAD, ["1", "130", "130", "80", "0.62"]]
    return FeedbackReport("External/job010: feedback", rounds, np.array([[130.0, 80]]), "another round pays: first",
                          scores, 0.41, curve, kept)  # fmt: skip


def pages(path: Path) -> int:
    return path.read_bytes().count(b"/Type /Page\n") or path.read_bytes().count(b"/Type /Page ")


def test_three_pages_and_equal_bytes(report: FeedbackReport, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        write_feedback_report(tmp_path / name, report)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert pages(tmp_path / "a.pdf") == 3


def test_without_scores_or_a_threshold_and_with_many_rounds(report: FeedbackReport, tmp_path: Path) -> None:
    many = [HEAD, *([str(number), "9", "9", "9", "1.00"] for number in range(1, 40))]
    bare = replace(report, rounds=many, counts=np.full((39, 2), 9.0), scores={}, threshold=None, curve=None, kept=None)
    write_feedback_report(tmp_path / "a.pdf", bare)
    assert pages(tmp_path / "a.pdf") == 2
