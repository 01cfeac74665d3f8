from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.types import Grid


def test_a_resized_image_covers_the_same_field():
    grid = Grid.resized((1200, 1240), (480, 500))
    corners = grid.to_original(np.array([-0.5, 479.5]), np.array([-0.5, 499.5]))
    assert corners == pytest.approx(np.array([[-0.5, -0.5], [1239.5, 1199.5]]), abs=1e-3)


def test_a_coarser_map_lies_in_the_middle_of_its_blocks():
    grid = Grid.resized((64, 96), (32, 48)).coarser(2)
    assert grid.to_original(np.array([0]), np.array([0])).tolist() == [[1.5, 1.5]]


def test_there_and_back():
    grid = Grid((2.5, 2.6), (0.7, -0.2))
    xy = np.random.default_rng(0).uniform(0, 1000, (20, 2)).astype(np.float32)
    assert grid.to_original(*grid.from_original(xy)) == pytest.approx(xy, abs=1e-3)
