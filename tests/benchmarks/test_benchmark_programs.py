"""The benchmarks: that they start, and that their tables and measurements are right; nothing is timed here."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from relion_ext_picker.arguments import parse
from relion_ext_picker.options import SimulateOptions
from relion_ext_picker.workflows.simulate import write_project

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.mark.parametrize("name", ["speed", "accuracy"])
def test_help(name: str) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "--topaz-venv" in done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem != "topaz_sweep"))
def test_every_program_finds_what_it_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the one that runs in Topaz's own environment."""
    assert module(name, monkeypatch).__doc__


def test_speed_of_the_simulation_is_measured() -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "simulation.py"),
        "--runs",
        "1",
        "--seconds",
        "0.2",
        "--only",
        "patches",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "process" in line]
    assert len(rows) == 2 and all(float(row[2]) > 1 for row in rows)


def test_evaluation_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "evaluate.py"), "--particles", "2000", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "2,000 particles" in line]
    assert len(rows) == 3 and all(float(row[2]) > 0 for row in rows)


def test_table(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = module("tables", monkeypatch)
    text = tables.markdown(["name", "F1", "peak"], [["ours", 0.96249, 400.4], ["other", None, 1000.6]], (0, 3, 0))
    assert text == (
        "| name  |    F1 | peak |\n"
        "| ----- | ----: | ---: |\n"
        "| ours  | 0.962 |  400 |\n"
        "| other |     – | 1001 |\n"
    )  # fmt: skip
    assert "2.0" in tables.markdown(["one"], [[2.0]], (1, 0, 0)), "more decimals than columns"
    with pytest.raises(ValueError, match="2 cells"):
        tables.markdown(["a", "b"], [["only one"]])


def test_cost_counts_the_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measure = module("measure", monkeypatch)
    inner = "x = bytearray(150_000_000); sum(range(3_000_000))"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
    idle = measure.run([sys.executable, "-c", "pass"], tmp_path, tmp_path / "log", {})
    busy = measure.run([sys.executable, "-c", outer], tmp_path, tmp_path / "log", {})
    assert busy.peak > 150  # a fresh child counts as large as its parent, so the idle one says little
    assert busy.cpu > idle.cpu
    both = idle + busy
    assert (both.cpu, both.peak) == (idle.cpu + busy.cpu, busy.peak)
    assert measure.middle([idle, busy, both]).cpu == busy.cpu


def test_a_failed_command_is_not_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measure = module("measure", monkeypatch)
    with pytest.raises(SystemExit, match="no such thing"):
        measure.run([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path, tmp_path / "log", {})


def test_ratios_are_those_of_topaz_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    speed, cost = module("speed", monkeypatch), module("measure", monkeypatch).Cost
    single = {"ours": cost(2.0, 2.0, 300.0), "Topaz": cost(6.0, 6.0, 700.0)}
    whole = {"ours": cost(4.0, 4.0, 300.0), "Topaz": cost(30.0, 30.0, 700.0)}
    (line,) = speed.ratios(3, single, whole)
    assert "3.0 with 1 micrograph, 7.5 with 3, 12.0 for each further one" in line


def known_set(monkeypatch: pytest.MonkeyPatch, folder: Path, **more: Any) -> Any:
    """Two particles in each of two micrographs, 80 px wide."""
    sets, programs = module("accuracy_sets", monkeypatch), module("programs", monkeypatch)
    (folder / "Micrographs").mkdir()
    for name in "ab":
        (folder / "Micrographs" / f"{name}.mrc").touch()
    truth = {name: np.array([[100, 200], [300, 300]], np.float32) for name in "ab"}
    return sets.Known("set", programs.Field(folder / "Micrographs", 1.5, 120.0), truth, **more)


def test_accuracy_from_a_table_of_topaz(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = known_set(monkeypatch, tmp_path)
    contestants, scores = module("contestants", monkeypatch), module("accuracy_scores", monkeypatch)
    table = "image_name\tx_coord\ty_coord\tscore\na\t100\t200\t3.5\na\t320\t300\t-2.0\na\t500\t500\t-3.0\n"
    (tmp_path / "picks.txt").write_text(table)
    found = contestants.topaz_picks(tmp_path / "picks.txt", known.field)
    picks = contestants.cut(found, 0.0)
    assert [len(part["a"][0]) for part in (found, picks)] == [3, 1]
    outcome = scores.outcome_of(contestants.Found("-s 4 -r 14", found, picks, 0.0, 2.5), known)
    assert (outcome.picks.precision, outcome.picks.recall, outcome.cpu) == (1.0, 0.25, 1.25)
    assert (outcome.ap, outcome.curve.best_f1) == (0.5, pytest.approx(2 / 3))  # micrograph b is missed altogether
    assert outcome.nearer == 0.25  # the second pick is 20 px off, too far for the smaller radius
    assert outcome.soiled == {}
    row = module("accuracy", monkeypatch).row_of("Topaz", [outcome, outcome])
    assert row[1:5] == [0.0, 1.0, 0.25, pytest.approx(0.4)] and row[7] == 0.5


def test_particles_at_the_edge_count_for_nobody_and_dirt_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dirt = np.zeros((340, 400), np.int8)
    dirt[100:140, 200:240] = 3  # a crystal
    known = known_set(monkeypatch, tmp_path, edge=40.0, labels={"a": dirt, "b": dirt})
    assert known.particles["a"].tolist() == [[100, 200]]  # the other lies 39 px from the last row
    contestants, scores = module("contestants", monkeypatch), module("accuracy_scores", monkeypatch)
    xy = np.array([[100, 200], [220, 120], [300, 310], [150, 250]], np.float32)
    picks = {"a": (xy, np.array([0.9, 0.8, 0.7, 0.6], np.float32))}
    outcome = scores.outcome_of(contestants.Found("", picks, picks, 0.5, 1.0, picks), known)
    assert (outcome.picks.n_picks, outcome.picks.n_truth, outcome.picks.hits) == (3, 2, 1)
    assert (outcome.written, outcome.soiled) == (4, {"carbon": 0, "ice": 1, "gold": 0})


def test_intervals_are_those_of_other_micrographs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One micrograph found and one missed: the AP of a draw is the share of draws of the first."""
    known = known_set(monkeypatch, tmp_path)
    contestants, scores = module("contestants", monkeypatch), module("accuracy_scores", monkeypatch)
    picks = {"a": (known.truth["a"], np.array([0.9, 0.8], np.float32))}
    outcome = scores.outcome_of(contestants.Found("", picks, picks, 0.5, 1.0, picks), known)
    drawn = scores.draws(["set"], {("set", "ours"): outcome})["set"]
    values = scores.resampled(outcome.each, drawn)
    assert np.array_equal(values, (drawn == 0).mean(axis=1))
    assert scores.interval(values) == (0.0, 1.0)


def test_calibration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three in four candidates of a score of 0.55 are particles, and none of the many near 0."""
    calibration = module("accuracy_calibration", monkeypatch)
    score = np.array([0.55] * 4 + [0.01] * 12)
    hit = np.array([True] * 3 + [False] * 13)
    assert calibration.expected_error(score, hit) == pytest.approx((4 * 0.2 + 12 * 0.01) / 16)
    assert calibration.expected_error(score[:4], hit[:4]) == pytest.approx(0.2)
    assert calibration.reliability(score, hit)[5].tolist() == pytest.approx([4, 0.55, 0.75])


def test_what_was_found_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    contestants = module("contestants", monkeypatch)
    picks = {"a": (np.array([[1.5, 2]], np.float32), np.array([0.25], np.float32)),
             "b": (np.zeros((0, 2), np.float32), np.zeros(0, np.float32))}  # fmt: skip
    found = contestants.Found("resnet8, -s 4 -r 14", picks, picks, 0.0, 1.5, picks)
    again = contestants._from_json(json.loads(json.dumps(contestants._to_json(found))))
    assert (again.settings, again.threshold, again.cpu) == (found.settings, 0.0, 1.5)
    assert again.picks["a"][0].tolist() == [[1.5, 2]] and again.candidates["b"][0].shape == (0, 2)
    assert again.automatic is not None and again.automatic["a"][1].tolist() == [0.25]


def test_the_ceiling_learns_with_its_first_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from relion_ext_picker.io.weights import builtin_model, load_model

    program = module("taught", monkeypatch)
    monkeypatch.setattr(program, "STEPS", 2)
    monkeypatch.setattr(program, "BATCH", 4)
    model = program.taught(Path("bgal"), None, tmp_path / "models" / "bgal.safetensors")
    (card, before), (again, after) = load_model(builtin_model("drpnet")), load_model(model)
    assert again == card
    assert all(bool((after["classifier"][name] == value).all()) for name, value in before["classifier"].items())
    assert any(bool((after["proposer"][name] != value).any()) for name, value in before["proposer"].items())
    changed = model.stat().st_mtime_ns
    assert program.taught(Path("nothing"), None, model) == model and model.stat().st_mtime_ns == changed


def test_which_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sets = module("accuracy_sets", monkeypatch)
    known = [*sets.HELD_OUT, *sets.DEVELOPMENT]
    assert sets.selected("held-out", known) == list(sets.HELD_OUT)
    assert not set(sets.HELD_OUT) & set(sets.DEVELOPMENT)
    (tmp_path / "list").write_text("Micrographs/May08_04.32.27.mrc\n")
    assert sets.selected(str(tmp_path / "list"), known) == ["May08_04.32.27"]
    with pytest.raises(SystemExit, match="nothing"):
        sets.selected("nothing", known)
    assert len(sets.names_of("simulated,1bxn-0.05")) == 2 * len(sets.TEST) >= 12
    assert not {each.file for each in sets.TEST} & {each.file for each in sets.TO_CHOOSE}
    with pytest.raises(SystemExit, match="1abc-0.05"):
        sets.names_of("1abc-0.05")


def test_loading_a_command_leaves_the_collector_as_it_was() -> None:
    """What keeps the start short must not outlast it."""
    code = (
        "import gc, sys; from relion_ext_picker.cli import main; main(['demo', '--o', sys.executable]); "
        "sys.exit(0 if gc.isenabled() and gc.get_freeze_count() > 10000 else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_the_user_wants_otherwise(given: str | None, expected: str) -> None:
    code = (
        "import os, sys; from relion_ext_picker.cli import main; main(['--version']); "
        "assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.split()[-1] == expected


def test_spread_is_that_of_the_worst_command(monkeypatch: pytest.MonkeyPatch) -> None:
    speed, cost = module("speed", monkeypatch), module("measure", monkeypatch).Cost
    steady, shaky = [cost(seconds, 1.0, 1.0) for seconds in (2.0, 2.0, 2.1)], [cost(4.0, 1.0, 1.0), cost(5.0, 1.0, 1.0)]
    assert "up to 22 %" in speed.spread([{"a": steady, "b": shaky}])


def test_spectrum_of_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = module("simulation_pictures", monkeypatch)
    wave = np.sin(2 * np.pi * 0.1 * np.arange(800, dtype=np.float32))
    noise = np.random.default_rng(0).standard_normal((700, 800), np.float32)
    frequency, power = pictures.spectrum(noise + wave, 1.0)
    assert frequency[power.argmax()] == pytest.approx(0.1, abs=0.002)
    flat = power[np.abs(frequency - 0.1) > 0.01]
    assert np.allclose(flat[10:], 1, atol=0.25) and flat.mean() == pytest.approx(1, abs=0.03)


def test_a_sheet_is_a_small_file_of_few_colours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    sheets = module("sheets", monkeypatch)
    sheet = sheets.Sheet(2, 1, 100, 20)
    sheets.show(sheet.panel(1, "noise"), np.random.default_rng(0).standard_normal((200, 220), np.float32), 100)
    sheet.save(tmp_path / "sheet.png")
    image = Image.open(tmp_path / "sheet.png")
    assert image.size == (sheet.width, sheet.height) == (224, 136)
    grey = np.asarray(image.convert("L"))
    assert (grey[:108, :108] == 255).all(), "an empty panel"
    assert len(np.unique(grey[8:108, 116:216])) == sheets.GREYS
    assert (tmp_path / "sheet.png").stat().st_size < 10_000


def test_the_feedback_loop_simulates_and_draws_hand_picks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = module("feedback_loop", monkeypatch)
    for data in loop.SETS.values():
        known = parse(["simulate", "--o", "x", *data.simulate.split()]).options
        assert isinstance(known, SimulateOptions) and known.pixel_size == data.pixel_size
    few = SimulateOptions(
        o=str(tmp_path / "p"), micrographs=6, particles=30, size="512x512", pixel_size=4, contaminants=0
    )
    truth = {item.micrograph.name: item.xy for item in write_project(few)}
    loop.hand_picks(tmp_path / "p")
    lines = (tmp_path / "p/hand_picks.csv").read_text().split()[1:]
    places = {name: truth[name].tolist() for name in truth}
    assert len(lines) == min(loop.HAND_PICKS, sum(map(len, truth.values())))
    for line in lines:
        name, x, y = line.split(",")
        assert [float(x), float(y)] in places[name]
    assert len({line.split(",")[0] for line in lines}) <= loop.HAND_PICKED


def test_intervals_of_the_feedback_loop_are_over_micrographs(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = module("feedback_loop", monkeypatch)
    hit = np.array([True] * 8 + [False] * 2 + [True, False])
    micrograph = np.array([0] * 6 + [1] * 6)
    found = loop.Found(np.linspace(1, 0.1, 12), hit, micrograph, np.array([6, 4]), 0.25)
    f1, precision = found.measures(np.ones(2, int))
    assert f1 == pytest.approx(2 * 8 / (10 + 10)) and precision == pytest.approx(9 / 11)  # 9 of 10 at the 11th
    assert found.picked == (10, 0.8, 0.8)
    assert found.measures(np.array([1, 0])) == (1.0, 1.0)
    assert found.measures(np.array([0, 2]))[0] == pytest.approx(2 * 2 / (4 + 4))
    drawn = loop.draws(2)
    assert drawn.shape == (loop.DRAWS, 2) and (drawn.sum(1) == 2).all()
    assert loop.interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
