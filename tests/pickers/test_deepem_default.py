"""The default DeepEM: one pass over a micrograph says what the network says of each of its windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.image.normalise import standardise_locally
from relion_ext_picker.pickers.base import Examples, Request, pick_micrograph
from relion_ext_picker.pickers.comparer import Comparer
from relion_ext_picker.pickers.deepem import default as module
from relion_ext_picker.pickers.deepem.default import INTERCEPT, SLOPE, DefaultDeepEM, untrained
from relion_ext_picker.pickers.deepem.default_network import Shape, WindowNetwork
from relion_ext_picker.pickers.inference import Inference
from relion_ext_picker.types import Grid, ScoreMap

CPU = torch.device("cpu")
SMALL = Shape(maps=(3, 4, 5))


def small_picker(step: int = 4, views: int = 1) -> DefaultDeepEM:
    """Random weights, normalisations that do something, and 32 bit, so that results can be compared closely."""
    torch.manual_seed(0)
    picker = untrained(CPU, replace(SMALL, step=step), views)
    network = picker.network().train()
    for _ in range(20):
        network(torch.randn(16, 1, 64, 64) * 2 + 0.5)
    picker = picker.with_network(network.state_dict())
    picker._quick = Inference(picker._network, half=False)
    return picker


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class DarkSpots(torch.nn.Module):
    """Stands for a trained network: the darker the middle 16 x 16 px of a window, the higher its score."""

    def forward(self, image: torch.Tensor, step: int) -> torch.Tensor:
        middle = image[:, :, 24:-24, 24:-24]
        return -3.0 * torch.nn.functional.avg_pool2d(middle, 16, step)[:, 0] - 4.0


def spotted(shape: tuple[int, int], places, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(0).normal(0, 2, shape)
    for x, y in places:
        image -= 4 * np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / (radius / 2.5) ** 2)
    return image.astype(np.float32)


@pytest.mark.parametrize("step", [8, 4, 2, 1])
def test_a_map_holds_what_the_network_says_of_each_window(step):
    picker = small_picker(step)
    network, image = picker.network(), torch.from_numpy(noise((104, 112)))
    windows = image.unfold(0, 64, step).unfold(1, 64, step)
    with torch.inference_mode():
        dense = network(image[None, None], step)[0]
        single = network(windows.reshape(-1, 1, 64, 64)).reshape(windows.shape[:2])
    assert dense.shape == single.shape
    assert float((dense - single).abs().max()) < 1e-4 * float(single.std())


@pytest.mark.parametrize("step", [8, 4, 2])
def test_scores_are_those_of_the_windows_that_are_cut(step):
    picker = small_picker(step)
    frame = ScoreMap(noise((96, 120)), Grid((2.5, 2.4), (3.0, -2.0)))
    score = picker.propose(frame)
    assert score.values.shape == (96 // step, 120 // step)
    rows, cols = (part.ravel() for part in np.indices(score.values.shape))
    with torch.inference_mode():
        windows = torch.from_numpy(picker.cut(frame, score.to_original(rows, cols)))[:, None]
        expected = torch.sigmoid(picker.network()(windows)).numpy().reshape(score.values.shape)
    assert np.abs(score.values - expected).max() < 1e-5
    assert score.values.std() > 1e-3


def test_windows_are_centred_and_zero_beyond_the_edge():
    values = np.zeros((64, 80), np.float32)
    values[30:32, 40:42] = 1  # the middle of a window of even side lies between four pixels
    picker = small_picker()
    windows = picker.cut(ScoreMap(values + 1, Grid()), np.array([[40.5, 30.5], [0, 0], [79, 63]], np.float32))
    assert windows.shape == (3, 64, 64) and windows.dtype == np.float32
    assert (windows[0, 31:33, 31:33] == 2).all() and windows[0].sum() == (windows[0] > 0).sum() + 4
    assert not windows[1, :31].any() and not windows[1, :, :31].any() and windows[1, 32:, 32:].all()
    assert not windows[2, 33:].any() and not windows[2, :, 33:].any() and windows[2, :31, :31].all()


@pytest.mark.parametrize("views", [1, 4])
def test_tiles_change_nothing(monkeypatch, views):
    picker = small_picker(views=views)
    frame = ScoreMap(noise((160, 208)), Grid())
    whole = picker.propose(frame).values
    monkeypatch.setattr(module, "CORE", 64)
    assert np.abs(picker.propose(frame).values - whole).max() < 1e-6


def test_turned_views_are_averaged_in_place():
    picker = small_picker(views=4)
    frame = ScoreMap(noise((96, 128)), Grid())
    turned = ScoreMap(np.ascontiguousarray(np.rot90(frame.values)), Grid())
    assert np.abs(np.rot90(picker.propose(frame).values) - picker.propose(turned).values).max() < 1e-6


def test_sides_need_not_be_multiples_of_the_step():
    picker = small_picker()
    values = noise((90, 107))
    score = picker.propose(ScoreMap(values, Grid())).values
    padded = picker.propose(ScoreMap(np.pad(values, ((0, 2), (0, 1))), Grid())).values
    assert score.shape == padded.shape == (23, 27)
    assert np.abs(score - padded).max() < 1e-6


@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize("shape", [(400, 640), (513, 301)])
def test_coordinates_are_exact_on_micrographs_of_any_shape(views, shape):
    picker = small_picker(views=views)
    picker._quick = DarkSpots()
    places = np.array([[40.0, 45.0], [shape[1] - 60.0, 50.0], [55.0, shape[0] - 48.0], [150.0, 200.0]])
    xy, score = pick_micrograph(picker, spotted(shape, places, 30), 2.0, Request(120.0, min_distance=0.8))
    gap = np.hypot(*(xy[: len(places), None] - places[None]).transpose(2, 0, 1))
    assert gap.min(axis=0).max() < 3
    assert (np.diff(score) <= 0).all()


def test_particles_cut_by_the_edge_are_found():
    picker = small_picker()
    picker._quick = DarkSpots()
    places = [(5.0, 100.0), (200.0, 3.0), (396.0, 150.0)]
    score_map = picker.propose(picker.prepare(spotted((300, 400), places, 30), 1.0, 60.0))
    rows, cols, score = picker.peaks(score_map, 40.0, 0.3)
    xy = score_map.to_original(rows, cols)
    gap = np.hypot(*(xy[:, None] - np.array(places)[None]).transpose(2, 0, 1))
    assert gap.min(axis=0).max() < 8


def test_bright_particles_are_dark_ones_inverted():
    picker = small_picker()
    image = spotted((300, 400), [(100, 120), (300, 200)], 30)
    dark = picker.prepare(image, 1.0, 60.0).values
    assert np.allclose(dark, picker.prepare(-image, 1.0, 60.0, bright=True).values, atol=1e-4)


def test_prepared_images_have_the_spread_of_their_surroundings_everywhere():
    ramp = np.linspace(1, 3, 640, dtype=np.float32)
    frame = small_picker().prepare(noise((640, 640)) * ramp + 3 * ramp, 1.0, 80.0)
    assert frame.values.shape == (256, 256)
    quarters = frame.values.reshape(256, 4, 64).std(axis=(0, 2))
    assert quarters == pytest.approx(np.ones(4), abs=0.1)
    assert abs(frame.values.mean()) < 0.02
    assert np.abs(standardise_locally(frame.values, 64) - frame.values).mean() < 0.05


def test_calibration_turns_log_odds_and_keeps_the_order():
    picker = small_picker()
    frame = ScoreMap(noise((96, 96)), Grid())
    plain = picker.propose(frame).values.astype(np.float64)
    picker.card = replace(picker.card, calibration={SLOPE: 2.0, INTERCEPT: -1.0})
    odds = 2.0 * np.log(plain / (1 - plain)) - 1.0
    assert picker.propose(frame).values == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-5)


def test_saved_weights_are_rounded_and_say_nearly_the_same():
    picker = small_picker()
    frame = ScoreMap(noise((96, 128)), Grid())
    state = picker.state()
    assert {value.dtype for key, value in state["net"].items() if value.ndim > 1} == {torch.float16}
    saved = DefaultDeepEM(picker.card, state, CPU, views=1)
    saved._quick = Inference(saved._network, half=False)
    assert 0 < np.abs(saved.propose(frame).values - picker.propose(frame).values).max() < 5e-3


def test_half_precision_changes_scores_in_the_second_decimal_at_most():
    picker = small_picker()
    frame = ScoreMap(noise((96, 128)), Grid())
    full = picker.propose(frame).values
    picker._quick = Inference(picker._network, half=True)
    assert 0 < np.abs(picker.propose(frame).values - full).max() < 0.02


def test_training_a_copy_leaves_the_picker_alone():
    picker = small_picker()
    frame = ScoreMap(noise((96, 96)), Grid())
    before = picker.propose(frame).values
    network = picker.network()
    torch.nn.init.zeros_(network.output.weight)
    torch.nn.init.constant_(network.output.bias, 3.0)
    other = picker.with_network(network.state_dict())
    assert (picker.propose(frame).values == before).all()
    assert other.propose(frame).values == pytest.approx(np.full((24, 24), 0.9526), abs=1e-3)


def test_there_is_no_second_network():
    picker, nothing = small_picker(), np.zeros((0, 2), np.float32)
    frame = ScoreMap(noise((96, 96)), Grid())
    assert picker.verify(frame, nothing, np.zeros(0, np.float32)) is None
    with pytest.raises(InputError, match="train --mode deepem"):
        picker.examples(frame, nothing, np.zeros(0, np.float32))
    with pytest.raises(InputError, match="train --mode deepem"):
        picker.retrained([Examples(nothing, nothing)], 0, lambda line: None)


def test_a_particle_larger_than_the_micrograph_is_an_error():
    with pytest.raises(InputError, match="--diameter"):
        small_picker().prepare(np.zeros((100, 300), np.float32), 1.0, 150.0)


def test_weights_and_cards_that_do_not_fit_are_errors():
    picker = small_picker()
    with pytest.raises(WeightsError, match="does not fit its card"):
        DefaultDeepEM(picker.card, {"net": WindowNetwork(Shape(maps=(3, 4, 6))).state_dict()}, CPU)
    with pytest.raises(WeightsError, match="does not fit its card"):
        DefaultDeepEM(picker.card, {}, CPU)
    for config in ({"window": 64}, {**SMALL.config(), "maps": [1, 2]}):
        with pytest.raises(WeightsError, match="describes no network"):
            Shape.of_config(config)
    with pytest.raises(WeightsError, match="window of 63 px leaves 55 px"):
        WindowNetwork(Shape(window=63))
    assert Shape.of_config(SMALL.config()) == SMALL


def test_a_general_model_compares_its_candidates():
    """Doubtful candidates that look like the sure ones gain, the others lose; other models leave scores alone."""
    entry = {"architecture": "comparer", "config": {"widths": [32, 16]}}
    plain, rng = small_picker(), np.random.default_rng(5)
    picker = plain.with_comparer(entry, Comparer().state_dict())
    places = np.array([[60.0 * col + 40, 60.0 * row + 40] for row in range(8) for col in range(8)], np.float32)
    real = rng.random(64) < 0.5
    rows, cols = np.mgrid[:520, :520]
    image = rng.normal(size=(520, 520))
    for x, y in places[real]:
        image -= 1.0 * np.exp(-0.5 * ((np.hypot(rows - y, cols - x) - 12) / 2) ** 2)
    frame = ScoreMap(image.astype(np.float32), Grid())
    score = np.where(real, 0.6, 0.4).astype(np.float32)
    found = picker.verify(frame, places, score)
    assert found[real].min() > 0.6 and found[~real].max() < 0.4
    assert plain.verify(frame, places, score) is None
    assert picker.with_network(plain.state()["net"]).verify(frame, places, score) is None, "one that learns anew"
