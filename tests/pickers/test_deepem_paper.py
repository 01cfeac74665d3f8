"""The published DeepEM as a picker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.pickers.base import Picker, Request, pick_micrograph
from relion_ext_picker.pickers.deepem.exact import Scan, StdWindow
from relion_ext_picker.pickers.deepem.network import DeepEM
from relion_ext_picker.pickers.deepem.paper import PaperDeepEM, published_card
from relion_ext_picker.pickers.deepem.presets import PRESETS, Architecture
from relion_ext_picker.types import ModelCard

CPU = torch.device("cpu")
TINY = Architecture(24, (5, 2, 1), (2, 3, 1), (1, 1, 1))
DIAMETER = 9.0  # px


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operations shared out to threads cost more than they are worth, on a busy machine far more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blob_network() -> DeepEM:
    """A network made by hand: smooth, reduce, then dark in the middle against its surroundings."""
    network = DeepEM(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.conv1.weight.fill_(-1 / 25)
        network.conv2.weight.fill_(2.0)  # of 2 x 2
        network.conv2.bias.fill_(-4.0)
        network.conv3.weight.fill_(8.0)
        network.conv3.bias.fill_(-4.0)
        network.output.weight.fill_(-2.0)
        network.output.weight[0, 4] = 16.0
        network.output.bias.fill_(-5.5)
    return network


def picker(step: int = 3, reference: float = 0.0, spread: StdWindow | None = None, greedy: bool = False) -> PaperDeepEM:
    card = replace(
        published_card("paper" if reference else "klh"),
        networks={"net": {"architecture": "deepem", "config": TINY.config()}},
        reference_diameter=reference,
    )
    scan = Scan(step, spread or StdWindow())
    return PaperDeepEM(card, {"net": blob_network().state_dict()}, CPU, scan, greedy=greedy)


def micrograph(scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs on noise; centres (n, 2) as x, y."""
    rng = np.random.default_rng(seed)
    shape = (int(150 * scale), int(200 * scale))
    nodes = np.stack(np.meshgrid(np.arange(25, 180, 37), np.arange(22, 130, 33)), -1).reshape(-1, 2)
    xy = (nodes + rng.uniform(-4, 4, nodes.shape)) * scale
    rows, columns = np.indices(shape)
    image = rng.normal(100, 2, shape)
    for x, y in xy:
        image[np.hypot(rows - y, columns - x) < 0.5 * DIAMETER * scale] -= 10
    return image.astype(np.float32), xy.astype(np.float32)


def farthest(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found[:, None] - truth[None], axis=-1).min(1).max())


@pytest.mark.parametrize("greedy", [False, True])
def test_picks_every_particle_once(greedy: bool) -> None:
    image, truth = micrograph()
    xy, score = pick_micrograph(picker(greedy=greedy), image, 2.0, Request(2 * DIAMETER, min_distance=1.0))
    assert len(xy) == len(truth)
    assert farthest(xy, truth) < 3
    nearest = truth[np.linalg.norm(xy[:, None] - truth[None], axis=-1).argmin(1)]
    assert np.abs((xy - nearest).mean(0)).max() < 0.8  # a third of a step: nothing is shifted
    assert score.min() > 0.5
    assert np.all(np.diff(score) <= 0)


def test_bright_particles() -> None:
    image, truth = micrograph()
    request = Request(DIAMETER, min_distance=1.0, bright=True)
    assert farthest(pick_micrograph(picker(), -image, 1.0, request)[0], truth) < 3
    assert not len(pick_micrograph(picker(), image, 1.0, request)[0])


def test_rescaled_micrographs() -> None:
    image, truth = micrograph(scale=2.6)
    xy, _ = pick_micrograph(picker(reference=DIAMETER), image, 0.8, Request(0.8 * 2.6 * DIAMETER, min_distance=1.0))
    assert len(xy) == len(truth)
    assert farthest(xy, truth) < 3 * 2.6


@pytest.mark.parametrize("reference", [0.0, 7.0])
def test_scores_lie_at_the_middle_of_their_windows(reference: float) -> None:
    image, _ = micrograph()
    one = picker(step=5, reference=reference)
    frame = one.prepare(image, 1.0, DIAMETER)
    found = one.propose(frame)
    rows, columns = (axis.ravel() for axis in np.indices(found.values.shape))
    windows = one.cut(frame, found.to_original(rows, columns))
    assert windows.shape == (rows.size, 24, 24)
    np.testing.assert_allclose(windows.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(windows.std((1, 2), ddof=1), 1, atol=1e-5)
    if not reference:
        assert found.grid.to_original(np.array([0]), np.array([2])).tolist() == [[21.5, 11.5]]
    with torch.inference_mode():
        turned = [one.network()(torch.rot90(torch.from_numpy(windows)[:, None], turn, (2, 3))) for turn in range(4)]
    np.testing.assert_allclose(found.values.ravel(), torch.stack(turned).mean(0), rtol=0, atol=1e-4)


def test_windows_beyond_the_edge_are_moved_inward() -> None:
    image, _ = micrograph()
    image[40:70, 40:70] = 5
    one = picker()
    frame = one.prepare(image, 1.0, DIAMETER)
    corner = one.cut(frame, np.array([[0, 0], [-50, 3]], np.float32))
    inside = one.cut(frame, np.array([[11.5, 11.5]], np.float32))
    np.testing.assert_array_equal(corner, np.concatenate([inside, inside]))
    last = one.cut(frame, np.array([[199, 149], [188, 138]], np.float32))
    np.testing.assert_array_equal(last[0], last[1])
    assert not one.cut(frame, np.array([[55, 55]], np.float32)).any()  # constant
    assert one.cut(frame, np.zeros((0, 2), np.float32)).shape == (0, 24, 24)


def test_rejected_windows_are_no_candidates_and_suppress_none() -> None:
    image, truth = micrograph()
    image[:75] += np.random.default_rng(1).normal(0, 40, (75, 200)).astype(np.float32)
    one = picker(spread=StdWindow(1.0, 8.0, relative=False))
    found = one.propose(one.prepare(image, 1.0, DIAMETER))
    rows, columns, score = one.peaks(found, 0.0, 0.0)
    assert score.min() > 0
    assert not found.values[: 75 // 3 - 7].any()
    xy = found.to_original(rows, columns)[score > 0.5]
    assert len(xy) and farthest(xy, truth) < 5


def test_floor_comes_before_the_maxima() -> None:
    image, _ = micrograph()
    one = picker()
    found = one.propose(one.prepare(image, 1.0, DIAMETER))
    score = one.peaks(found, 0.0, 0.5)[2]
    assert len(score) and score.min() > 0.5


def test_reach_of_the_maxima_follows_the_preset() -> None:
    def ranges(preset: str) -> tuple[float, float]:
        card = published_card(preset)
        network = DeepEM(PRESETS[preset].architecture)
        return PaperDeepEM(card, {"net": network.state_dict()}, CPU).ranges

    assert ranges("klh") == (70, 40)
    assert ranges("19s") == (100, 40)
    assert ranges("inflammasome") == (28, 40)


def test_sizes_that_do_not_fit() -> None:
    image, _ = micrograph()
    with pytest.raises(InputError, match="windows of preset klh are of 24 px.*--preset paper"):
        picker().prepare(image, 1.0, 25.0)
    with pytest.raises(InputError, match="200 x 20 px is smaller than the window of 24 px"):
        picker().prepare(image[:20], 1.0, DIAMETER)
    with pytest.raises(InputError, match="smaller than the window of 267 px"):
        picker(reference=DIAMETER).prepare(image, 1.0, 100.0)


def test_there_is_one_network() -> None:
    one: Picker = picker()
    image, truth = micrograph()
    frame = one.prepare(image, 1.0, DIAMETER)
    assert one.verify(frame, truth, np.ones(len(truth), np.float32)) is None
    with pytest.raises(InputError, match="no second network"):
        one.examples(frame, truth, np.ones(len(truth), np.float32))
    with pytest.raises(InputError, match="no second network"):
        one.retrained([], 0, lambda _: None)


def test_models_of_other_kinds_are_refused() -> None:
    card, state = published_card("klh"), {"net": DeepEM(PRESETS["klh"].architecture).state_dict()}
    assert isinstance(card, ModelCard)
    assert (card.mode, card.preset, card.reference_diameter) == ("deepem", "klh", 0.0)
    with pytest.raises(WeightsError, match="do not fit"):
        PaperDeepEM(published_card("26s"), state, CPU)
    with pytest.raises(WeightsError, match="not one of the published DeepEM"):
        PaperDeepEM(replace(card, networks={"net": {"architecture": "window", "config": {}}}), state, CPU)
    with pytest.raises(WeightsError, match="not one of the published DeepEM"):
        PaperDeepEM(card, {"proposer": {}}, CPU)
    with pytest.raises(InputError, match="presets"):
        PaperDeepEM(replace(card, preset="nonsense"), state, CPU)


def test_state_makes_the_same_picker() -> None:
    image, _ = micrograph()
    one = picker()
    again = one.with_network(one.state()["net"])
    frame = one.prepare(image, 1.0, DIAMETER)
    np.testing.assert_array_equal(one.propose(frame).values, again.propose(frame).values)
    assert again.with_scan(Scan(30)).propose(frame).values.shape < again.propose(frame).values.shape
    copied = one.network()
    with torch.no_grad():
        copied.output.bias += 1
    np.testing.assert_array_equal(one.propose(frame).values, again.propose(frame).values)
