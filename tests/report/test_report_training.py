"""The report of a training job."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from relion_ext_picker.evaluation.curves import precision_recall
from relion_ext_picker.report.training import Choice, LearningCurve, TrainingReport, number, write_training_report


@pytest.fixture
def report() -> TrainingReport:
    rng = np.random.default_rng(0)
    hit = rng.random(200) < 0.6
    score = np.clip(np.where(hit, rng.normal(0.8, 0.1, 200), rng.normal(0.4, 0.2, 200)), 0, 1)
    curve = precision_recall(score, hit, 130)
    at = np.arange(1.0, 21)
    return TrainingReport(
        "External/job005: DeepEM training",
        [("Particles", "812", "on 8 micrographs"), ("AP", number(curve.average_precision), "")],
        {"preset": "klh"},
        LearningCurve("epoch", at, np.exp(-at), np.exp(-at) + 0.01, np.exp(-at), 0.05),
        Choice(curve, float(curve.threshold[np.argmax(curve.f_beta(2))])),
        {"F2": np.array([0.8, 0.9]), "error": np.array([0.1, 0.05])},
        rng.normal(size=(50, 20, 20)).astype(np.float32),
        np.ones((3, 20, 20), np.float32),
    )


def text_of(path: Path) -> list[str]:
    done = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\f").split("\f")


@pytest.mark.skipif(which("pdftotext") is None, reason="pdftotext is not installed")
def test_pages(report: TrainingReport, tmp_path: Path) -> None:
    path = tmp_path / "logfile.pdf"
    write_training_report(path, report)
    pages = text_of(path)
    titles = ["DeepEM training", "Learning", "Picks on the held-out", "Rounds of training", "What it learnt from"]
    assert len(pages) == len(titles)
    for index, (page, title) in enumerate(zip(pages, titles, strict=True), 1):
        assert title in page and f"page {index} of 5" in page
    assert "good enough, 5%" in pages[1]
    assert f"threshold {report.choice.threshold:.3g}" in pages[2] and "average precision" in pages[2]


def test_equal_reports_are_equal_files(report: TrainingReport, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        write_training_report(tmp_path / name, report)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_nothing_found_in_one_round(report: TrainingReport, tmp_path: Path) -> None:
    none = np.zeros((0, 20, 20), np.float32)
    bare = replace(
        report,
        choice=Choice(precision_recall([], [], 30), 0.5),
        rounds={"F2": np.zeros(1)},
        particles=none,
        others=none,
    )
    path = tmp_path / "logfile.pdf"
    write_training_report(path, bare)
    if which("pdftotext"):
        pages = text_of(path)
        assert len(pages) == 3 and "No picks" in pages[2]


def test_numbers() -> None:
    assert (number(0.12345), number(float("nan")), number(1234.5, 0)) == ("0.123", "–", "1,234")
