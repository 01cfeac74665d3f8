"""``train --mode deepem``: from picks to a model, in one round or several (Fig. 2 of the paper).

A round trains, tests on held-out micrographs and, where verified picks are at hand, adds to the training set for the
next. The published networks are trained from random weights in every round; the default one goes on from what it knows,
but in a cross-validation, where that would have seen what it is tested on.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.io.weights import save_model
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.deepem_general import train_general_model
from relion_ext_picker.workflows.deepem_learning import Sizes, first_picker, model_picker, resized, sizes_of, unseen
from relion_ext_picker.workflows.deepem_lesson import Frames, WindowPicker, draw_negatives, sorted_by_verdict
from relion_ext_picker.workflows.deepem_records import (
    ROUNDS,
    SCORES,
    Round,
    read_rounds,
    round_of,
    training_json,
    write_report,
    write_rounds,
    write_scores,
)
from relion_ext_picker.workflows.deepem_tuning import NAME as TUNE
from relion_ext_picker.workflows.deepem_tuning import tune, write_trials
from relion_ext_picker.workflows.deepem_validation import Outcome, teach
from relion_ext_picker.workflows.exam import (
    Exam,
    Finds,
    examine,
    keep_training_set,
    kept_for_exam,
    read_judged,
    say_whether_kept,
)
from relion_ext_picker.workflows.models import choose_device
from relion_ext_picker.workflows.sources import find_micrographs
from relion_ext_picker.workflows.training_marks import Reading, first_set, verified
from relion_ext_picker.workflows.training_set import NAME as TRAINING_SET
from relion_ext_picker.workflows.training_set import Set, join, limited, parts_of, write_set
from relion_ext_picker.workflows.withdrawn import without_withdrawn

MODEL = "model.safetensors"

_log = logging.getLogger(__name__)


def train_deepem(job: JobDirectory, options: TrainOptions) -> None:
    """Train and write the model, its training set, scores and report into the job directory.

    Parameters
    ----------
    job : JobDirectory
    options : TrainOptions
        With the numbers of the recipe filled in.

    Raises
    ------
    InputError, StarError, WeightsError
        Too few picks, picks outside of the micrographs or all on one, a model of another mode, preset or box, or an
        input that cannot be read.
    """
    device = choose_device(options.gpu, options.j)
    if options.simulated:
        train_general_model(job, options, device)
        return
    _check(options)
    rounds = read_rounds(options.model)
    start = first_picker(options, device)
    # Micrographs that are made smaller fit into memory; those as stored are read again when they are needed.
    frames = Frames(start, options, keep=options.preset in ("default", "paper"))
    micrographs = find_micrographs(options.in_mics, options.mics, options.pixel_size)
    reading = Reading(micrographs, lambda micrograph: frames(micrograph).shape, len(rounds) + 1)
    found = draw_negatives(without_withdrawn(first_set(options, reading), options, reading), frames, options.seed)
    found = limited(found, options.max_positives, options.seed)
    judged, old = read_judged(options.add_true), model_picker(options, device)
    apart = _for_exam(found, micrographs) if judged and old is not None else set()
    waiting = _to_train_on(verified(options, reading), found, apart)
    outcome, now, found = _rounds(job, start, frames, (found, waiting), rounds, options)
    exam = None
    if judged and old is not None:
        ours, new = [item for item in micrographs if item.name in apart], outcome.learnt.picker
        exam = examine(judged, ours, options.diameter, _picks(old, frames, options), _picks(new, frames, options))
        exam.tell()
    if exam is not None and old is not None and not exam.passed:
        outcome, now = replace(outcome, learnt=replace(outcome.learnt, picker=old)), rounds or now
    _write(job, options, (found, exam), now, outcome)


def _check(options: TrainOptions) -> None:
    if options.diameter <= 0:
        raise InputError("--diameter is required with --in_coords: the particle diameter in Å")
    if options.rounds > 1 and not (options.add_true or options.add_false):
        raise InputError(
            f"--rounds {options.rounds}: further rounds need picks that were verified: give --add-true or --add-false"
        )


def _for_exam(found: Set, micrographs: Sequence[Micrograph]) -> set[str]:
    """Micrographs on which the old and the new model are compared: held out, and a fifth of those not learnt from."""
    held = {name for name, marks in found.items() if marks.held_out}
    partly = [item.name for item in micrographs if item.name not in found or not found[item.name].complete]
    return held | {name for name in kept_for_exam(partly) if name not in found}


def _picks(picker: WindowPicker, frames: Frames, options: TrainOptions) -> Finds:
    """All candidates of a picker."""

    def found(micrograph: Micrograph) -> tuple[Array, Array]:
        frame = frames(micrograph)
        request = Request(options.diameter, threshold=0.0, bright=options.contrast == "bright")
        return pick_prepared(picker, frame.image, frame.shape, micrograph.pixel_size, request)

    return found


def _to_train_on(given: Set, found: Set, apart: set[str]) -> Set:
    """Verified picks without those on held-out micrographs."""
    held = apart | {name for name, marks in found.items() if marks.held_out}
    kept = {name: marks for name, marks in given.items() if name not in held}
    lost = sum(len(marks) for marks in given.values()) - sum(len(marks) for marks in kept.values())
    if lost:
        _log.info("%d verified picks are on held-out micrographs and are not trained on", lost)
    return kept


def _rounds(
    job: JobDirectory, start: WindowPicker, frames: Frames, sets: tuple[Set, Set], rounds: list[Round],
    options: TrainOptions,
) -> tuple[Outcome, list[Round], Set]:  # fmt: skip
    """Train until the error is small enough, nothing is left to add, or the limit; rounds of earlier jobs stay."""
    found, waiting = sets
    current = model_picker(options, start.device)
    crossed = parts_of(found) > 1
    begin, best = unseen(start, found, options) if crossed else start, None
    for index in range(options.rounds):
        if options.rounds == 1:
            found, waiting = join(found, waiting, options.diameter), {}
        elif current is not None:
            wrong, waiting = sorted_by_verdict(current, frames, waiting)
            count = sum(len(marks) for marks in wrong.values())
            _log.info("%d verified picks are judged wrongly and are added", count)
            if not wrong and index:
                break
            found = join(found, wrong, options.diameter)
        found = draw_negatives(found, frames, options.seed + len(rounds) + 1)
        if options.tune and index == 0:
            outcome, best = _tuned(job, start, found, frames, options)
            begin = resized(start, best)
        else:
            outcome = teach(job, begin, found, frames, options)
        current = outcome.learnt.picker
        if options.preset == "default" and not crossed:
            begin = current
        rounds = [*rounds, round_of(len(rounds) + 1, outcome)]
        _tell_round(rounds[-1])
        if rounds[-1].error <= options.until_error:
            break
    else:
        _log.info(
            "the error is above --until-error %g: picks of this model that were verified, given with --from %s%s and "
            "--add-true and --add-false, would improve it", options.until_error, job.prefix, MODEL,
        )  # fmt: skip
    return outcome, rounds, found


def _tuned(
    job: JobDirectory, start: WindowPicker, found: Set, frames: Frames, options: TrainOptions
) -> tuple[Outcome, Sizes]:
    """The best of the networks of several sizes."""
    box, own = sizes_of(start.card)
    trials = tune(
        box, own, pools=options.preset != "default",
        attempt=lambda sizes: teach(job, resized(start, sizes), found, frames, options),
    )  # fmt: skip
    job.write(TUNE, lambda path: write_trials(path, trials))
    best = max(trials, key=lambda trial: trial.score)
    _log.info("the best of %d networks: %s", len(trials), best.sizes)
    return best.outcome, best.sizes


def _tell_round(row: Round) -> None:
    _log.info(
        "round %d, held out: error %.1f %%, average precision %.3f; "
        "at the threshold %.3f: precision %.3f, recall %.3f, F1 %.3f, F2 %.3f",
        row.round, 100 * row.error, row.average_precision, row.threshold, row.precision, row.recall, row.f1, row.f2,
    )  # fmt: skip


def _write(
    job: JobDirectory, options: TrainOptions, what: tuple[Set, Exam | None], rounds: Sequence[Round], outcome: Outcome
) -> None:
    (found, exam), row = what, rounds[-1]
    picker = outcome.learnt.picker
    told = {**_provenance(options, found, row, outcome), **say_whether_kept(job, exam)}
    kept = exam is not None and not exam.passed
    threshold = picker.card.threshold if kept else row.threshold
    card = replace(picker.card, threshold=threshold, provenance=told)
    job.write(MODEL, lambda path: save_model(path, card, picker.state()))
    if kept:
        keep_training_set(job, options.model)
    else:
        job.write(TRAINING_SET, lambda path: write_set(path, found.values()))
    job.write(ROUNDS, lambda path: write_rounds(path, rounds))
    job.write(SCORES, lambda path: write_scores(path, row, outcome))
    job.write("training.json", lambda path: path.write_text(training_json(card, rounds), encoding="utf-8"))
    write_report(job, options, rounds, outcome)
    job.declare(MODEL, "model")
    _log.info("model: %s%s, threshold %.3f", job.prefix, MODEL, card.threshold)


def _provenance(options: TrainOptions, found: Set, row: Round, outcome: Outcome) -> dict[str, object]:
    recipe: dict[str, object] = {"seed": options.seed, "batch": options.batch, "learning_rate": options.learning_rate}
    recipe |= {"epochs": options.epochs} if outcome.learnt.unit == "epoch" else {"steps": options.steps}
    parts = parts_of(found)
    return {
        **outcome.learnt.picker.card.provenance,
        "data": f"{options.in_coords or options.model}, {row.positives} particles, {options.diameter:g} Å",
        "diameter": options.diameter,
        "verified": {"true": options.add_true or options.in_coords, "false": options.add_false},
        "training_micrographs": [name for name, marks in found.items() if not marks.held_out],
        "validation_micrographs": [name for name, marks in found.items() if marks.part],
        "held_out": (
            f"each of {parts} parts of the validation micrographs, scored by a model that had not learnt from it; this "
            "model has learnt from all"
            if parts > 1
            else "the validation micrographs; this model has not learnt from them"
        ),
        "recipe": recipe,
        "validation": {name: round(float(value), 4) for name, value in asdict(row).items()},
        "versions": {"relion_ext_picker": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
