"""Which threshold the labels recommend, and whether classes or views would be lost by it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.curves import Curve, precision_recall
from relion_ext_picker.evaluation.symmetry import point_group
from relion_ext_picker.feedback.labels import Label
from relion_ext_picker.feedback.threshold import Threshold, at_threshold, lost_groups, safe_threshold
from relion_ext_picker.feedback.views import DROP, ViewCount, count_views, view_groups
from relion_ext_picker.options import FeedbackOptions
from relion_ext_picker.relion.correlations import read_symmetry
from relion_ext_picker.workflows.feedback_inputs import Outcome, PickJob

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Particles with labels and picks.

    Attributes
    ----------
    judged : ndarray, shape (m,), int
        Label of every particle by its class; open where it has no pick. What a threshold is measured with.
    label : ndarray, shape (m,), int
        The same without those that the picker does not agree with. What is taught.
    pick : ndarray, shape (m,), int
        Row of the picks, -1 without.
    class_number : ndarray, shape (m,), int
    score : ndarray, shape (m,)
        Of its pick; NaN without.
    withdrawn : (ndarray, shape (k,), int; ndarray, shape (k, 2)) or None
        Micrograph and place, px, of marks of earlier rounds that are taken back.
    """

    judged: NDArray[np.int64]
    label: NDArray[np.int64]
    pick: NDArray[np.int64]
    class_number: NDArray[np.int64]
    score: NDArray[np.float64]
    withdrawn: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Groups:
    """Good particles in classes, or by direction, before and after a threshold: shape (k,) each."""

    what: str
    before: NDArray[np.int64]
    after: NDArray[np.int64]


@dataclass(frozen=True)
class Advice:
    """A threshold and what it costs; None where not known.

    Attributes
    ----------
    threshold : Threshold or None
    before, after : ViewCount or None
        Views of the good particles without and with it.
    curve : Curve or None
        Precision and recall over the threshold of what is labelled.
    groups : Groups or None
    """

    threshold: Threshold | None
    before: ViewCount | None = None
    after: ViewCount | None = None
    curve: Curve | None = None
    groups: Groups | None = None


def advise(options: FeedbackOptions, source: PickJob, outcome: Outcome, labelled: Labelled) -> Advice:
    """The threshold of the highest F2, lowered until neither a class nor a direction of views is lost by it.

    Parameters
    ----------
    options : FeedbackOptions
        With `force` nothing is lowered.
    source : PickJob
    outcome : Outcome
    labelled : Labelled

    Returns
    -------
    Advice
    """
    worth = np.isfinite(labelled.score) & np.isin(labelled.judged, (Label.TRUE, Label.RARE))
    score, true = _scored(source, outcome, labelled, worth)
    if not true.any():
        _log.warning("no threshold is recommended: no good particle has a pick with a score")
        return Advice(None)
    curve = precision_recall(score, true, int(true.sum()))
    best = at_threshold(curve, None)
    angles = outcome.particles.angles
    if angles is None or not angles[:, 1].any():  # of 2D classes, which stand for the views
        group, count = labelled.class_number[worth], int(labelled.class_number.max(initial=0)) + 1
        safe = _safe(options, "class", labelled.score[worth], (group, count), best.score)
        groups = _groups("class", group, labelled.score[worth] >= safe, count)
        return Advice(at_threshold(curve, safe), curve=curve, groups=groups)
    symmetry = point_group(options.symmetry or read_symmetry(outcome.result.folder) or "C1")
    angles, scores = angles[worth], labelled.score[worth]
    cell, count = view_groups(angles, symmetry)
    safe = _safe(options, "views of cell", scores, (cell, count), best.score)
    before, after = count_views(angles, symmetry), count_views(angles[scores >= safe], symmetry)
    if after.e_od < before.e_od - DROP:
        fall = f"{before.e_od:.3f} to {after.e_od:.3f}"
        text = f"a threshold of {safe:.3f} would lower the efficiency of the views from {fall}"
        if options.force:
            _log.warning("%s; it is recommended all the same, as --force asks for", text)
        else:
            safe, after = float(scores.min()), before
            _log.warning("%s: refused, %.3f is recommended, which keeps all; --force takes the other", text, safe)
    _log.info(
        "views of good particles: %d with an efficiency of %.3f, at the threshold %d and %.3f",
        before.views, before.e_od, after.views, after.e_od,
    )  # fmt: skip
    return Advice(at_threshold(curve, safe), before, after, curve, _groups("direction", cell, scores >= safe, count))


def _groups(what: str, group: NDArray[np.int64], kept: NDArray[np.bool_], count: int) -> Groups:
    return Groups(what, np.bincount(group, minlength=count), np.bincount(group[kept], minlength=count))


def _scored(
    source: PickJob, outcome: Outcome, labelled: Labelled, worth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores and truth of what is known: labelled particles or, after a refinement, all picks."""
    if outcome.verdict is None:
        true = np.zeros(len(source.picks), np.bool_)
        true[labelled.pick[worth]] = True
        scored = np.isfinite(source.picks.score)
        return source.picks.score[scored], true[scored]
    known = np.isfinite(labelled.score) & (labelled.judged != Label.OPEN)
    return labelled.score[known], worth[known]


def _safe(
    options: FeedbackOptions,
    what: str,
    score: NDArray[np.float64],
    groups: tuple[NDArray[np.int64], int],
    wanted: float,
) -> float:
    lost = lost_groups(groups[0], score, wanted, groups[1])
    if not len(lost):
        return wanted
    text = f"a threshold of {wanted:.3f} would take most particles of {what} {', '.join(map(str, lost))} away"
    if options.force:
        _log.warning("%s; it is recommended all the same, as --force asks for", text)
        return wanted
    safe = safe_threshold(score, groups[0], wanted, groups[1])
    _log.warning("%s, perhaps a rare view: refused, %.3f is recommended instead; --force takes it", text, safe)
    return safe
