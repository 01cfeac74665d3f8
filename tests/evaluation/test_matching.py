from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.evaluation.matching import match


def brute_force(truth: np.ndarray, xy: np.ndarray, score: np.ndarray, radius: float) -> np.ndarray:
    """Index of the matched truth per pick, written down as the rule is spoken."""
    index = np.full(len(xy), -1)
    free = set(range(len(truth)))
    for pick in sorted(range(len(xy)), key=lambda i: (-score[i], i)):
        distance = {j: np.hypot(*(truth[j] - xy[pick])) for j in free}
        if distance and min(distance.values()) <= radius:
            index[pick] = min(distance, key=lambda j: (distance[j], j))
            free.remove(index[pick])
    return index


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("whole", [False, True])
def test_agrees_with_brute_force(seed: int, whole: bool) -> None:
    """Whole numbers make ties of distances and of scores."""
    rng = np.random.default_rng(seed)
    truth, xy = rng.uniform(0, 60, (40, 2)), rng.uniform(0, 60, (70, 2))
    score = rng.uniform(size=70)
    if whole:
        truth, xy, score = truth.round(), xy.round(), score.round(1)
    hit, index = match(truth, xy, score, 5)
    np.testing.assert_array_equal(index, brute_force(truth, xy, score, 5))
    np.testing.assert_array_equal(hit, index >= 0)
    taken = index[hit]
    assert 10 < len(taken) == len(set(taken.tolist()))


def test_the_radius_is_closed() -> None:
    assert match([[0, 0]], [[3, 4]], [1], 5)[0].tolist() == [True]
    assert match([[0, 0]], [[3, 4]], [1], np.nextafter(5, 0))[0].tolist() == [False]
    assert match([[1, 1]], [[1, 1]], [1], 0)[0].tolist() == [True]


def test_the_better_pick_goes_first_and_takes_the_nearest() -> None:
    hit, index = match([[0, 0], [10, 0]], [[4, 0], [5.5, 0], [1, 0]], [0.1, 0.9, 0.8], 6)
    assert index.tolist() == [-1, 1, 0]
    assert hit.tolist() == [False, True, True]


def test_equal_and_missing_scores_keep_the_order_given() -> None:
    xy = [[3, 0], [1, 0]]
    for score in ([0.5, 0.5], [np.nan, 0.0], None):
        assert match([[0, 0]], xy, score, 5)[1].tolist() == [0, -1]


def test_nothing_to_match() -> None:
    for truth, xy in (([], [[1, 1]]), ([[1, 1]], []), ([], [])):
        hit, index = match(truth, xy, np.ones(len(xy)), 5)
        assert hit.shape == index.shape == (len(xy),)
        assert not hit.any()
    assert match(np.zeros((3, 2)), [[50, 50]], [1], 5)[1].tolist() == [-1]


def test_inputs_are_left_alone() -> None:
    truth, xy, score = np.ones((3, 2), np.float32), np.zeros((4, 2), np.float32), np.array([np.nan, 1, 2, 3])
    copies = truth.copy(), xy.copy(), score.copy()
    match(truth, xy, score, 5)
    for given, copy in zip((truth, xy, score), copies, strict=True):
        np.testing.assert_array_equal(given, copy)
