"""The default DRPnet picker: geometry, tiling and the cascade, with networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.pickers.base import Examples, Request, pick_micrograph
from relion_ext_picker.pickers.drpnet import picker as module
from relion_ext_picker.pickers.drpnet.network import WINDOW, Proposer, Verifier
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker, cut_windows
from relion_ext_picker.types import Grid, ModelCard, ScoreMap

WIDTHS = (4, 6, 8, 8)


def card(**changes) -> ModelCard:
    networks = {
        "proposer": {"architecture": "proposer", "config": {"widths": list(WIDTHS)}},
        "classifier": {"architecture": "verifier", "config": {"widths": list(WIDTHS)}},
    }
    return ModelCard(**{"mode": "drpnet", "preset": "default", "reference_diameter": 32.0, "networks": networks,
                        "threshold": 0.5, **changes})  # fmt: skip


def small_picker(views: int = 1, verifier: bool = False) -> DefaultPicker:
    torch.manual_seed(0)
    networks = {"proposer": Proposer(WIDTHS).state_dict()}
    if verifier:
        networks["classifier"] = Verifier(WIDTHS).state_dict()
    return DefaultPicker(card(), networks, torch.device("cpu"), views)


class DarkSpots(torch.nn.Module):
    """Stands for a trained proposer: the darker a place, averaged over 16 x 16 px, the higher its score."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return -6.0 * torch.nn.functional.avg_pool2d(image, 16, 2, padding=7) - 6.0


def spotted(shape: tuple[int, int], places, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(0).normal(0, 3, shape)
    for x, y in places:
        image -= 4 * np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / (radius / 2.5) ** 2)
    return image.astype(np.float32)


@pytest.mark.parametrize("views", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(400, 640), (513, 301)])
def test_coordinates_are_exact_on_micrographs_of_any_shape(views, shape):
    picker = small_picker(views)
    picker._proposer = DarkSpots()
    places = np.array([[40.0, 45.0], [shape[1] - 60.0, 50.0], [55.0, shape[0] - 48.0], [150.0, 200.0]])
    xy, score = pick_micrograph(picker, spotted(shape, places, 30), 2.0, Request(120.0, min_distance=0.8))
    assert len(xy) == 4
    gap = np.hypot(*(xy[:, None] - places[None]).transpose(2, 0, 1))
    assert gap.min(axis=1).max() < 3
    assert (np.diff(score) <= 0).all()


def test_bright_particles_are_dark_ones_inverted():
    picker = small_picker()
    picker._proposer = DarkSpots()
    image = spotted((300, 400), [(100, 120), (300, 200)], 30)
    dark = pick_micrograph(picker, image, 1.0, Request(60.0))
    bright = pick_micrograph(picker, -image, 1.0, Request(60.0, bright=True))
    assert np.allclose(dark[0], bright[0], atol=0.01) and np.allclose(dark[1], bright[1], atol=1e-4)


@pytest.mark.parametrize("views", [1, 4])
def test_tiles_change_nothing(monkeypatch, views):
    picker = small_picker(views)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(320, 416)).astype(np.float32), Grid())
    whole = picker.propose(frame).values
    monkeypatch.setattr(module, "CORE", 128)
    assert np.abs(picker.propose(frame).values - whole).max() < 1e-5


def test_the_halo_is_larger_than_what_the_proposer_sees():
    network = Proposer().eval()
    torch.manual_seed(0)
    image = torch.randn(1, 1, 512, 512, requires_grad=True)
    network(image)[0, 0, 128, 128].backward()
    reach = image.grad[0, 0].nonzero().sub(256).abs().max().item()
    assert 32 < reach < module.HALO


def test_turned_views_are_averaged_in_place():
    picker = small_picker(4)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32), Grid())
    turned = ScoreMap(np.ascontiguousarray(np.rot90(frame.values)), Grid())
    assert np.abs(np.rot90(picker.propose(frame).values) - picker.propose(turned).values).max() < 1e-5


def test_windows_are_centred_and_zero_beyond_the_edge():
    values = np.arange(64 * 80, dtype=np.float32).reshape(64, 80) + 1
    windows = cut_windows(ScoreMap(values, Grid()), np.array([[30.0, 31.0], [0.0, 0.0], [79.0, 63.0]]))
    half = WINDOW // 2
    assert windows.shape == (3, WINDOW, WINDOW)
    assert [window[half, half] for window in windows] == [values[31, 30], values[0, 0], values[63, 79]]
    assert not windows[1][:half].any() and not windows[2][half + 1 :].any()


def test_an_untrained_verifier_repeats_the_proposer():
    picker = small_picker(verifier=True)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(96, 96)).astype(np.float32), Grid())
    xy, score = np.array([[20, 30], [60, 70]], np.float32), np.array([0.2, 0.9], np.float32)
    assert picker.verify(frame, xy, score) == pytest.approx(score, abs=1e-4)


def test_without_candidates_the_verifier_has_nothing_to_say():
    frame = ScoreMap(np.zeros((96, 96), np.float32), Grid())
    nothing = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)
    assert len(small_picker(verifier=True).verify(frame, *nothing)) == 0
    assert small_picker().verify(frame, *nothing) is None


def test_retraining_learns_the_examples_and_leaves_the_picker_alone():
    picker = small_picker(verifier=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(240, WINDOW, WINDOW)).astype(np.float32)
    noise[:120, 16:32, 16:32] -= 1.0
    lines: list[str] = []
    trained = picker.retrained([Examples(noise[:120], noise[120:])], 0, lines.append)
    frame = ScoreMap(np.concatenate([noise[0], noise[200]], axis=1), Grid())
    xy, score = np.array([[24, 24], [72, 24]], np.float32), np.array([0.5, 0.5], np.float32)
    particle, background = trained.verify(frame, xy, score)
    assert particle > 0.8 and background < 0.2
    assert picker.verify(frame, xy, score) == pytest.approx([0.5, 0.5], abs=1e-4)
    assert "120 examples" in lines[0]


def test_too_few_examples_say_what_to_do():
    few = np.zeros((3, WINDOW, WINDOW), np.float32)
    with pytest.raises(InputError, match="3 sure particles and 3 sure non-particles.*more micrographs"):
        small_picker().retrained([Examples(few, few)], 0, lambda line: None)


def test_examples_are_the_sure_and_the_unsure():
    picker = small_picker()
    frame = ScoreMap(np.random.default_rng(0).normal(size=(480, 480)).astype(np.float32), Grid())
    xy = np.stack(np.meshgrid(np.arange(30, 480, 60), np.arange(30, 480, 60)), -1).reshape(-1, 2).astype(np.float32)
    score = np.where(np.arange(len(xy)) % 2, 0.95, 0.05).astype(np.float32)
    beside = np.vstack([xy, xy[1:2] + 4]), np.append(score, np.float32(0.05))
    found = picker.examples(frame, *beside)
    assert 26 <= len(found.positives) <= 32  # a few of unusual variance are left out
    assert len(found.negatives) == 32  # but not the one beside a sure particle


def test_a_particle_larger_than_the_micrograph_is_an_error():
    with pytest.raises(InputError, match="--diameter"):
        small_picker().prepare(np.zeros((100, 300), np.float32), 1.0, 150.0)


def test_weights_that_do_not_fit_are_an_error():
    with pytest.raises(WeightsError, match="proposer"):
        DefaultPicker(card(), {"proposer": Proposer((4, 6, 8, 10)).state_dict()}, torch.device("cpu"))


def test_limits_of_a_request():
    picker = small_picker()
    picker._proposer = DarkSpots()
    places = [(20, 60), (120, 60), (220, 150), (330, 240)]
    image = spotted((300, 400), places, 30)
    everything, _ = pick_micrograph(picker, image, 1.0, Request(60.0))
    best, _ = pick_micrograph(picker, image, 1.0, Request(60.0, max_picks=2))
    inner, _ = pick_micrograph(picker, image, 1.0, Request(60.0, border=0.5))
    strict, score = pick_micrograph(picker, image, 1.0, Request(60.0, threshold=0.9))
    assert len(everything) == 4 and (best == everything[:2]).all()
    assert len(inner) == 3 and inner[:, 0].min() > 30
    assert 0 < len(strict) < 4 and score.min() >= 0.9


def test_folding_and_rounding_change_scores_in_the_third_decimal_at_most():
    torch.manual_seed(0)
    proposer = Proposer(WIDTHS)
    proposer(torch.randn(4, 1, 64, 64) * 3 + 1)  # statistics of batch normalisation away from 0 and 1
    picker = DefaultPicker(card(), {"proposer": proposer.state_dict()}, torch.device("cpu"), views=1)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(96, 128)).astype(np.float32), Grid())
    with torch.no_grad():
        plain = torch.sigmoid(proposer.eval()(torch.from_numpy(frame.values)[None, None]))[0, 0].numpy()
    assert np.abs(picker.propose(frame).values - plain).max() < 1e-5
    saved = DefaultPicker(card(), picker.state(), torch.device("cpu"), views=1)
    assert 0 < np.abs(saved.propose(frame).values - plain).max() < 5e-3
