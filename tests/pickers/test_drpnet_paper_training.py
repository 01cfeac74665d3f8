"""Training of the published networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.drpnet.paper_calibration import calibrate
from relion_ext_picker.pickers.drpnet.paper_image import frame_of
from relion_ext_picker.pickers.drpnet.paper_networks import Fcrn
from relion_ext_picker.pickers.drpnet.paper_settings import ClassifierTraining, FcrnTraining
from relion_ext_picker.pickers.drpnet.paper_training import (
    Field,
    distance_labels,
    train_classifier,
    train_fcrn,
    training_patches,
)

CPU = torch.device("cpu")
SETTINGS = FcrnTraining(batch=4)


def quiet(line: str) -> None:
    """Progress nobody reads."""


def test_labels_as_in_the_code_and_in_the_text() -> None:
    centres = np.array([[40.0, 50.0]], np.float32)
    radius = 2 * 32 / 3.5
    squared = distance_labels((80, 90), centres, radius)
    plain = distance_labels((80, 90), centres, radius, plain=True)
    assert squared.shape == plain.shape == (80, 90)
    assert np.unravel_index(np.argmax(plain), plain.shape) == (40, 50)
    assert squared[40, 50] == 1 and squared[40, 51] == 1  # clipped at 255
    assert plain[40, 51] < 1
    distance = 18 - 8  # px to the border from 8 px off the centre
    assert squared[40, 58] == pytest.approx((distance + 0.5) ** 2 / 255, abs=0.05)
    assert plain[40, 58] == pytest.approx(distance / radius, abs=0.05)
    assert squared[40, 50 + 19] == plain[40, 50 + 19] == 0
    assert not distance_labels((8, 9), np.zeros((0, 2)), radius).any()


def test_labels_of_small_particles_are_as_high() -> None:
    assert distance_labels((60, 60), np.array([[30.0, 30.0]]), 9.0).max() == 1


def test_touching_particles_keep_two_maxima() -> None:
    labels = distance_labels((60, 90), np.array([[30.0, 30.0], [30.0, 58.0]]), 18.0, plain=True)
    assert labels[30, 30] > labels[30, 44] + 0.2 < labels[30, 58] + 0.2


def fields(count: int = 4, seed: int = 0) -> Iterator[Field]:
    """Dark discs of 36 px in noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((150, 170))
    for _ in range(count):
        xy = rng.uniform(30, 120, (4, 2))
        image = rng.normal(0, 1, rows.shape)
        for x, y in xy:
            image -= 3 * (np.hypot(rows - y, cols - x) < 14)
        yield Field(frame_of(image.astype(np.float32), 36.0, 1.4), xy)


def test_patches_hold_particles_and_their_labels() -> None:
    batch = next(training_patches(fields(), FcrnTraining(), 0))
    assert batch.images.shape == batch.labels.shape == (16, 64, 64)
    assert batch.images.min() >= 0 and batch.images.max() <= 1
    dark = batch.images[batch.labels > 0.8].mean()
    assert dark < batch.images[batch.labels == 0].mean() - 0.1  # images and labels turned alike


def test_patches_need_room() -> None:
    small = Field(frame_of(np.zeros((60, 60), np.float32), 30.0, 1.4), np.array([[30, 30]]))
    with pytest.raises(InputError, match="no training patch"):
        next(training_patches([small], FcrnTraining(), 0))


def test_the_first_network_learns_and_repeats_itself() -> None:
    states = []
    for _ in range(2):
        lines: list[str] = []
        states.append(train_fcrn(training_patches(fields(), SETTINGS, 1), SETTINGS, 6, CPU, 2, lines.append))
        assert lines[-1].startswith("step 6/6")
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])


def test_the_first_network_finds_discs_after_some_steps() -> None:
    state = train_fcrn(training_patches(fields(), SETTINGS, 1), SETTINGS, 60, CPU, 2, quiet)
    unseen = next(training_patches(fields(seed=9), SETTINGS, 1))
    network = Fcrn()
    network.load_state_dict(state)
    with torch.inference_mode():
        response = network(torch.from_numpy(unseen.images)[:, None])[:, 0].numpy()
    assert response[unseen.labels > 0.8].mean() > 2 * abs(response[unseen.labels == 0].mean())


def test_training_stops_when_progress_raises() -> None:
    def stop(line: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train_fcrn(training_patches(fields(), SETTINGS, 1), SETTINGS, 1, CPU, 0, stop)


def test_calibration_measures_shift_and_height() -> None:
    from tests.pickers.test_drpnet_paper import darkness

    constants = calibrate(darkness(), list(fields(6)), CPU, "paper-10017")
    assert 0.05 < constants["response"] < 0.6
    assert constants["shift_rows"] == pytest.approx(0.5, abs=0.6)


def test_the_second_network_balances_and_repeats_itself() -> None:
    rng = np.random.default_rng(0)
    positives = rng.normal(100, 10, (12, 64, 64)).astype(np.float32)
    negatives = rng.normal(150, 10, (40, 64, 64)).astype(np.float32)
    settings = ClassifierTraining(kernel=9, width=8, epochs=1)
    lines: list[str] = []
    states = [train_classifier(positives, negatives, settings, CPU, 5, lines.append) for _ in range(2)]
    assert "24 patches" in lines[0]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert float(states[0]["mean"].mean()) == pytest.approx(125, abs=3)
    with pytest.raises(InputError, match="4 of low"):
        train_classifier(positives, negatives[:4], settings, CPU, 5, quiet)
