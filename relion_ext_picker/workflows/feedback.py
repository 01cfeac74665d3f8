"""The feedback command: from what became of the picks to labels, a threshold and the jobs of the next round."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.evaluation.classes2d import count_good
from relion_ext_picker.feedback.join import join_particles
from relion_ext_picker.feedback.labels import (
    Evidence,
    Label,
    LabelRule,
    agreement,
    excess,
    labels_of_classes,
    reconciled,
    second_look,
    settled,
)
from relion_ext_picker.feedback.rounds import FeedbackRound, another_pays
from relion_ext_picker.feedback.threshold import Threshold
from relion_ext_picker.options import FeedbackOptions
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.workflows.exam import EXAM, JUDGED, KEPT, write_judged
from relion_ext_picker.workflows.feedback_inputs import (
    Outcome,
    PickJob,
    check_joined,
    diameter_of,
    read_earlier,
    read_outcome,
    read_pick_job,
)
from relion_ext_picker.workflows.feedback_outputs import (
    FEEDBACK,
    ROUNDS,
    read_feedback_rounds,
    write_coordinates,
    write_feedback,
    write_feedback_rounds,
    write_next_jobs,
)
from relion_ext_picker.workflows.feedback_report import tell, write_report
from relion_ext_picker.workflows.feedback_threshold import Advice, Labelled, advise
from relion_ext_picker.workflows.withdrawn import WITHDRAWN

ANOTHER = "another_round"  # file that is there when another round is expected to pay; a schedule looks for it
GAIN = 0.005  # of average precision on held-out picks that is worth another round
HARDLY = 0.1  # of the particles in good classes is so little that labels are doubtful
VERIFIED = "verified"  # entry of a model's training.json: the coordinates it learnt from

_log = logging.getLogger(__name__)


def run(options: FeedbackOptions) -> None:
    """Write true.star, false.star, feedback.star, rounds.star, next_pick/job.star, next_train/job.star, logfile.pdf.

    Parameters
    ----------
    options : FeedbackOptions

    Raises
    ------
    PickerError
        An input is wrong; the job directory then holds RELION's FAILURE marker.
    """
    with JobDirectory(options.o, options.relion_version) as job:
        source = read_pick_job(options)
        diameter = diameter_of(options, source)
        earlier = _earlier_rounds(options, source)
        outcome = read_outcome(options, source)
        job.check_abort()
        labelled = _labelled(options, source, outcome, diameter)
        advice = advise(options, source, outcome, labelled)
        nodes = _write_labels(job, source, outcome, labelled)
        _write_judged(job, source, outcome, labelled)
        write_next_jobs(job, source, advice.threshold.score if advice.threshold else None, nodes)
        rounds = [*earlier, _round(len(earlier) + 1, source, outcome, labelled, advice)]
        job.write(ROUNDS, lambda path: write_feedback_rounds(path, rounds))
        pays, why = _another_pays(source, rounds, labelled)
        summary = _summary(rounds[-1], labelled, advice.threshold, pays)
        judged = (outcome.classes, outcome.verdict) if outcome.classes and outcome.verdict else None
        marks = labelled.label, labelled.class_number
        job.write(FEEDBACK, lambda path: write_feedback(path, summary, judged, *marks))
        tell(rounds)
        (job.path / ANOTHER).unlink(missing_ok=True)
        if pays:
            job.write(ANOTHER, lambda path: path.write_text(f"{why}\n", encoding="utf-8"))
        verdict = f"another round {'pays' if pays else 'does not pay'}: {why}"
        write_report(job, rounds, labelled, advice, verdict)
        _log.info("%s", verdict)


def _labelled(options: FeedbackOptions, source: PickJob, outcome: Outcome, diameter: float) -> Labelled:
    """Join particles to picks and label them."""
    places, particles = outcome.places, outcome.particles
    px = diameter / np.array([item.pixel_size for item in source.micrographs])
    pick = join_particles(source.picks, places, options.tolerance * px)
    check_joined(outcome.result.particles, source, pick)
    class_number = np.zeros(len(particles), np.int64) if particles.class_number is None else particles.class_number
    if outcome.verdict is None:
        label = np.full(len(particles), int(Label.TRUE), np.int64)
    else:
        label = labels_of_classes(outcome.verdict, class_number)
    label[pick < 0] = Label.OPEN
    sure = np.full(len(particles), np.nan) if particles.pmax is None else particles.pmax
    rule = LabelRule(pmax=options.min_pmax, doubt=options.doubt)
    label = settled(label, places, sure, px[places.micrograph], rule)
    score = np.where(pick >= 0, source.picks.score[pick], np.nan)
    likelihood = np.full(len(particles), np.nan) if particles.likelihood is None else particles.likelihood
    taught = second_look(label, Evidence(score, excess(likelihood, places.micrograph)), rule)
    by_rule = outcome.verdict is not None and outcome.verdict.by != "selection"  # what a person chose overrules all
    earlier = read_earlier(source) if by_rule else None
    withdrawn = None
    if earlier is not None:
        taught, which = reconciled(taught, places, earlier, rule.same * px)
        withdrawn = earlier.micrograph[which], earlier.xy[which]
    return Labelled(label, taught, pick, class_number, score, withdrawn)


def _write_labels(job: JobDirectory, source: PickJob, outcome: Outcome, labelled: Labelled) -> tuple[str, str]:
    """Both sets of coordinates; their nodes, the second one empty where nothing is known to be false."""
    places, nodes = outcome.places, []
    (job.path / WITHDRAWN).unlink(missing_ok=True)
    if labelled.withdrawn is not None and len(labelled.withdrawn[0]):
        none = np.zeros(len(labelled.withdrawn[0]))
        write_coordinates(job, source, Path(WITHDRAWN).stem, labelled.withdrawn, (none, none.astype(np.int64)))
        _log.info("%s%s: %d marks of earlier rounds are taken back", job.prefix, WITHDRAWN, len(none))
    for name, label, xy in (("true", Label.TRUE, places.centre), ("false", Label.FALSE, places.extracted)):
        here = labelled.label == label
        where = (places.micrograph[here], xy[here])
        node = write_coordinates(job, source, name, where, (labelled.score[here], labelled.class_number[here]))
        nodes.append(node if here.any() else "")
        _log.info("%s: %d coordinates", node, int(here.sum()))
    if not nodes[0]:
        raise InputError(
            f"{outcome.result.particles}: no particle is good: no class passes the limits; look at the class averages, "
            "and give --class-resolution or the Select job of the classes you choose"
        )
    return nodes[0], nodes[1]


def _write_judged(job: JobDirectory, source: PickJob, outcome: Outcome, labelled: Labelled) -> None:
    """What the classes say of each pick, taught or not: a training compares its model with the one before by it."""
    (job.path / JUDGED).unlink(missing_ok=True)
    known = np.isin(labelled.judged, (Label.TRUE, Label.FALSE))
    if outcome.verdict is None or not known.any():
        return
    true, places = labelled.judged[known] == Label.TRUE, outcome.places
    xy = np.where(true[:, None], places.centre[known], places.extracted[known])
    names = [source.micrographs[index].name for index in places.micrograph[known].tolist()]
    job.write(JUDGED, lambda path: write_judged(path, names, xy, true))


def _round(number: int, source: PickJob, outcome: Outcome, labelled: Labelled, advice: Advice) -> FeedbackRound:
    verdict, classes = outcome.verdict, outcome.classes
    counts = None if verdict is None else count_good(verdict, labelled.class_number)
    resolution = None
    if classes is not None and verdict is not None and verdict.good.any():
        resolution = float(np.nanmin(classes.resolution[verdict.good]))
    return FeedbackRound(
        round=number,
        picks_of=str(source.folder),
        particles_of=str(outcome.result.folder),
        picks=len(source.picks),
        particles=len(outcome.particles),
        good_particles=counts.good_particles if counts else len(outcome.particles),
        classes=counts.classes if counts else None,
        good_classes=counts.good_classes if counts else None,
        resolution=resolution,
        e_od=advice.before.e_od if advice.before else None,
        views=advice.before.views if advice.before else None,
        threshold=advice.threshold.score if advice.threshold else None,
    )


def _another_pays(source: PickJob, rounds: list[FeedbackRound], labelled: Labelled) -> tuple[bool, str]:
    """The verdict of the rounds, unless labels or training say something worse; warns where hardly anything is good."""
    row = rounds[-1]
    if row.classes is not None and row.share < HARDLY:
        _log.warning(
            "only %d of %d particles are in good classes: look at the class averages before you train on these labels; "
            "a Select job of the classes you choose, or --class-resolution, may serve better",
            row.good_particles, row.particles,
        )  # fmt: skip
    if row.classes is not None and row.classes == row.good_classes:
        _log.warning(
            "all classes are good: either all picks are particles, or so few that dirt sets the limit; look at the "
            "averages, and give --class-resolution or a Select job in the second case"
        )
    order = agreement(labelled.judged, labelled.score)
    if order is not None and order < 0.5:
        why = (
            f"picks that the classes call false score higher than those they call true (in {1 - order:.0%} of all "
            "pairs): look at the class averages, and choose classes in a Select job"
        )
        _log.warning("%s", why)
        return False, why
    told = _told(source)
    if told.get(KEPT):
        return False, "the last training brought a worse model, and the one before was kept"
    before, after = (float(told.get(EXAM, {}).get(when, 0.0)) for when in ("before", "after"))
    if after > before + GAIN:
        return True, f"the last training ranked held-out picks better: average precision {before:.3f} -> {after:.3f}"
    return another_pays(rounds)


def _told(source: PickJob) -> dict[str, Any]:
    """The training.json beside the model that picked; empty where there is none."""
    model = str(source.settings.get("model", "") or "")
    try:
        told = json.loads((Path(model).parent / "training.json").read_text(encoding="utf-8")) if model else {}
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _earlier_rounds(options: FeedbackOptions, source: PickJob) -> list[FeedbackRound]:
    """The rounds before this: those of --previous, or of the job whose coordinates trained the model that picked."""
    if options.previous:
        path = Path(options.previous)
        return read_feedback_rounds(path / ROUNDS if path.is_dir() else path)
    try:
        node = Path(str(_told(source).get(VERIFIED, {}).get("true", "")))
        return read_feedback_rounds(node.parent / ROUNDS) if node.name else []
    except (OSError, AttributeError, StarError):
        return []


def _summary(row: FeedbackRound, labelled: Labelled, threshold: Threshold | None, pays: bool) -> dict[str, Any]:
    counts = {label.name.capitalize(): int((labelled.label == label).sum()) for label in Label}
    found: dict[str, Any] = {"pickerRound": row.round, "pickerPicks": row.picks, "pickerParticles": row.particles}
    found |= {f"picker{name}": count for name, count in counts.items()}
    if threshold is not None:
        found |= {
            "pickerThreshold": threshold.score, "pickerPrecision": threshold.precision,
            "pickerRecall": threshold.recall, "pickerF2": threshold.f2,
        }  # fmt: skip
    return {**found, "pickerAnotherRoundPays": pays}
