"""Training the first network of the published DRPnet: ``train --preset paper``.

The second network is not trained here: the method trains it in every picking job, on the job's own candidates.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.io.weights import save_model
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.drpnet.paper import PaperPicker, paper_card
from relion_ext_picker.pickers.drpnet.paper_calibration import calibrate
from relion_ext_picker.pickers.drpnet.paper_image import PaperFrame, frame_of
from relion_ext_picker.pickers.drpnet.paper_networks import Fcrn
from relion_ext_picker.pickers.drpnet.paper_settings import BOX_PER_DIAMETER, FcrnTraining
from relion_ext_picker.pickers.drpnet.paper_training import Field, train_fcrn, training_patches
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.simulation.fields import FieldGenerator
from relion_ext_picker.training.loop import low_precision
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.workflows.labelled import read_labelled, split
from relion_ext_picker.workflows.models import choose_device

MODEL = "model.safetensors"
HALF_BOX = (14.0, 64.0)  # px of the field; above 32 the scale rule halves it, as it does real micrographs
SIDE = 9.0  # of a field, half boxes
HIGHPASS = 100.0  # px of the reduced image: what equation 1 would take out of a whole micrograph
SNR = (0.05, 4.0)  # fainter particles cannot be told in a view of 20 px, and would teach it to answer nothing
HELD_OUT = 1_000_000  # added to the seed for fields that are never trained on
HELD_OUT_FIELDS = 200
MEASURED = ("paper", "paper-10017")  # presets whose held-out scores the card tells: most and least smoothing
HIT = 0.4  # matching radius as a fraction of the diameter

_log = logging.getLogger(__name__)


def simulated_fields(seed: int, count: int | None = None) -> Iterator[Field]:
    """Fields of particles of many kinds and sizes, each with its own microscope; endless without `count`."""
    rng = np.random.default_rng(seed)
    number = 0
    while count is None or number < count:
        half = float(np.exp(rng.uniform(*np.log(HALF_BOX))))
        diameter = 2 * half / BOX_PER_DIAMETER
        side = int(min(480, max(220, SIDE * half)))
        highpass = HIGHPASS * (2 if half > 32 else 1)
        generator = FieldGenerator(int(rng.integers(2**31)), diameter, side, highpass=highpass, snr=SNR)
        drawn = generator.draw()
        yield Field(frame_of(drawn.image, diameter, BOX_PER_DIAMETER), drawn.xy)
        number += 1


def train_paper(job: JobDirectory, options: TrainOptions) -> None:
    """Train the first network from random weights and write ``model.safetensors`` and ``training.json``.

    Parameters
    ----------
    job : JobDirectory
    options : TrainOptions

    Raises
    ------
    InputError
        The second network was asked for, or the coordinates cannot be used.
    """
    if options.stage == "classifier":
        raise InputError(
            "--stage classifier: with --preset paper the second network is trained in the picking job; "
            "use pick --preset paper"
        )
    device = choose_device(options.gpu, options.j)
    training, held_out, told = _data(options, device)
    settings = FcrnTraining(
        learning_rate=options.learning_rate, batch=options.batch, low_precision=low_precision(device)
    )

    def progress(line: str) -> None:
        job.check_abort()
        _log.info("first network: %s", line)

    patches = training_patches(training, settings, options.seed)
    state = train_fcrn(patches, settings, options.steps, device, options.seed, progress)
    calibration = {name: round(value, 5) for name, value in calibrate(state, held_out, device).items()}
    scores = {}
    for preset in MEASURED:
        picker = PaperPicker(paper_card(preset, calibration, {}), {"proposer": state}, device)
        scores[preset] = held_out_scores(picker, held_out)
        told_scores = ", ".join(f"{name} {value:g}" for name, value in scores[preset].items())
        _log.info("held out, first network alone, preset %s: %s", preset, told_scores)
    provenance = {
        **told, "command": _command(options), "seed": options.seed, "steps": options.steps, "batch": options.batch,
        "learning_rate": options.learning_rate, "validation": scores,
        "versions": {"relion_ext_picker": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    card = paper_card("paper", calibration, provenance)
    job.write(MODEL, lambda path: save_model(path, card, {"proposer": state}))
    text = json.dumps({"calibration": calibration, **provenance}, indent=1) + "\n"
    job.write("training.json", lambda path: path.write_text(text, encoding="utf-8"))
    job.declare(MODEL, "model")
    _log.info("model: %s%s", job.prefix, MODEL)


def _command(options: TrainOptions) -> str:
    """The command line that makes the same model."""
    source = "--simulated" if options.simulated else f"--in_coords {options.in_coords} --diameter {options.diameter:g}"
    return (
        f"relion_ext_picker train --preset paper {source} --steps {options.steps} --batch {options.batch} "
        f"--learning-rate {options.learning_rate:g} --seed {options.seed} --o DIR"
    )


def held_out_scores(picker: PaperPicker, fields: Sequence[Field]) -> dict[str, float]:
    """Precision, recall and so on of the first network alone, on fields with known particles.

    Particles and picks nearer to the border than the edge rule allows are left out; lengths are made equal by counting
    in half boxes.
    """
    truth, picks = {}, {}
    for number, field in enumerate(fields):
        frame, unit = field.frame, field.frame.scales.radius * field.frame.grid.scale[0]
        score_map = picker.propose(frame)
        rows, cols, score = picker.peaks(score_map, 0.0, 0.0)
        margin = picker.settings.edge * unit
        extent = np.array(frame.values.shape[::-1]) * frame.grid.scale[::-1]
        xy = score_map.to_original(rows, cols)
        kept, own = (np.all((p > margin) & (p < extent - 1 - margin), axis=1) for p in (xy, field.xy))
        truth[str(number)] = field.xy[own] / unit
        picks[str(number)] = (xy[kept] / unit, score[kept])
    scores = score_picks(truth, picks, HIT * 2 / BOX_PER_DIAMETER)
    told = {
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1,
        "average_precision": scores.ap or 0.0, "best_f1": scores.best_f1,
        "best_threshold": scores.best_threshold or 0.0, "matching_radius_in_diameters": HIT,
    }  # fmt: skip
    return {name: round(float(value), 4) for name, value in told.items()}


def _data(options: TrainOptions, device: torch.device) -> tuple[Iterator[Field], list[Field], dict[str, object]]:
    """Fields to train on without end, fields held out, and what the card says of them."""
    if options.simulated:
        held_out = list(simulated_fields(options.seed + HELD_OUT, HELD_OUT_FIELDS))
        return simulated_fields(options.seed), held_out, {"data": "simulated fields of procedural particles"}
    untrained: dict[str, dict[str, Tensor]] = {"proposer": Fcrn().state_dict()}
    labelled = read_labelled(options, PaperPicker(paper_card("paper", {}, {}), untrained, device))
    training, validation = split(labelled, options.validation, options.seed)
    told: dict[str, object] = {
        "data": f"{options.in_coords}, {options.diameter:g} Å",
        "training_micrographs": [item.name for item in training],
        "validation_micrographs": [item.name for item in validation],
    }
    return cycle(_fields(training)), _fields(validation), told


def _fields(labelled: Sequence[Labelled]) -> list[Field]:
    fields = []
    for item in labelled:
        assert isinstance(item.frame, PaperFrame)
        fields.append(Field(item.frame, item.xy))
    return fields
