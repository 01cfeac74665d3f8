"""Training the second network inside a picking job, from the job's own micrographs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from relion_ext_picker.errors import InputError
from relion_ext_picker.io.weights import load_model, save_model
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.base import Picker, candidates
from relion_ext_picker.pickers.registry import build_picker, family
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.reading import Prepared, prepared, request_of

MODEL = "model.safetensors"
SAMPLE = 20  # micrographs that supply examples

_log = logging.getLogger(__name__)


def job_picker(job: JobDirectory, picker: Picker, options: PickOptions, micrographs: Sequence[Micrograph]) -> Picker:
    """The picker that a job uses: as given, or with a second network trained on the job's micrographs.

    The published method trains its second network in every job, so the presets of the paper do it unless the model
    brings one. The result is kept in the job as model.safetensors and taken up again by a continued job, so that all
    micrographs of a job are judged by one network. Where a preset of the paper finds too few examples, the job goes on
    with the first network alone; where the user asked for the training, it fails.

    Parameters
    ----------
    job : JobDirectory
    picker : Picker
    options : PickOptions
    micrographs : sequence of Micrograph
        All of the job, of which at most 20, evenly spread, supply examples; with none nothing is trained.
    """
    card = picker.card
    missing = card.mode == "drpnet" and family(card.preset) == "paper" and "classifier" not in card.networks
    if not options.verify or not (options.retrain_classifier or missing):
        return picker
    path = job.path / MODEL
    if path.is_file():
        _log.info("second network: taken from %s", path)
    elif not micrographs or not _train(job, picker, options, micrographs):
        return picker
    # Read back even when just trained: the file holds rounded weights, and a continued job must judge alike.
    card, networks = load_model(path, options.mode)
    return build_picker(card, networks, picker.device, card.preset, options.views)


def _train(job: JobDirectory, picker: Picker, options: PickOptions, micrographs: Sequence[Micrograph]) -> bool:
    """Train the second network and write the model; False where there is too little to learn from."""
    request = request_of(options)
    places = np.unique(np.linspace(0, len(micrographs) - 1, min(SAMPLE, len(micrographs))).round().astype(int))
    examples = []
    for outcome in prepared(picker, [micrographs[i] for i in places], request):
        job.check_abort()
        if isinstance(outcome, Prepared):  # an unreadable one is reported when its turn to be picked comes
            xy, score = candidates(picker, outcome.frame, outcome.micrograph.pixel_size, request)
            examples.append(picker.examples(outcome.frame, xy, score))

    def progress(line: str) -> None:
        job.check_abort()
        _log.info("%s", line)

    try:
        trained = picker.retrained(examples, options.seed, progress)
    except InputError as error:
        if options.retrain_classifier:
            raise
        _log.warning("going on without a second network: %s", error)
        return False
    provenance = {
        **trained.card.provenance,
        "classifier": f"trained without labels on {len(examples)} micrographs of the job, seed {options.seed}",
    }
    card = replace(trained.card, provenance=provenance)
    job.write(MODEL, lambda file: save_model(Path(file), card, trained.state()))
    return True
