"""Orientations: uniform or preferred."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.simulation.orientations import KINDS, PREFERRED, draw_orientations
from relion_ext_picker.simulation.projection import euler_matrix

COUNT = 20_000


def axes(kind: str, spread: float = 10.0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Viewing directions in the frame of the particle."""
    angles = draw_orientations(kind, spread, COUNT, np.random.default_rng(1))
    assert angles.shape == (COUNT, 3) and angles.dtype == np.float32
    return np.asarray(euler_matrix(angles)[:, 2])


def test_uniform() -> None:
    directions = axes("uniform")
    np.testing.assert_allclose(directions.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(directions.T), np.eye(3) / 3, atol=0.02)
    # Equal areas hold equal numbers: the component along an axis is uniform.
    counts, _ = np.histogram(directions[:, 2], 10, (-1, 1))
    np.testing.assert_allclose(counts, COUNT / 10, rtol=0.1)


def test_cap_is_at_both_poles() -> None:
    directions = axes("cap")
    assert np.mean(directions[:, 2] > 0) == pytest.approx(0.5, abs=0.02)
    away = np.degrees(np.arccos(np.abs(directions[:, 2])))
    assert np.sqrt(np.mean(away**2) / 2) == pytest.approx(10, rel=0.02)
    np.testing.assert_allclose(directions[:, :2].mean(0), 0, atol=0.01)


def test_belt_is_about_the_equator() -> None:
    directions = axes("belt")
    latitude = np.degrees(np.arcsin(directions[:, 2]))
    assert latitude.std() == pytest.approx(10, rel=0.02) and abs(latitude.mean()) < 0.3
    longitude = np.degrees(np.arctan2(directions[:, 1], directions[:, 0]))
    np.testing.assert_allclose(np.histogram(longitude, 6, (-180, 180))[0], COUNT / 6, rtol=0.1)


def test_mixed_has_both_and_the_rest() -> None:
    away = np.degrees(np.arccos(np.abs(axes("mixed", 3.0)[:, 2])))
    cap, belt = np.mean(away < 12), np.mean(away > 78)
    uniform_cap, uniform_belt = 1 - np.cos(np.radians(12)), np.sin(np.radians(12))
    rest = 1 - PREFERRED
    assert cap == pytest.approx(PREFERRED / 2 + rest * uniform_cap, abs=0.01)
    assert belt == pytest.approx(PREFERRED / 2 + rest * uniform_belt, abs=0.01)


def test_both_has_cap_and_belt_alone() -> None:
    away = np.degrees(np.arccos(np.abs(axes("both", 3.0)[:, 2])))
    assert np.mean(away < 15) == pytest.approx(0.5, abs=0.01)
    assert np.mean(away > 75) == pytest.approx(0.5, abs=0.01)
    assert np.mean((away > 20) & (away < 70)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_spin_is_uniform_and_none_is_possible(kind: str) -> None:
    psi = draw_orientations(kind, 20.0, COUNT, np.random.default_rng(2))[:, 2]
    np.testing.assert_allclose(np.histogram(psi, 8, (-180, 180))[0], COUNT / 8, rtol=0.1)
    assert draw_orientations(kind, 20.0, 0, np.random.default_rng(2)).shape == (0, 3)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="uniform, cap, belt, both, mixed"):
        draw_orientations("pole", 20.0, 3, np.random.default_rng(0))
