"""Training the paper's network: 1500 windows of every class, twenty epochs of stochastic gradient descent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.pickers.deepcryopicker.cleaning import WINDOW
from relion_ext_picker.pickers.deepcryopicker.paper import PaperDeepCryoPicker, untrained_paper
from relion_ext_picker.pickers.deepcryopicker.preprocess import (
    equalise,
    equalise_adaptively,
    guided,
    normalise,
    opening,
)
from relion_ext_picker.training.deepcryopicker_examples import (
    Cut,
    Drawing,
    Marked,
    TrainingSet,
    classes_of,
    draw_examples,
    split,
)
from relion_ext_picker.training.loop import low_precision
from relion_ext_picker.types import Array

Progress = Callable[[str], None]
TURNS = 4  # rotations of a window by 90 degrees
TRIAL = 3  # steps after which the time of all is told
LEVELS = 255  # windows are kept in bytes: six thousand of them take 300 MB


@dataclass(frozen=True)
class PaperRecipe:
    """How the paper's network is trained.

    Attributes
    ----------
    per_class : int
        Windows of each class, rotations included.
    epochs, batch : int
        As in the paper, which tried batches of 16, 32 and 64.
    learning_rate, momentum : float
        The paper prints a rate of 1e-4 and no momentum, which is a rate for fine tuning: from random weights it hardly
        moves in twenty epochs. The default is what networks of this kind were trained with.
    shares : (float, float)
        Of the micrographs for validation and for testing: 64, 16 and 20 %.
    variants : float
        Share of the training windows that are shown preprocessed in another way.
    negative : bool
        Bad examples are a class of their own.
    near : float
        Share of the background that lies around particles, without which the network answers half a window away too.
    """

    per_class: int = 1500
    epochs: int = 20
    batch: int = 32
    learning_rate: float = 1e-2
    momentum: float = 0.9
    shares: tuple[float, float] = (0.16, 0.2)
    variants: float = 0.5
    negative: bool = False
    near: float = 0.3


def train_paper(
    marked: Sequence[Marked], recipe: PaperRecipe, device: torch.device, seed: int, progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> PaperDeepCryoPicker:  # fmt: skip
    """Train the paper's network on the good particles of a clustering.

    Parameters
    ----------
    marked : sequence of Marked
        Micrographs as :meth:`PaperDeepCryoPicker.prepare` of an untrained picker makes them, with candidates.
    recipe : PaperRecipe
    device : torch.device
    seed : int
    progress : callable
        Takes one line of text per epoch.
    check : callable, optional
        Called before every step; may raise, to stop the training.

    Returns
    -------
    PaperDeepCryoPicker
        With the weights of the epoch that did best on the validation windows; its card has the accuracy on the test
        windows, where there are micrographs enough for any.

    Raises
    ------
    InputError
        Too few good particles, or no background.
    """
    torch.manual_seed(seed)
    classes = classes_of(marked, negative=recipe.negative)
    picker = untrained_paper(classes, device)
    parts = split(len(marked), recipe.shares, seed)
    rng = np.random.default_rng(seed)
    sets = []
    for part, size in zip(parts, (1 - sum(recipe.shares), *recipe.shares), strict=True):
        chosen = [marked[index] for index in part]
        wanted = recipe.per_class if len(parts[1]) == 0 else max(TURNS, round(recipe.per_class * size))
        sets.append(paper_set(picker.cut, chosen, classes, (wanted, recipe.near), rng) if chosen else None)
    training, validation, testing = sets
    assert training is not None
    empty = [name for name, count in training.counts().items() if not count]
    if empty:
        raise InputError(
            f"the micrographs chosen for training have no example of {', '.join(empty)}: give more micrographs"
        )
    listed = ", ".join(f"{count} {name}" for name, count in training.counts().items())
    progress(f"training set: {len(parts[0])} micrographs, {listed}")
    trained, reached, curve = _fit(picker, training, validation, recipe, (seed, progress, check))
    trainings = [{"name": "the published network", "examples": training.counts(), "loss": curve}]
    provenance: dict[str, Any] = {"micrographs": len(marked), "seed": seed, "trainings": trainings, "every": 0}
    if validation is not None:
        provenance["validation_accuracy"] = reached
    if testing is not None and len(testing):
        provenance["test_accuracy"] = window_accuracy(trained, testing)
        progress(f"accuracy on {len(testing)} test windows: {100 * provenance['test_accuracy']:.2f} %")
    return trained.with_network(trained.network().state_dict(), replace(trained.card, provenance=provenance))


def paper_set(
    cut: Cut, marked: Sequence[Marked], classes: tuple[str, ...], sizes: tuple[int, float], rng: np.random.Generator
) -> TrainingSet:
    """As many windows of each class, in their four rotations; fewer where there are not enough.

    Parameters
    ----------
    cut : callable
        Of the picker, windows of grey levels 0..1.
    marked : sequence of Marked
    classes : tuple of str
    sizes : (int, float)
        Windows per class, rotations included, and the share of near misses in the background.
    rng : Generator

    Returns
    -------
    TrainingSet
        Windows in bytes.
    """
    single = max(1, sizes[0] // TURNS)
    kinds = sum(name in KINDS for name in classes)
    drawing = Drawing(per_class=single, repeats=1, jitter=0.0, background=1.5 / kinds, near=sizes[1])
    found = draw_examples(cut, marked, classes, float(WINDOW), drawing, rng)
    kept = np.sort(
        np.concatenate(
            [rng.permutation(np.flatnonzero(found.labels == index))[:single] for index in range(len(classes))]
        )
    )
    windows = np.asarray(np.rint(LEVELS * found.windows[kept].astype(np.float32)), np.uint8)
    turned = np.concatenate([np.rot90(windows, turn, axes=(1, 2)) for turn in range(TURNS)])
    return TrainingSet(classes, turned, np.tile(found.labels[kept], TURNS))


def variant(window: Array, rng: np.random.Generator) -> Array:
    """The same window (h, w), grey levels 0..1, preprocessed in another way, drawn at random.

    As the paper lists them: a guided filter of 3 or 5 px with a smoothing of 0..1, normalisation, equalisation,
    adaptive equalisation, morphology.
    """
    which = int(rng.integers(5))
    if which == 0:
        changed = guided(window, int(rng.integers(1, 3)), float(rng.uniform(0, 1)) + 1e-6)
    elif which == 1:
        changed = normalise(window)
    elif which == 2:
        changed = equalise(window)
    elif which == 3:
        changed = equalise_adaptively(window, 0.02)
    else:
        changed = opening(window)
    return np.clip(changed, 0, 1)


def window_accuracy(picker: PaperDeepCryoPicker, examples: TrainingSet) -> float:
    """Share of windows whose likeliest class is the right one."""
    right = 0
    for start in range(0, len(examples), picker.scan.batch):
        part = slice(start, start + picker.scan.batch)
        found = picker.judge(_grey(examples.windows[part])).argmax(1)
        right += int((found == examples.labels[part]).sum())
    return right / max(1, len(examples))


def _fit(
    picker: PaperDeepCryoPicker,
    training: TrainingSet,
    validation: TrainingSet | None,
    recipe: PaperRecipe,
    run: tuple[int, Progress, Callable[[], None]],
) -> tuple[PaperDeepCryoPicker, float, list[float]]:
    """The picker of the epoch that is best on the validation windows, else of the last, its accuracy, the losses."""
    seed, progress, check = run
    rng = np.random.default_rng(seed)
    network = picker.network().train()
    optimiser = torch.optim.SGD(network.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=5e-4)
    per_epoch = math.ceil(len(training) / recipe.batch)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * per_epoch)
    device = picker.device
    best, reached, curve, begin = picker, -1.0, list[float](), time.perf_counter()
    for epoch in range(1, recipe.epochs + 1):
        order, total = rng.permutation(len(training)), 0.0
        for start in range(0, len(order), recipe.batch):
            check()
            chosen = order[start : start + recipe.batch]
            windows = _shown(training.windows[chosen], recipe.variants, rng).to(device)
            labels = torch.from_numpy(training.labels[chosen]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=low_precision(device)):
                logits = network(windows)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            falling.step()
            total += float(loss.detach()) * len(chosen)
            if epoch == 1 and start == TRIAL * recipe.batch:
                pace = (time.perf_counter() - begin) / (TRIAL + 1)
                progress(f"{pace:.1f} s per step: {recipe.epochs} epochs will take about "
                         f"{pace * recipe.epochs * per_epoch / 60:.0f} minutes")  # fmt: skip
        now = picker.with_network(network.state_dict())
        accuracy = window_accuracy(now, validation) if validation is not None else float(epoch)
        if accuracy >= reached:
            best, reached = now, accuracy
        seen = f", {100 * accuracy:.2f} % of the validation windows right" if validation is not None else ""
        curve.append(round(total / len(order), 4))
        progress(f"epoch {epoch}/{recipe.epochs}: loss {curve[-1]:.4f}{seen}")
    return best, reached, curve


def _shown(windows: NDArray[np.generic], share: float, rng: np.random.Generator) -> torch.Tensor:
    """Bytes (n, h, w) -> grey levels (n, 1, h, w), some of them as another preprocessing shows them."""
    shown = _grey(windows)
    for index in np.flatnonzero(rng.random(len(shown)) < share):
        shown[index] = variant(shown[index], rng)
    return torch.from_numpy(shown)[:, None]


def _grey(windows: NDArray[np.generic]) -> Array:
    return np.asarray(windows.astype(np.float32) / np.float32(LEVELS), np.float32)
