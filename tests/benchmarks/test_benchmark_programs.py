"""The benchmarks: that they start, and that their tables and measurements are right; nothing is timed here."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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


def test_accuracy_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Coordinates as Topaz writes them -> a line of the table."""
    accuracy, programs = module("accuracy", monkeypatch), module("programs", monkeypatch)
    (tmp_path / "Micrographs").mkdir()
    (tmp_path / "Micrographs" / "a.mrc").touch()
    field = programs.Field(tmp_path / "Micrographs", 1.5, 120.0)
    table = "image_name\tx_coord\ty_coord\tscore\na\t100\t200\t3.5\na\t320\t300\t-2.0\na\t500\t500\t-3.0\n"
    (tmp_path / "picks.txt").write_text(table)
    found = accuracy.topaz_picks(tmp_path / "picks.txt", field)
    picks = accuracy.cut(found, 0.0)
    assert [len(part["a"][0]) for part in (found, picks)] == [3, 1]
    truth = {"a": np.array([[100, 200], [300, 300]])}
    scores = [(accuracy.score_picks(truth, picks, r), accuracy.score_picks(truth, found, r)) for r in accuracy.RADII]
    row = accuracy.row_of("Topaz", 0.0, scores, 1.25)
    assert row[2:5] == [1.0, 0.5, pytest.approx(2 / 3)]  # the second pick is below the threshold
    assert row[5:7] == [1.0, 1.0]
    assert row[9] == 0.5  # and 20 px off, too far for the smaller radius
    assert "| Topaz  |" in accuracy.table([row])


def test_which_micrographs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    accuracy = module("accuracy", monkeypatch)
    known = [*accuracy.HELD_OUT, *accuracy.DEVELOPMENT]
    assert accuracy.selected("held-out", known) == list(accuracy.HELD_OUT)
    assert not set(accuracy.HELD_OUT) & set(accuracy.DEVELOPMENT)
    (tmp_path / "list").write_text("Micrographs/May08_04.32.27.mrc\n")
    assert accuracy.selected(str(tmp_path / "list"), known) == ["May08_04.32.27"]
    with pytest.raises(SystemExit, match="nothing"):
        accuracy.selected("nothing", known)


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
    assert (
        drawn.shape == (loop.DRAWS, 2) and (drawn.sum(1) == 2).all()
    assert loop.interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
    )
