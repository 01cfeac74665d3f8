from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.image.peaks import local_maxima, share_inside, thin
from relion_ext_picker.image.tiles import tiles


def _bumps(places, shape=(60, 90), sigma=3.0):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return sum(np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / sigma**2) for x, y in places).astype(np.float32)


def test_maxima_are_found_to_a_fraction_of_a_sample():
    places = [(20.3, 15.6), (60.0, 40.4), (75.8, 10.2)]
    rows, cols, height = local_maxima(_bumps(places), 12, 0.5)
    found = sorted(zip(cols, rows, strict=True))
    assert np.array(found) == pytest.approx(np.array(sorted(places)), abs=0.06)
    assert (height > 0.9).all()


def test_a_maximum_on_the_border_counts():
    rows, cols, _ = local_maxima(_bumps([(0, 0), (89, 59)]), 12, 0.5)
    assert sorted(zip(cols, rows, strict=True)) == [(0, 0), (89, 59)]


def test_nothing_above_the_floor_is_nothing():
    rows, cols, height = local_maxima(np.zeros((20, 20), np.float32), 5, 0.0)
    assert len(rows) == len(cols) == len(height) == 0


def test_thinning_keeps_the_best_and_the_distance():
    rng = np.random.default_rng(0)
    xy, score = rng.uniform(0, 500, (800, 2)).astype(np.float32), rng.uniform(size=800).astype(np.float32)
    kept = thin(xy, score, 20.0)
    assert (np.diff(score[kept]) <= 0).all()
    gaps = np.hypot(*(xy[kept][:, None] - xy[kept][None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(kept))
    assert gaps.min() >= 20
    dropped = np.setdiff1d(np.arange(800), kept)
    near = np.hypot(*(xy[dropped][:, None] - xy[kept][None]).transpose(2, 0, 1)) < 20
    better = score[kept][None] >= score[dropped][:, None]
    assert (near & better).any(axis=1).all()


def test_no_distance_keeps_all_in_order():
    assert thin(np.zeros((3, 2), np.float32), np.array([0.1, 0.9, 0.5], np.float32), 0).tolist() == [1, 2, 0]


@pytest.mark.parametrize("shape", [(16, 16), (100, 70), (64, 129)])
def test_tiles_cover_an_image_once(shape):
    covered = np.zeros(shape, int)
    image = np.random.default_rng(0).normal(size=shape)
    for outer, inner, target in tiles(shape, 32, 8):
        covered[target] += 1
        assert (image[outer][inner] == image[target]).all()
    assert (covered == 1).all()


def test_share_of_a_disc_inside_is_its_area():
    xy = np.array([[49.5, 40.0], [-0.5, 40.0], [6.0, 40.0], [3.0, 75.0], [99.0, 12.0]], np.float32)
    rows, cols = np.mgrid[-40:130:0.1, -40:130:0.1]
    inside = (rows > -0.5) & (rows < 79.5) & (cols > -0.5) & (cols < 99.5)
    area = [(inside & ((rows - y) ** 2 + (cols - x) ** 2 < 100)).sum() * 0.01 / (np.pi * 100) for x, y in xy]
    share = share_inside(xy, (80, 100), 20.0)
    assert share[:3] == pytest.approx(area[:3], abs=0.005)
    assert share[3:] == pytest.approx(area[3:], abs=0.05)  # near a corner the edges are taken one by one
    assert share[0] == 1 and share[1] == pytest.approx(0.5)
