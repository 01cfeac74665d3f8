"""--threshold auto and --expected-density: one threshold for a job, files written again when it is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from jobs import JOB, STAR, Simulated, all_picks, pick, summary

from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.selection import best_threshold
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.workflows import data_set_threshold


def written(project: Simulated) -> list[float]:
    picks = all_picks(project.names).values()
    return np.sort(np.concatenate([each.score for each in picks if each.score is not None]))[::-1].tolist()


def remembered() -> list[float]:
    lines = [json.loads(line) for line in (Path(JOB) / "finished.jsonl").read_text().splitlines()]
    return sorted((score for line in lines for score in line["score"]), reverse=True)


def test_auto_takes_what_expects_the_highest_f1(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--threshold", "auto", "--formats", "star,box") == 0
    every, kept = np.array(remembered()), written(project)
    expected = 2 * np.cumsum(every) / (np.arange(1, len(every) + 1) + every.sum())
    expected[every < 0.1] = 0
    assert len(every) > len(kept) == int(np.argmax(expected)) + 1
    assert summary()["rlnGroupNrParticles"] == [len(picks.xy) for picks in all_picks(project.names).values()]
    boxes = sum(len(path.read_text().splitlines()) for path in Path(JOB).rglob("*.box"))
    assert boxes == len(kept)
    assert "micrographs together" in capsys.readouterr().out
    before = {path: path.read_text() for path in Path(JOB).rglob("*_autopick.star")}
    assert pick("--threshold", "-2", "--formats", "star,box") == 0  # the same in numbers; all is finished already
    assert summary()["pickerStatus"] == ["skipped"] * len(project.names)
    assert {path: path.read_text() for path in Path(JOB).rglob("*_autopick.star")} == before


def test_expected_density_counts_over_all_micrographs(project: Simulated) -> None:
    micrographs = read_micrographs(Path(STAR))
    assert pick("--expected-density", "1") == 0
    sides = [(int(w), int(h)) for w, h in zip(summary()["rlnImageSizeX"], summary()["rlnImageSizeY"], strict=True)]
    area = sum(w * h * item.pixel_size**2 for (w, h), item in zip(sides, micrographs, strict=True)) * 1e-8
    wanted = 12
    assert pick("--expected-density", str(wanted / area)) == 0
    found = written(project)
    assert len(found) >= wanted
    assert found[:wanted] == pytest.approx(remembered()[:wanted], abs=1e-4)
    assert all(score == found[wanted - 1] for score in found[wanted:])  # equal ones come along
    assert pick("--expected-density", str(1e5), "--threshold", "0.3") == 0
    assert written(project) and min(written(project)) >= 0.3  # a threshold that is given holds


@pytest.mark.parametrize(
    "line", [("--preset", "paper"), ("--mode", "deepcryopicker")], ids=["published", "deepcryopicker"]
)
def test_auto_is_refused_where_scores_are_no_probabilities(
    project: Simulated, capsys: pytest.CaptureFixture[str], line: tuple[str, str]
) -> None:
    assert pick(*line, "--threshold", "auto") == 1
    assert "--threshold auto" in capsys.readouterr().err


@pytest.mark.parametrize(("score", "warned"), [(0.25, True), (0.9, False)])
def test_picks_that_may_be_noise_are_warned_of(score: float, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    choice = best_threshold([np.full(100, score, np.float32)], 0.5)
    data_set_threshold._tell(PickOptions(threshold=-2.0), choice, 1, 1.0)
    assert any("look at the picks" in record.message for record in caplog.records) == warned
