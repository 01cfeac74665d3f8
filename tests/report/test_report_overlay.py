"""Preparing a micrograph for display."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.report.overlay import compare, make_overlay
from relion_ext_picker.types import Array


def _dots(shape: tuple[int, int], xy: Array, sigma: float) -> Array:
    """Dark Gaussian dots on grey."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape, np.float32)
    for x, y in xy:
        image -= np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * sigma**2)).astype(np.float32)
    return image


@pytest.mark.parametrize(("shape", "factor"), [((300, 400), 1), ((700, 1500), 2), ((2700, 300), 3)])
def test_picks_stay_on_their_particles(shape: tuple[int, int], factor: int) -> None:
    xy = np.array([[100, 120], [200, 260], [250.5, 60.5]], np.float32)
    overlay = make_overlay(_dots(shape, xy, 8), xy, np.ones(3), 40, "a", 1.5)
    assert overlay.image.shape == (shape[0] // factor, shape[1] // factor)
    assert overlay.radius == 20 / factor and overlay.pixel_size == 1.5 * factor
    np.testing.assert_allclose(overlay.xy, (xy - 0.5 * (factor - 1)) / factor, rtol=1e-5)  # centres of blocks
    np.testing.assert_allclose(overlay.reduced(xy), overlay.xy)
    for x, y in overlay.xy:
        window = overlay.image[int(y) - 4 : int(y) + 6, int(x) - 4 : int(x) + 6]
        clipped = np.argwhere(window == window.min())  # contrast is clipped, so the darkest px form a small plateau
        assert np.hypot(*(clipped.mean(axis=0) + [int(y) - 4, int(x) - 4] - [y, x])) < 1.0


def test_contrast_is_clipped_to_the_percentiles_and_an_outlier_does_no_harm() -> None:
    image = np.random.default_rng(0).normal(0, 1, (200, 200)).astype(np.float32)
    image[5, 5] = 1e7
    shown = make_overlay(image, np.zeros((0, 2)), np.zeros(0), 30, "a").image
    assert shown.min() == 0 and shown.max() == 1 and shown.dtype == np.float32
    assert 0.15 < shown.std() < 0.35


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_constant_and_empty_images(value: float) -> None:
    assert np.all(make_overlay(np.full((40, 50), value), np.zeros((0, 2)), np.zeros(0), 9, "a").image == 0.5)


def test_holes_are_filled() -> None:
    image = np.random.default_rng(0).normal(0, 1, (100, 100)).astype(np.float32)
    image[10:20, 10:20] = np.nan
    shown = make_overlay(image, np.zeros((0, 2)), np.zeros(0), 30, "a").image
    assert np.isfinite(shown).all() and 0.3 < shown[15, 15] < 0.7


def test_strip_thinner_than_a_block() -> None:
    assert make_overlay(np.zeros((1, 5000)), np.zeros((0, 2)), np.zeros(0), 30, "a").image.size


def test_compare_gives_each_true_centre_one_pick() -> None:
    truth = np.array([[50, 50], [150, 50], [250, 50]], np.float32)
    picks = np.array([[53, 50], [47, 50], [150, 65], [300, 300]], np.float32)
    overlay = make_overlay(np.zeros((400, 400)), picks, np.array([0.5, 0.9, 0.8, 0.7]), 40, "a")
    missed, false = compare(overlay, truth)
    np.testing.assert_allclose(missed, [[250, 50]])
    np.testing.assert_allclose(false, [[53, 50], [300, 300]])  # the better of two picks takes the particle
    assert len(compare(overlay, np.zeros((0, 2)))[1]) == 4
    blank = make_overlay(np.zeros((400, 400)), np.zeros((0, 2)), np.zeros(0), 40, "a")
    assert len(compare(blank, truth)[0]) == 3
