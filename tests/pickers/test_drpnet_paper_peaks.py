"""Peaks by prominence, against a slow and obvious count."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from relion_ext_picker.pickers.drpnet.paper_peaks import EIGHT, extended_maxima, prominent


def obvious(values: np.ndarray, height: float) -> list[tuple[float, float]]:
    """Extended maxima by flooding every local maximum down to `height` below it."""
    result = []
    summits = np.argwhere(values == ndimage.maximum_filter(values, 3, mode="nearest"))
    taken = np.zeros(values.shape, bool)
    for r, c in summits:
        if taken[r, c]:
            continue
        labels, _ = ndimage.label(values > values[r, c] - height, structure=EIGHT)
        region = labels == labels[r, c]
        if values[region].max() <= values[r, c]:
            taken |= region
            result.append(ndimage.center_of_mass(np.where(region, values - values[r, c] + height, 0)))
    return sorted(result)


@pytest.mark.parametrize("height", [2.0, 10.0, 40.0])
def test_as_by_flooding(height: float) -> None:
    values = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(90, 120)), 3).astype(np.float32)
    values = 255 * (values - values.min()) / np.ptp(values)
    found = extended_maxima(values, height, values)
    reference = obvious(values, height)
    assert 0 < len(reference) == len(found)
    np.testing.assert_allclose(sorted(zip(found.rows, found.cols, strict=True)), reference, atol=1e-2)


def test_a_plateau_is_one_peak_at_its_centroid_and_a_flat_map_has_none_inside() -> None:
    values = np.zeros((30, 40), np.float32)
    values[10:13, 20:26] = 50
    found = extended_maxima(values, 10, values * 2)
    assert len(found) == 1
    assert (found.rows[0], found.cols[0], found.strength[0]) == (11, 22.5, 100)


def test_prominence_counts_not_height() -> None:
    line = np.array([0, 100, 95, 98, 0, 0, 20, 0], np.float32)
    values = np.repeat(line[None], 3, 0)
    assert len(extended_maxima(values, 4, values)) == 2  # the shoulder of 3 is no peak of its own
    assert len(extended_maxima(values, 2, values)) == 3


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_peaks_of_a_response_lie_at_its_blobs(sigma: float) -> None:
    rows, cols = np.indices((150, 200))
    centres = [(40.0, 50.0), (41.5, 120.5), (100.25, 160.0)]
    response = sum(np.exp(-0.5 * ((rows - r) ** 2 + (cols - c) ** 2) / 36) for r, c in centres).astype(np.float32)
    found = prominent(response, response, sigma, 5)
    np.testing.assert_allclose(sorted(zip(found.rows, found.cols, strict=True)), centres, atol=0.4)
    np.testing.assert_allclose(found.strength, 1, atol=0.05)


def test_prominence_is_relative_to_the_strongest_response() -> None:
    rows, cols = np.indices((120, 200))
    response = sum(a * np.exp(-0.5 * ((rows - 60) ** 2 + (cols - c) ** 2) / 64) for a, c in ((1.0, 50), (0.05, 150)))
    response = np.asarray(response, np.float32)
    assert len(prominent(response, response, 4, 4)) == 2
    assert len(prominent(response, response, 4, 20)) == 1
    assert len(prominent(1e-4 * response, response, 4, 4)) == 2
    assert len(prominent(0 * response, response, 4, 4)) == 0
