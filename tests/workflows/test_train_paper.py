"""train --preset paper: from simulated fields and from coordinates to a model file that picks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Request, pick_micrograph
from relion_ext_picker.pickers.drpnet.paper import PaperPicker
from relion_ext_picker.workflows import train, train_paper
from relion_ext_picker.workflows.models import load_picker


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainOptions:
    monkeypatch.setattr(train_paper, "HELD_OUT_FIELDS", 3)
    monkeypatch.chdir(tmp_path)
    return TrainOptions(o="External/job001/", preset="paper", simulated=True, steps=2, batch=2, gpu="cpu")


def test_simulated_fields_differ_and_repeat() -> None:
    first, again, other = (list(train_paper.simulated_fields(seed, 2)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[1].frame.values, again[1].frame.values)
    assert not np.array_equal(first[0].frame.values[:60, :60], first[1].frame.values[:60, :60])
    assert not np.array_equal(first[0].frame.values[:60, :60], other[0].frame.values[:60, :60])


def test_from_simulated_fields(options: TrainOptions) -> None:
    train.run(options)
    job = Path(options.o)
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()
    told = json.loads((job / "training.json").read_text(encoding="utf-8"))
    assert told["steps"] == 2 and set(told["calibration"]) == {"response", "shift_rows", "shift_cols"}
    picker = load_picker("drpnet", "paper-10017", str(job / "model.safetensors"), torch.device("cpu"))
    assert isinstance(picker, PaperPicker)
    assert picker.card.preset == "paper-10017" and picker.settings.detect.sigma == 4
    noise = np.random.default_rng(0).normal(size=(300, 350)).astype(np.float32)
    xy, score = pick_micrograph(picker, noise, 2.0, Request(80.0))
    assert len(xy) == len(score)


def test_from_coordinates(options: TrainOptions) -> None:
    rng = np.random.default_rng(0)
    rows, cols = np.indices((260, 300))
    folder = Path("Micrographs")
    folder.mkdir()
    Path("coords").mkdir()
    for number in range(3):
        xy = rng.uniform(60, 200, (6, 2))
        image = rng.normal(0, 1, rows.shape)
        for x, y in xy:
            image -= 3 * (np.hypot(rows - y, cols - x) < 14)
        with mrcfile.new(folder / f"m{number}.mrc") as stored:
            stored.set_data(image.astype(np.float32))
        lines = "".join(f"{x:.1f} {y:.1f}\n" for x, y in xy)
        head = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n"
        Path(f"coords/m{number}.star").write_text(head + lines, encoding="utf-8")
    chosen = replace(
        options, simulated=False, mics="Micrographs/*.mrc", pixel_size=2.0, diameter=70.0, in_coords="coords"
    )
    train.run(chosen)
    told = json.loads((Path(options.o) / "training.json").read_text(encoding="utf-8"))
    assert len(told["training_micrographs"]) == 2 and len(told["validation_micrographs"]) == 1


def test_the_second_network_is_not_trained_here(options: TrainOptions) -> None:
    with pytest.raises(InputError, match="pick --preset paper"):
        train.run(replace(options, stage="classifier"))
    assert (Path(options.o) / "RELION_JOB_EXIT_FAILURE").exists()
