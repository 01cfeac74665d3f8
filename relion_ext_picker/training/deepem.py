"""Training the published network of the DeepEM mode, and judging windows with any network of the mode.

The recipe is that of the authors' program: plain gradient descent at a rate of 1 on half the squared error of the
sigmoid, batches of 50, 20 passes over all windows in their four rotations in a new order each time, what is left of a
pass after the last whole batch left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.training.windows import WindowSet
from relion_ext_picker.types import Array

TOGETHER = 64  # windows judged at a time
TINY = 1e-7  # scores are kept this far from 0 and 1 where their odds are needed
HALF = 0.5  # the score from which a window counts as a particle when errors are counted


Line = tuple[float, float]  # slope and intercept


@dataclass(frozen=True)
class Recipe:
    """How to train the published network.

    Attributes
    ----------
    epochs : int
        Passes over the training set.
    batch : int
        Windows per step.
    learning_rate : float
    """

    epochs: int = 20
    batch: int = 50
    learning_rate: float = 1.0


@dataclass(frozen=True)
class Point:
    """One point of a learning curve.

    Attributes
    ----------
    at : int
        Passes or steps done.
    loss : float
        Half the mean squared error on the training windows.
    held_loss : float
        The same on windows of held-out micrographs.
    held_error : float
        Share of these that are judged wrongly at a score of 0.5.
    """

    at: int
    loss: float
    held_loss: float
    held_error: float


@dataclass(frozen=True)
class Watch:
    """Who is told how the training gets on; either may raise, to stop it.

    Attributes
    ----------
    point : callable
        Called with the newest point of the learning curve.
    step : callable
        Called before every step.
    """

    point: Callable[[Point], None]
    step: Callable[[], None]


def logits_of(network: nn.Module, windows: Tensor) -> Tensor:
    """What goes into the last sigmoid for windows (b, 1, box, box), shape (b,)."""
    found: Tensor = getattr(network, "logits", network)(windows)
    return found


def train_published(
    network: nn.Module, windows: WindowSet, held: WindowSet, recipe: Recipe, seed: int, watch: Watch
) -> list[Point]:
    """Train the published network as its authors did.

    Parameters
    ----------
    network : nn.Module
        Trained in place, where it is.
    windows, held : WindowSet
        Normalised windows to learn from, and of held-out micrographs.
    recipe : Recipe
    seed : int
        Of the order of the windows.
    watch : Watch
        Told of every pass.

    Returns
    -------
    list of Point

    Raises
    ------
    InputError
        The windows, four times each, do not fill a batch, or are all of one kind.
    """
    values, labels = windows.stacked()
    if not len(windows.positives) or not len(windows.negatives) or 4 * len(values) < recipe.batch:
        raise InputError(
            f"{len(windows.positives)} particles and {len(windows.negatives)} other windows do not fill a batch of "
            f"{recipe.batch}: give more picks or a smaller --batch"
        )
    device = next(network.parameters()).device
    optimiser = torch.optim.SGD(network.parameters(), lr=recipe.learning_rate)
    rng = np.random.default_rng(seed)
    curve = []
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        total = 0.0
        batches = _batches(len(values), recipe.batch, rng)
        for which, turns in batches:
            watch.step()
            seen = _turned(values[which], turns).to(device)
            target = torch.from_numpy(labels[which]).to(device)
            loss = half_squared_error(torch.sigmoid(logits_of(network, seen)), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach())
        curve.append(Point(epoch, total / len(batches), *judged_wrongly(network, held)))
        watch.point(curve[-1])
    network.eval()
    return curve


def half_squared_error(score: Tensor, target: Tensor) -> Tensor:
    """Equation 4 of the paper: half the mean squared error."""
    return 0.5 * (target - score).square().mean()


def judge(network: nn.Module, windows: Array) -> NDArray[np.float64]:
    """Scores of windows (n, box, box): the mean over the four rotations, shape (n,)."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    parts = [np.zeros(0)]
    with torch.inference_mode():
        for start in range(0, len(windows), TOGETHER):
            seen = torch.from_numpy(windows[start : start + TOGETHER])[:, None].to(device)
            answers = [torch.sigmoid(logits_of(network, torch.rot90(seen, turn, (2, 3)))) for turn in range(4)]
            parts.append(torch.stack(answers).mean(0).double().cpu().numpy())
    network.train(training)
    return np.concatenate(parts)


def even_odds(network: nn.Module, windows: WindowSet) -> Line:
    """The shift of the log odds that puts 0.5 where the fewest windows are judged wrongly, particles and others alike.

    A network that was trained on every place of a micrograph takes particles for rare, and so gives low scores.
    """
    particles, others = (log_odds(judge(network, part)) for part in (windows.positives, windows.negatives))
    if not len(particles) or not len(others):
        return 1.0, 0.0
    odds = np.concatenate([particles, others])
    order = np.argsort(odds, kind="stable")
    particle, odds = (order < len(particles)), odds[order]
    missed = np.append(0, np.cumsum(particle)) / len(particles)
    false = 1 - np.append(0, np.cumsum(~particle)) / len(others)
    best = np.flatnonzero(missed + false <= (missed + false).min() + 1e-9)
    edges = np.concatenate([odds[:1] - 1, 0.5 * (odds[1:] + odds[:-1]), odds[-1:] + 1])
    return 1.0, -float(edges[best[len(best) // 2]])


def log_odds(score: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Of scores 0..1; those of 0 and 1 are finite."""
    clipped = np.clip(np.asarray(score, np.float64), TINY, 1 - TINY)
    return np.asarray(np.log(clipped / (1 - clipped)))


def on_line(score: NDArray[np.float64], line: Line) -> NDArray[np.float64]:
    """Scores whose log odds are taken through slope and intercept."""
    if line == (1.0, 0.0):
        return score
    return np.asarray(1 / (1 + np.exp(-np.clip(line[0] * log_odds(score) + line[1], -50, 50))))


def judged_wrongly(network: nn.Module, windows: WindowSet, line: Line = (1.0, 0.0)) -> tuple[float, float]:
    """Half the mean squared error, and the share of windows on the wrong side of 0.5; particles and others count
    alike, however many there are of each, NaN where there are none. `line` is applied to the scores first."""
    losses, errors = [], []
    for part, target in ((windows.positives, 1.0), (windows.negatives, 0.0)):
        score = on_line(judge(network, part), line)
        if len(score):
            losses.append(0.5 * float(np.mean((target - score) ** 2)))
            errors.append(float(np.mean((score > HALF) != (target > HALF))))
    return (float(np.mean(losses)), float(np.mean(errors))) if losses else (math.nan, math.nan)


def _batches(count: int, batch: int, rng: np.random.Generator) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Whole batches of (windows, rotations) that together name every window in its four rotations at most once."""
    order = rng.permutation(4 * count)
    whole = order[: len(order) // batch * batch].reshape(-1, batch)
    return [(row // 4, row % 4) for row in whole]


def _turned(windows: Array, turns: NDArray[np.int64]) -> Tensor:
    """Windows (b, box, box), each turned by its own multiple of 90°, as (b, 1, box, box)."""
    out = torch.from_numpy(windows)
    for turn in range(1, 4):
        which = torch.from_numpy(turns == turn)
        out[which] = torch.rot90(out[which], turn, (1, 2))
    return out[:, None]
