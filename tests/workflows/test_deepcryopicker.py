"""A DeepCryoPicker job: it clusters, grades, trains and picks, and goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import JOB, STAR, markers, picks_of, put, star_of, summary

from relion_ext_picker.cli import main
from relion_ext_picker.errors import JobAborted
from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.io.weights import load_model, save_model
from relion_ext_picker.pickers.deepcryopicker.network import Shape
from relion_ext_picker.pickers.deepcryopicker.picker import untrained
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.training.deepcryopicker import Recipe
from relion_ext_picker.training.deepcryopicker_examples import Drawing
from relion_ext_picker.workflows import deepcryopicker as workflow
from relion_ext_picker.workflows import deepcryopicker_candidates as candidates

SIDE = (420, 470)
DIAMETER = 160.0  # Å, 40 px
MODEL = Path(JOB) / "model.safetensors"
KEPT = Path(JOB) / "candidates.jsonl"


def tiny(negative: bool = False) -> Recipe:
    return Recipe(
        rounds=1, last_steps=60, batch=48, learning_rate=8e-3, drawing=Drawing(per_class=400),
        negative=negative, shape=Shape(widths=(8, 12, 16, 16), holes=(2, 4, 6), hidden=16),
    )  # fmt: skip


def micrograph(seed: int, kinds: tuple[str, ...] = ("top",), shape: tuple[int, int] = SIDE) -> tuple[np.ndarray, ...]:
    """Dark discs and rectangles on noise: image, centres, kinds (class numbers)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    image = rng.normal(0, 1, shape)
    grid = np.stack(np.meshgrid(np.arange(45, shape[1] - 30, 66), np.arange(45, shape[0] - 30, 66)), -1).reshape(-1, 2)
    xy = grid[rng.random(len(grid)) < 0.8] + rng.uniform(-6, 6, (1, 2))
    number = rng.integers(0, len(kinds), len(xy))
    for (x, y), which in zip(xy, number, strict=True):
        turn = rng.uniform(0, np.pi)
        along = (cols - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        across = (rows - y) * np.cos(turn) - (cols - x) * np.sin(turn)
        box = (np.abs(along) < 20) & (np.abs(across) < 13)
        image -= 1.5 * (np.hypot(along, across) < 20 if kinds[which] == "top" else box)
    return image.astype(np.float32), xy.astype(np.float32), np.array([1 if kinds[k] == "top" else 2 for k in number])


@pytest.fixture
def discs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Four micrographs with discs in the working folder; their centres. Networks are small and trained for a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "Recipe", tiny)
    threads = torch.get_num_threads()
    truth = {}
    for seed in range(4):
        image, xy, _ = micrograph(seed)
        truth[f"Micrographs/m{seed}.mrc"] = xy
        put(f"Micrographs/m{seed}.mrc", image)
    star_of(list(truth))
    yield truth  # type: ignore[misc]
    torch.set_num_threads(threads)


def pick(*more: str, job: str = JOB, diameter: float = DIAMETER) -> int:
    size = ("--diameter", f"{diameter:g}") if diameter else ()
    return main(
        ["--o", job, "--in_mics", STAR, "--mode", "deepcryopicker", *size, "--gpu", "cpu", "--no-report", *more]
    )


def f1(truth: dict[str, np.ndarray], job: str = JOB) -> float:
    found = {name: (picks_of(name, job).xy, picks_of(name, job).score) for name in truth}
    return score_picks(truth, found, 12.0).f1


def test_a_job_teaches_itself_and_a_continued_one_does_not_again(
    discs: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pick("--report", "Yes") == 0 and markers() == ["EXIT_SUCCESS"]
    assert f1(discs) > 0.9
    told = capsys.readouterr().out
    for part in ("clustering 4 micrographs", "good to learn from", "round 1: 4 micrographs", "trained in", "[4/4]"):
        assert part in told
    card, _ = load_model(MODEL, "deepcryopicker")
    assert card.networks["net"]["config"]["classes"] == ["top", "background"]
    assert card.provenance["diameter"] == DIAMETER and card.provenance["learned_from"] == list(discs)
    (table,) = read_tables(Path(JOB) / coordinate_path("Micrographs/m0.mrc"), ()).values()
    assert set(map(int, table["rlnClassNumber"])) == {1}
    nodes = read_tables(Path(JOB) / "RELION_OUTPUT_NODES.star", ())["output_nodes"]["rlnPipeLineNodeName"]
    assert {f"{JOB}autopick.star", f"{JOB}logfile.pdf"} <= set(nodes)
    assert Path(f"{JOB}logfile.pdf").read_bytes().count(b"/Type /Page ") == 3 + 3 + 3

    before, text = MODEL.read_bytes(), (Path(JOB) / coordinate_path("Micrographs/m2.mrc")).read_text()
    monkeypatch.setattr(workflow, "self_train", None)  # would fail if it were called
    (Path(JOB) / coordinate_path("Micrographs/m2.mrc")).unlink()
    assert pick() == 0
    assert MODEL.read_bytes() == before and summary()["pickerStatus"] == ["skipped", "skipped", "picked", "skipped"]
    assert (Path(JOB) / coordinate_path("Micrographs/m2.mrc")).read_text() == text
    assert pick("--threshold", "0.7") == 0  # picks again, with the network that there is
    assert MODEL.read_bytes() == before and summary()["pickerStatus"] == ["picked"] * 4

    # The model picks further micrographs, and knows the diameter.
    assert pick("--model", str(MODEL), job="External/job008/", diameter=0) == 0
    assert f1(discs, "External/job008/") > 0.9
    assert not Path("External/job008/model.safetensors").exists()

    # Settings that the network depends on: it is trained again, from new candidates where they depend on it too.
    kept = KEPT.read_text()
    assert pick("--seed", "1") == 1 and not MODEL.exists() and KEPT.read_text() == kept
    assert pick("--size-tolerance", "0.3") == 1 and KEPT.read_text() != kept


def test_an_aborted_job_goes_on_after_its_finished_stages(
    discs: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relion_ext_picker.relion.job.JobDirectory.check_abort", aborting(2))
    assert pick() == 3 and markers() == ["EXIT_ABORTED"]
    done = len(KEPT.read_text().splitlines())
    assert 1 <= done < 5 and not MODEL.exists()
    first = KEPT.read_text().splitlines()[:done]
    # In the training
    monkeypatch.setattr("relion_ext_picker.relion.job.JobDirectory.check_abort", aborting(20))
    assert pick() == 3 and markers() == ["EXIT_ABORTED"] and not MODEL.exists()
    assert KEPT.read_text().splitlines()[:done] == first and len(KEPT.read_text().splitlines()) == 5
    here = Path.cwd()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(workflow, "Recipe", tiny)
    monkeypatch.setattr(candidates, "trials", None)  # nothing is clustered any more
    assert pick() == 0 and f1(discs) > 0.9


def aborting(after: int) -> Callable[[object], None]:
    """A check that finds the marker after so many calls."""
    calls: list[object] = []

    def check(job: object) -> None:
        calls.append(job)
        if len(calls) > after:
            raise JobAborted("stopped")

    return check


def test_without_a_diameter_it_is_estimated(discs: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--preset", "clustering", diameter=0) == 0
    told = capsys.readouterr().out
    assert "no --diameter: looking for particles of any size" in told and "particle diameter: " in told
    found = json.loads(KEPT.read_text().splitlines()[0])["diameter"]
    assert found == pytest.approx(DIAMETER, rel=0.1)
    assert f1(discs) > 0.9 and not MODEL.exists()
    (table,) = read_tables(Path(JOB) / coordinate_path("Micrographs/m0.mrc"), ()).values()
    assert set(map(int, table["rlnClassNumber"])) == {1}


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ("noise", (), "too few particles were found by clustering"),
        ("noise", ("--diameter", "0"), "looks like particles of any size: give --diameter"),
        ("bright", (), "with --contrast bright"),
        ("missing", (), "none of the 4 micrographs can be read"),
        ("none", ("--retrain-classifier",), "no second network to retrain"),
    ],
)
def test_what_cannot_be_learned_from_is_said(
    discs: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str], change: str, words: tuple[str, ...], message: str
) -> None:
    for number, name in enumerate(discs):
        if change == "noise":
            put(name, np.random.default_rng(number).normal(size=SIDE).astype(np.float32))
        elif change == "bright":
            put(name, -micrograph(number)[0])
        elif change == "missing":
            Path(name).unlink()
    assert pick(*words) == 1 and markers() == ["EXIT_FAILURE"]
    assert message in capsys.readouterr().err


def test_bright_particles(discs: dict[str, np.ndarray]) -> None:
    for number, name in enumerate(discs):
        put(name, -micrograph(number)[0])
    assert pick("--contrast", "bright", "--preset", "clustering") == 0 and f1(discs) > 0.9


def test_one_micrograph_with_two_kinds_is_enough(discs: dict[str, np.ndarray]) -> None:
    image, xy, kind = micrograph(9, ("top", "side"), (760, 820))
    put("Micrographs/m0.mrc", image)
    star_of(["Micrographs/m0.mrc"])
    assert pick() == 0
    found = picks_of("Micrographs/m0.mrc")
    assert score_picks({"m": xy}, {"m": (found.xy, found.score)}, 12.0).f1 > 0.9
    assert load_model(MODEL)[0].networks["net"]["config"]["classes"] == ["top", "side", "background"]
    assert pick("--preset", "clustering", job="External/job008/") == 0
    alone = picks_of("Micrographs/m0.mrc", "External/job008/")
    (table,) = read_tables(Path("External/job008") / coordinate_path("Micrographs/m0.mrc"), ()).values()
    numbers = np.array(list(map(int, table["rlnClassNumber"])))
    nearest = np.hypot(*(alone.xy[:, None] - xy[None]).transpose(2, 0, 1)).argmin(1)
    assert (numbers == kind[nearest]).mean() > 0.9


def test_particles_without_a_regular_shape(discs: dict[str, np.ndarray]) -> None:
    for number, name in enumerate(discs):
        rng = np.random.default_rng(number)
        image, blob = rng.normal(0, 1, SIDE), np.zeros(SIDE, bool)
        rows, cols = np.mgrid[: SIDE[0], : SIDE[1]]
        for x, y in discs[name]:
            for _ in range(4):
                dx, dy = rng.uniform(-11, 11, 2)
                blob |= np.hypot(cols - x - dx, rows - y - dy) < rng.uniform(6, 9)
        put(name, (image - 1.8 * blob).astype(np.float32))
    assert pick("--preset", "clustering", "--clustering", "superpixel") == 0
    assert f1(discs) > 0.8
    (table,) = read_tables(Path(JOB) / coordinate_path("Micrographs/m0.mrc"), ()).values()
    assert set(map(int, table["rlnClassNumber"])) == {3}


def test_the_unreadable_is_left_out_and_reported(
    discs: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = untrained(("top", "background"), torch.device("cpu"))
    monkeypatch.setattr(workflow, "self_train", lambda marked, *_: fresh)
    Path("Micrographs/m1.mrc").write_bytes(b"")
    assert pick("--threshold", "1") == 0
    assert "not learned from: micrograph Micrographs/m1.mrc is empty" in capsys.readouterr().err
    assert summary()["pickerStatus"] == ["picked", "failed", "picked", "picked"]


def test_a_model_that_does_not_know_its_diameter(
    discs: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    picker = untrained(("top", "background"), torch.device("cpu"))
    save_model(Path("new.safetensors"), replace(picker.card, provenance={}), picker.state())
    assert pick("--model", "new.safetensors", diameter=0) == 1
    assert "does not say how large its particle was: give --diameter" in capsys.readouterr().err
