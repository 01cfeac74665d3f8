"""The one table of parameters.

The command line, RELION's job.star templates, the Scipion forms and docs/reference/options.md are all made from the
dataclasses below. Standard library only, so that every shell can read it without the rest of the package.

Lengths are in Å (named in `unit`); a field is an option ``--name-with-dashes``, and the spelling with underscores is
accepted as well. Values are checked by :func:`check`, whose messages name the option, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation_options import EvaluateOptions
from relion_ext_picker.feedback_options import FeedbackOptions
from relion_ext_picker.job_options import GENERATIONS, JobOptions
from relion_ext_picker.option import (
    Info,
    default_of,
    flag_of,
    info_of,
    nearest,
    opt,
    parse_range,
    range_of,
    split_list,
)
from relion_ext_picker.simulation_options import SimulateOptions

__all__ = [
    "CLUSTERINGS", "COMMANDS", "FORMATS", "GENERATIONS", "MODES", "PRESETS", "PRESETS_OF", "RECIPES", "STAGES",
    "TAUGHT", "TRAINED", "DemoOptions", "EvaluateOptions", "FeedbackOptions", "Info", "JobOptions", "PickOptions",
    "SimulateOptions", "TrainOptions", "check", "default_of", "flag_of", "info_of", "opt", "parse_range",
    "range_of", "split_list", "with_plain_model", "with_recipe",
]  # fmt: skip

PRESETS_OF: Mapping[str, tuple[str, ...]] = {  # of each mode
    "drpnet": ("default", "paper", "paper-10005", "paper-10017", "paper-10061"),
    "deepem": ("default", "paper", "klh", "19s", "26s", "inflammasome"),
    "deepcryopicker": ("default", "paper", "clustering"),
}
MODES = tuple(PRESETS_OF)
PRESETS = tuple(dict.fromkeys(preset for presets in PRESETS_OF.values() for preset in presets))
TAUGHT = tuple(mode for mode in MODES if mode != "deepcryopicker")  # by the train command; the other teaches itself
TRAINED = tuple(  # the others share their networks
    preset for preset in PRESETS if not preset.startswith("paper-") and any(preset in PRESETS_OF[m] for m in TAUGHT)
)
FORMATS = ("star", "box", "csv")
BUILTIN = "builtin"  # as --model
AUTO_DIAMETER, AUTO_THRESHOLD = -1.0, -2.0  # what the word auto stands for
MAXIMA = ("two-pass", "greedy")
CLUSTERINGS = ("auto", "intensity", "superpixel")
STAGES = ("both", "proposer", "classifier")
RECIPES: Mapping[str, Mapping[str, float]] = {  # what an option of TrainOptions that is 0 stands for
    "DRPnet": {"steps": 600, "batch": 16, "learning_rate": 1e-3},
    "DeepEM": {"steps": 100, "batch": 16, "learning_rate": 1e-3},
    "DeepEM with --scratch": {"steps": 300, "batch": 16, "learning_rate": 3e-3},
    "published DeepEM": {"batch": 50, "learning_rate": 1.0},
}


def _recipes(name: str) -> str:
    """What the recipes have for an option, for its help."""
    return ", ".join(f"{values[name]:g} ({recipe})" for recipe, values in RECIPES.items() if name in values)


@dataclass(frozen=True)
class PickOptions(JobOptions):
    """Pick particles from micrographs."""

    mode: str = opt("drpnet", "Method.", choices=MODES)
    diameter: float = opt(
        0.0, "Particle diameter: the longest extent of the particle. auto (or -1) estimates it from a few micrographs "
        "and says how sure that is; default presets only. In --mode deepcryopicker 0 takes that of --model, or "
        "estimates it.", unit="Å", low=1, high=5000, auto=AUTO_DIAMETER, required=True, unless="deepcryopicker",
    )  # fmt: skip
    preset: str = opt(
        "default", "default: the best we can do. paper…: the published method with the paper's or the authors' files' "
        "parameters. DeepEM: paper (any particle, rescaled) and klh, 19s, 26s, inflammasome (networks of the paper's "
        "Table 1, micrographs as stored). DeepCryoPicker: paper (the published network, for a GPU) and clustering (no "
        "network, what clustering finds alone).", choices=PRESETS,
    )  # fmt: skip
    threshold: float = opt(
        -1.0, "Score from which a candidate is written; 0 writes every candidate, -1 takes the model's own; auto (or "
        "-2) chooses one for all micrographs of the job together, for the highest F1 that their scores let expect.",
        low=-1, high=1, auto=AUTO_THRESHOLD,
    )  # fmt: skip
    expected_density: float = opt(
        0.0, "Particles per square micrometre that the micrographs have on average: the best candidates of all "
        "micrographs together are written, as many as that makes, if they reach a --threshold that is given; 0 is not "
        "known. A micrograph of w x h px with n particles has n / (w h) x (10000 / Å per px)^2.", unit="1/µm²", low=0,
        high=10**6,
    )  # fmt: skip
    model: str = opt(
        "", "Model file (.safetensors) to use instead of the built-in one; empty or builtin is that.", metavar="FILE"
    )
    min_distance: float = opt(
        0.5, "Smallest distance between two picks, as a fraction of the diameter.", low=0.05, high=5
    )
    max_picks: int = opt(0, "At most this many picks per micrograph, best first; 0 is no limit.", low=0, high=10**6)
    border: float = opt(
        0.0, "Picks closer than this to the edge of the micrograph are left out, as a fraction of the diameter.", low=0,
        high=5,
    )  # fmt: skip
    contrast: str = opt(
        "dark", "Particles are dark (as recorded) or bright (inverted or negative stain).", choices=("dark", "bright")
    )
    views: int = opt(
        2, "Score the micrograph in this many rotations and average: 1 is fastest, 4 is steadiest.", low=1, high=4
    )
    step: float = opt(
        0.0, "Distance between the windows that the published DeepEM judges; 0 is the preset's own, 20 px.", unit="Å",
        low=0, high=1000, mode="deepem",
    )  # fmt: skip
    std_window: str = opt(
        "", "Published DeepEM: windows whose standard deviation lies outside are not judged. 0.6-1.4: relative to the "
        "median window of the micrograph; abs:22-34: in grey values of the micrograph. Empty is 0.7-1.5.",
        metavar="LOW-HIGH", mode="deepem",
    )  # fmt: skip
    maxima: str = opt(
        "two-pass", "Published DeepEM: how the best windows are found. two-pass: as the authors' program does; greedy: "
        "from the best one down, leaving out what is closer than --min-distance.", choices=MAXIMA, mode="deepem",
    )  # fmt: skip
    clustering: str = opt(
        "auto", "How DeepCryoPicker finds its first particles: intensity, for circles and rectangles; superpixel, for "
        "irregular ones; auto, whichever finds particles that are more alike.", choices=CLUSTERINGS,
        mode="deepcryopicker",
    )  # fmt: skip
    learn_from: int = opt(
        20, "DeepCryoPicker learns from at most this many micrographs, evenly spread; 0 is all.", low=0, high=10**5,
        mode="deepcryopicker",
    )  # fmt: skip
    negative: bool = opt(
        False, "DeepCryoPicker: bad examples are a class of their own, beside background.", mode="deepcryopicker"
    )
    size_tolerance: float = opt(
        0.15, "DeepCryoPicker, our choice: a circle or rectangle teaches if its size is within this share of the "
        "median.", low=0.01, high=1, mode="deepcryopicker",
    )  # fmt: skip
    roundness_tolerance: float = opt(
        1.1, "DeepCryoPicker, our choice: a circle teaches if its circularity (1 for a disc) is at most this many "
        "times the mean.", low=1, high=5, mode="deepcryopicker",
    )  # fmt: skip
    ratio_tolerance: float = opt(
        0.15, "DeepCryoPicker, our choice: a rectangle teaches if the ratio of its Feret diameters is within this of "
        "the median.", low=0.01, high=1, mode="deepcryopicker",
    )  # fmt: skip
    area_tolerance: float = opt(
        1.0, "DeepCryoPicker, our choice: an irregular particle teaches if its area is within this many standard "
        "deviations of the mean.", low=0.1, high=10, mode="deepcryopicker",
    )  # fmt: skip
    verify: bool = opt(
        True, "Use the second network, which rejects false positives, and compare the candidates of a micrograph."
    )
    retrain_classifier: bool = opt(
        False, "Train the second network on this job's own micrographs first, without labels, from candidates the "
        "first network is most and least sure of.",
    )  # fmt: skip
    mics: str = opt(
        "", "Micrographs without a STAR file: a folder or a quoted pattern.", group="Headless", metavar="GLOB"
    )
    pixel_size: float = opt(0.0, "Pixel size of the micrographs of --mics.", unit="Å/px", low=0.01, high=100,
                            group="Headless")  # fmt: skip
    formats: str = opt("star", "Coordinate files to write besides STAR: comma-separated star, box, csv.",
                       group="Output", metavar="LIST")  # fmt: skip
    box_size: float = opt(
        0.0, "Side of the boxes in .box files; 0 is 1.5 diameters.", unit="Å", low=0, high=20000, group="Output"
    )
    report: bool = opt(True, "Write logfile.pdf.", group="Output")


@dataclass(frozen=True)
class TrainOptions(JobOptions):
    """Train the networks of a mode, from coordinates or from simulated particles."""

    mode: str = opt("drpnet", "Method; deepcryopicker teaches itself in a picking job.", choices=TAUGHT,
                    group="Training")  # fmt: skip
    diameter: float = opt(
        0.0, "Particle diameter of --in_coords (not needed with --simulated).", unit="Å", low=1, high=5000,
        group="Training",
    )  # fmt: skip
    preset: str = opt("default", "Networks to train, see pick.", choices=TRAINED, group="Training")
    stage: str = opt("both", "Which of the two networks of DRPnet to train.", choices=STAGES, group="Training")
    model: str = opt(
        "", "Start from this model file instead of the built-in one (empty or builtin). What was learnt from lies "
        "beside it, and is taken as well.", metavar="FILE", aliases=("--from",), group="Training",
    )  # fmt: skip
    scratch: bool = opt(False, "Start from random weights instead of a trained model.", group="Training")
    simulated: bool = opt(False, "Train on simulated particles of many kinds instead of --in_coords.",
                          group="Training")  # fmt: skip
    structures: str = opt(
        "", "With --simulated: folder of atomic models and density maps to learn from besides random shapes; a fifth "
        "is held out for validation, another for the test.", metavar="DIR", group="Training",
    )  # fmt: skip
    steps: int = opt(0, f"Optimiser steps of the (first) network; 0 is the recipe's own, {_recipes('steps')}.", low=1,
                     high=10**7, group="Training")  # fmt: skip
    classifier_steps: int = opt(
        300, "Optimiser steps of the second network of DRPnet.", low=1, high=10**7, group="Training"
    )
    epochs: int = opt(20, "Published DeepEM: passes over the training set.", low=1, high=10**5, group="Training",
                      mode="deepem")  # fmt: skip
    batch: int = opt(0, f"Training patches per step; 0 is the recipe's own, {_recipes('batch')}.", low=1, high=1024,
                     group="Training")  # fmt: skip
    learning_rate: float = opt(
        0.0, f"Largest learning rate; 0 is the recipe's own, {_recipes('learning_rate')}.", low=1e-8, high=10,
        group="Training",
    )  # fmt: skip
    validation: float = opt(
        0.2, "Share of the micrographs kept for validation and the threshold; not used where --folds is above 1.",
        low=0.05, high=0.9, group="Training",
    )  # fmt: skip
    folds: int = opt(
        0, "DeepEM: parts into which the micrographs are divided. Each is scored by a model that has not learnt from "
        "it, which gives the threshold, and the model that is kept learns from all. 1 holds out --validation of the "
        "micrographs instead; 0 is 5 for the default preset with up to 20 micrographs, otherwise 1.", low=1, high=100,
        group="Training", mode="deepem",
    )  # fmt: skip
    contrast: str = opt("dark", "Particles are dark or bright.", choices=("dark", "bright"), group="Training")
    add_true: str = opt(
        "", "Verified particles to add to the training set, in any form that --in_coords takes. DRPnet: for its second "
        "network, with --stage classifier.", metavar="FILE", group="Training",
    )  # fmt: skip
    add_false: str = opt(
        "", "Picks that were verified to be no particles, to add to the training set.", metavar="FILE",
        group="Training",
    )  # fmt: skip
    rounds: int = opt(
        1, "DeepEM: with 1 all verified picks are added at once; with more, each round adds those that the model of "
        "the round before gets wrong, until --until-error or this many rounds.", low=1, high=100, group="Training",
        mode="deepem",
    )  # fmt: skip
    until_error: float = opt(
        0.05, "DeepEM: share of held-out windows judged wrongly (at a score of 0.5) below which training is good "
        "enough.", low=0, high=0.5, group="Training", mode="deepem",
    )  # fmt: skip
    tune: bool = opt(
        False, "DeepEM: train networks of several maps, kernels and pools and keep the best.", group="Training",
        mode="deepem",
    )  # fmt: skip
    max_positives: int = opt(
        0, "DeepEM: use at most this many particles, drawn at random; 0 uses all.", low=20, high=10**7,
        group="Training", mode="deepem",
    )  # fmt: skip
    mics: str = opt(
        "", "Micrographs without a STAR file: a folder or a quoted pattern.", group="Headless", metavar="GLOB"
    )
    pixel_size: float = opt(0.0, "Pixel size of the micrographs of --mics.", unit="Å/px", low=0.01, high=100,
                            group="Headless")  # fmt: skip


@dataclass(frozen=True)
class DemoOptions:
    """Simulate a small project, pick it with the shipped weights and score the picks against the truth."""

    o: str = opt("demo", "Folder to write.", group="Output", metavar="DIR")
    structure: str = opt("shell", "Structure to simulate, see simulate.", group="Output", metavar="NAME")
    micrographs: int = opt(4, "Number of micrographs.", low=1, high=1000, group="Output")
    seed: int = opt(1, "Seed of every random choice.", low=0, high=2**31 - 1, group="Running")
    j: int = opt(2, "Number of CPU threads.", group="RELION", low=1, high=1024)


COMMANDS: Mapping[str, type[Any]] = {
    "pick": PickOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "feedback": FeedbackOptions,
    "simulate": SimulateOptions,
    "demo": DemoOptions,
}


Modelled = TypeVar("Modelled", PickOptions, TrainOptions)


def with_plain_model(options: Modelled) -> Modelled:
    """Options in which the built-in model has no name: a schedule of RELION cannot hold an empty text."""
    return replace(options, model="") if options.model == BUILTIN else options


def with_recipe(options: TrainOptions) -> TrainOptions:
    """Options of a training whose steps, batch and learning rate, where they are 0, are those of the recipe."""
    published = options.mode == "deepem" and options.preset != "default"
    if options.mode == "deepem":
        recipe = RECIPES["published DeepEM" if published else f"DeepEM{' with --scratch' * options.scratch}"]
    else:
        recipe = RECIPES["DRPnet"]
    own: dict[str, Any] = {}
    for name, value in recipe.items():
        given = getattr(options, name)
        own[name] = given or type(given)(value)
    return replace(options, **own)


def check(options: Any) -> list[str]:
    """Problems of an options object, one sentence each; empty when every value is allowed.

    A value equal to the default is always allowed (0 often stands for "not given"), unless the option is required.
    """
    problems = []
    mode, preset = getattr(options, "mode", ""), getattr(options, "preset", "")
    for item in fields(options):
        info, value, flag = info_of(item), getattr(options, item.name), flag_of(item)
        unit = f" {info.unit}" if info.unit else ""
        if value == default_of(item):
            if info.required and mode != info.unless:
                what = info.help.partition(". ")[0].rstrip(".")
                problems.append(f"{flag} is required: {what[0].lower()}{what[1:]}.")
            continue
        if info.auto is not None and value == info.auto:
            continue
        if info.mode and mode in MODES and mode != info.mode:
            problems.append(f"{flag}: an option of --mode {info.mode} only, not of {mode}")
        elif info.span:
            try:
                parse_range(item, value)
            except InputError as error:
                problems.append(str(error))
        elif info.choices:
            problems += _not_among(flag, value, info)
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and not info.low <= value <= info.high:
            problems.append(f"{flag} {value:g}: must lie between {info.low:g} and {info.high:g}{unit}")
    allowed = PRESETS_OF.get(mode, PRESETS)
    if preset in PRESETS and preset not in allowed and not any(text.startswith("--preset ") for text in problems):
        problems.append(f"--preset {preset}: --mode {mode} has the presets {', '.join(allowed)}")
    return problems


def _not_among(flag: str, value: str, info: Info) -> list[str]:
    """The problem of a value that is not one of the choices, or not a list of them."""
    parts = split_list(value) if info.many else [value]
    wrong = [part for part in parts if part not in info.choices]
    if parts and not wrong:
        return []
    several = " or several, separated by commas," if info.many else ""
    meant = nearest(wrong[0], info.choices) if wrong else ""
    return [f"{flag} {value}: must be one{several} of {', '.join(info.choices)}{meant}"]
