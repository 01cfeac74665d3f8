"""The two passes of the local maximum against their description, written out."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.pickers.deepem.maxima import two_pass_maxima


def described(
    score: np.ndarray, candidates: np.ndarray, step: int, ranges: tuple[float, float]
) -> set[tuple[int, int]]:
    """Lists of windows, one loop for every window and every other: what the description says and nothing else."""
    windows = [
        (float(score[row, column]), column * step, row * step)
        for row in range(score.shape[0])
        for column in range(score.shape[1])
        if candidates[row, column]
    ]
    for reach in ranges:
        best = set()
        for _, x, y in windows:
            best.add(max(w for w in windows if abs(w[1] - x) <= reach and abs(w[2] - y) <= reach))
        windows = sorted(best)
    return {(y // step, x // step) for _, x, y in windows}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("step", "ranges"), [(20, (70, 40)), (20, (100, 40)), (7, (28, 40)), (20, (28.0, 12.0))])
def test_equals_the_description(seed: int, step: int, ranges: tuple[float, float]) -> None:
    rng = np.random.default_rng(seed)
    score = rng.random((17, 13)).astype(np.float32)
    if seed % 2:
        score = np.round(score, 1)  # many equal ones
    candidates = rng.random(score.shape) < (1.0, 0.7, 0.2)[seed % 3]
    rows, columns = two_pass_maxima(score, candidates, step, ranges)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == described(score, candidates, step, ranges)


def test_is_not_greedy_suppression() -> None:
    """A chain: the middle window is beaten by the right one, but stays as the best that the left one sees."""
    score = np.array([[0.5, 0.6, 0.7]], np.float32)
    rows, columns = two_pass_maxima(score, score > 0, 20, (20, 0))
    assert columns.tolist() == [1, 2]
    assert two_pass_maxima(score, score > 0, 20, (20, 20))[1].tolist() == [2]


def test_equal_scores() -> None:
    score = np.full((3, 4), 0.5, np.float32)
    rows, columns = two_pass_maxima(score, score > 0, 1, (9, 9))
    assert (rows.tolist(), columns.tolist()) == ([2], [3])


def test_windows_that_do_not_take_part_suppress_nothing() -> None:
    score = np.array([[0.9, 0.6, 0.1]], np.float32)
    assert two_pass_maxima(score, score < 0.9, 20, (40, 40))[1].tolist() == [1]
    rows, columns = two_pass_maxima(score, score > 1, 20, (40, 40))
    assert len(rows) == len(columns) == 0
