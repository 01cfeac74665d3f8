"""The train command: from coordinates and from simulated particles to a model that picks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import JOB, STAR, Simulated, markers, pick, picks_of, put, scores, star_of

from relion_ext_picker.cli import main
from relion_ext_picker.io.coordinates import write_box, write_csv
from relion_ext_picker.io.weights import builtin_model, load_model, save_model
from relion_ext_picker.pickers.drpnet import picker, retrain
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.types import ScoreMap
from relion_ext_picker.workflows import comparison, simulated_training, training_data
from relion_ext_picker.workflows import train as train_workflow
from relion_ext_picker.workflows.labelled import split
from relion_ext_picker.workflows.models import load_picker

TRAINING = "External/job005/"
MODEL = f"{TRAINING}model.safetensors"
SHORT = ("--steps", "3", "--classifier-steps", "3", "--batch", "4", "--gpu", "cpu")


@pytest.fixture(autouse=True)
def few_validation_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_data, "VALIDATION_FIELDS", 4)
    monkeypatch.setattr(training_data, "TEST_FIELDS", 2)
    monkeypatch.setattr(training_data, "DENSITY_FIELDS", 20)
    monkeypatch.setattr(training_data, "BLANK_FIELDS", 4)
    monkeypatch.setattr(comparison, "FEWEST", 6)
    monkeypatch.setattr(comparison, "STEPS", 5)
    monkeypatch.setattr(simulated_training, "VALIDATION", ("small",))
    monkeypatch.setattr(simulated_training, "TEST", ("bgal",))


def train(*more: str) -> int:
    return main(["train", "--o", TRAINING, *SHORT, *more, "--j", "1"])


def from_coordinates(coordinates: str, *more: str) -> int:
    return train("--in_mics", STAR, "--in_coords", coordinates, "--diameter", "130", *more)


def told() -> dict[str, object]:
    text: dict[str, object] = json.loads(Path(f"{TRAINING}training.json").read_text(encoding="utf-8"))
    return text


def box_files(project: Simulated) -> None:
    Path("boxes").mkdir()
    for truth in project.truths:
        write_box(Path("boxes") / f"{Path(truth.micrograph.name).stem}.box", truth.xy, 48)


def csv_file(project: Simulated) -> None:
    parts = []
    for truth in project.truths:
        write_csv(Path("one.csv"), truth.micrograph.name, truth.xy)
        parts.append(Path("one.csv").read_text(encoding="utf-8").splitlines())
    Path("all.csv").write_text("\n".join(parts[0][:1] + [line for part in parts for line in part[1:]]) + "\n")


@pytest.mark.parametrize(
    "coordinates", ["Truth/truth.star", "Truth/coords_suffix_truth.star", "particles_truth.star", "boxes", "all.csv"]
)
def test_from_coordinates(project: Simulated, coordinates: str) -> None:
    box_files(project)
    csv_file(project)
    assert from_coordinates(coordinates) == 0
    assert markers(TRAINING) == ["EXIT_SUCCESS"]
    card, networks = load_model(Path(MODEL), "drpnet")
    assert set(networks) == set(card.networks) == {"proposer", "classifier"}
    assert 0.05 <= card.threshold <= 0.95
    learnt, held = (card.provenance[f"{kind}_micrographs"] for kind in ("training", "validation"))
    assert len(learnt) == 2 and len(held) == 1 and sorted(learnt + held) == project.names
    assert card.provenance["proposer"]["steps"] == 3 and card.provenance["proposer"]["seed"] == 0
    assert 0 <= card.provenance["validation"]["f1"] <= 1
    assert told() == {"threshold": card.threshold, **card.provenance}
    nodes = read_tables(Path(TRAINING) / "RELION_OUTPUT_NODES.star", ())["output_nodes"]
    assert nodes["rlnPipeLineNodeName"] == [MODEL]
    assert not (Path(TRAINING) / "checkpoint.safetensors").exists()


def test_a_short_training_does_no_harm_and_its_model_picks(project: Simulated) -> None:
    assert from_coordinates("Truth/truth.star", "--stage", "proposer", "--learning-rate", "1e-5") == 0
    assert pick("--model", MODEL, "--no-verify", "--threshold", "0.3") == 0
    assert scores(project).f1 > 0.7


def test_learning_from_few_particles_brings_the_loss_down(
    project: Simulated, capsys: pytest.CaptureFixture[str]
) -> None:
    assert from_coordinates("Truth/truth.star", "--stage", "proposer", "--scratch", "--steps", "40") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "first network: step" in line]
    loss = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert len(loss) == 10 and loss[-1] < 0.8 * loss[0]


def test_the_second_network_alone(project: Simulated) -> None:
    assert from_coordinates("Truth/truth.star", "--stage", "classifier") == 0
    before, after = load_model(builtin_model("drpnet"))[1], load_model(Path(MODEL))[1]
    assert "classifier" in after
    for name, value in before["proposer"].items():
        torch.testing.assert_close(after["proposer"][name].float(), value.float(), msg=name)
    assert pick("--model", MODEL) == 0


def test_a_model_of_the_first_network_alone(project: Simulated) -> None:
    """From scratch no untrained second network comes along; a later training adds one."""
    assert from_coordinates("Truth/truth.star", "--stage", "proposer", "--scratch") == 0
    card, networks = load_model(Path(MODEL))
    assert set(networks) == set(card.networks) == {"proposer"}
    shutil.copy(MODEL, "first.safetensors")
    assert from_coordinates("Truth/truth.star", "--stage", "classifier", "--model", "first.safetensors") == 0
    assert set(load_model(Path(MODEL))[1]) == {"proposer", "classifier"}


def test_from_simulated_particles(project: Simulated) -> None:
    assert train("--simulated", "--scratch") == 0
    card, networks = load_model(Path(MODEL), "drpnet")
    assert set(networks) == {"proposer", "classifier", "comparer"} and "simulated" in card.provenance["data"]
    assert card.provenance["validation_structures"] == ["small"] and set(card.provenance["test"]) == {"bgal"}
    assert 0 <= card.provenance["test"]["bgal"]["average_precision"] <= 1
    assert pick("--model", MODEL, "--threshold", "0", "--max-picks", "5") == 0
    assert markers() == ["EXIT_SUCCESS"]


def test_structures_of_the_user(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    """They are divided; what is held out is not learnt from, and the program says what was."""
    folder = Path("structures")
    folder.mkdir()
    source = next(Path("Truth").glob("structure.mrc"))
    for name in "abcde":
        shutil.copy(source, folder / f"{name}.mrc")
    (folder / "notes.txt").write_text("not a structure")
    found = simulated_training.divided(str(folder), 0)
    parts = [set(found.training), set(found.validation) - {"small"}, set(found.test) - {"bgal"}]
    assert [len(part) for part in parts] == [3, 1, 1]
    assert set.union(*parts) == {f"{name}.mrc" for name in "abcde"}
    assert train("--simulated", "--structures", str(folder), "--stage", "proposer", "--steps", "1") == 0
    assert f"held out for validation: small, {next(iter(parts[1]))}" in capsys.readouterr().out
    card = load_model(Path(MODEL), "drpnet")[0]
    assert all(name in card.provenance["data"] for name in parts[0])
    assert set(card.provenance["test"]) == {"bgal", *parts[2]}
    for number in (1, 2):  # too few to divide
        assert len(simulated_training.divided(str(_few(number, source)), 0).training) == number


def _few(number: int, source: Path) -> Path:
    folder = Path(f"few{number}")
    folder.mkdir()
    for index in range(number):
        shutil.copy(source, folder / f"{index}.mrc")
    return folder


def test_an_interrupted_training_goes_on(
    project: Simulated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an abort in the second network the first is not trained again; other settings begin anew."""
    real, calls = {name: getattr(train_workflow, name) for name in ("proposer_loss", "verifier_loss")}, []

    def counted(name: str, stop: int):  # type: ignore[no-untyped-def]
        def loss(*given):  # type: ignore[no-untyped-def]
            calls.append(name)
            if calls.count(name) == stop:
                (Path(TRAINING) / "RELION_JOB_ABORT_NOW").touch()
            return real[name](*given)

        return loss

    monkeypatch.setattr(train_workflow, "proposer_loss", counted("proposer_loss", 0))
    monkeypatch.setattr(train_workflow, "verifier_loss", counted("verifier_loss", 2))
    assert from_coordinates("Truth/truth.star") == 3
    assert calls == 3 * ["proposer_loss"] + 2 * ["verifier_loss"] and not Path(MODEL).exists()
    calls.clear()
    monkeypatch.setattr(train_workflow, "verifier_loss", counted("verifier_loss", 0))
    capsys.readouterr()
    assert from_coordinates("Truth/truth.star") == 0
    # The abort came with a step that was not kept: three steps are counted from the first or the second.
    assert "proposer_loss" not in calls and len(calls) in (1, 2)
    assert "second network: goes on after step" in capsys.readouterr().out
    assert not list(Path(TRAINING).glob("*state*"))
    calls.clear()
    assert from_coordinates("Truth/truth.star", "--seed", "5") == 0
    assert len(calls) == 6


def test_the_same_seed_gives_the_same_model(project: Simulated) -> None:
    files = []
    for seed in ("1", "1", "2"):
        assert from_coordinates("Truth/truth.star", "--seed", seed, "--stage", "proposer") == 0
        files.append(load_model(Path(MODEL))[1])
    same = [all(torch.equal(files[0]["proposer"][n], other["proposer"][n]) for n in files[0]["proposer"])
            for other in files[1:]]  # fmt: skip
    assert same == [True, False]


@pytest.mark.parametrize(("share", "held"), [(0.05, 1), (0.5, 2), (0.9, 3)])
def test_something_is_left_to_train_on(share: float, held: int) -> None:
    none = np.zeros((0, 2), np.float32)
    items = [Labelled(str(i), ScoreMap(np.zeros((16, 16), np.float32)), none) for i in range(4)]
    training, validation = split(items, share, 0)
    assert len(validation) == held and sorted(item.name for item in training + validation) == list("0123")
    assert split(items[:2], share, 0)[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--in_mics", STAR], "no coordinates to train on: use --in_coords"),
        (["--in_mics", STAR, "--in_coords", "Truth/truth.star"], "--diameter is required"),
        (["--in_mics", STAR, "--in_coords", "absent.star", "--diameter", "130"], "absent.star"),
        (["--in_mics", STAR, "--in_coords", "Truth/empty", "--diameter", "130"], "Truth/empty has no coordinates"),
        (["--in_mics", "one.star", "--in_coords", "Truth/truth.star", "--diameter", "130"], "only 1 of 1"),
        (["--in_mics", "bad.star", "--in_coords", "Truth/truth.star", "--diameter", "130"], "training needs 2"),
        (["--simulated", "--scratch", "--stage", "classifier"], "leave out --scratch"),
        (["--simulated", "--preset", "paper", "--stage", "classifier"], "--stage classifier"),
        (["--simulated", "--model", "absent.safetensors"], "absent.safetensors does not exist"),
        (["--simulated", "--structures", "nowhere"], "no such folder"),
        (["--simulated", "--structures", "Truth/empty"], "holds none of .pdb"),
        (["--structures", "Truth"], "--structures: is learnt from with --simulated"),
        (["--in_mics", STAR, "--in_coords", "Truth/truth.star", "--diameter", "4000"], "training needs 2"),
    ],
)
def test_wrong_inputs(project: Simulated, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    Path("Truth/empty").mkdir()
    star_of(project.names[:1], star="one.star")
    star_of(project.names[:2], star="bad.star")
    if "bad.star" in words:
        Path(project.names[1]).write_bytes(b"")
    assert train(*words) == 1
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert markers(TRAINING) == ["EXIT_FAILURE"]


def test_abort(project: Simulated) -> None:
    Path(TRAINING).mkdir(parents=True)
    (Path(TRAINING) / "RELION_JOB_ABORT_NOW").touch()
    assert from_coordinates("Truth/truth.star", "--stage", "proposer") == 3
    assert markers(TRAINING) == ["EXIT_ABORTED"] and not Path(MODEL).exists()
    (Path(TRAINING) / "RELION_JOB_ABORT_NOW").touch()
    assert from_coordinates("Truth/truth.star", "--stage", "classifier") == 3
    assert markers(TRAINING) == ["EXIT_ABORTED"]


@pytest.mark.parametrize(("stage", "loss"), [("proposer", "proposer_loss"), ("classifier", "verifier_loss")])
def test_abort_is_noticed_within_a_step(
    project: Simulated, monkeypatch: pytest.MonkeyPatch, stage: str, loss: str
) -> None:
    real, calls = getattr(train_workflow, loss), []

    def then_abort(*given):  # type: ignore[no-untyped-def]
        calls.append(1)
        (Path(TRAINING) / "RELION_JOB_ABORT_NOW").touch()
        return real(*given)

    monkeypatch.setattr(train_workflow, loss, then_abort)
    more = ["--stage", stage, "--steps", "1000", "--classifier-steps", "1000"]
    assert from_coordinates("Truth/truth.star", *more) == 3
    assert len(calls) == 1 and markers(TRAINING) == ["EXIT_ABORTED"]


@pytest.mark.slow
def test_stopped_with_a_worker(project: Simulated) -> None:
    """SIGTERM during a training whose patches come from a process of its own: it goes too."""
    line = ["train", "--o", TRAINING, "--in_mics", STAR, "--in_coords", "Truth/truth.star", "--diameter", "130"]
    line += ["--gpu", "cpu", "--steps", "200", "--batch", "2", "--stage", "proposer", "--j", "2"]
    command = [sys.executable, "-m", "relion_ext_picker.cli", *line]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        while "first network: step 40" not in (told := process.stdout.readline()):  # the second of these lines
            assert told, process.stderr.read()
        process.terminate()
        _, error = process.communicate(timeout=60)  # both ends closed: nobody is left who holds them
    assert process.returncode == 143 and "ERROR: stopped by SIGTERM" in error
    assert markers(TRAINING) == ["EXIT_FAILURE"]
    load_model(Path(TRAINING) / "checkpoint.safetensors", "drpnet")  # what there was is usable


# ---- the second network, trained in the picking job


def first_network_alone() -> str:
    """The shipped model without its second network."""
    card, networks = load_model(builtin_model("drpnet"))
    entries = {"proposer": card.networks["proposer"]}
    save_model(Path("first.safetensors"), replace(card, networks=entries), {"proposer": networks["proposer"]})
    return "first.safetensors"


@pytest.mark.slow
def test_retraining_in_the_job(
    project: Simulated, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trains on the job's micrographs, keeps the model, and a continued job takes it up again."""
    monkeypatch.setattr(retrain, "SCHEDULE", replace(retrain.SCHEDULE, steps=60, report=20))
    monkeypatch.setattr(retrain, "ENOUGH", 20)
    monkeypatch.setattr(picker, "SURE", 0.6)
    monkeypatch.setattr(picker, "UNSURE", 0.3)
    more = ["--retrain-classifier", "Yes", "--model", first_network_alone()]
    rng = np.random.default_rng(2)
    empty = ["Micrographs/empty1.mrc", "Micrographs/empty2.mrc"]  # where the first network is sure of nothing
    for name in empty:
        put(name, rng.normal(size=(512, 512)).astype(np.float32))
    star_of([*project.names[:2], *empty])
    assert pick(*more) == 0
    card, networks = load_model(Path(JOB) / "model.safetensors")
    assert set(networks) == {"proposer", "classifier"}
    assert card.provenance["classifier"].startswith("trained without labels on 4 micrographs")
    assert "second network: " in capsys.readouterr().out
    before = (Path(JOB) / "model.safetensors").read_bytes()
    star_of([*project.names, *empty])
    assert pick(*more) == 0
    assert "second network: taken from" in capsys.readouterr().out
    assert (Path(JOB) / "model.safetensors").read_bytes() == before
    assert scores(project).f1 > 0.6
    assert pick("--model", f"{JOB}model.safetensors", job="again/") == 0
    np.testing.assert_array_equal(picks_of(project.names[2], "again/").xy, picks_of(project.names[2]).xy)


def test_too_little_to_learn_from(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    put(project.names[0], np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32))
    star_of(project.names[:1])
    assert pick("--retrain-classifier") == 1
    assert "--retrain-classifier found" in capsys.readouterr().err and markers() == ["EXIT_FAILURE"]


# ---- the preset of the paper


@pytest.mark.skipif(not builtin_model("drpnet_paper").is_file(), reason="no shipped model of the paper's network")
def test_preset_paper(project: Simulated) -> None:
    assert pick("--preset", "paper", "--no-verify") == 0
    assert sum(len(picks_of(name)) for name in project.names) > 20


def test_models_of_another_preset(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(builtin_model("drpnet"))
    assert pick("--preset", "paper", "--model", model) == 1
    assert "the model is one of preset default, but --preset paper was asked for" in capsys.readouterr().err
    assert isinstance(load_picker("drpnet", "default", model, torch.device("cpu")), DefaultPicker)
