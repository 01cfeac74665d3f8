"""What the feedback command reads: the picks of a job, and what became of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.evaluation.classes2d import ClassVerdict, GoodClassRule, judge_classes
from relion_ext_picker.feedback.join import PickTable, Places
from relion_ext_picker.feedback.labels import Earlier
from relion_ext_picker.io.coordinates import pair_names, read_coordinate_set
from relion_ext_picker.options import FeedbackOptions
from relion_ext_picker.relion.downstream import read_classes, read_particles, read_selection
from relion_ext_picker.relion.results import JobResult, find_result, job_options
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.types import ClassTable, Micrograph, ParticleTable
from relion_ext_picker.workflows.sources import micrographs_of_job, settings_of_job
from relion_ext_picker.workflows.training_set import NAME as TRAINING_SET
from relion_ext_picker.workflows.training_set import RANDOM, read_set

FEWEST_JOINED = 0.5  # share of the particles that must come from the picks given

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PickJob:
    """Picks and what is known of how they were made.

    Attributes
    ----------
    folder : Path
        The job.
    micrographs_star : str
    micrographs : list of Micrograph
    picks : PickTable
        Its `micrograph` indexes `micrographs`.
    settings : mapping
        Options of the picking job, by their field names; empty for a job of another program.
    executable : str
        How RELION started the job; empty where that is not known.
    """

    folder: Path
    micrographs_star: str
    micrographs: list[Micrograph]
    picks: PickTable
    settings: Mapping[str, Any]
    executable: str


@dataclass(frozen=True)
class Outcome:
    """What became of the picks.

    Attributes
    ----------
    result : JobResult
    particles : ParticleTable
    places : Places
        Of the particles, on the micrographs of the picking job.
    classes : ClassTable or None
        None for a refinement of a single class.
    verdict : ClassVerdict or None
        The same.
    """

    result: JobResult
    particles: ParticleTable
    places: Places
    classes: ClassTable | None
    verdict: ClassVerdict | None


def read_pick_job(options: FeedbackOptions) -> PickJob:
    """The picks of --in_coords.

    Raises
    ------
    InputError
        There are none, or their micrographs are not known.
    """
    if not options.in_coords:
        raise InputError("no picks were given: use --in_coords with the coordinate node of the picking job")
    path = Path(options.in_coords)
    folder = path if path.is_dir() else path.parent
    given = job_options(folder)
    star = options.in_mics or micrographs_of_job(folder)
    micrographs = read_micrographs(Path(star))
    found = read_coordinate_set(path, micrographs)
    index, xy, score = [], [], []
    for number, micrograph in enumerate(micrographs):
        here = found.get(micrograph.name)
        if here is not None and len(here):
            index.append(np.full(len(here), number, np.int64))
            xy.append(np.asarray(here.xy, np.float64))
            score.append(np.full(len(here), np.nan) if here.score is None else np.asarray(here.score, np.float64))
    if not index:
        raise InputError(f"{path}: there are no picks in it; give the coordinates of the job that the particles are of")
    table = PickTable(np.concatenate(index), np.concatenate(xy), np.concatenate(score))
    return PickJob(folder, star, micrographs, table, settings_of_job(folder), given.get("fn_exe", ""))


def diameter_of(options: FeedbackOptions, job: PickJob) -> float:
    """Particle diameter in Å. Raises InputError where nobody says it."""
    diameter = options.diameter or float(job.settings.get("diameter", 0) or 0)
    if diameter <= 0:
        raise InputError(f"--diameter is required: {job.folder} is not a picking job of this program, which would know")
    return diameter


def read_outcome(options: FeedbackOptions, job: PickJob) -> Outcome:
    """The particles and classes of --in_parts.

    Raises
    ------
    InputError, StarError
        It is missing, cut off, of another kind, without classes, or none of its micrographs are those of the picks.
    """
    if not options.in_parts:
        raise InputError("nothing to learn from: use --in_parts with a STAR file of a Class2D, Select or Refine3D job")
    result = find_result(Path(options.in_parts))
    particles = read_particles(result.particles)
    places = _places(result.particles, particles, job)
    classes = _classes(result)
    if classes is None or len(classes) == 1:
        return Outcome(result, particles, places, None, None)
    if particles.class_number is None or not particles.class_number.any():
        raise InputError(
            f"{result.particles}: its particles have no classes yet; give the result of a Class2D job, not its input"
        )
    if int(particles.class_number.max()) > len(classes):
        raise InputError(
            f"{result.particles}: a particle is in class {particles.class_number.max()}, but "
            f"{_model_of(result)} has {len(classes)} classes: they do not belong together"
        )
    selection = read_selection(result.selection) if result.selection else None
    rule = GoodClassRule(options.class_resolution, options.class_relative, options.class_share, options.class_score)
    try:
        verdict = judge_classes(classes, rule, selection)
    except ValueError as error:
        raise InputError(f"{result.selection}: {error}: it does not belong to {_model_of(result)}") from error
    return Outcome(result, particles, places, classes, verdict)


def _classes(result: JobResult) -> ClassTable | None:
    """The classes of a result; None for a refinement, which has one."""
    model = _model_of(result)
    if model is not None:
        return read_classes(model)
    if result.particles.name == "run_data.star":
        return None
    raise InputError(
        f"{result.particles}: the classes are missing: there is no model of the same iteration (run_itNNN_model.star) "
        "beside it, or beside the job that a Select job chose from; give the Class2D job itself"
    )


def _model_of(result: JobResult) -> Path | None:
    return result.ranked or (result.models[0] if result.models else None)


def _places(path: Path, particles: ParticleTable, job: PickJob) -> Places:
    """Where the particles are on the micrographs of the picks."""
    if particles.xy is None:
        raise StarError(f"{path}: its particles have no coordinates; give the particles of an Extract job downstream")
    names = pair_names(particles.names, job.micrographs)
    if not names:
        raise InputError(
            f"{path}: its particles are on other micrographs ({particles.names[0]}, ...) than the picks of "
            f"{job.folder} ({job.micrographs[0].name}, ...): give the picks that these particles were extracted from"
        )
    number_of = {micrograph.name: number for number, micrograph in enumerate(job.micrographs)}
    number = np.array([number_of[names[name]] if name in names else -1 for name in particles.names], np.int64)
    micrograph = number[particles.micrograph]
    pixel_size = np.array([item.pixel_size for item in job.micrographs])[micrograph]
    origin = np.zeros_like(particles.xy) if particles.origin is None else particles.origin
    return Places(micrograph, particles.xy, particles.xy - origin / pixel_size[:, None])


def read_earlier(job: PickJob) -> Earlier:
    """Marks that the model which picked has learnt from, but random ones; none where they are not known."""
    model = str(job.settings.get("model", "") or "")
    path = Path(model).parent / TRAINING_SET
    index, xy, particle = [np.zeros(0, np.int64)], [np.zeros((0, 2))], [np.zeros(0, np.bool_)]
    if model and path.is_file():
        found = read_set(path, job.micrographs)
        for number, micrograph in enumerate(job.micrographs):
            marks = found.get(micrograph.name)
            if marks is not None:
                kept = marks.only(marks.source != RANDOM)
                index.append(np.full(len(kept), number, np.int64))
                xy.append(kept.xy.astype(np.float64))
                particle.append(kept.particle)
    return Earlier(np.concatenate(index), np.concatenate(xy), np.concatenate(particle))


def check_joined(path: Path, job: PickJob, joined: NDArray[np.int64]) -> None:
    """Refuse particles that hardly have picks. Raises InputError."""
    count, have = len(joined), int((joined >= 0).sum())
    if have < FEWEST_JOINED * count:
        raise InputError(
            f"{path}: only {have} of its {count} particles lie at a pick of {job.folder} ({len(job.picks)} picks): "
            "they come from other picks; give the coordinates that they were extracted from, or a larger --tolerance"
        )
    if have < count:
        _log.warning(
            "%s: %d of %d particles lie at no pick of %s and are left out", path, count - have, count, job.folder
        )
