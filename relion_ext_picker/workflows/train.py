"""The train command: a model file from coordinates, or from simulated particles."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.curves import Scores, score_picks
from relion_ext_picker.io.weights import save_model
from relion_ext_picker.options import TrainOptions, with_plain_model, with_recipe
from relion_ext_picker.pickers.base import Picker, Request, pick_prepared
from relion_ext_picker.pickers.comparer import COMPARER
from relion_ext_picker.pickers.drpnet.network import REFERENCE_DIAMETER, Proposer
from relion_ext_picker.pickers.drpnet.picker import NEW_CLASSIFIER, DefaultPicker, cut_windows
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.training.batches import patch_batches, proposer_loss
from relion_ext_picker.training.calibration import quiet_density, quiet_threshold
from relion_ext_picker.training.comparer import Candidates
from relion_ext_picker.training.loop import Batch, fit
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.verifier import Draw, calibrated, candidate_batches, verifier_loss
from relion_ext_picker.types import Array, Grid, ModelCard, ScoreMap
from relion_ext_picker.workflows.comparison import APART, comparison
from relion_ext_picker.workflows.interrupted import forget, forget_other, fresh_seed, kept_schedule
from relion_ext_picker.workflows.models import choose_device, load_picker
from relion_ext_picker.workflows.training_data import Data, from_coordinates, simulated

MODEL = "model.safetensors"
CHECKPOINT = "checkpoint.safetensors"  # what there was at the last progress line; a usable model
NOISY = 0.05  # of the blank fields may have picks
PROBABLE = 0.5  # what simulated particles set the threshold to: rather a particle than not
HIT = 0.4  # matching radius as a fraction of the diameter
PROPOSER = (32, 64, 96, 128)  # widths of a network from scratch

_log = logging.getLogger(__name__)


def run(options: TrainOptions) -> None:
    """Train and write ``model.safetensors`` and ``training.json`` into the job directory.

    Parameters
    ----------
    options : TrainOptions

    Raises
    ------
    PickerError
        An input is wrong; the job directory then holds RELION's FAILURE marker.
    """
    options = with_recipe(with_plain_model(options))
    with JobDirectory(options.o, options.relion_version) as job:
        if options.structures and not (options.simulated and options.preset == "default"):
            raise InputError("--structures: is learnt from with --simulated and --preset default alone; leave it out")
        if options.mode == "deepem":
            from relion_ext_picker.workflows.train_deepem import train_deepem

            train_deepem(job, options)
        elif options.add_true or options.add_false:
            from relion_ext_picker.workflows.train_verified import train_verified

            train_verified(job, options)
        elif options.preset == "paper":
            from relion_ext_picker.workflows.train_paper import train_paper

            train_paper(job, options)
        else:
            _train(job, options)


def _train(job: JobDirectory, options: TrainOptions) -> None:
    device = choose_device(options.gpu, options.j)
    torch.manual_seed(options.seed)
    start = start_picker(options, device)
    data = simulated(options) if options.simulated else from_coordinates(options, start)
    forget_other(job, options)
    if not options.scratch:
        _tell("before", start, data)
    picker = _trained(job, start, data, options)
    if options.simulated:
        picker = calibrated(picker, data.validation, HIT)
    picker.card = replace(picker.card, calibration={})
    noise = [item.frame for item in data.blank]
    density = quiet_density(picker, noise, data.density, PROBABLE, NOISY) if noise else data.density
    picker.card = replace(picker.card, calibration={"density": round(density, 4)})
    if options.simulated and options.stage != "proposer":
        found = comparison(job, _compared(picker), data.clouds, options.classifier_steps, options.seed)
        picker = picker.with_comparer(*found) if found else picker
    everything = _validate(picker, data.validation, 0.0)
    threshold = float(np.clip(_threshold(picker, data, everything.best_threshold), 0.05, 0.95))
    picker.card = replace(picker.card, threshold=round(threshold, 3))
    final = _tell("after", picker, data)
    scores = {
        "precision": final.precision, "recall": final.recall, "f1": final.f1,
        "average_precision": everything.ap or 0.0, "matching_radius_in_diameters": HIT,
    }  # fmt: skip
    scores = {name: round(float(value), 4) for name, value in scores.items()}
    tests = {name: _test(name, picker, labelled) for name, labelled in data.test.items()}
    provenance = {
        **picker.card.provenance, **data.told, **_stages(options), "validation": scores, "test": tests,
        "versions": {"relion_ext_picker": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    card = replace(picker.card, provenance=provenance)
    job.write(MODEL, lambda path: save_model(path, card, picker.state()))
    (job.path / CHECKPOINT).unlink(missing_ok=True)
    forget(job)
    text = json.dumps({"threshold": card.threshold, **provenance}, indent=1) + "\n"
    job.write("training.json", lambda path: path.write_text(text, encoding="utf-8"))
    job.declare(MODEL, "model")
    _log.info("model: %s%s, threshold %.3f", job.prefix, MODEL, card.threshold)


def _stages(options: TrainOptions) -> dict[str, object]:
    """How the stages of this run were trained; what is known of the other one stays in the card."""
    common = {"seed": options.seed, "batch": options.batch, "learning_rate": options.learning_rate}
    steps = {"proposer": options.steps, "classifier": options.classifier_steps}
    return {name: {"steps": count, **common} for name, count in steps.items() if options.stage in ("both", name)}


def start_picker(options: TrainOptions, device: torch.device) -> DefaultPicker:
    """The picker to begin with: random, the user's or the shipped one."""
    if options.scratch and options.stage == "classifier":
        raise InputError(
            "--stage classifier: the second network learns from what a trained first one proposes; leave out --scratch"
        )
    if options.scratch:
        entries = {"proposer": {"architecture": "proposer", "config": {"widths": list(PROPOSER)}}}
        card = ModelCard("drpnet", "default", REFERENCE_DIAMETER, entries, threshold=0.3)
        picker: Picker = DefaultPicker(card, {"proposer": Proposer(PROPOSER).state_dict()}, device)
    else:
        picker = load_picker(options.mode, "default", options.model, device)
    if not isinstance(picker, DefaultPicker):
        raise InputError(f"{options.model}: belongs to preset {picker.card.preset}; use --preset paper")
    if options.stage != "proposer":  # a model of the first network alone gets its second one now
        picker.card = replace(picker.card, networks={"classifier": NEW_CLASSIFIER, **picker.card.networks})
    return picker


def _trained(job: JobDirectory, start: DefaultPicker, data: Data, options: TrainOptions) -> DefaultPicker:
    """Train the stages asked for, the second on what the first then proposes."""

    device = start.device
    networks = {name: state for name, state in start.state().items() if name != COMPARER}
    start = DefaultPicker(start.card, networks, device)

    def progress(name: str, stage: str) -> Callable[[str, nn.Module], None]:
        def tell(line: str, network: nn.Module) -> None:
            _log.info("%s: %s", name, line)
            state = {**networks, stage: network.state_dict()}
            job.write(CHECKPOINT, lambda path: save_model(path, start.card, state))
            job.check_abort()

        return tell

    ahead = options.j > 1  # one of the threads makes patches while the others train
    torch.set_num_threads(max(1, options.j - ahead))
    if options.stage in ("both", "proposer"):
        proposer = start.network("proposer")
        schedule = kept_schedule(job, "first", options.steps, options.learning_rate)
        seed = fresh_seed(options.seed, schedule)
        batches = patch_batches(data.source, seed, REFERENCE_DIAMETER, options.batch, workers=int(options.j > 1))
        watched = _until_abort(batches, job)
        fitted = fit(proposer, watched, proposer_loss, schedule, device, progress("first network", "proposer"))
        networks["proposer"] = fitted.state_dict()
        start = DefaultPicker(start.card, networks, device)
    if options.stage in ("both", "classifier"):
        verifier = start.network("classifier")
        schedule = kept_schedule(job, "second", options.classifier_steps, 0.5 * options.learning_rate)
        seed = fresh_seed(options.seed, schedule)
        draw = _watched(data.candidates.draws(seed + 1), job)
        found = candidate_batches(start, draw, seed, 4 * options.batch)
        fitted = fit(verifier, found, verifier_loss, schedule, device, progress("second network", "classifier"))
        networks["classifier"] = fitted.state_dict()
    return DefaultPicker(start.card, networks, device)


def _compared(picker: DefaultPicker) -> Candidates:
    """What both networks say of an image of a simulated micrograph."""
    diameter = picker.card.reference_diameter

    def candidates(image: Array) -> tuple[Array, Array, Array, Array]:
        frame = ScoreMap(image, Grid())
        score_map = picker.propose(frame)
        rows, cols, score = picker.peaks(score_map, APART * diameter, 0.0)
        xy = score_map.to_original(rows, cols)
        windows = cut_windows(frame, xy)
        judged = picker.judge(windows, score)
        return xy, windows, score, score if judged is None else judged

    return candidates


def _until_abort(batches: Iterator[Batch], job: JobDirectory) -> Iterator[Batch]:
    for batch in batches:
        job.check_abort()
        yield batch


def _watched(draw: Draw, job: JobDirectory) -> Draw:
    """The same for patches: many may be drawn before there is a batch of candidates."""

    def checked() -> tuple[Array, Array]:
        job.check_abort()
        return draw()

    return checked


def _threshold(picker: DefaultPicker, data: Data, best: float | None) -> float:
    """What the model's threshold should be: the one of the highest F1 on the user's validation micrographs.

    Simulated fields are no sample of anything, so that their best F1 says little: then it is even odds or, where no
    density of particles keeps picks out of all but `NOISY` of the fields of noise at that, what does.
    """
    if not data.blank:
        return best if best is not None else PROBABLE
    return quiet_threshold(picker, [item.frame for item in data.blank], PROBABLE, NOISY)


def _validate(picker: DefaultPicker, validation: list[Labelled], threshold: float) -> Scores:
    """Scores on the validation micrographs; coordinates and the matching radius in px of the prepared image."""
    truth, picks = {}, {}
    for item in validation:
        grid = item.frame.grid
        frame = ScoreMap(item.frame.values, Grid())
        shape = (frame.values.shape[0], frame.values.shape[1])
        request = Request(picker.card.reference_diameter, threshold)
        rows, cols = grid.from_original(item.xy)
        truth[item.name] = np.stack([cols, rows], axis=1).astype(np.float32)
        picks[item.name] = pick_prepared(picker, frame, shape, 1.0, request)
    return score_picks(truth, picks, HIT * picker.card.reference_diameter)


def _test(name: str, picker: DefaultPicker, labelled: list[Labelled]) -> dict[str, float]:
    """Scores on a structure that decided nothing."""
    scores, curve = (_validate(picker, labelled, threshold) for threshold in (picker.card.threshold, 0.0))
    told = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "average_precision": curve.ap or 0}
    _log.info("test structure %s: precision %.3f, recall %.3f, F1 %.3f, average precision %.3f", name, *told.values())
    return {key: round(float(value), 4) for key, value in told.items()}


def _tell(when: str, picker: DefaultPicker, data: Data) -> Scores:
    scores = _validate(picker, data.validation, picker.card.threshold)
    _log.info(
        "%s training, held out: precision %.3f, recall %.3f, F1 %.3f (threshold %.3f, within %.1f diameters)",
        when, scores.precision, scores.recall, scores.f1, picker.card.threshold, HIT,
    )  # fmt: skip
    return scores
