"""A DeepCryoPicker job teaches itself: cluster, grade, train. What follows is picking, as in every mode."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.io.weights import load_model, save_model
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.deepcryopicker.classes import BACKGROUND, KINDS
from relion_ext_picker.pickers.deepcryopicker.paper import PaperDeepCryoPicker, untrained_paper
from relion_ext_picker.pickers.deepcryopicker.picker import ONE_NETWORK, DefaultDeepCryoPicker, untrained
from relion_ext_picker.pickers.deepcryopicker.preprocess import working_image
from relion_ext_picker.pickers.deepcryopicker.unsupervised import ClusteringPicker
from relion_ext_picker.pickers.registry import build_picker
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.training.deepcryopicker import Recipe, self_train
from relion_ext_picker.training.deepcryopicker_examples import Marked, marked_of
from relion_ext_picker.training.deepcryopicker_paper import PaperRecipe, train_paper
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.deepcryopicker_candidates import (
    DEPENDS_ON,
    Candidates,
    find_candidates,
    other_contrast,
    particle_diameter,
    settings_of,
)
from relion_ext_picker.workflows.models import load_picker

MODEL = "model.safetensors"

_log = logging.getLogger(__name__)


def deepcryopicker(
    job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph], device: torch.device
) -> tuple[Picker, PickOptions]:
    """The picker of a job, trained in it where no model is given, and the options with the particle's diameter.

    The model stays in the job, and a job that is continued takes it up; another is trained only if a setting that it
    depends on has changed.

    Parameters
    ----------
    job : JobDirectory
    options : PickOptions
    micrographs : sequence of Micrograph
    device : torch.device

    Raises
    ------
    InputError
        Clustering finds too few particles, nothing can be read, or an option asks for what this mode has not.
    JobAborted
        RELION asked for it.
    """
    if options.retrain_classifier:
        raise InputError(f"--retrain-classifier: {ONE_NETWORK}")
    if options.model:
        return _given(options, device)
    if options.preset == "clustering":
        diameter = particle_diameter(job, options, micrographs)
        return ClusteringPicker(settings_of(options), device), replace(options, diameter=diameter)
    settings = _settings(options)
    path = job.path / MODEL
    if path.is_file() and load_model(path, options.mode)[0].provenance.get("settings") == settings:
        _log.info("network: taken from %s%s", job.prefix, MODEL)
    else:
        path.unlink(missing_ok=True)
        candidates = find_candidates(job, options, micrographs)
        trained = _trained(job, options, micrographs, candidates, device)
        provenance = {
            **trained.card.provenance, "settings": settings, "diameter": round(candidates.diameter, 2),
            "version": __version__, "learned_from": list(candidates.found),
        }  # fmt: skip
        card = replace(trained.card, provenance=provenance)
        job.write(MODEL, lambda file: save_model(Path(file), card, trained.state()))
    job.declare(MODEL, "model")
    # Read back even when just trained: the file holds rounded weights, and a continued job must judge alike.
    card, networks = load_model(path, options.mode)
    picker = build_picker(card, networks, device, card.preset, options.views)
    return picker, replace(options, diameter=float(card.provenance["diameter"]))


def _given(options: PickOptions, device: torch.device) -> tuple[Picker, PickOptions]:
    """A model of the user's, and the diameter that it was trained for unless another is given."""
    picker = load_picker(options.mode, options.preset, options.model, device, options.views)
    diameter = options.diameter or float(picker.card.provenance.get("diameter", 0.0))
    if not diameter > 0:
        raise InputError(f"{options.model}: the model does not say how large its particle was: give --diameter")
    if not options.diameter:
        _log.info("particle diameter: %.0f Å, as in the training of %s", diameter, options.model)
    return picker, replace(options, diameter=diameter)


def _settings(options: PickOptions) -> dict[str, object]:
    """What the model depends on, beside the micrographs."""
    return {name: getattr(options, name) for name in (*DEPENDS_ON, "preset", "learn_from", "negative", "seed")}


def _trained(
    job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph], candidates: Candidates,
    device: torch.device,
) -> DefaultDeepCryoPicker | PaperDeepCryoPicker:  # fmt: skip
    """Train on the good candidates."""
    _tell(candidates)
    marked = _marked(job, options, micrographs, candidates, device)
    begin = time.perf_counter()

    def progress(line: str) -> None:
        _log.info("%s", line)

    try:
        if options.preset == "paper":
            if device.type == "cpu":
                _log.warning(
                    "the published network has 58 million weights: on a CPU its training takes hours; the time is told "
                    "after the first steps. --preset default does as well in a minute, and --gpu 0 takes a GPU"
                )
            paper = PaperRecipe(negative=options.negative)
            found: DefaultDeepCryoPicker | PaperDeepCryoPicker = train_paper(
                marked, paper, device, options.seed, progress, job.check_abort
            )
        else:
            recipe = Recipe(negative=options.negative)
            found = self_train(marked, recipe, device, options.seed, progress, job.check_abort)
    except InputError as error:
        raise InputError(f"{error}{other_contrast(options, micrographs, candidates.diameter)}") from error
    names = found.class_names
    _log.info("trained in %.0f s; classes: %s", time.perf_counter() - begin, ", ".join(names))
    return found


def _tell(candidates: Candidates) -> None:
    kinds = np.concatenate([each.kind[each.good] for each in candidates.found.values()])
    counts = ", ".join(f"{np.count_nonzero(kinds == kind)} {kind}" for kind in KINDS if (kinds == kind).any())
    _log.info(
        "clustering found %d particles, of which %d are good to learn from%s",
        candidates.count(good=False), candidates.count(), f": {counts}" if counts else "",
    )  # fmt: skip


def _marked(
    job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph], candidates: Candidates,
    device: torch.device,
) -> list[Marked]:  # fmt: skip
    """The micrographs to learn from, prepared for the network, with their candidates."""
    start = untrained_paper if options.preset == "paper" else untrained
    fresh = start((KINDS[0], BACKGROUND), device)
    bright = options.contrast == "bright"
    found = []
    for item in micrographs:
        candidate = candidates.found.get(item.name)
        if candidate is None:
            continue
        job.check_abort()
        image = read_micrograph(Path(item.name))
        frame = fresh.prepare(image, item.pixel_size, candidates.diameter, bright=bright)
        regular = candidate.method == "intensity" and options.preset != "paper"
        shapes = working_image(image, candidates.diameter / item.pixel_size, bright) if regular else None
        found.append(marked_of(item.name, frame, candidate, shapes))
    return found
