"""Each step of the preprocessing chain of the DeepCryoPicker mode, and their order."""

from __future__ import annotations

import numpy as np
import pytest
from deepcryopicker_scenes import disc
from scipy import ndimage

from relion_ext_picker.pickers.deepcryopicker import preprocess
from relion_ext_picker.pickers.deepcryopicker.settings import ChainSettings


@pytest.fixture
def noisy() -> np.ndarray:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(320, 400)) - 1.0 * disc((320, 400), 80, 100, 20)
    return preprocess.normalise(image.astype(np.float32))


def test_working_image_halves_an_unknown_and_fits_a_known_particle() -> None:
    image = np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32)
    assert preprocess.working_image(image).values.shape == (150, 200)
    frame = preprocess.working_image(image, 80.0)
    assert frame.values.shape == (150, 200)
    assert preprocess.working_image(image, 20.0).values.shape == (600, 800)
    np.testing.assert_allclose(frame.to_original([0, 149], [0, 199]), [[0.5, 0.5], [398.5, 298.5]])


def test_bright_particles_become_dark() -> None:
    image = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    dark, bright = preprocess.working_image(image), preprocess.working_image(-image, bright=True)
    np.testing.assert_allclose(bright.values, dark.values, atol=1e-5)


def test_normalise_and_stretch() -> None:
    image = np.arange(1000, dtype=np.float32).reshape(20, 50)
    whole = preprocess.normalise(image)
    assert whole.min() == 0 and whole.max() == 1
    cut = preprocess.stretch(image, 10.0)
    assert np.mean(cut == 0) == pytest.approx(0.1, abs=0.01) and np.mean(cut == 1) == pytest.approx(0.1, abs=0.01)
    middle = (cut > 0) & (cut < 1)
    assert np.ptp(np.diff(cut[middle])) < 1e-5  # linear in between


def test_equalise_makes_levels_equally_frequent() -> None:
    image = preprocess.normalise(np.random.default_rng(0).exponential(size=(200, 200)).astype(np.float32))
    counts, _ = np.histogram(preprocess.equalise(image, 256), 8, (0, 1))
    assert counts.min() > 0.8 * counts.mean() and counts.max() < 1.2 * counts.mean()


def test_wiener_smooths_flat_parts_more_than_edges() -> None:
    rng = np.random.default_rng(0)
    step = np.repeat([0.0, 1.0], 50)[None, :] * np.ones((100, 1))
    image = (step + rng.normal(0, 0.1, step.shape)).astype(np.float32)
    filtered = preprocess.wiener(image, 5)
    assert filtered[20:80, 10:40].std() < 0.5 * image[20:80, 10:40].std()
    rise = filtered[:, 50].mean() - filtered[:, 49].mean()
    assert rise > 0.7  # a box mean would leave 0.2
    assert abs(filtered[0, 60:].mean() - 1) < 0.05  # no dark frame
    assert np.isfinite(preprocess.wiener(np.zeros((20, 20), np.float32))).all()


def test_adaptive_equalisation_evens_out_a_gradient_and_has_rayleigh_levels() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(256, 256)) * 0.1 + np.linspace(0, 2, 256)[None, :]
    image = preprocess.normalise(image.astype(np.float32))
    even = preprocess.equalise_adaptively(image, 0.99, ChainSettings(least_tile=16))
    before, after = (np.ptp([part.mean() for part in np.split(each, 8, axis=1)]) for each in (image, even))
    assert after < 0.2 * before
    coarse = preprocess.equalise_adaptively(image, 0.99, ChainSettings(least_tile=256))
    assert np.ptp([part.mean() for part in np.split(coarse, 8, axis=1)]) > 0.5 * before  # one tile adapts to nothing
    assert even.min() == 0 and even.max() == 1
    # Median of a Rayleigh distribution with parameter 0.4 that is cut off at 1.
    top = 1 - np.exp(-1 / (2 * 0.4**2))
    assert np.median(even) == pytest.approx(np.sqrt(-2 * 0.4**2 * np.log(1 - 0.5 * top)), abs=0.03)


def test_less_clipping_gives_more_contrast(noisy: np.ndarray) -> None:
    flat = 0.45 + 0.1 * noisy
    assert preprocess.equalise_adaptively(flat, 0.99).std() > preprocess.equalise_adaptively(flat, 0.0).std()


def test_guided_filter_keeps_strong_edges() -> None:
    rng = np.random.default_rng(0)
    step = np.repeat([0.0, 1.0], 40)[None, :] * np.ones((80, 1))
    image = (step + rng.normal(0, 0.03, step.shape)).astype(np.float32)
    filtered = preprocess.guided(image, 2, 0.01)
    assert filtered[10:70, 10:30].std() < 0.5 * image[10:70, 10:30].std()
    assert filtered[:, 40].mean() - filtered[:, 39].mean() > 0.8
    np.testing.assert_allclose(preprocess.guided(np.full((9, 9), 0.3, np.float32)), 0.3, rtol=1e-5)


def test_opening_removes_bright_specks_only_and_once_is_enough(noisy: np.ndarray) -> None:
    image = np.full((30, 30), 0.2, np.float32)
    image[15, 15] = 1
    image[5, 5] = 0
    opened = preprocess.opening(image)
    assert opened[15, 15] == np.float32(0.2) and opened[5, 5] == 0
    once = preprocess.opening(noisy)
    np.testing.assert_array_equal(preprocess.opening(once), once)
    assert preprocess.disc(1).sum() == 5


def test_chain_runs_in_the_published_order_and_brings_the_particle_out(noisy: np.ndarray) -> None:
    steps = dict(preprocess.trace(noisy))
    assert list(steps) == [
        "working image", "normalisation", "contrast stretch", "equalisation", "Wiener filter", "second equalisation",
        "adaptive equalisation", "guided filter", "opening",
    ]  # fmt: skip
    result = preprocess.enhance(noisy)
    np.testing.assert_array_equal(result, steps["opening"])
    assert result.min() >= 0 and result.max() <= 1
    inside = disc(noisy.shape, 80, 100, 18)
    outside = ~disc(noisy.shape, 80, 100, 24)

    def separation(image: np.ndarray) -> float:
        return float((image[outside].mean() - image[inside].mean()) / image[outside].std())

    assert separation(steps["working image"]) < 1.2
    assert separation(result) > 1.8
    darkest = np.unravel_index(ndimage.gaussian_filter(result, 8).argmin(), result.shape)
    np.testing.assert_allclose(darkest, (80, 100), atol=6)


def test_settings_reach_the_steps(noisy: np.ndarray) -> None:
    rough = preprocess.enhance(noisy, ChainSettings(guide_times=0, opening=1))
    smooth = preprocess.enhance(noisy, ChainSettings(guide_times=8, opening=1))
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.5 * np.abs(np.diff(rough, axis=0)).mean()


def test_constant_image_stays_finite() -> None:
    assert np.isfinite(preprocess.enhance(np.full((64, 64), 3.0, np.float32))).all()
