"""Training what has the last word on the candidates of a micrograph, on simulated micrographs of other particles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.drpnet.comparer import Comparer, facts
from relion_ext_picker.pickers.drpnet.picker import COMPARER, DefaultPicker, cut_windows, without_comparer
from relion_ext_picker.training.batches import Source
from relion_ext_picker.training.loop import Batch, Progress, Schedule, fit
from relion_ext_picker.types import Array, Grid, ScoreMap

WIDTHS = (32, 16)
BATCH = 2048  # candidates
APART = 0.5  # of the diameter: the smallest distance of two candidates
FEWEST = 3  # candidates in a field that tell something about each other


@dataclass(frozen=True)
class Lesson:
    """Candidates of many fields: what is known (n, k), log odds to start from (n,), whether they are particles (n,)."""

    known: Tensor
    odds: Tensor
    labels: Tensor


def lesson_of(
    picker: DefaultPicker,
    sources: Sequence[tuple[Source, float]],
    fields: int,
    radius: float,
    seed: int,
    told: Callable[[int], None] = lambda _: None,
) -> Lesson | None:
    """What the two networks of a picker say of simulated micrographs, with the truth; None where that teaches nothing.

    Parameters
    ----------
    picker : DefaultPicker
        With a second network.
    sources : sequence of (Source, float)
        Where the micrographs come from, and how often from each.
    fields : int
        How many.
    radius : float
        Within which a candidate is a particle, in diameters.
    seed : int
    told : callable
        Takes the number of each field before it is drawn. It may raise, to stop.
    """
    rng = np.random.default_rng(seed)
    diameter = picker.card.reference_diameter
    draws = [source.draws(seed + index) for index, (source, _) in enumerate(sources)]
    often = np.array([share for _, share in sources])
    parts: list[tuple[Array, Array, Array]] = []
    for number in range(fields):
        told(number)
        image, truth = draws[int(rng.choice(len(draws), p=often / often.sum()))]()
        frame = ScoreMap(image, Grid())
        score_map = picker.propose(frame)
        rows, cols, score = picker.peaks(score_map, APART * diameter, 0.0)
        if len(score) < FEWEST:
            continue
        xy = score_map.to_original(rows, cols)
        windows = cut_windows(frame, xy)
        judged = picker.judge(windows, score)
        assert judged is not None
        hits, _ = match(truth, xy, score, radius * diameter)
        parts.append((*facts(windows, score, judged), hits.astype(np.float32)))
    labels = np.concatenate([labels for _, _, labels in parts]) if parts else np.zeros(0)
    if not labels.any() or labels.all():
        return None
    columns = zip(*parts, strict=True)
    return Lesson(*(torch.from_numpy(np.concatenate(column)) for column in columns))


def with_comparer(
    picker: DefaultPicker, lesson: Lesson, schedule: Schedule, progress: Progress, seed: int
) -> DefaultPicker:
    """The picker with a third network that has learnt from `lesson`."""
    torch.manual_seed(seed)
    comparer = Comparer(WIDTHS)
    comparer.mean.copy_(lesson.known.mean(dim=0))
    comparer.deviation.copy_(lesson.known.std(dim=0) + 1e-3)
    fitted = fit(comparer, _batches(lesson, seed), _loss, schedule, picker.device, progress)
    entry = {"architecture": COMPARER, "config": {"widths": list(WIDTHS)}}
    card = without_comparer(picker.card)
    card = replace(card, networks={**card.networks, COMPARER: entry})
    return DefaultPicker(card, {**picker.state(), COMPARER: fitted.state_dict()}, picker.device, len(picker.turns))


def _batches(lesson: Lesson, seed: int) -> Iterator[Batch]:
    rng = np.random.default_rng(seed)
    while True:
        chosen = torch.from_numpy(rng.integers(len(lesson.labels), size=BATCH))
        yield lesson.known[chosen], lesson.odds[chosen], lesson.labels[chosen]


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy over candidates as they come, so that the score is the share of such candidates that are real."""
    known, odds, labels = batch
    return nn.functional.binary_cross_entropy_with_logits(odds + network(known).float(), labels)
