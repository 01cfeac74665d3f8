"""Clustering of grey levels, and the cleaning of masks."""

from __future__ import annotations

import numpy as np
import pytest
from deepcryopicker_scenes import disc

from relion_ext_picker.pickers.deepcryopicker.clustering import clean, intensity_mask, superpixel_mask
from relion_ext_picker.pickers.deepcryopicker.foreign import foreign_areas
from relion_ext_picker.pickers.deepcryopicker.settings import ClusterSettings

SHAPE = (120, 160)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """An image with levels as the chain leaves them, and its true mask."""
    truth = disc(SHAPE, 40, 40, 16) | disc(SHAPE, 80, 110, 16)
    rng = np.random.default_rng(0)
    image = np.where(truth, 0.2, 0.7) + rng.normal(0, 0.03, SHAPE)
    return np.clip(image, 0.01, 1).astype(np.float32), truth


def test_one_pass_is_a_fixed_threshold_that_leaves_out_the_lowest_level() -> None:
    image = np.array([[0.0, 0.1, 0.374, 0.376, 1.0]], np.float32)
    np.testing.assert_array_equal(intensity_mask(image), [[False, True, True, False, False]])
    np.testing.assert_array_equal(intensity_mask(image + 5), [[False, True, True, False, False]])


def test_moving_centres_find_the_gap_between_levels() -> None:
    rng = np.random.default_rng(0)
    levels = np.concatenate([rng.normal(mean, 0.02, 500) for mean in (0.3, 0.55, 0.75, 0.95)])
    image = np.clip(levels, 0, 1).astype(np.float32).reshape(40, 50)
    moved = intensity_mask(image, ClusterSettings(iterate=True))
    np.testing.assert_array_equal(moved.ravel(), np.arange(2000) < 500)
    assert intensity_mask(image).sum() != 500  # the fixed threshold does not know where the gap is


@pytest.mark.parametrize("cluster", [intensity_mask, superpixel_mask])
def test_clusters_are_the_particles(cluster, scene) -> None:
    image, truth = scene
    mask = cluster(image)
    assert np.count_nonzero(mask & truth) > 0.9 * truth.sum()
    assert np.count_nonzero(mask & ~truth) < 0.1 * truth.sum()


@pytest.mark.parametrize("cluster", [intensity_mask, superpixel_mask])
def test_constant_image_has_no_particles(cluster) -> None:
    assert not cluster(np.full((40, 40), 0.5, np.float32)).any()


def test_superpixels_are_as_large_as_asked_for() -> None:
    assert ClusterSettings(superpixel_area=60).superpixels(60 * 1500) == 1500


def test_clean_removes_specks_and_fills_holes_but_not_gaps() -> None:
    mask = disc(SHAPE, 40, 40, 16) & ~disc(SHAPE, 40, 40, 8)
    ring = disc(SHAPE, 70, 110, 40) & ~disc(SHAPE, 70, 110, 30)
    mask = mask | ring | disc(SHAPE, 100, 20, 4)
    cleaned = clean(mask, smallest=250, largest_hole=600)
    assert cleaned[40, 40] and not cleaned[100, 20]
    assert not cleaned[70, 110]
    assert np.count_nonzero(cleaned ^ (mask | disc(SHAPE, 40, 40, 8))) < 120
    assert not clean(np.zeros(SHAPE, bool), 250, 600).any()
    assert not clean(np.eye(100, dtype=bool), 50, 600).any()  # a line is eroded away


def test_foreign_areas_are_large_and_of_another_grey() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(400, 400)).astype(np.float32)
    image -= 0.5 * disc(image.shape, 300, 300, 20)  # a particle
    assert not foreign_areas(image, 20).any()
    crystal = disc(image.shape, 100, 100, 80)
    found = foreign_areas(image - 4 * crystal.astype(np.float32), 20)
    assert np.count_nonzero(found & crystal) == np.count_nonzero(crystal)
    assert np.count_nonzero(found & ~crystal) < 0.8 * np.count_nonzero(crystal)
    assert not found[300, 300]
    carbon = np.zeros(image.shape, np.float32)
    carbon[:, :160] = 4
    found = foreign_areas(image - carbon, 20)
    assert found[:, :150].all() and not found[:, 200:].any()
    assert not foreign_areas(np.zeros((50, 50), np.float32), 20).any()
