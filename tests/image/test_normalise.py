from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.image.normalise import CLIP, standardise, standardise_locally


def test_noise_becomes_standard_whatever_its_level_and_some_gold():
    noise = np.random.default_rng(0).normal(300, 17, (400, 500)).astype(np.float32)
    noise[:40, :40] = 30_000
    out = standardise(noise)
    assert np.median(out) == pytest.approx(0, abs=0.03)
    assert out[50:].std() == pytest.approx(1, abs=0.03)
    assert out.max() == CLIP
    assert out.dtype == np.float32


def test_a_large_image_is_sampled_to_the_same_answer():
    noise = np.random.default_rng(0).normal(5, 3, (1100, 1100)).astype(np.float32)
    assert standardise(noise).std() == pytest.approx(1, abs=0.02)


def test_a_constant_image_becomes_nothing():
    assert not standardise(np.full((8, 8), 7, np.float32)).any()


def test_the_spread_of_the_surroundings_is_taken_out_everywhere():
    rng = np.random.default_rng(0)
    image = (rng.normal(size=(200, 300)) * np.linspace(1, 4, 300) + np.linspace(0, 5, 300)).astype(np.float32)
    found = standardise_locally(image, 40)
    box = image[80:120, 130:170].astype(np.float64)
    assert found[100, 150] == pytest.approx((image[100, 150] - box.mean()) / box.std(), abs=1e-3)
    assert np.allclose(found, standardise_locally(3 * image, 40), atol=1e-3)


def test_what_is_blank_is_not_blown_up():
    image = np.zeros((100, 300), np.float32)
    image[:, 100:] = np.random.default_rng(0).normal(size=(100, 200))
    image[:, :100] += 0.01 * np.random.default_rng(1).normal(size=(100, 100)).astype(np.float32)
    found = standardise_locally(image, 20)
    assert found[:, :80].std() < 0.05 and found[:, 120:].std() == pytest.approx(1.0, abs=0.1)
    assert not standardise_locally(np.full((50, 50), 7.0, np.float32), 20).any()
