"""``train --mode drpnet --stage classifier --add-true --add-false``: the second network learns from verified picks.

What was verified in earlier rounds lies beside the model as training_set.star, as in the DeepEM mode.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.curves import Curve, precision_recall
from relion_ext_picker.io.mrc import read_micrograph, shape_of
from relion_ext_picker.io.weights import save_model
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.training.loop import Schedule, fit
from relion_ext_picker.training.verifier import UNKNOWN, Candidates, marked_batches, marked_candidates, verifier_loss
from relion_ext_picker.types import Array, Micrograph, ScoreMap
from relion_ext_picker.workflows.exam import (
    Exam,
    Finds,
    examine,
    keep_training_set,
    read_judged,
    say_whether_kept,
)
from relion_ext_picker.workflows.models import choose_device
from relion_ext_picker.workflows.sources import find_micrographs
from relion_ext_picker.workflows.train import MODEL, start_picker
from relion_ext_picker.workflows.training_marks import Reading, verified
from relion_ext_picker.workflows.training_set import NAME as TRAINING_SET
from relion_ext_picker.workflows.training_set import Marks, Set, hold_out, join, parts_of, read_set, write_set
from relion_ext_picker.workflows.withdrawn import without_withdrawn

ENOUGH = 20  # verified particles, and as many others, to train on
FLOOR = 0.1  # candidates that the model to go on from scores lower were not worth a pick to anybody
BATCH = 4  # candidates per patch of the recipe

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marked:
    """A micrograph of which some places were verified.

    Attributes
    ----------
    marks : Marks
    frame : ScoreMap
        Prepared image; kept of held-out micrographs only.
    shape : (int, int)
        Rows and columns as stored.
    candidates : Candidates
    xy : ndarray, shape (n, 2)
        Of the candidates, px of the micrograph.
    """

    marks: Marks
    frame: ScoreMap | None
    shape: tuple[int, int]
    candidates: Candidates
    xy: Array


def train_verified(job: JobDirectory, options: TrainOptions) -> None:
    """Train the second network and write the model, its training set and scores into the job directory.

    Parameters
    ----------
    job : JobDirectory
    options : TrainOptions
        With the numbers of the recipe filled in.

    Raises
    ------
    InputError, StarError, WeightsError
        Too few verified picks, another stage, preset or model, or an input that cannot be read.
    """
    _check(options)
    device = choose_device(options.gpu, options.j)
    start = start_picker(options, device)
    micrographs = find_micrographs(options.in_mics, options.mics, options.pixel_size)
    reading = Reading(micrographs, lambda micrograph: shape_of(Path(micrograph.name)), 1)
    found = _held_out(_marks(options, reading), options)
    marked = []
    for marks in found.values():
        job.check_abort()
        marked.append(_marked(start, marks, options))
    training, held = ([item for item in marked if item.marks.held_out == out] for out in (False, True))
    known = _pooled(training)
    positives, others = int(known.labels.sum()), int((known.labels == 0).sum())
    _log.info(
        "training on %d particles and %d other candidates of %d micrographs, testing on %d micrographs",
        positives, others, len(training), len(held),
    )  # fmt: skip
    if min(positives, others) < ENOUGH:
        raise InputError(
            f"{options.add_true or options.model}: {positives} candidates are verified particles and {others} are "
            f"none; training needs {ENOUGH} of each: verify more picks, or pick with a lower threshold"
        )
    area = sum(
        item.shape[0] * item.shape[1] * (item.marks.micrograph.pixel_size / options.diameter) ** 2 for item in training
    )
    before = _curve(start, held, options)
    picker = _trained(job, start, known, options)
    picker.card = replace(picker.card, calibration={"density": round(positives / area, 4)})
    curve = _curve(picker, held, options)
    threshold = _threshold(curve)
    for when, each in (("before", before), ("after", curve)):
        _log.info("%s training, held out: average precision %.3f, best F1 %.3f", when, *_figures(each))
    picker.card = replace(picker.card, threshold=threshold)
    places = [item.marks.micrograph for item in held]
    exam = examine(
        read_judged(options.add_true), places, options.diameter, _picks(start, held, options),
        _picks(picker, held, options),
    )  # fmt: skip
    exam.tell()
    _write(job, picker if exam.passed else start, (found, exam), options, {"before": before, "after": curve})


def _check(options: TrainOptions) -> None:
    if options.stage != "classifier":
        raise InputError(
            "--add-true and --add-false train the second network of DRPnet: use them with --stage classifier"
        )
    if options.preset != "default":
        raise InputError(f"--preset {options.preset}: only the default preset of DRPnet learns from verified picks")
    if options.in_coords or options.simulated:
        raise InputError("--add-true and --add-false of DRPnet take the place of --in_coords and --simulated")
    if options.diameter <= 0:
        raise InputError("--diameter is required: the particle diameter in Å")


def _marks(options: TrainOptions, reading: Reading) -> Set:
    """What was verified now, and in the rounds before."""
    earlier: Set = {}
    beside = Path(options.model).parent / TRAINING_SET if options.model else None
    if beside is not None and beside.is_file():
        earlier = without_withdrawn(read_set(beside, reading.micrographs), options, reading)
    number = 1 + max((int(marks.round.max()) for marks in earlier.values() if len(marks)), default=0)
    return join(earlier, verified(options, replace(reading, round=number)), options.diameter)


def _held_out(found: Set, options: TrainOptions) -> Set:
    """Hold micrographs out as in earlier rounds, or else at random."""
    names = sorted(name for name, marks in found.items() if len(marks))
    if len(names) < 2:
        raise InputError(f"{options.add_true}: verified picks on {len(names)} micrograph; training needs them on 2")
    found = {name: found[name] for name in names}
    if not parts_of(found):
        order = np.random.default_rng(options.seed).permutation(len(names))
        held = {names[i] for i in order[: min(max(1, round(options.validation * len(names))), len(names) - 1)]}
        found = {name: replace(marks, part=int(name in held)) for name, marks in found.items()}
    return hold_out(found, 1)


def _marked(start: DefaultPicker, marks: Marks, options: TrainOptions) -> Marked:
    image = read_micrograph(Path(marks.micrograph.name))
    shape = (image.shape[0], image.shape[1])
    bright = options.contrast == "bright"
    frame = start.prepare(image, marks.micrograph.pixel_size, options.diameter, bright=bright)
    candidates, xy = marked_candidates(start, frame, marks.particles, marks.xy[~marks.particle], FLOOR)
    return Marked(marks, frame if marks.held_out else None, shape, candidates, xy)


def _pooled(marked: list[Marked]) -> Candidates:
    """Candidates with an answer of all micrographs."""
    parts = [item.candidates for item in marked]
    labels = np.concatenate([part.labels for part in parts])
    known = labels != UNKNOWN
    windows, logits = (np.concatenate([getattr(part, name) for part in parts])[known] for name in ("windows", "logits"))
    return Candidates(windows, logits, labels[known])


def _trained(job: JobDirectory, start: DefaultPicker, known: Candidates, options: TrainOptions) -> DefaultPicker:
    def progress(line: str, network: nn.Module) -> None:
        _log.info("second network: %s", line)
        job.check_abort()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.j)
    steps = options.classifier_steps
    schedule = Schedule(steps, 0.5 * options.learning_rate, average=0.99, report=max(1, min(100, steps // 5)))
    batches = marked_batches(known, options.seed, BATCH * options.batch)
    network = fit(start.network("classifier"), batches, verifier_loss, schedule, start.device, progress)
    # What compares candidates stays: it goes by log odds, which mean the same as before.
    return DefaultPicker(start.card, {**start.state(), "classifier": network.state_dict()}, start.device)


def _curve(picker: DefaultPicker, held: list[Marked], options: TrainOptions) -> Curve:
    """Precision and recall of a picker on the held-out micrographs, candidates that nobody knows left out."""
    scores, hits, count = [np.zeros(0)], [np.zeros(0, bool)], 0
    picks = _picks(picker, held, options)
    for item in held:
        xy, score = picks(item.marks.micrograph)
        count += int((item.candidates.labels == 1).sum())
        if not len(xy):
            continue
        label = item.candidates.labels[cKDTree(item.xy).query(xy)[1]]
        scores.append(score[label != UNKNOWN].astype(np.float64))
        hits.append(label[label != UNKNOWN] == 1)
    return precision_recall(np.concatenate(scores), np.concatenate(hits), count)


def _picks(picker: DefaultPicker, held: list[Marked], options: TrainOptions) -> Finds:
    """All candidates of a picker on held-out micrographs."""
    known = {item.marks.micrograph.name: item for item in held}

    def found(micrograph: Micrograph) -> tuple[Array, Array]:
        item = known[micrograph.name]
        assert item.frame is not None
        request = Request(options.diameter, 0.0)
        return pick_prepared(picker, item.frame, item.shape, micrograph.pixel_size, request)

    return found


def _figures(curve: Curve) -> tuple[float, float]:
    return curve.average_precision, float(curve.f1.max(initial=0.0))


def _threshold(curve: Curve) -> float:
    """Where F1 is highest."""
    best = float(curve.threshold[int(np.argmax(curve.f1))]) if len(curve.f1) else 0.5
    return round(float(np.clip(best, 0.05, 0.95)), 3)


def _write(
    job: JobDirectory, picker: DefaultPicker, what: tuple[Set, Exam], options: TrainOptions, curves: dict[str, Curve]
) -> None:
    found, exam = what
    counts = {kind: sum(int((m.particle == kind).sum()) for m in found.values()) for kind in (True, False)}
    scores = {
        when: dict(zip(("average_precision", "best_f1"), map(_rounded, _figures(c)), strict=True))
        for when, c in curves.items()
    }
    provenance = {
        **picker.card.provenance,
        "verified": {"true": options.add_true, "false": options.add_false},
        "marks": {"true": counts[True], "false": counts[False]},
        "training_micrographs": [m.micrograph.name for m in found.values() if not m.held_out],
        "validation_micrographs": [m.micrograph.name for m in found.values() if m.held_out],
        "classifier": {
            "steps": options.classifier_steps, "seed": options.seed, "batch": BATCH * options.batch,
            "learning_rate": 0.5 * options.learning_rate,
        },
        "validation": scores,
        **say_whether_kept(job, exam),
        "versions": {"relion_ext_picker": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    card = replace(picker.card, provenance=provenance)
    job.write(MODEL, lambda path: save_model(path, card, picker.state()))
    if exam.passed:
        job.write(TRAINING_SET, lambda path: write_set(path, found.values()))
    else:
        keep_training_set(job, options.model)
    text = json.dumps({"threshold": card.threshold, **provenance}, indent=1) + "\n"
    job.write("training.json", lambda path: path.write_text(text, encoding="utf-8"))
    job.declare(MODEL, "model")
    _log.info("model: %s%s, threshold %.3f", job.prefix, MODEL, card.threshold)


def _rounded(value: float) -> float:
    return round(value, 4)
