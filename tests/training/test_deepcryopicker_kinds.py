"""Kinds of a training set: by outline within one particle, by size between two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relion_ext_picker.pickers.deepcryopicker.outlines import kinds_at
from relion_ext_picker.pickers.deepcryopicker.preprocess import working_image
from relion_ext_picker.training.deepcryopicker_examples import Marked
from relion_ext_picker.training.deepcryopicker_kinds import resorted, two_sizes
from relion_ext_picker.types import Grid, ScoreMap
from tests.pickers.deepcryopicker_scenes import shape_scene

TOP, SIDE, IRREGULAR = 0, 1, 2


def marked(kinds: tuple[str, ...], diameter: float, seed: int, name: str) -> tuple[Marked, np.ndarray]:
    """A micrograph prepared for particles of 80 px, all said to be top views, and what they are."""
    scene = shape_scene(kinds, side=900, diameter=diameter, depth=1.5, seed=seed)
    xy = scene.xy.astype(np.float32)
    inside = (xy > 80).all(1) & (xy < 820).all(1)
    frame = ScoreMap(scene.image, Grid())
    said, good = np.zeros(inside.sum(), np.int64), np.ones(inside.sum(), bool)
    item = Marked(name, frame, xy[inside], said, good, working_image(scene.image, 80.0))
    return item, (scene.kind[inside] == "side").astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_one_heap_of_sizes_is_one_particle(seed):
    rng = np.random.default_rng(seed)
    assert two_sizes(rng.normal(18, 0.6, 100)) is None
    assert two_sizes(rng.uniform(10, 25, 100)) is None
    assert two_sizes(np.concatenate([rng.normal(18, 0.6, 100), rng.normal(10, 0.6, 8)])) is None  # a few are mistakes
    assert two_sizes(rng.normal(18, 0.6, 3)) is None


@pytest.mark.parametrize("counts", [(100, 100), (100, 20), (20, 100)])
def test_two_heaps_of_sizes_are_two_particles(counts):
    rng = np.random.default_rng(0)
    found = two_sizes(np.concatenate([rng.normal(17.7, 0.5, counts[0]), rng.normal(11, 0.7, counts[1])]))
    assert found == pytest.approx((11, 17.7), rel=0.03)


def test_side_views_of_another_size_are_of_the_same_particle():
    """The rectangles have three quarters of the area of the circles, and there is only one size of circles."""
    item, kind = marked(("top", "side"), 80.0, 1, "m")
    (found,) = resorted([item])
    assert (found.kind == kind).mean() > 0.85 and found.good.all()
    assert resorted([item], always=False)[0] is item


@pytest.mark.parametrize("order", [1, -1])
def test_circles_of_two_sizes_are_two_particles(order):
    """What is as large as the smaller circles is irregular; what stands too close to tell does not teach."""
    pair = [marked(("top", "side"), 80.0, 1, "large"), marked(("top",), 44.0, 2, "small")][::order]
    found = resorted([item for item, _ in pair], always=False)[::order]
    large, small = found
    kind = pair[::order][0][1]
    assert (large.kind[large.good] == kind[large.good]).mean() > 0.95 and large.good.mean() > 0.7
    assert (small.kind[small.good] == IRREGULAR).all() and small.good.sum() > 20
    unseen = replace(pair[::order][1][0], shapes=None)
    assert not resorted([pair[::order][0][0], unseen])[1].kind.any()  # without an outline nothing is told


def test_an_outline_whose_middle_is_elsewhere_tells_nothing():
    """Two particles that hang together, one of which was found."""
    rows, cols = np.mgrid[:160, :160]
    single = -1.0 * (np.hypot(rows - 80, cols - 80) < 14)
    pair = np.minimum(single, -1.0 * (np.hypot(rows - 80, cols - 104) < 14))
    alone, _ = kinds_at(single, np.array([[80.0, 80.0]]), 20.0)
    both, size = kinds_at(pair, np.array([[80.0, 80.0]]), 20.0)
    assert alone.tolist() == ["top"] and both.tolist() == [""] and size[0] > 14
