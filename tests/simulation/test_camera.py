"""Cameras against the measurements they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.simulation.camera import CAMERAS, KNOTS, Camera

FREQUENCY = np.linspace(0, np.sqrt(0.5), 200)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_curves_begin_at_one_and_fall(camera: Camera) -> None:
    for curve in (camera.mtf(FREQUENCY), camera.scatter(FREQUENCY), camera.spread(FREQUENCY)):
        assert curve.dtype == np.float32 and curve[0] == pytest.approx(1)
        assert (curve > 0).all() and (curve <= 1 + 1e-6).all()
    assert (np.diff(camera.mtf(FREQUENCY)) <= 0).all() and (np.diff(camera.dqe(FREQUENCY)) <= 1e-7).all()
    np.testing.assert_allclose(camera.mtf(FREQUENCY), camera.scatter(FREQUENCY) * camera.spread(FREQUENCY), rtol=1e-5)
    np.testing.assert_allclose(camera.mtf(0.5 * np.array(KNOTS)), camera.transfer, rtol=1e-5)
    assert camera.is_ideal == (camera is CAMERAS["ideal"])


def test_counting_is_best_at_low_and_integrating_at_high_frequency() -> None:
    """What McMullan et al. (2014) conclude of the two; and both are better than a scintillator."""
    low, high = np.array([0.05]), np.array([0.5])
    counting, integrating, ccd = (CAMERAS[name] for name in ("counting", "integrating", "ccd"))
    assert counting.dqe(low) > integrating.dqe(low) > ccd.dqe(low)
    assert integrating.dqe(high) > counting.dqe(high) > ccd.dqe(high)
    assert counting.mtf(high) > integrating.mtf(high)
