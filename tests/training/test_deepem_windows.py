"""Judging windows, and the published recipe, on windows that are easy to tell apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.training.deepem import (
    Recipe,
    Watch,
    even_odds,
    half_squared_error,
    judge,
    judged_wrongly,
    on_line,
    train_published,
)
from relion_ext_picker.training.windows import WindowSet


class Corner(nn.Module):
    """Log odds are the upper left px, so that every rotation gives another answer."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))

    def forward(self, windows: Tensor) -> Tensor:
        return self.slope * windows[:, 0, 0, 0]


def flat(*values: float) -> np.ndarray:
    return np.stack([np.full((4, 4), value, np.float32) for value in values])


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_four_rotations_are_averaged() -> None:
    window = np.zeros((1, 4, 4), np.float32)
    window[0, 0, 0], window[0, 0, 3], window[0, 3, 0], window[0, 3, 3] = 1, 2, 3, -4
    wanted = np.mean([sigmoid(value) for value in (1, 2, 3, -4)])
    assert judge(Corner(), window) == pytest.approx(wanted, abs=1e-6)
    assert judge(Corner(), window[:0]).shape == (0,)


def test_errors_weigh_particles_and_others_alike() -> None:
    windows = WindowSet(flat(1, -1), flat(-3, -3, -3, 3))
    loss, error = judged_wrongly(Corner(), windows)
    assert error == pytest.approx(0.5 * (1 / 2 + 1 / 4))
    good = [(1 - sigmoid(1)) ** 2, (1 - sigmoid(-1)) ** 2]
    bad = [sigmoid(-3) ** 2] * 3 + [sigmoid(3) ** 2]
    assert loss == pytest.approx(0.25 * (np.mean(good) + np.mean(bad)), abs=1e-6)


def test_even_odds_lie_between_particles_and_others() -> None:
    """Scores that are all low tell particles from others all the same."""
    windows = WindowSet(flat(-2, -3, -2.5), flat(-9, -8, -7, -6))
    assert judged_wrongly(Corner(), windows)[1] == 0.5
    line = even_odds(Corner(), windows)
    assert line == (1.0, pytest.approx(4.5, abs=0.01)) and judged_wrongly(Corner(), windows, line)[1] == 0
    assert even_odds(Corner(), WindowSet(windows.positives, windows.negatives[:0])) == (1.0, 0.0)
    assert on_line(np.array([0.5]), (2.0, 1.0))[0] == pytest.approx(sigmoid(1))


def test_the_loss_of_equation_4() -> None:
    loss = half_squared_error(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.0]))
    assert float(loss) == pytest.approx((0.25 + 1.0) / 4)


def test_epochs_see_every_window_in_four_rotations_and_leave_out_what_fills_no_batch() -> None:
    seen: list[Tensor] = []

    class Spy(Corner):
        def forward(self, windows: Tensor) -> Tensor:
            if self.training:
                seen.append(windows.detach().clone())
            return super().forward(windows)

    rng = np.random.default_rng(0)
    windows = WindowSet(*(rng.normal(size=(5, 4, 4)).astype(np.float32) for _ in range(2)))
    steps: list[int] = []
    curve = train_published(
        Spy(), windows, windows, Recipe(2, 9, 0.1), 0, Watch(lambda point: None, lambda: steps.append(1))
    )
    assert [len(batch) for batch in seen] == [9] * 8 and len(steps) == 8 and [point.at for point in curve] == [1, 2]
    turns = {np.rot90(window, turn).tobytes() for part in (windows.positives, windows.negatives)
             for window in part for turn in range(4)}  # fmt: skip
    first = [window.numpy().tobytes() for batch in seen[:4] for window in batch[:, 0]]
    assert len(set(first)) == 36 and set(first) <= turns


@pytest.mark.parametrize(("good", "bad", "batch"), [(0, 5, 4), (5, 0, 4), (1, 1, 9)])
def test_what_is_too_little(good: int, bad: int, batch: int) -> None:
    windows = WindowSet(np.zeros((good, 4, 4), np.float32), np.zeros((bad, 4, 4), np.float32))
    with pytest.raises(InputError, match="do not fill a batch"):
        train_published(Corner(), windows, windows, Recipe(1, batch), 0, Watch(print, lambda: None))
