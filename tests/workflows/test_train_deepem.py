"""train --mode deepem: from picks to a model, in rounds, with a screen over networks, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import STAR, Simulated, markers, pick, picks_of, put, scores, star_of

from relion_ext_picker.cli import main
from relion_ext_picker.errors import InputError
from relion_ext_picker.io.coordinates import write_csv
from relion_ext_picker.io.weights import builtin_model, load_model
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.deepem import presets
from relion_ext_picker.pickers.deepem.exact import StdWindow
from relion_ext_picker.pickers.deepem.presets import Architecture, Preset
from relion_ext_picker.relion.star import write_micrographs
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.training import deepem_default
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows import (
    comparison,
    deepem_general,
    deepem_learning,
    deepem_tuning,
    simulated_training,
    train_deepem,
)
from relion_ext_picker.workflows.deepem_tuning import fitting_kernels
from relion_ext_picker.workflows.scanning import advise, std_window
from relion_ext_picker.workflows.training_set import NAME, marks_of, read_set

TRAINING = "External/job005/"
MODEL = f"{TRAINING}model.safetensors"
TRUTH = "Truth/truth.star"
TINY = Preset(Architecture(28, (5, 3, 2), (2, 2, 2)), 10.0, 8.0, diameter=20.0)
SHORT = ("--steps", "3", "--batch", "4", "--epochs", "2", "--gpu", "cpu", "--diameter", "130", "--j", "1")


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "paper", TINY)
    monkeypatch.setattr(deepem_learning, "REPORTS", 1)
    monkeypatch.setattr(deepem_learning, "SAMPLE", 20)


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pages take longer than so small a training; one test looks at them."""
    if request.function is not test_from_coordinates:
        monkeypatch.setattr(train_deepem, "write_report", lambda *_: None)


def train(*more: str, job: str = TRAINING, star: str = STAR) -> int:
    """Train, the published recipe if nothing else is said, since that is faster with so small a network."""
    preset = () if "--preset" in more else ("--preset", "paper")
    return main(["train", "--mode", "deepem", "--o", job, "--in_mics", star, *SHORT, *preset, *more])


def table(name: str, which: str = "", job: str = TRAINING) -> dict[str, list]:
    tables = read_tables(Path(job) / name, ("rlnMicrographName", "pickerSource", "pickerKernels"))
    return tables[which] if which else next(iter(tables.values()))


def marks(project: Simulated, job: str = TRAINING) -> dict:
    return read_set(Path(job) / NAME, [truth.micrograph for truth in project.truths])


def csv_of(path: str, places: dict[str, np.ndarray]) -> str:
    lines = []
    for name, xy in places.items():
        write_csv(Path(path), name, xy)
        text = Path(path).read_text(encoding="utf-8").splitlines()
        lines += text if not lines else text[1:]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_from_coordinates(project: Simulated, preset: str) -> None:
    assert train("--in_coords", TRUTH, "--preset", preset, "--scratch") == 0
    assert markers(TRAINING) == ["EXIT_SUCCESS"]
    card, networks = load_model(Path(MODEL), "deepem")
    assert card.preset == preset and set(networks) == {"net"}
    learnt, held = (card.provenance[f"{kind}_micrographs"] for kind in ("training", "validation"))
    if preset == "default":  # few micrographs: each is left out once, and the model learns from all
        assert learnt == held == project.names and "each of 3 parts" in card.provenance["held_out"]
        density = sum(len(truth.xy) for truth in project.truths) / (3 * (512 * 4 / 130) ** 2)
        assert card.calibration["density"] >= 0.99 * density  # more where it takes them for picked in part
    else:
        assert len(learnt) == 2 and len(held) == 1 and sorted(learnt + held) == project.names
    told = json.loads(Path(f"{TRAINING}training.json").read_text(encoding="utf-8"))
    assert told["threshold"] == card.threshold and len(told["rounds"]) == 1
    nodes = read_tables(Path(TRAINING) / "RELION_OUTPUT_NODES.star", ())["output_nodes"]
    assert nodes["rlnPipeLineNodeName"] == [f"{TRAINING}logfile.pdf", MODEL]
    assert Path(f"{TRAINING}logfile.pdf").read_bytes().startswith(b"%PDF")

    found = marks(project)
    assert {name for name, item in found.items() if item.part} == set(held)
    for truth in project.truths:
        item = found[truth.micrograph.name]
        np.testing.assert_allclose(np.sort(item.particles, 0), np.sort(truth.xy, 0), atol=0.01)
        assert (item.source[~item.particle] == "random").all()
        distance = np.linalg.norm(item.xy[~item.particle][:, None] - item.particles[None], axis=2)
        assert distance.min() > 0.65 * 130 / 4
    positives = sum(len(item.particles) for name, item in found.items() if name in learnt)
    (row,) = told["rounds"]
    assert row["round"] == 1 and row["positives"] == positives and abs(row["negatives"] - positives) <= 2

    thresholds = {key: np.array(values) for key, values in table("scores.star", "thresholds").items()}
    if len(thresholds["pickerF2"]):  # so little training may find nothing
        p, r = thresholds["pickerPrecision"], thresholds["pickerRecall"]
        np.testing.assert_allclose(thresholds["pickerF2"], 5 * p * r / np.maximum(4 * p + r, 1e-9), atol=1e-5)
        best = thresholds["pickerThreshold"][np.argmax(thresholds["pickerF2"])]
        assert best - 2e-4 < card.threshold <= best + 1e-6
    points = table("scores.star", "learning")["pickerAt"]
    assert points[-1] == (3 if preset == "default" else 2)


@pytest.mark.slow
def test_a_model_that_was_trained_picks(project: Simulated) -> None:
    words = ["--steps", "30", "--batch", "4", "--preset", "default", "--scratch"]
    assert train("--in_coords", TRUTH, *words) == 0
    card, _ = load_model(Path(MODEL))
    assert pick("--mode", "deepem", "--model", MODEL) == 0
    found = scores(project)
    assert found.ap and found.ap > 0.85 and found.recall > 0.85, (found, card.threshold)


def test_cross_validation(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    """As many trainings as parts and one more; with --folds 1 one, with a micrograph held out for good."""
    assert train("--in_coords", TRUTH, "--folds", "2") == 0
    told = capsys.readouterr().out
    assert told.count("epoch 2/2") == 3 and "part 2 of 2 is left out" in told
    assert sorted(item.part for item in marks(project).values()) in ([1, 1, 2], [1, 2, 2])
    row = table("rounds.star")
    assert row["pickerPositives"] == [sum(len(truth.xy) for truth in project.truths)]
    assert train("--in_coords", TRUTH, "--preset", "default", "--scratch", "--folds", "1", job="External/job006/") == 0
    assert sorted(item.part for item in marks(project, "External/job006/").values()) == [0, 0, 1]


def test_a_cross_validation_does_not_begin_with_what_it_tests(
    project: Simulated, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--in_coords", TRUTH, "--preset", "default", "--folds", "2", "--steps", "1"]
    assert train(*words) == 0
    assert "begins with the built-in model" not in capsys.readouterr().out
    assert train(*words, "--from", MODEL, job="External/job006/") == 0
    assert f"{MODEL} has learnt from these micrographs" in capsys.readouterr().out


def test_the_published_recipe_learns(project: Simulated) -> None:
    """Gradient descent at a rate of 1 on the squared error; it takes some passes to begin with."""
    words = ["--in_coords", TRUTH, "--epochs", "30", "--batch", "10"]
    assert train(*words) == 0
    loss = table("scores.star", "learning")["pickerLoss"]
    assert len(loss) == 30 and loss[-1] < 0.5 * loss[0] < 0.1


def test_the_same_seed_gives_the_same_model(project: Simulated) -> None:
    files = []
    for seed in ("1", "1", "2"):
        assert train("--in_coords", TRUTH, "--epochs", "1", "--seed", seed) == 0
        files.append(load_model(Path(MODEL))[1]["net"])
    same = [all(torch.equal(files[0][name], other[name]) for name in files[0]) for other in files[1:]]
    assert same == [True, False]


def test_max_positives(project: Simulated) -> None:
    assert train("--in_coords", TRUTH, "--max-positives", "25") == 0
    row = table("rounds.star")
    assert row["pickerPositives"] == [25] and row["pickerNegatives"] == [25]


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_verified_picks_are_added(project: Simulated, preset: str) -> None:
    """The set of the earlier job and the verified picks, and its rounds and held-out micrographs."""
    star_of(project.names[:2], star="two.star")
    assert train("--in_coords", TRUTH, "--preset", preset, "--scratch", star="two.star") == 0
    first = marks(project)
    held = next(item for item in first.values() if item.part)
    third = project.truths[2]
    true = csv_of("true.csv", {third.micrograph.name: third.xy[:10], held.micrograph.name: held.particles[:3]})
    false = csv_of("false.csv", {third.micrograph.name: np.array([[5.0, 5.0], [500.0, 8.0]])})
    words = ["--from", MODEL, "--preset", preset, "--add-true", true, "--add-false", false]
    assert train(*words, job="External/job006/") == 0
    second = marks(project, "External/job006/")
    added = second[third.micrograph.name]
    assert added.particle.tolist() == [True] * 10 + [False] * 2 and set(added.source) == {"verified"}
    assert set(added.round) == {2} and not added.part
    for name, item in first.items():
        assert second[name].part == item.part and len(second[name].particles) == len(item.particles)
    rows = table("rounds.star", job="External/job006/")
    assert rows["pickerRound"] == [1, 2]
    assert rows["pickerPositives"][1] == rows["pickerPositives"][0] + 10
    assert abs(rows["pickerNegatives"][1] - rows["pickerPositives"][1]) <= 2


def test_a_place_that_turns_out_to_be_none_changes_sides(project: Simulated) -> None:
    assert train("--in_coords", TRUTH) == 0
    name, item = next((name, item) for name, item in marks(project).items() if not item.part)
    false = csv_of("false.csv", {name: item.particles[:4] + 1.0})
    assert train("--from", MODEL, "--add-false", false, job="External/job006/") == 0
    changed = marks(project, "External/job006/")[name]
    assert len(changed.particles) == len(item.particles) - 4
    assert (changed.source[~changed.particle] == "verified").sum() == 4


def test_rounds(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    """Each round adds what the last model got wrong; the limit or the error ends them."""
    star_of(project.names[:2], star="two.star")
    assert train("--in_coords", TRUTH, star="two.star") == 0
    third = project.truths[2]
    true = csv_of("true.csv", {third.micrograph.name: third.xy})
    false = csv_of("false.csv", {third.micrograph.name: np.array([[5.0, 5.0], [500.0, 8.0]])})
    words = ["--from", MODEL, "--add-true", true, "--add-false", false, "--rounds", "3"]
    assert train(*words, "--until-error", "0", job="External/job006/") == 0
    rows = table("rounds.star", job="External/job006/")
    assert 2 <= len(rows["pickerRound"]) <= 4 and rows["pickerRound"] == list(range(1, len(rows["pickerRound"]) + 1))
    assert "verified picks are judged wrongly and are added" in capsys.readouterr().out
    assert train(*words, "--until-error", "0.5", job="External/job007/") == 0
    assert len(table("rounds.star", job="External/job007/")["pickerRound"]) == 2


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_tune(
    project: Simulated, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    if preset == "default":
        monkeypatch.setattr(deepem_tuning, "KERNELS", (0.7,))
        monkeypatch.setattr(deepem_tuning, "MAPS", (0.5,))
    words = ["--steps", "1"] if preset == "default" else ["--epochs", "1"]
    assert train("--in_coords", TRUTH, "--preset", preset, "--tune", *words) == 0
    found = table("tune.star")
    count = len(found["pickerKernels"])
    assert count == (3 if preset == "default" else 6)
    assert len(set(zip(found["pickerKernels"], found["pickerPools"], found["pickerMaps"], strict=True))) == count
    (best,) = np.flatnonzero(found["pickerChosen"])
    assert found["pickerAveragePrecision"][best] == max(found["pickerAveragePrecision"])
    card, networks = load_model(Path(MODEL))
    config = card.networks["net"]["config"]
    assert "-".join(map(str, config["kernels"])) == found["pickerKernels"][best]
    assert sum(value.numel() for value in networks["net"].values()) >= found["pickerParameters"][best]
    assert f"network {count}: average precision" in capsys.readouterr().out
    assert pick("--mode", "deepem", "--model", MODEL, "--max-picks", "3", "--preset", preset) == 0


@pytest.mark.parametrize("box", [28, 64, 112, 150, 160, 272])
def test_kernels_that_fit(box: int) -> None:
    for pools in ((2, 2, 2), (3, 2, 2)):
        kernels = fitting_kernels(box, (0.2 * box, 0.07 * box, 0.04 * box), pools)
        assert kernels is not None
        Architecture(box, kernels, pools)  # refuses what does not fit
    assert fitting_kernels(2, (1, 1, 1), (3, 2, 2)) is None


def test_from_simulated_particles(project: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepem_general, "FIELDS", 2)
    monkeypatch.setattr(simulated_training, "VALIDATION", ("small",))
    monkeypatch.setattr(simulated_training, "TEST", ("bgal",))
    monkeypatch.setattr(deepem_general, "NOISE_FIELDS", 2)
    monkeypatch.setattr(deepem_default, "CALIBRATION_FIELDS", 2)
    monkeypatch.setattr(comparison, "FEWEST", 4)
    monkeypatch.setattr(comparison, "STEPS", 5)
    assert train("--simulated", "--scratch", "--preset", "default") == 0
    card, _ = load_model(Path(MODEL), "deepem")
    assert card.threshold >= 0.5 and "simulated" in card.provenance["data"]
    assert card.provenance["test_structures"] == ["bgal"]


def test_an_interrupted_general_training_goes_on(
    project: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small: list[tuple[Any, str, object]] = [
        (deepem_general, "FIELDS", 2), (deepem_general, "NOISE_FIELDS", 2), (deepem_default, "CALIBRATION_FIELDS", 2),
        (comparison, "FEWEST", 4), (comparison, "STEPS", 5),
        (simulated_training, "VALIDATION", ("small",)), (simulated_training, "TEST", ("bgal",)),
    ]  # fmt: skip
    for module, name, value in small:
        monkeypatch.setattr(module, name, value)
    real, steps = deepem_default._loss, []

    def counted(step: int):  # type: ignore[no-untyped-def]
        def loss(*given):  # type: ignore[no-untyped-def]
            steps.append(1)
            if len(steps) == 3:
                (Path(TRAINING) / "RELION_JOB_ABORT_NOW").touch()
            return real(step)(*given)

        return loss

    monkeypatch.setattr(deepem_default, "_loss", counted)
    words = ("--simulated", "--scratch", "--preset", "default", "--steps", "4")
    assert train(*words) == 3 and len(steps) == 3
    assert list(Path(TRAINING).glob("*state*")) and not Path(MODEL).exists()
    capsys.readouterr()
    assert train(*words) == 0
    assert "only network: goes on after step" in capsys.readouterr().out
    assert len(steps) in (4, 5), "the step of the abort may not have been kept"
    assert not list(Path(TRAINING).glob("*state*"))


# ---- how a published preset scans


def test_step_and_std_window(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--in_coords", TRUTH) == 0
    counts = []
    for more in ([], ["--step", "260"], ["--std-window", "0.99-1.01"], ["--std-window", "abs:1e4-2e4"],
                 ["--maxima", "greedy"]):  # fmt: skip
        words = ["--mode", "deepem", "--model", MODEL, "--threshold", "0", "--step", "52", *more]
        assert pick(*words, job="External/job008/") == 0
        counts.append(sum(len(picks_of(name, "External/job008/")) for name in project.names))
    assert counts[1] < counts[0] and counts[2] < counts[0] and counts[3] == 0 and counts[4] > counts[0]
    assert pick("--mode", "deepem", "--model", MODEL, "--std-window", "3-1") == 1
    assert "--std-window 3-1: must be LOW-HIGH" in capsys.readouterr().err
    assert pick("--step", "20", "--mode", "drpnet") == 2
    assert "--step: an option of --mode deepem only, not of drpnet" in capsys.readouterr().err


def test_a_step_is_as_long_in_every_optics_group(project: Simulated) -> None:
    """A preset that takes micrographs as they are stored, and micrographs of two pixel sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "klh", replace(TINY, diameter=0.0))
        assert train("--in_coords", TRUTH, "--preset", "klh", "--diameter", "100") == 0
        groups = [Micrograph(project.names[0], 4.0, 1), Micrograph(project.names[1], 8.0, 2)]
        write_micrographs(Path(STAR), groups)
        words = ["--mode", "deepem", "--preset", "klh", "--model", MODEL, "--threshold", "0", "--diameter", "100"]
        assert pick(*words, "--step", "48", "--maxima", "greedy", "--min-distance", "0.05", "--std-window", "0-9") == 0
    for group, step in zip(groups, (12, 6), strict=True):
        places = picks_of(group.name).xy
        assert set(np.unique(np.diff(np.unique(places[:, 0])))) == {step}


@pytest.mark.parametrize(
    ("text", "low", "high", "relative"),
    [("", 0.7, 1.5, True), ("0.6-1.4", 0.6, 1.4, True), ("abs:22-34", 22.0, 34.0, False),
     ("abs:3e-2-4.5E-2", 0.03, 0.045, False), (".5-2", 0.5, 2.0, True)],
)  # fmt: skip
def test_std_windows(text: str, low: float, high: float, relative: bool) -> None:
    assert std_window(text) == StdWindow(low, high, relative)


@pytest.mark.parametrize("text", ["1", "1-", "-1-2", "2-1", "1-1", "a-b", "abs:", "1-2-3"])
def test_what_is_no_std_window(text: str) -> None:
    with pytest.raises(InputError, match="must be LOW-HIGH"):
        std_window(text)


# ---- what is refused


def few(project: Simulated, per_micrograph: int) -> str:
    return csv_of("few.csv", {truth.micrograph.name: truth.xy[:per_micrograph] for truth in project.truths})


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert train(*words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error and markers(TRAINING) == ["EXIT_FAILURE"]
    return error


def test_too_few_picks(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "--in_coords", few(project, 5))
    assert "few.csv: 10 particles to train on" in error and "training needs 20 at least" in error
    assert train("--in_coords", few(project, 12)) == 0
    assert "only 24 particles to train on" in capsys.readouterr().err


def test_all_picks_on_one_micrograph(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    path = csv_of("one.csv", {project.names[0]: project.truths[0].xy})
    assert "are on 1 micrograph; training needs picks on 2 at least" in refused(capsys, "--in_coords", path)


def test_picks_outside_of_the_micrographs(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    path = csv_of("out.csv", {truth.micrograph.name: 4 * truth.xy for truth in project.truths})
    error = refused(capsys, "--in_coords", path)
    assert f"lie outside of {project.names[0]} (512 x 512 px)" in error and "not of binned" in error
    places = {truth.micrograph.name: np.vstack([truth.xy, [[600, 20]]]) for truth in project.truths}
    assert train("--in_coords", csv_of("slip.csv", places)) == 0
    assert "1 places outside of" in capsys.readouterr().err


def test_a_place_that_is_both(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    path = csv_of("both.csv", {project.names[0]: project.truths[0].xy[:2]})
    error = refused(capsys, "--in_coords", TRUTH, "--add-true", path, "--add-false", path)
    assert "2 places" in error and "are in both --add-true both.csv and --add-false both.csv" in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no coordinates to train on: use --in_coords"),
        (["--in_coords", TRUTH, "--rounds", "2"], "give --add-true or --add-false"),
        (["--in_coords", "absent.star"], "absent.star"),
        (["--in_coords", TRUTH, "--from", str(builtin_model("drpnet"))], "is a drpnet model"),
        (["--from", "absent.safetensors"], "absent.safetensors does not exist"),
        (
            ["--in_coords", TRUTH, "--diameter", "4000"],
            "none of the 3 micrographs with picks can be used; the micrograph of 512 x 512 px is smaller",
        ),
    ],
)
def test_wrong_inputs(project: Simulated, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert told in refused(capsys, *words)


def test_models_of_another_kind(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--in_coords", TRUTH) == 0
    shutil.move(TRAINING, "other")
    model = "other/model.safetensors"
    error = refused(capsys, "--from", model, "--preset", "default")
    assert "a model of preset paper, which cannot be gone on from with --preset default" in error
    Path(f"other/{NAME}").unlink()
    assert f"other/{NAME} does not exist" in refused(capsys, "--from", model)
    assert pick("--mode", "deepem", "--preset", "klh", "--model", model) == 1
    assert "the model is one of preset paper, but --preset klh was asked for" in capsys.readouterr().err
    assert pick("--model", model) == 1
    assert "is a deepem model; --mode drpnet needs a drpnet model" in capsys.readouterr().err


def test_a_model_of_another_box(
    project: Simulated, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train("--in_coords", TRUTH, "--epochs", "1") == 0
    shutil.move(TRAINING, "other")
    monkeypatch.setitem(presets.PRESETS, "paper", Preset(Architecture(36, (5, 3, 2), (2, 2, 2)), 7.0, diameter=20.0))
    error = refused(capsys, "--from", "other/model.safetensors")
    assert "sees boxes of 28 px, those of preset paper are of 36 px" in error


def test_no_built_in_model_of_a_published_preset(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--mode", "deepem", "--preset", "klh") == 1
    assert "train with relion_ext_picker train --mode deepem --preset klh" in capsys.readouterr().err


def test_the_general_model_is_a_beginning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="relion_ext_picker")
    options = PickOptions(o="j/", mode="deepem", in_mics="m.star", diameter=120.0)
    advise(replace(options, model="own.safetensors"))
    advise(replace(options, mode="drpnet"))
    assert not caplog.text
    advise(options)
    assert "trained on your own picks is expected to do better" in caplog.text
    assert "train --mode deepem --in_mics m.star --in_coords PICKS --diameter 120" in caplog.text


def test_a_micrograph_that_cannot_be_read_is_left_out(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    put(project.names[0], np.zeros((512, 512), np.float32))
    assert train("--in_coords", TRUTH) == 0
    assert f"left out: micrograph {project.names[0]} has no contrast" in capsys.readouterr().err
    assert project.names[0] not in marks(project)


def test_abort(project: Simulated) -> None:
    Path(TRAINING).mkdir(parents=True)
    for preset in ("default", "paper"):
        (Path(TRAINING) / "RELION_JOB_ABORT_NOW").touch()
        assert train("--in_coords", TRUTH, "--preset", preset, "--scratch") == 3
        assert markers(TRAINING) == ["EXIT_ABORTED"] and not Path(MODEL).exists()


def test_marks_that_mean_the_same_place() -> None:
    micrograph = Micrograph("m.mrc", 1.0)
    first = marks_of(micrograph, np.array([[10, 10], [50, 50]], np.float32), True, 1, "picked")
    again = marks_of(micrograph, np.array([[11, 10], [90, 90]], np.float32), True, 2, "verified")
    against = marks_of(micrograph, np.array([[50, 51]], np.float32), False, 3, "verified")
    both = first.plus(again, 3.0).plus(against, 3.0)
    assert both.xy.tolist() == [[10, 10], [90, 90], [50, 51]]
    assert both.particle.tolist() == [True, True, False] and both.round.tolist() == [1, 2, 3]
