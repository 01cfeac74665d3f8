"""Candidates are compared with the particles of their own micrograph."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from relion_ext_picker.pickers.likeness import FEWEST, LIMIT, compared, informed

SIDE = 48
Y, X = np.mgrid[:SIDE, :SIDE] - SIDE // 2


def candidates(count, rng, strength, radius=14.0, shift=2):
    """Windows of noise, half of them with a faint ring near their centre; scores that know a little; the truth."""
    truth = rng.random(count) < 0.5
    windows = rng.normal(size=(count, SIDE, SIDE)).astype(np.float32)
    for index in np.flatnonzero(truth):
        dy, dx = rng.integers(-shift, shift + 1, 2)
        windows[index] -= strength * np.exp(-0.5 * ((np.hypot(Y - dy, X - dx) - radius) / 2) ** 2)
    return windows, expit(rng.normal(np.where(truth, 0.7, -0.7), 1.0)).astype(np.float32), truth


def auc(score, truth):
    return (score[truth][:, None] > score[~truth]).mean()


def test_faint_particles_are_told_by_what_the_others_look_like():
    windows, score, truth = candidates(300, np.random.default_rng(1), strength=0.3)
    found = informed(windows, score)
    assert auc(score, truth) < 0.87, "the scores alone know a little"
    assert auc(found, truth) > auc(score, truth) + 0.08
    assert abs(found.mean() - truth.mean()) < 0.06, "and stay probabilities"
    assert np.abs(logit(found) - logit(score)).max() < LIMIT + 1e-3
    assert found.dtype == np.float32


def test_noise_is_not_like_itself():
    rng = np.random.default_rng(2)
    windows, score, _ = candidates(200, rng, strength=0.0)
    few = score * 0.05  # a handful of doubtful candidates, which make up the mean particle
    alike = compared(windows, few).likeness
    assert abs(np.corrcoef(alike, few**2)[0, 1]) < 0.15
    assert informed(windows, few).mean() < 1.5 * few.mean()


def test_dirt_that_is_more_than_a_particle_gains_nothing():
    rng = np.random.default_rng(3)
    windows, score, truth = candidates(300, rng, strength=0.5)
    windows[:5] = rng.normal(size=(5, SIDE, SIDE)) - 20 * np.exp(-0.5 * ((np.hypot(Y, X) - 14) / 2) ** 2)
    score[:5] = 0.02
    assert informed(windows, score)[:5].max() < 0.02


@pytest.mark.parametrize("score", [np.zeros(0), np.full(40, 0.05), np.full(40, 0.95), np.full(4, 0.5)])
def test_too_few_particles_or_others_leave_the_scores_as_they_are(score):
    score = score.astype(np.float32)
    assert min(score.sum(), (1 - score).sum()) < FEWEST
    windows = np.random.default_rng(4).normal(size=(len(score), SIDE, SIDE)).astype(np.float32)
    assert informed(windows, score) is score


def test_units_do_not_matter():
    windows, score, _ = candidates(100, np.random.default_rng(5), strength=0.3)
    np.testing.assert_allclose(informed(7 * windows + 100, score), informed(windows, score), atol=2e-3)
