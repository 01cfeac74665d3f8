"""A threshold for a data set: that it is the best one, and as many as are expected."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.evaluation.curves import precision_recall
from relion_ext_picker.pickers.selection import LEAST, best_threshold, threshold_for_count
from relion_ext_picker.types import Array


def candidates(high: float, seed: int = 0) -> tuple[list[Array], list[np.ndarray]]:
    """Scores of three micrographs up to `high`, and candidates that are particles as often as their scores say."""
    rng = np.random.default_rng(seed)
    scores = [(high * rng.beta(0.5, 1.5, count)).astype(np.float32) for count in (3000, 2000, 1)]
    return scores, [rng.random(len(each)) < each for each in scores]


@pytest.mark.parametrize("high", [1.0, 0.45])
def test_the_best_threshold_is_found_without_truth(high: float) -> None:
    scores, hits = candidates(high)
    choice = best_threshold(scores, usual=0.5)
    hit, score = np.concatenate(hits), np.concatenate(scores)
    curve = precision_recall(score, hit, int(hit.sum()))
    kept = score >= choice.threshold
    assert kept.sum() == choice.picks
    precision, recall = hit[kept].mean(), hit[kept].sum() / hit.sum()
    assert 2 * precision * recall / (precision + recall) > curve.f1.max() - 0.02
    assert (choice.precision, choice.recall) == pytest.approx((precision, recall), abs=0.03)
    assert choice.threshold < 0.5 * high + 0.02  # the optimum is half the F1 that it reaches


def test_sure_scores_leave_the_middle() -> None:
    choice = best_threshold([np.array([0.99] * 50 + [0.02] * 50, np.float32)], usual=0.5)
    assert choice.picks == 50 and 0.98 < choice.threshold <= 0.99
    assert choice.f1 == pytest.approx(0.985, abs=0.01)


def test_noise_alone_is_not_picked() -> None:
    choice = best_threshold([np.full(1000, 0.5 * LEAST, np.float32)], usual=0.5)
    assert (choice.threshold, choice.picks, choice.f1) == (0.5, 0, 0.0)
    assert best_threshold([], usual=0.5).picks == 0


def test_as_many_as_expected() -> None:
    scores = [np.array([0.9, 0.2], np.float32), np.array([0.8, 0.7, 0.1], np.float32)]
    assert threshold_for_count(scores, 3).picks == 3
    assert 0.2 < threshold_for_count(scores, 3).threshold <= 0.7
    assert threshold_for_count(scores, 9).picks == 5
    assert threshold_for_count([], 3).picks == 0


@pytest.mark.parametrize("last", [0.9996, 0.9994, 0.5001, 0.0007])
def test_scores_of_four_digits_are_counted_as_they_are_written(last: float) -> None:
    scores = np.array([0.9999, last, last - 1e-4, last - 2e-4], np.float32)  # as a job remembers them
    choice = threshold_for_count([scores], 2)
    assert choice.picks == np.count_nonzero(scores >= choice.threshold) == 2
