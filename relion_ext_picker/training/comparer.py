"""Training what has the last word on the candidates of a micrograph, on simulated micrographs of other particles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.comparer import COMPARER, Comparer, facts
from relion_ext_picker.training.batches import Source
from relion_ext_picker.training.loop import Batch, Progress, Schedule, fit
from relion_ext_picker.types import Array

WIDTHS = (32, 16)
BATCH = 2048  # candidates
FEWEST = 3  # candidates in a field that tell something about each other

# Image (h, w) as the simulator makes it -> places (n, 2) px, windows (n, 48, 48), first and second scores (n,).
Candidates = Callable[[Array], tuple[Array, Array, Array, Array]]


@dataclass(frozen=True)
class Lesson:
    """Candidates of many fields: what is known (n, k), log odds to start from (n,), whether they are particles (n,)."""

    known: Tensor
    odds: Tensor
    labels: Tensor


def lesson_of(
    candidates: Candidates,
    sources: Sequence[tuple[Source, float]],
    fields: int,
    radius: float,
    seed: int,
    told: Callable[[int], None] = lambda _: None,
) -> Lesson | None:
    """What the networks of a picker say of simulated micrographs, with the truth; None where that teaches nothing.

    Parameters
    ----------
    candidates : callable
        See `Candidates`.
    sources : sequence of (Source, float)
        Where the micrographs come from, and how often from each.
    fields : int
        How many.
    radius : float
        px, within which a candidate is a particle.
    seed : int
    told : callable
        Takes the number of each field before it is drawn. It may raise, to stop.
    """
    rng = np.random.default_rng(seed)
    draws = [source.draws(seed + index) for index, (source, _) in enumerate(sources)]
    often = np.array([share for _, share in sources])
    parts: list[tuple[Array, Array, Array]] = []
    for number in range(fields):
        told(number)
        image, truth = draws[int(rng.choice(len(draws), p=often / often.sum()))]()
        xy, windows, first, judged = candidates(image)
        if len(xy) >= FEWEST:
            hits, _ = match(truth, xy, first, radius)
            parts.append((*facts(windows, first, judged), hits.astype(np.float32)))
    labels = np.concatenate([labels for _, _, labels in parts]) if parts else np.zeros(0)
    if not labels.any() or labels.all():
        return None
    columns = zip(*parts, strict=True)
    return Lesson(*(torch.from_numpy(np.concatenate(column)) for column in columns))


def learnt(lesson: Lesson, schedule: Schedule, progress: Progress, seed: int) -> tuple[dict[str, Any], nn.Module]:
    """A comparer that has learnt from a lesson, and its entry in a model card."""
    torch.manual_seed(seed)
    comparer = Comparer(WIDTHS)
    comparer.mean.copy_(lesson.known.mean(dim=0))
    comparer.deviation.copy_(lesson.known.std(dim=0) + 1e-3)
    fitted = fit(comparer, _batches(lesson, seed), _loss, schedule, torch.device("cpu"), progress)
    return {"architecture": COMPARER, "config": {"widths": list(WIDTHS)}}, fitted


def _batches(lesson: Lesson, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    while True:
        chosen = torch.from_numpy(rng.integers(len(lesson.labels), size=BATCH))
        yield lesson.known[chosen], lesson.odds[chosen], lesson.labels[chosen]


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy over candidates as they come, so that the score is the share of such candidates that are real."""
    known, odds, labels = batch
    return nn.functional.binary_cross_entropy_with_logits(odds + network(known).float(), labels)
