"""Comparing a model with the one before on picks that the classes judged."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.exam import CHANCE, Exam, best_near, examine, kept_for_exam, read_judged, write_judged

NAMES = [f"mic{index:02d}.mrc" for index in range(20)]


def judged(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Two micrographs with 15 particles and 15 others each."""
    xy = np.stack([np.arange(60) % 30 * 50.0, np.zeros(60)], axis=1)
    names = [NAMES[index // 30] for index in range(60)]
    write_judged(tmp_path / "judged.star", names, xy, np.arange(60) % 2 == 0)
    return tmp_path / "true.star", xy[:30]


def model(places: np.ndarray, noise: float):  # noqa: ANN201
    """Candidates at all places but the first, with scores of the truth and noise."""
    rng = np.random.default_rng(0)

    def found(micrograph: Micrograph) -> tuple[np.ndarray, np.ndarray]:
        score = (np.arange(30) % 2 == 0) * 0.5 + 0.2 + noise * rng.uniform(-1, 1, 30)
        return places[1:] + 1, np.clip(score, 0.01, 1)[1:]

    return found


def test_the_better_model_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, places = judged(tmp_path)
    known = read_judged(str(path))
    assert list(known) == NAMES[:2] and known[NAMES[0]][1].tolist() == [True, False] * 15
    micrographs = [Micrograph(name, 1.0) for name in NAMES[:3]]
    exact, noisy = model(places, 0.0), model(places, 0.6)
    exam = examine(known, micrographs, 20.0, noisy, exact)
    assert exam.passed and exam.after == pytest.approx(28 / 30) and exam.before < exam.after and exam.places == 60
    with caplog.at_level(logging.WARNING):
        examine(known, micrographs, 20.0, exact, noisy).tell()
        assert "is kept" in caplog.text
    assert not examine(known, micrographs, 20.0, exact, noisy).passed
    assert examine(known, micrographs, 20.0, exact, exact).passed
    assert Exam(0.9, 0.9 - CHANCE / 2, 200, 4).passed, "chance is no reason"
    assert not Exam(0.9, 0.9 - 1.5 * CHANCE, 200, 4).passed


def test_too_few_places_say_nothing(tmp_path: Path) -> None:
    path, places = judged(tmp_path)
    exam = examine(read_judged(str(path)), [Micrograph(NAMES[0], 1.0)], 20.0, model(places, 0.0), model(places, 0.6))
    assert exam.passed and not exam.places
    assert read_judged(str(tmp_path / "elsewhere/true.star")) == {} and read_judged("") == {}


def test_the_same_fifth_is_held_out_whatever_the_order() -> None:
    chosen = kept_for_exam(NAMES)
    assert len(chosen) == 4 and kept_for_exam(reversed(NAMES)) == chosen and kept_for_exam(NAMES[:2]) == set()


def test_the_best_candidate_within_reach_counts() -> None:
    xy, score = np.array([[0, 0], [3, 0], [20, 0]], np.float32), np.array([0.2, 0.9, 1.0], np.float32)
    assert best_near(np.array([[1.0, 0], [10, 0]]), xy, score, 5).tolist() == pytest.approx([0.9, 0.0])
    assert best_near(np.zeros((2, 2)), xy[:0], score[:0], 5).tolist() == [0, 0]
