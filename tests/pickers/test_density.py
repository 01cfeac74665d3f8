"""Scores fall where a micrograph has fewer particles than the model was trained on, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.pickers import density
from relion_ext_picker.pickers.density import LEAST, share_of_usual

USUAL = 0.3


def conditioned(score: np.ndarray, area: float, usual: float) -> np.ndarray:
    return density.conditioned(score, share_of_usual(score, area, usual))


def scores(particles: int, chance: int, seed: int = 0) -> np.ndarray:
    """Clear particles, and candidates that resemble one by chance as often as their score says."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0.95, 0.999, particles), rng.beta(0.3, 4, chance)]).astype(np.float32)


def test_a_crowded_micrograph_keeps_its_scores() -> None:
    given = scores(90, 100)
    assert np.array_equal(conditioned(given, 250.0, USUAL), given)


def test_chance_alone_falls_and_keeps_its_order() -> None:
    given = scores(0, 200)
    found = conditioned(given, 250.0, USUAL)
    odds = given / (1 - given)
    assert given.max() > 0.4 > 0.1 > found.max()
    assert found / (1 - found) == pytest.approx(LEAST * odds, rel=1e-4)
    assert np.array_equal(np.argsort(found), np.argsort(given))


def test_a_few_clear_particles_stay() -> None:
    found = conditioned(scores(8, 200), 250.0, USUAL)
    assert (found[:8] > 0.5).all() and (found[8:] < 0.35).all()


def test_the_density_is_the_sum_of_the_scores() -> None:
    """At the fixed point the particles expected are as many as the density says (eq. 2.6)."""
    given = scores(30, 60, seed=1)
    found = conditioned(given, 250.0, USUAL)
    share = found.astype(np.float64).sum() / (250.0 * USUAL)
    odds = given / (1 - given.astype(np.float64))
    assert LEAST < share < 1
    assert found == pytest.approx(share * odds / (1 + share * odds), rel=1e-3)


def test_no_candidates_and_certain_ones() -> None:
    assert conditioned(np.zeros(0, np.float32), 100.0, USUAL).shape == (0,)
    assert np.isfinite(conditioned(np.ones(3, np.float32), 1e4, USUAL)).all()
