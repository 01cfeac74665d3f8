"""Resolution against number of particles, and local resolution."""

import numpy as np
import pytest

from relion_ext_picker.evaluation.bfactor import fit_b_factor
from relion_ext_picker.evaluation.localres import local_resolution
from relion_ext_picker.evaluation.resolution import crossing

B, C, BOX, PIXEL = 120.0, 0.02, 256, 1.06
COUNTS = 1000 * 2 ** np.arange(8)


def series() -> tuple[np.ndarray, np.ndarray]:
    """Shell and interpolated resolution of maps whose signal falls with B, for doubling numbers of particles."""
    spatial = np.arange(BOX // 2 + 1) / (BOX * PIXEL)
    with np.errstate(divide="ignore"):
        resolution = 1 / spatial
    found = []
    for count in COUNTS:
        ratio = count / 2 * C * np.exp(-B * spatial**2 / 2)
        at = crossing(ratio / (1 + ratio), resolution, 0.143)
        found.append((at.resolution, at.interpolated))
    return tuple(np.array(found).T)


def test_analytic_series():
    shell, interpolated = series()
    expected = [3.8285, 3.5402, 3.3091, 3.1177, 2.9559, 2.8171, 2.6961, 2.5896]
    assert interpolated == pytest.approx(expected, abs=2e-4)
    nyquist = np.full(8, 2 * PIXEL)
    fit = fit_b_factor(COUNTS, interpolated, nyquist)
    assert fit.b_factor == pytest.approx(119.96, abs=0.02)
    assert fit_b_factor(COUNTS, shell, nyquist).b_factor == pytest.approx(121.16, abs=0.15)
    assert fit.low < fit.b_factor < fit.high and fit.high - fit.low < 1
    assert fit.line(COUNTS) == pytest.approx(1 / interpolated**2, abs=1e-4)


def test_points_at_nyquist_are_dropped():
    _, interpolated = series()
    nyquist = np.full(8, 2.8)
    capped = np.maximum(interpolated, 2.8)
    fit = fit_b_factor(COUNTS, capped, nyquist)
    assert fit.used.tolist() == [True] * 6 + [False] * 2
    assert fit.b_factor == pytest.approx(120, abs=0.2)


def test_the_interval_holds_the_true_value_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        noisy = 2 / B * np.log(COUNTS) - 0.04 + rng.normal(0, 0.003, len(COUNTS))
        fit = fit_b_factor(COUNTS, noisy**-0.5, np.zeros(len(COUNTS)))
        hits += fit.low <= B <= fit.high
    assert 0.92 < hits / 400 < 0.98


def test_two_points_and_one():
    two = fit_b_factor([1000, 2000], [4.0, 3.8], [2, 2])
    assert two.b_factor == pytest.approx(2 * np.log(2) / (1 / 3.8**2 - 1 / 4.0**2))
    assert np.isnan(two.low) and np.isnan(two.band([1000.0])).all()
    with pytest.raises(ValueError, match="at least two"):
        fit_b_factor([1000, 2000], [4.0, 2.0], [2, 2])
    assert fit_b_factor([1000, 2000], [4.0, 4.1], [2, 2]).b_factor == np.inf


def test_local_resolution_inside_a_mask():
    values = np.zeros((10, 10, 10), np.float32)
    values[2:8, 2:8, 2:8] = np.linspace(3, 6, 216, dtype=np.float32).reshape(6, 6, 6)
    mask = np.zeros_like(values)
    mask[4:7, 1:9, 1:9] = 1
    every, inside = local_resolution(values), local_resolution(values, mask)
    assert every.voxels == 216 and inside.voxels == 108
    assert (every.lowest, every.highest) == pytest.approx((3, 6))
    assert every.quantiles[50] == pytest.approx(4.5)
    assert inside.quantiles[50] == pytest.approx(np.median(values[4:7, 2:8, 2:8]))
    assert inside.counts.sum() == 108 and np.isnan(inside.section).sum() == 64
    with pytest.raises(ValueError, match="no voxel"):
        local_resolution(values, np.zeros_like(values))
    with pytest.raises(ValueError, match="another size"):
        local_resolution(values, np.zeros((4, 4, 4), np.float32))
