"""``train --mode deepem --simulated``: the general model, which learns from simulated particles of many kinds."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import nn

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.curves import Scores, score_picks
from relion_ext_picker.io.weights import save_model
from relion_ext_picker.options import PickOptions, TrainOptions
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.pickers.deepem.default import COMPARED, REFERENCE_DIAMETER, DefaultDeepEM
from relion_ext_picker.pickers.views import cut_windows
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.simulation.procedural import PointCloud
from relion_ext_picker.training.calibration import quiet_threshold, quietened
from relion_ext_picker.training.comparer import Candidates
from relion_ext_picker.training.deepem_default import EMPTY, FIELD, train_general
from relion_ext_picker.training.windows import HIT_RADIUS
from relion_ext_picker.types import Array, Grid, ScoreMap
from relion_ext_picker.workflows.comparison import APART, comparison
from relion_ext_picker.workflows.deepem_learning import first_picker
from relion_ext_picker.workflows.interrupted import forget, forget_other, fresh_seed, kept_schedule
from relion_ext_picker.workflows.simulated_training import DRAWN, divided

MODEL = "model.safetensors"
FIELDS, SIDE, SEED = 200, 256, 987_654  # what it is tested on
EVEN = 0.5  # threshold: rather a particle than not
NOISE_FIELDS, NOISE_SIDE = 240, 512  # of the order of a micrograph, since scores depend on what else there is in it
NOISY = 0.05  # of them may have picks

_log = logging.getLogger(__name__)


def train_general_model(job: JobDirectory, options: TrainOptions, device: torch.device) -> None:
    """Train the default network on simulated fields and write ``model.safetensors`` and ``training.json``.

    Parameters
    ----------
    job : JobDirectory
    options : TrainOptions
        With the numbers of the recipe filled in.
    device : torch.device

    Raises
    ------
    InputError
        The preset is a published one, which learns from the user's picks.
    """
    if options.preset != "default":
        raise InputError(
            f"--simulated: there is a general model of --preset default only; train {options.preset} on picks, with "
            "--in_coords"
        )
    start = cast(DefaultDeepEM, first_picker(options, device))
    forget_other(job, options)
    schedule = kept_schedule(job, "only", options.steps, options.learning_rate)

    def tell(line: str, network: nn.Module) -> None:
        job.check_abort()
        _log.info("%s", line)

    structures = divided(options.structures, options.seed)
    source = FieldSource(REFERENCE_DIAMETER, FIELD, tuple(structures.training.values()), empty=EMPTY, **DRAWN)
    trained = train_general(start, source, schedule, tell, fresh_seed(options.seed, schedule), options.batch)
    noise = _noise(trained, options.seed)
    trained = quietened(_as_used(trained), noise, EVEN, NOISY)
    found = comparison(job, _candidates(trained), source.clouds, options.steps, options.seed)
    trained = trained.with_comparer(*found) if found else trained
    threshold = quiet_threshold(trained, noise, EVEN, NOISY)
    trained.card = replace(trained.card, threshold=round(threshold, 3))
    scores = _test(trained, {**structures.validation, **structures.test}, options.seed)
    told = {
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "average_precision": scores.ap or 0.0,
        "matching_radius_in_diameters": HIT_RADIUS,
    }  # fmt: skip
    provenance = {
        **structures.told(),
        "recipe": {name: getattr(options, name) for name in ("steps", "batch", "learning_rate", "seed")},
        "validation": {name: round(float(value), 4) for name, value in told.items()},
        "versions": {"relion_ext_picker": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    _log.info("on held-out structures: %s", provenance["validation"])
    card = replace(trained.card, provenance=provenance)
    job.write(MODEL, lambda path: save_model(path, card, trained.state()))
    text = json.dumps({"threshold": card.threshold, **provenance}, indent=1) + "\n"
    job.write("training.json", lambda path: path.write_text(text, encoding="utf-8"))
    forget(job)
    job.declare(MODEL, "model")


def _candidates(picker: DefaultDeepEM) -> Candidates:
    """What the network says of an image of a simulated micrograph."""

    def candidates(image: Array) -> tuple[Array, Array, Array, Array]:
        frame = picker.normalised(ScoreMap(image, Grid()))
        score_map = picker.propose(frame)
        rows, cols, score = picker.peaks(score_map, APART * REFERENCE_DIAMETER, 0.0)
        xy = score_map.to_original(rows, cols)
        return xy, cut_windows(frame, xy, COMPARED), score, score

    return candidates


def _noise(picker: DefaultDeepEM, seed: int) -> list[ScoreMap]:
    """Prepared images of noise alone."""
    draw = FieldSource(REFERENCE_DIAMETER, NOISE_SIDE, empty=1.0, soiled=False).draws(SEED + 1 + seed)
    return [picker.normalised(ScoreMap(draw()[0], Grid())) for _ in range(NOISE_FIELDS)]


def _as_used(picker: DefaultDeepEM) -> DefaultDeepEM:
    """The same picker with as many views as it picks with."""
    return DefaultDeepEM(picker.card, picker.state(), picker.device, PickOptions.views)


def _test(picker: DefaultDeepEM, structures: Mapping[str, PointCloud], seed: int) -> Scores:
    """Scores at the threshold on fields of structures that were not trained on."""
    source = FieldSource(REFERENCE_DIAMETER, SIDE, tuple(structures.values()), procedural=0, empty=EMPTY, **DRAWN)
    draw = source.draws(SEED + seed)
    truth, picks = {}, {}
    for number in range(FIELDS):
        image, truth[str(number)] = draw()
        frame = picker.normalised(ScoreMap(image, Grid()))
        xy, score = pick_prepared(picker, frame, (SIDE, SIDE), 1.0, Request(REFERENCE_DIAMETER, 0.0))
        kept = score >= picker.card.threshold
        picks[str(number)] = (xy[kept], score[kept].astype(np.float64))
    return score_picks(truth, picks, HIT_RADIUS * REFERENCE_DIAMETER)
