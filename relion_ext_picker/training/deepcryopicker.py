"""The default DeepCryoPicker network teaches itself: rounds of training, each on what the round before is sure of.

The first round learns from the good particles of the clustering, which misses many and is wrong about some. What its
networks find with certainty is what the next round learns from. A network believes what it was taught, mistakes
included; therefore two are trained, on either half of the micrographs, and each labels the half that it has not seen.
The last round trains one network on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.pickers.deepcryopicker.network import REFERENCE_DIAMETER, Shape
from relion_ext_picker.pickers.deepcryopicker.picker import NETWORK, DefaultDeepCryoPicker, untrained
from relion_ext_picker.training.deepcryopicker_examples import (
    Drawing,
    Marked,
    TrainingSet,
    balanced_batches,
    classes_of,
    draw_examples,
)
from relion_ext_picker.training.deepcryopicker_kinds import resorted
from relion_ext_picker.training.deepcryopicker_limits import LEAST_ODDS, Finds, Limits, limits_of
from relion_ext_picker.training.loop import Batch, Schedule, fit
from relion_ext_picker.types import ScoreMap

Progress = Callable[[str], None]
HIT_RADIUS = 0.4  # of the diameter: a find this close to a good candidate is the same particle
EVERY = 25  # steps between the points of a learning curve
HALVES = ("first", "second")
INSIDE = 0.35  # of the diameter: good finds are no closer to the edge
NOISE = 0.2  # standard deviation of the noise added to a window, of that of the image
EDGES = 0.2  # share of the windows that are shown as if cut by the edge of the micrograph
BRIGHTNESS = 0.15  # windows are multiplied by 1 plus or minus this


@dataclass(frozen=True)
class Recipe:
    """How the default network is trained.

    Attributes
    ----------
    rounds : int
        The first learns from clustering, each further one from the finds of the one before.
    steps, last_steps : int
        Optimiser steps for each half of the micrographs, and of the last round, which learns from all.
    batch : int
    learning_rate : float
    drawing : Drawing
    particles : float
        Share of the particle classes in a batch.
    negative : bool
        Bad examples are a class of their own.
    shape : Shape
    """

    rounds: int = 3
    steps: int = 150
    last_steps: int = 300
    batch: int = 96
    learning_rate: float = 2e-3
    drawing: Drawing = field(default_factory=Drawing)
    particles: float = 0.2
    negative: bool = False
    shape: Shape = field(default_factory=Shape)


def self_train(
    marked: Sequence[Marked], recipe: Recipe, device: torch.device, seed: int, progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> DefaultDeepCryoPicker:  # fmt: skip
    """Train the compact network from the clustering of a few micrographs.

    Parameters
    ----------
    marked : sequence of Marked
        Micrographs as :meth:`DefaultDeepCryoPicker.prepare` of an untrained picker makes them, with candidates.
    recipe : Recipe
    device : torch.device
    seed : int
    progress : callable
        Takes one line of text.
    check : callable, optional
        Called before every step; may raise, to stop the training.

    Returns
    -------
    DefaultDeepCryoPicker
        Its card names what it learned from: examples of each training, its loss every `EVERY` steps, and how many
        windows of the other half of the micrographs the last pair of networks judged as the round before did.

    Raises
    ------
    InputError
        Too few good particles, or no background.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    first = list(marked) if len(marked) > 1 else halves(marked[0])
    first = known = resorted(first, always=False)
    folds = [list(range(which, len(known), 2)) for which in (0, 1)]
    trainings: list[dict[str, Any]] = []

    def drawn(picker: DefaultDeepCryoPicker, which: Sequence[int]) -> TrainingSet:
        # A network finds particles at the edge, which clustering does not: what it leaves there is background.
        drawing = recipe.drawing if known is first else replace(recipe.drawing, border=0.0)
        chosen = [known[index] for index in which]
        return draw_examples(picker.cut, chosen, picker.class_names, picker.card.reference_diameter, drawing, rng)

    def trained(which: Sequence[int], steps: int, text: str) -> DefaultDeepCryoPicker:
        picker = untrained(classes_of(known, negative=recipe.negative), device, recipe.shape)
        examples = drawn(picker, which)
        listed = ", ".join(f"{count} {name}" for name, count in examples.counts().items())
        progress(f"{text}: {len(which)} micrographs, {listed}")
        losses: list[Tensor] = []

        def loss(network: nn.Module, batch: Batch) -> Tensor:
            check()
            value = _loss(network, batch)
            losses.append(value.detach())
            return value

        batches = balanced_batches(examples, int(rng.integers(2**31)), recipe.batch, recipe.particles)
        schedule = Schedule(steps, recipe.learning_rate, average=0.98, report=50)
        network = fit(picker.network(), batches, loss, schedule, device, lambda line, _: progress(f"{text}: {line}"))
        curve = [round(float(torch.stack(losses[at : at + EVERY]).mean()), 4) for at in range(0, steps, EVERY)]
        trainings.append({"name": text, "examples": examples.counts(), "loss": curve})
        return picker.with_network(network.state_dict())

    agreement = math.nan
    for number in range(1, recipe.rounds):
        pair = [
            trained(which, recipe.steps, f"round {number}, {name} half")
            for which, name in zip(folds, HALVES, strict=True)
        ]
        agreement = float(np.mean([accuracy(pair[1 - half], drawn(pair[1 - half], folds[half])) for half in (0, 1)]))
        progress(f"round {number}: {100 * agreement:.1f} % of the windows of the other half judged as taught")
        finds = [finds_of(pair[1 - index % 2], item) for index, item in enumerate(known)]
        limits = limits_of(finds)
        known = resorted([relabelled(item, found, limits) for item, found in zip(known, finds, strict=True)])
    picker = trained(range(len(known)), recipe.last_steps, f"round {recipe.rounds}")
    limits = limits_of([finds_of(picker, item) for item in known])
    provenance: dict[str, Any] = {
        "micrographs": len(marked), "seed": seed, "trainings": trainings, "every": EVERY,
        "agreement": round(agreement, 4) if math.isfinite(agreement) else None,
    }  # fmt: skip
    return calibrated(picker, limits, provenance)


def halves(item: Marked) -> list[Marked]:
    """A micrograph cut in two across its longer side, each half with its own candidates."""
    values, grid = item.frame.values, item.frame.grid
    axis = int(values.shape[1] > values.shape[0])
    middle = values.shape[axis] // 4 * 2
    places = np.stack(grid.from_original(item.xy), axis=1)[:, axis]
    offset = list(grid.offset)
    offset[axis] += middle * grid.scale[axis]
    found = []
    for part, inside, moved in (
        (np.take(values, range(middle), axis), places < middle, grid),
        (np.take(values, range(middle, values.shape[axis]), axis), places >= middle,
         replace(grid, offset=(offset[0], offset[1]))),
    ):  # fmt: skip
        frame = ScoreMap(np.ascontiguousarray(part), moved)
        found.append(Marked(item.name, frame, item.xy[inside], item.kind[inside], item.good[inside], item.shapes))
    return found


def finds_of(picker: DefaultDeepCryoPicker, item: Marked) -> Finds:
    """All local maxima of a network's score, dark ones too, and which of them are good candidates."""
    diameter = picker.card.reference_diameter * float(np.mean(item.frame.grid.scale))
    score_map = replace(picker.propose(item.frame), darkness=None)
    rows, cols, score = picker.peaks(score_map, 0.5 * diameter, 0.0)
    xy = score_map.to_original(rows, cols)
    kind = picker.classes(item.frame, xy) - 1
    confirmed, _ = match(item.xy[item.good], xy, score, HIT_RADIUS * diameter)
    least = 1 / (1 + math.exp(-LEAST_ODDS))
    odds = np.clip(score.astype(np.float64), least, 1 - least)
    return Finds(xy, kind, np.log(odds / (1 - odds)), confirmed)


def relabelled(item: Marked, found: Finds, limits: Mapping[int, Limits]) -> Marked:
    """The micrograph with what a network found in place of its candidates; good are those that it is sure of.

    None at the edge is: the first networks never saw one, and would teach the next what they imagine there.
    """
    doubtful, sure = (
        np.array([getattr(limits[kind], name) for kind in found.kind.tolist()]) for name in ("doubtful", "sure")
    )
    places = np.stack(item.frame.grid.from_original(found.xy), axis=1)
    margin = np.minimum(places, np.array(item.frame.values.shape) - 1 - places).min(axis=1, initial=np.inf)
    good = (found.odds >= sure) & (margin >= INSIDE * REFERENCE_DIAMETER)
    kept = found.odds >= doubtful
    return replace(item, xy=found.xy[kept], kind=found.kind[kept], good=good[kept])


def calibrated(
    picker: DefaultDeepCryoPicker, limits: Mapping[int, Limits], provenance: dict[str, Any]
) -> DefaultDeepCryoPicker:
    """The same picker with a fence for each kind, so that a score of 0.5 lies between its valley and its sure finds."""
    mine = {name: limits[KINDS.index(name)] for name in picker.class_names if name in KINDS}
    fence = [0.5 * (mine[name].valley + mine[name].sure) if name in mine else 0.0 for name in picker.class_names]
    entry = picker.card.networks[NETWORK]
    networks = {NETWORK: {**entry, "config": {**entry["config"], "fence": [round(value, 4) for value in fence]}}}
    card = replace(picker.card, threshold=0.5, networks=networks, provenance=provenance)
    return picker.with_network(picker.network().state_dict(), card)


def accuracy(picker: DefaultDeepCryoPicker, examples: TrainingSet) -> float:
    """Share of windows whose likeliest class is the right one."""
    if not len(examples):
        return float("nan")
    found = picker.judge(np.asarray(examples.windows, np.float32), fenced=False).argmax(1)
    return float((found == examples.labels).mean())


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    windows, labels = batch
    gain = 1 + BRIGHTNESS * (2 * torch.rand(len(windows), 1, 1, 1, device=windows.device) - 1)
    seen = _cut_off(windows * gain + NOISE * torch.randn_like(windows))
    logits = network(seen.contiguous(memory_format=torch.channels_last))[:, :, 0, 0]
    return nn.functional.cross_entropy(logits.float(), labels)


def _cut_off(windows: Tensor) -> Tensor:
    """Some windows as they are at the edge of a micrograph: 0 beyond a line that may reach their middle.

    Always on the same side, since windows are turned at random before.
    """
    count, side = len(windows), windows.shape[-1]
    first = torch.rand(count, 1, 1, 1, device=windows.device) * side / 2
    first = torch.where(torch.rand_like(first) < EDGES, first, 0)
    return windows * (torch.arange(side, device=windows.device) >= first)
