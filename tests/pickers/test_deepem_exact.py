"""Recognition against a plain loop over windows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepem import exact
from relion_ext_picker.pickers.deepem.exact import Scan, StdWindow, scan_windows, window_moments
from relion_ext_picker.pickers.deepem.network import DeepEM, normalised
from relion_ext_picker.pickers.deepem.presets import PRESETS, Architecture

SHARED = Path(os.environ.get("REP_SHARED", Path(__file__).parents[3] / "shared"))
SMALL = Architecture(24, (5, 2, 2), (2, 3, 1), (2, 3, 2))
ALL = StdWindow()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operations shared out to threads cost more than they are worth, on a busy machine far more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain(network: DeepEM, image: np.ndarray, places: list[tuple[int, int]]) -> np.ndarray:
    """Scores of windows with their first px at `places`: cut, normalise, turn, run the network, average."""
    box = network.architecture.box
    cut = np.stack([image[y : y + box, x : x + box].astype(np.float64) for y, x in places])
    windows = normalised(torch.from_numpy(cut))[:, None].to(network.output.weight.dtype)
    scores = [network(torch.rot90(windows, turn, (2, 3))) for turn in range(4)]
    return torch.stack(scores).mean(0).numpy()


def lively(architecture: Architecture, image: np.ndarray, seed: int = 0) -> DeepEM:
    """A network with random weights that tells windows of noise apart."""
    network = DeepEM(architecture)
    draw = torch.Generator().manual_seed(seed)
    network.reset(draw)
    box = architecture.box
    with torch.no_grad():
        for layer, gain in ((network.conv1, 3), (network.conv2, 6), (network.conv3, 8), (network.output, 60)):
            layer.weight *= gain
            layer.bias += 0.3 * torch.randn(layer.bias.shape, generator=draw)
        window = normalised(torch.from_numpy(image[:box, :box].astype(np.float32)))
        network.output.bias -= network.logits(window[None, None])
    return network.eval()


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Noise of some correlation on a slope, far from zero, as files have it."""
    rng = np.random.default_rng(seed)
    fine = rng.normal(0, 30, shape)
    coarse = np.kron(rng.normal(0, 25, (shape[0] // 8 + 1, shape[1] // 8 + 1)), np.ones((8, 8)))
    return (3000 + fine + coarse[: shape[0], : shape[1]] + np.linspace(0, 80, shape[1])).astype(np.float32)


def compare(name: str, image: np.ndarray, count: int) -> None:
    network = lively(PRESETS[name].architecture, image)
    found = scan_windows(network, image, Scan(20, ALL))
    rng = np.random.default_rng(1)
    rows, columns = (rng.integers(side, size=count) for side in found.score.shape)
    with torch.inference_mode():
        expected = plain(network, image, [(20 * r, 20 * c) for r, c in zip(rows, columns, strict=True)])
    assert expected.std() > 0.005  # a network that says the same of everything would prove nothing
    assert found.accepted.all()
    np.testing.assert_allclose(found.score[rows, columns], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_a_loop_over_windows(name: str) -> None:
    box = PRESETS[name].architecture.box
    compare(name, noise((box + 95, box + 130)), 4)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_a_loop_over_windows_of_a_real_micrograph(name: str) -> None:
    files = sorted((SHARED / "data/apoferritin/Micrographs").glob("*.mrc"))
    if not files:
        pytest.skip("the shared data are not here")
    with mrcfile.open(files[0], permissive=True) as file:
        box = PRESETS[name].architecture.box
        image = np.array(file.data[300 : 350 + box, 200 : 270 + box], np.float32)
    compare(name, image, 3)


@pytest.mark.parametrize("architecture", [SMALL, Architecture(21, (4, 4, 1), (3, 1, 3), (1, 2, 3))])
@pytest.mark.parametrize("step", [1, 3, 5, 20, 50])
def test_every_step_equals_a_loop_over_windows(architecture: Architecture, step: int) -> None:
    image = noise((33, 43))[:, ::-1]  # not contiguous either
    network = lively(architecture, image)
    found = scan_windows(network, image, Scan(step, ALL), 1)
    box = architecture.box
    rows, columns = (range(0, side - box + 1, step) for side in image.shape)
    assert found.score.shape == (len(rows), len(columns))
    with torch.inference_mode():
        expected = plain(network.double(), np.ascontiguousarray(image), [(y, x) for y in rows for x in columns])
    np.testing.assert_allclose(found.score.ravel(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sizes", [(7, 100), (16, 1_000_000)])
def test_groups_of_any_size_and_threads_give_the_same(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise((60, 110))
    network = lively(SMALL, image)
    expected = scan_windows(network, image, Scan(3, ALL), 1).score
    for name, value in zip(("GROUP", "CHUNK"), sizes, strict=True):
        monkeypatch.setattr(exact, name, value)
    before = torch.get_num_threads()
    found = scan_windows(network, image, Scan(3, ALL), 3).score
    assert torch.get_num_threads() == before
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_turning_the_micrograph_turns_the_scores() -> None:
    image = noise((24 + 5 * 6, 24 + 5 * 9))
    network = lively(SMALL, image)
    scores = scan_windows(network, image, Scan(5, ALL), 1).score
    turned = scan_windows(network, np.rot90(image), Scan(5, ALL), 1).score
    np.testing.assert_allclose(np.rot90(scores), turned, rtol=0, atol=1e-5)


def test_grey_levels_do_not_matter() -> None:
    image = noise((60, 80))
    network = lively(SMALL, image)
    expected = scan_windows(network, image, Scan(7, ALL), 1).score
    for scale, shift in ((1e-3, 0.0), (200.0, 5.0), (-1.0, 3.0)):
        found = scan_windows(network, (scale * image + shift).astype(np.float32), Scan(7, ALL), 1).score
        if scale > 0:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
        else:
            assert np.abs(found - expected).max() > 0.01


@pytest.mark.parametrize(("box", "step"), [(10, 1), (10, 7), (33, 20), (2, 3)])
def test_moments_of_windows(box: int, step: int) -> None:
    image = noise((33, 51)) + np.float32(1e5)
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (box, box))[::step, ::step]
    mean, spread = window_moments(image, box, step)
    np.testing.assert_allclose(mean, windows.mean((2, 3)), rtol=1e-12)
    np.testing.assert_allclose(spread, windows.std((2, 3), ddof=1), rtol=1e-8)


def test_windows_out_of_bounds_are_not_looked_at() -> None:
    image = noise((120, 160))
    image[:60, :60] = 3000  # nothing at all
    image[60:, 100:] += np.random.default_rng(5).normal(0, 300, (60, 60)).astype(np.float32)  # carbon
    network = lively(SMALL, image)
    everything = scan_windows(network, image, Scan(12, ALL), 1)
    _, spread = window_moments(image, 24, 12)
    assert not everything.accepted[:4, :4].any()
    assert everything.accepted.sum() == (spread > 0).sum()
    middle = float(np.median(spread))
    for window in (StdWindow(0.5, 2.0), StdWindow(0.5 * middle, 2 * middle, relative=False)):
        found = scan_windows(network, image, Scan(12, window), 1)
        np.testing.assert_array_equal(found.accepted, (spread > 0.5 * middle) & (spread < 2 * middle))
        assert 0 < found.accepted.sum() < everything.accepted.sum()
        assert not found.score[~found.accepted].any()
        np.testing.assert_allclose(found.score[found.accepted], everything.score[found.accepted], rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.spread, spread)


def test_bounds_are_exclusive() -> None:
    spread = np.array([0.0, 1.0, 2.0, 3.0])
    assert StdWindow(1, 3, relative=False).accepts(spread).tolist() == [False, False, True, False]
    assert StdWindow().accepts(spread).tolist() == [False, True, True, True]


def test_nothing_to_look_at() -> None:
    network = lively(SMALL, noise((30, 30)))
    found = scan_windows(network, np.full((50, 60), 7, np.float32), Scan(5), 1)
    assert not found.accepted.any()
    assert not found.score.any()


def test_bad_input() -> None:
    network = lively(SMALL, noise((30, 30)))
    with pytest.raises(InputError, match="30 x 20 px is smaller than a window of 24 px"):
        scan_windows(network, noise((20, 30)), Scan())
    with pytest.raises(InputError, match="step"):
        scan_windows(network, noise((30, 30)), Scan(0))
