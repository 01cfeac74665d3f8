"""Windows to learn from, and where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from relion_ext_picker.training.windows import WindowSet, far_places, near_places

DIAMETER = 20.0
PLACES = np.array([[30.0, 40.0], [100.0, 120.0], [150.0, 30.0]])


def numbered(positives: int, negatives: int) -> WindowSet:
    count = positives + negatives
    windows = np.arange(count, dtype=np.float32)[:, None, None] + np.array([[0, 0.25], [0.5, 0.75]], np.float32)
    return WindowSet(windows[:positives], windows[positives:])


def test_random_places_keep_away_from_all_particles():
    found = far_places(PLACES, (200, 240), 30.0, 500, np.random.default_rng(0))
    assert found.shape == (500, 2)
    assert cdist(found, PLACES).min() >= 30
    assert (found >= 0).all() and found[:, 0].max() <= 199 and 230 < found[:, 1].max() <= 239


def test_a_full_micrograph_gives_fewer_random_places():
    assert far_places(PLACES, (200, 240), 500.0, 10, np.random.default_rng(0)).shape == (0, 2)
    assert far_places(np.zeros((0, 2)), (200, 240), 30.0, 10, np.random.default_rng(0)).shape == (10, 2)


def test_near_misses_lie_in_the_ring_and_in_the_image():
    corner = np.vstack([PLACES, [2.0, 3.0]])
    found = near_places(corner, (200, 240), DIAMETER, (0.35, 1.0), 400, np.random.default_rng(0))
    nearest = cdist(found, corner).min(axis=1)
    assert len(found) == 400
    assert nearest.min() >= 0.35 * DIAMETER and nearest.max() <= DIAMETER
    assert found.min() >= 0
    # Evenly by area: half of a ring's area lies beyond the root of the mean square of its radii.
    assert np.mean(nearest > DIAMETER * np.sqrt((0.35**2 + 1) / 2)) == pytest.approx(0.5, abs=0.08)
    assert near_places(np.zeros((0, 2)), (200, 240), DIAMETER, (0.35, 1.0), 5, np.random.default_rng(0)).size == 0


def test_windows_and_their_answers():
    stacked, labels = numbered(2, 3).stacked()
    assert stacked.shape == (5, 2, 2) and labels.tolist() == [1, 1, 0, 0, 0]
    assert len(numbered(2, 3)) == 5
