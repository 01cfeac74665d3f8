from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.image.normalise import CLIP, standardise


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
