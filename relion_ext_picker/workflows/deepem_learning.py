"""Training one network of the DeepEM mode: the published recipe, or the default one."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.io.weights import load_model
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.deepem.default import DefaultDeepEM, untrained
from relion_ext_picker.pickers.deepem.default_network import POOL, Shape, WindowNetwork
from relion_ext_picker.pickers.deepem.network import NETWORK, DeepEM, architecture_of
from relion_ext_picker.pickers.deepem.paper import published_card
from relion_ext_picker.pickers.inference import Inference
from relion_ext_picker.pickers.registry import build_picker
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.training.deepem import Point, Recipe, Watch, even_odds, judged_wrongly, train_published
from relion_ext_picker.training.deepem_default import Course, train_default
from relion_ext_picker.training.loop import Schedule
from relion_ext_picker.training.windows import WindowSet
from relion_ext_picker.types import ModelCard
from relion_ext_picker.workflows.deepem_lesson import Lesson, WindowPicker
from relion_ext_picker.workflows.models import load_picker
from relion_ext_picker.workflows.training_set import Set

SAMPLE = 60  # windows of either kind on which the default network is watched: more would take longer than training
REPORTS = 8  # points of its learning curve
AVERAGE = 0.99  # of its weights: a training is short

_log = logging.getLogger(__name__)


Three = tuple[int, int, int]


@dataclass(frozen=True)
class Sizes:
    """What may be varied of a network: sides of its kernels and pools, and its maps."""

    kernels: Three
    pools: Three
    maps: Three

    def __str__(self) -> str:
        return ", ".join(f"{name} {'-'.join(map(str, getattr(self, name)))}" for name in ("kernels", "pools", "maps"))


@dataclass(frozen=True)
class Learnt:
    """A trained picker, and its learning curve over epochs or steps."""

    picker: WindowPicker
    curve: list[Point]
    unit: str


def first_picker(options: TrainOptions, device: torch.device) -> WindowPicker:
    """The picker that a training begins with.

    The published networks begin with random weights always, the default one with --scratch or --tune; otherwise it goes
    on from the model of --from or from the built-in one.

    Raises
    ------
    WeightsError, InputError
        The model cannot be read, or is of another mode, preset or box.
    """
    torch.manual_seed(options.seed)
    default = options.preset == "default"
    fresh = cast(WindowPicker, untrained(device) if default else _untrained_published(options.preset, device))
    if options.model:
        _check(options, fresh)
    if not default or options.scratch or options.tune:
        return fresh
    return cast(WindowPicker, load_picker(options.mode, "default", options.model, device))


def unseen(picker: WindowPicker, found: Set, options: TrainOptions) -> WindowPicker:
    """The picker that a cross-validation begins with: the given one, or the built-in one where that has learnt from
    some of the micrographs."""
    learnt = picker.card.provenance.get("training_micrographs", [])
    if not set(learnt) & set(found):
        return picker
    _log.info(
        "%s has learnt from these micrographs and could not be tested on them: training begins with the built-in model",
        options.model,
    )  # fmt: skip
    return cast(WindowPicker, load_picker(options.mode, "default", "", picker.device))


def model_picker(options: TrainOptions, device: torch.device) -> WindowPicker | None:
    """The picker of --from; None without."""
    if not options.model:
        return None
    return cast(WindowPicker, load_picker(options.mode, options.preset, options.model, device))


def _untrained_published(preset: str, device: torch.device) -> Picker:
    """A picker of a published preset with random weights; see torch.manual_seed."""
    card = published_card(preset)
    network = DeepEM(architecture_of(card.networks[NETWORK]["config"]))
    network.reset()
    return build_picker(card, {NETWORK: network.state_dict()}, device)


def sizes_of(card: ModelCard) -> tuple[int, Sizes]:
    """Side of the window that a network sees, and what may be varied of it."""
    config = card.networks[NETWORK]["config"]
    kernels, maps = (tuple(int(value) for value in config[name]) for name in ("kernels", "maps"))
    pools = tuple(int(value) for value in config.get("pools", (POOL, POOL, POOL)))
    return box_of(card), Sizes(cast(Three, kernels), cast(Three, pools), cast(Three, maps))


def resized(picker: WindowPicker, sizes: Sizes) -> WindowPicker:
    """A picker like this one whose network has other sizes and random weights."""
    entry = picker.card.networks[NETWORK]
    own = {name: list(getattr(sizes, name)) for name in ("kernels", "pools", "maps") if name in entry["config"]}
    config = {**entry["config"], **own}
    if isinstance(picker, DefaultDeepEM):
        network: nn.Module = WindowNetwork(Shape.of_config(config))
    else:
        network = DeepEM(architecture_of(config))
        network.reset()
    card = replace(picker.card, networks={NETWORK: {**entry, "config": config}})
    return cast(WindowPicker, build_picker(card, {NETWORK: network.state_dict()}, picker.device))


def _check(options: TrainOptions, fresh: WindowPicker) -> None:
    """Refuse a model to go on from that is of another mode, preset or box."""
    path = Path(options.model)
    card, _ = load_model(path, options.mode)
    if card.preset != options.preset:
        raise InputError(
            f"{path}: a model of preset {card.preset}, which cannot be gone on from with --preset {options.preset}: "
            f"use --preset {card.preset} or leave out --from"
        )
    boxes = [box_of(each) for each in (card, fresh.card)]
    if boxes[0] != boxes[1]:
        raise InputError(
            f"{path}: its network sees boxes of {boxes[0]} px, those of preset {options.preset} are of {boxes[1]} px: "
            "train another without --from"
        )


def box_of(card: ModelCard) -> int:
    """Side of the window that the network of a DeepEM model sees, px; 0 where its card does not say."""
    config = card.networks.get(NETWORK, {}).get("config", {})
    return int(config.get("box", config.get("window", 0)))


def learn(job: JobDirectory, picker: WindowPicker, lesson: Lesson, options: TrainOptions) -> Learnt:
    """Train the network of a picker; a copy is returned.

    The published networks are trained as they are, the default one goes on from what it knows.
    """
    if not len(lesson.windows.positives):
        raise InputError("there are no particles to train on: give more picks")
    if isinstance(picker, DefaultDeepEM):
        return _learn_default(job, picker, lesson, options)
    return _learn_published(job, picker, lesson, options)


def _learn_published(job: JobDirectory, picker: WindowPicker, lesson: Lesson, options: TrainOptions) -> Learnt:
    recipe = Recipe(options.epochs, options.batch, options.learning_rate)
    start = time.perf_counter()

    def tell(point: Point) -> None:
        pace = (time.perf_counter() - start) / point.at
        _log.info("epoch %d/%d: %s, %.1f s per epoch", point.at, recipe.epochs, _told(point), pace)

    network = picker.network().to(picker.device)
    watch = Watch(tell, job.check_abort)
    curve = train_published(network, lesson.windows, lesson.held, recipe, options.seed, watch)
    return Learnt(picker.with_network(network.state_dict()), curve, "epoch")


def _learn_default(job: JobDirectory, picker: DefaultDeepEM, lesson: Lesson, options: TrainOptions) -> Learnt:
    schedule = Schedule(options.steps, options.learning_rate, average=AVERAGE, report=max(1, options.steps // REPORTS))
    sample, held = (_sample(windows, options.seed) for windows in (lesson.windows, lesson.held))
    curve: list[Point] = []

    def tell(line: str, network: nn.Module) -> None:
        at = min(options.steps, (len(curve) + 1) * schedule.report)
        job.check_abort()
        quick = Inference(network)
        odds = even_odds(quick, sample)
        loss, _ = judged_wrongly(quick, sample, odds)
        curve.append(Point(at, loss, *judged_wrongly(quick, held, odds)))
        _log.info("%s; %s", line, _told(curve[-1]))

    trained = train_default(
        picker, lesson.labelled, schedule, tell, options.seed, Course(options.batch, lesson.verified)
    )
    return Learnt(cast(WindowPicker, trained), curve, "step")


def _sample(windows: WindowSet, seed: int) -> WindowSet:
    rng = np.random.default_rng(seed)
    parts = (part[np.sort(rng.permutation(len(part))[:SAMPLE])] for part in (windows.positives, windows.negatives))
    return WindowSet(*parts)


def _told(point: Point) -> str:
    held = f", held out {point.held_loss:.4f}, error {point.held_error:.1%}"
    return f"loss {point.loss:.4f}{held if math.isfinite(point.held_loss) else ''}"
