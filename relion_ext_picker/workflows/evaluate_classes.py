"""2D classes: which are good, and where their particles come from."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.classes2d import ClassVerdict, GoodClassRule, count_good, judge_classes
from relion_ext_picker.options import EvaluateOptions
from relion_ext_picker.relion.downstream import read_classes, read_particles, read_selection
from relion_ext_picker.relion.results import JobResult, find_result
from relion_ext_picker.report import plots
from relion_ext_picker.report.evaluation import Measure, Section
from relion_ext_picker.types import ClassTable, ParticleTable

SCORE_BINS = 10


def of_classes(class2d: str, select: str, options: EvaluateOptions) -> Section:
    """Good 2D classes of a Class2D job, by rule, by the class ranker or as a person chose.

    Parameters
    ----------
    class2d, select : str
        Jobs; one of them may be empty.
    options : EvaluateOptions
        For the rule.
    """
    result = find_result(Path(class2d or select))
    chosen = find_result(Path(select)) if select else result
    particles = read_particles(result.particles)
    verdict, classes = judge(result, chosen, options)
    if particles.class_number is None:
        raise InputError(f"{result.particles}: its particles have no class; give a Class2D job")
    try:
        counts = count_good(verdict, particles.class_number)
    except ValueError as error:
        raise InputError(f"{result.particles} does not belong to {result.models[0]}: {error}") from error
    good = good_particles(verdict, particles)
    per_micrograph = np.bincount(particles.micrograph, minlength=len(particles.names))
    good_per_micrograph = np.bincount(particles.micrograph[good], minlength=len(particles.names))
    how = {
        "selection": f"as chosen in {chosen.folder}",
        "score": f"class ranker's score of {verdict.limit:g} and above",
        "resolution": f"resolved better than {verdict.limit:.1f} Å, and more than {options.class_share:.2%} of all",
    }[verdict.by]
    rare = int((verdict.rare & (np.bincount(particles.class_number, minlength=len(classes) + 1)[1:] > 0)).sum())
    measures = [
        Measure("classes", "classes with particles", counts.classes),
        Measure("good_classes", "good classes", counts.good_classes),
        Measure("good_classes_share", "share of good classes", counts.share_classes),
        Measure("rare_classes", "well resolved, but small (rare views?)", rare),
        Measure("particles", "particles", counts.particles),
        Measure("good_particles", "particles in good classes", counts.good_particles),
        Measure("good_particles_share", "share of particles in good classes", counts.share_particles),
        Measure("micrographs", "micrographs", len(particles.names)),
        Measure("good_per_micrograph", "good particles per micrograph, median",
                float(np.median(good_per_micrograph)), digits=1),
        Measure("best_resolution", "best resolution of a good class", _best(classes, verdict), "Å", 2),
        *_means(particles, good),
    ]  # fmt: skip
    tables = {
        "list": _class_columns(classes, verdict, particles.class_number),
        "micrographs": {
            "micrograph": list(particles.names), "particles": per_micrograph.tolist(),
            "good": good_per_micrograph.tolist(),
        },
    }  # fmt: skip
    bins = score_bins(particles, good)
    if bins:
        tables["scores"] = bins
    page = partial(plots.classes_page, classes, verdict, (per_micrograph, good_per_micrograph), bins)
    notes = [f"{result.particles}; a class is good: {how}"]
    return Section("classes", "2D classes", measures, tables, notes, [page])


def judge(result: JobResult, chosen: JobResult, options: EvaluateOptions) -> tuple[ClassVerdict, ClassTable]:
    """Which classes are good, and the classes.

    Raises
    ------
    InputError
        There is no model, or the selection is of other classes.
    """
    rule = GoodClassRule(options.class_resolution, options.class_relative, options.class_share, options.class_score)
    model = chosen.ranked or next(iter(result.models), None)
    if model is None:
        raise InputError(f"{result.folder}: no run_itNNN_model.star with classes in it; give a Class2D or Select job")
    classes = read_classes(model)
    selection = None
    if chosen.selection is not None and chosen.ranked is None:
        selection = read_selection(chosen.selection)
    try:
        return judge_classes(classes, rule, selection), classes
    except ValueError as error:
        raise InputError(f"{chosen.selection} does not belong to {model}: {error}") from error


def good_particles(verdict: ClassVerdict, particles: ParticleTable) -> NDArray[np.bool_]:
    """Which particles are in good classes, shape (n,)."""
    assert particles.class_number is not None
    return np.concatenate([[False], verdict.good])[particles.class_number]


def score_bins(particles: ParticleTable, good: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Particles and good ones in bins of the score of the pick; nothing where there are no scores that differ."""
    score = particles.figure_of_merit
    if score is None:
        return {}
    known = np.isfinite(score)
    if not known.any() or score[known].min() == score[known].max():
        return {}
    # Bins of equal numbers would hide how many picks have a low score; equal widths show it.
    edges = np.histogram_bin_edges(score[known], SCORE_BINS)
    every, fine = np.histogram(score[known], edges)[0], np.histogram(score[known & good], edges)[0]
    share = np.divide(fine, every, out=np.zeros(len(every)), where=every > 0)
    return {
        "from": edges[:-1].tolist(), "to": edges[1:].tolist(), "particles": every.tolist(), "good": fine.tolist(),
        "share": share.tolist(),
    }  # fmt: skip


def _best(classes: ClassTable, verdict: ClassVerdict) -> float:
    known = classes.resolution[verdict.good & np.isfinite(classes.resolution) & (classes.resolution > 0)]
    return float(known.min()) if len(known) else math.nan


def _means(particles: ParticleTable, good: NDArray[np.bool_]) -> list[Measure]:
    """Mean probability and score inside and outside of good classes, where both exist."""
    measures = []
    columns = (("pmax", "Pmax", particles.pmax), ("score", "score of the pick", particles.figure_of_merit))
    for key, label, values in columns:
        if values is None or not np.isfinite(values).any() or good.all() or not good.any():
            continue
        measures += [
            Measure(f"{key}_good", f"mean {label} in good classes", float(np.nanmean(values[good]))),
            Measure(f"{key}_other", f"mean {label} in the others", float(np.nanmean(values[~good]))),
        ]
    return measures


def _class_columns(
    classes: ClassTable, verdict: ClassVerdict, number: NDArray[np.int64]
) -> dict[str, list[float] | list[int]]:
    columns: dict[str, list[float] | list[int]] = {
        "class": list(range(1, len(classes) + 1)),
        "particles": np.bincount(number, minlength=len(classes) + 1)[1:].tolist(),
        "share": classes.distribution.tolist(),
        "resolution": np.nan_to_num(classes.resolution, nan=999.0, posinf=999.0).tolist(),
        "good": verdict.good.astype(int).tolist(),
        "rare": verdict.rare.astype(int).tolist(),
    }
    if classes.completeness is not None:
        columns["completeness"] = np.nan_to_num(classes.completeness).tolist()
    if classes.score is not None:
        columns["score"] = np.nan_to_num(classes.score).tolist()
    return columns
