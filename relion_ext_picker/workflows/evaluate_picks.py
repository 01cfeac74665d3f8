"""Picks against known particles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.curves import Curve, Matches, Scores, match_picks
from relion_ext_picker.io.coordinates import Coordinates, read_coordinate_set
from relion_ext_picker.io.mrc import shape_of
from relion_ext_picker.options import EvaluateOptions
from relion_ext_picker.report import plots
from relion_ext_picker.report.evaluation import Measure, Section
from relion_ext_picker.types import Micrograph

RADIUS = 0.4  # of the diameter; as in the demo and the benchmarks
STRICT = 0.5  # of the radius, for the second set of scores
_CURVE_ROWS = 500  # of the curves in files; every pick is a point of them

Scored = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64] | None]]


def read_truth(options: EvaluateOptions, micrographs: Sequence[Micrograph]) -> dict[str, NDArray[np.float64]]:
    """Known particles by micrograph, in Å, those near the border left out."""
    found = read_coordinate_set(Path(options.truth), micrographs)
    return {name: xy for name, (xy, _) in in_angstrom(found, micrographs, options.border).items()}


def in_angstrom(found: Mapping[str, Coordinates], micrographs: Sequence[Micrograph], border: float) -> Scored:
    """Coordinates in Å and scores by micrograph, those closer than `border` (Å) to an edge left out.

    Raises
    ------
    InputError
        The size of a micrograph is needed and its file cannot be read.
    """
    result = {}
    for micrograph in micrographs:
        if micrograph.name not in found:
            continue
        item, size = found[micrograph.name], micrograph.pixel_size
        xy = np.asarray(item.xy, np.float64) * size
        score = None if item.score is None else np.asarray(item.score, np.float64)
        if border > 0:
            rows, cols = shape_of(Path(micrograph.name))
            last = np.array([cols - 1, rows - 1]) * size - border
            keep = ((xy >= border) & (xy <= last)).all(axis=1)
            xy, score = xy[keep], None if score is None else score[keep]
        result[micrograph.name] = (xy, score)
    return result


def matching_radius(options: EvaluateOptions) -> float:
    """Å within which a pick counts.

    Raises
    ------
    InputError
        Neither radius nor diameter is given.
    """
    if options.radius > 0:
        return options.radius
    if options.diameter > 0:
        return RADIUS * options.diameter
    raise InputError("--truth needs --radius or --diameter, in Å: how far from a known particle may a pick lie?")


def of_picks(options: EvaluateOptions, micrographs: Sequence[Micrograph], found: Mapping[str, Coordinates]) -> Section:
    """Scores of picks against known particles, and the curves that go with them."""
    radius = matching_radius(options)
    truth = read_truth(options, micrographs)
    picks = in_angstrom(found, micrographs, options.border)
    kept = above(picks, options.threshold)
    every = match_picks(truth, picks, radius)
    near, strict = match_picks(truth, kept, radius), match_picks(truth, kept, STRICT * radius)
    pixel = float(np.median([item.pixel_size for item in micrographs]))
    notes = [
        f"{options.truth} is the truth for {len(truth)} micrographs; one pick per particle, the best first, within "
        f"{radius:.1f} Å ({radius / pixel:.1f} px)"
    ]
    if options.threshold >= 0:
        notes.append(f"picks with a score of {options.threshold:g} and above; average precision and curves of all")
    elif every.ranked:
        notes.append(
            "all picks count. Where the job had left out picks below a threshold, the curves end there and average "
            "precision is that of its part: pick with --threshold 0 to see the whole"
        )
    measures = [
        *measures_of(near.scores, radius, pixel),
        *_strict(strict.scores, STRICT * radius),
        *_curve_measures(every),
    ]
    tables = {}
    if every.ranked:
        tables["curve"] = _thinned(every.curve)
    distances = near.distance[near.hit]
    page = partial(plots.picks_page, every, (distances, pixel, radius), near.scores, options.threshold)
    return Section("picks", "Picks against known particles", measures, tables, notes, [page])


def above(picks: Scored, threshold: float) -> Scored:
    """Picks of a score of `threshold` or more; all where it is negative, and those without scores."""
    if threshold < 0:
        return picks
    result = {}
    for name, (xy, score) in picks.items():
        keep = np.ones(len(xy), bool) if score is None else score >= threshold
        result[name] = (xy[keep], None if score is None else score[keep])
    return result


def measures_of(scores: Scores, radius: float, pixel: float) -> list[Measure]:
    """Scores within the full radius."""
    centring = math.nan if scores.centring is None else scores.centring
    return [
        Measure("radius", "matching radius", radius, "Å", 1),
        Measure("known", "known particles", scores.n_truth),
        Measure("picks", "picks", scores.n_picks),
        Measure("found", "picks that are particles", scores.hits),
        Measure("precision", "precision", scores.precision),
        Measure("recall", "recall", scores.recall),
        Measure("f1", "F1", scores.f1),
        Measure("f2", "F2", scores.f2),
        Measure("accuracy", "accuracy, TP / (TP + FP + FN)", scores.accuracy),
        Measure("centring", "centring error, median", centring, "Å", 1),
        Measure("centring_px", "centring error, median", centring / pixel, "px", 1),
    ]


def _strict(scores: Scores, radius: float) -> list[Measure]:
    return [
        Measure("strict_radius", "half the radius", radius, "Å", 1),
        Measure("strict_precision", "precision within it", scores.precision),
        Measure("strict_recall", "recall within it", scores.recall),
        Measure("strict_f1", "F1 within it", scores.f1),
    ]


def _curve_measures(every: Matches) -> list[Measure]:
    """Average precision, and the thresholds that are best for F1 and F2."""
    if not every.ranked:
        return [Measure("ap", "average precision", math.nan, note="the picks have no scores that tell them apart")]
    curve = every.curve
    measures = [Measure("ap", "average precision", curve.average_precision)]
    for beta in (1, 2):
        values = curve.f_beta(beta)
        best = int(np.argmax(values))
        measures += [
            Measure(f"best_f{beta}", f"highest F{beta} of any threshold", float(values[best])),
            Measure(f"best_f{beta}_threshold", "the threshold", float(curve.threshold[best])),
        ]
    return measures


def _thinned(curve: Curve) -> dict[str, list[float]]:
    """The curve for files, at most 500 rows of it, both ends included."""
    rows = np.unique(np.linspace(0, len(curve.threshold) - 1, _CURVE_ROWS).round().astype(int))
    columns = {
        "threshold": curve.threshold, "precision": curve.precision, "recall": curve.recall, "f1": curve.f1,
        "f2": curve.f_beta(2),
    }  # fmt: skip
    return {name: values[rows].tolist() for name, values in columns.items()}
