"""How good picks are: precision, recall and what follows from them, pooled over micrographs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_ext_picker.evaluation.matching import match

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """Agreement of picks with the truth.

    Attributes
    ----------
    precision, recall, f1 : float
        Of all picks given.
    ap : float or None
        Average precision: the sum of precision times step in recall over falling score thresholds, without
        interpolation; recall that is not reached counts nothing. None where the picks have no scores, or all the same.
    best_f1 : float
        Highest F1 that any one score threshold gives; that of all picks where there are no scores.
    best_threshold : float or None
        The lowest score kept for `best_f1`.
    n_truth, n_picks, hits : int
        Numbers of true centres, picks, and picks that have a true centre.
    centring : float or None
        Median distance of the hits from their true centres, in the unit of the coordinates; None without hits.
    """

    precision: float
    recall: float
    f1: float
    ap: float | None
    best_f1: float
    best_threshold: float | None
    n_truth: int
    n_picks: int
    hits: int
    centring: float | None

    @property
    def f2(self) -> float:
        """F2 of all picks: as F1, but recall weighs twice as much."""
        below = 4 * self.precision + self.recall
        return 5 * self.precision * self.recall / below if below else 0.0

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN), as DeepCryoPicker (Al-Azzawi et al. 2020) has it; 0 where there is nothing."""
        every = self.n_picks + self.n_truth - self.hits
        return self.hits / every if every else 0.0


@dataclass(frozen=True)
class Matches:
    """Picks of several micrographs, matched with the truth and pooled.

    Attributes
    ----------
    score : ndarray, shape (n,)
        NaN where a pick has none.
    hit : ndarray, shape (n,), bool
        Which picks have a true centre.
    distance : ndarray, shape (n,)
        From it, in the unit of the coordinates; NaN without.
    n_truth : int
    """

    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    distance: NDArray[np.float64]
    n_truth: int

    @property
    def ranked(self) -> bool:
        """Whether there are scores that tell picks apart."""
        return bool(len(self.hit)) and bool(np.isfinite(self.score).all()) and self.score.min() < self.score.max()

    @property
    def curve(self) -> Curve:
        """Precision and recall over all thresholds; see :attr:`ranked`."""
        return precision_recall(self.score, self.hit, self.n_truth)

    @property
    def scores(self) -> Scores:
        """Agreement of all picks."""
        count, good = len(self.hit), int(self.hit.sum())
        f1 = 2 * good / (count + self.n_truth) if count + self.n_truth else 0.0
        ap, best_f1, threshold = None, f1, None
        if self.ranked:
            curve = self.curve
            best = int(np.argmax(curve.f1))
            ap, best_f1, threshold = curve.average_precision, float(curve.f1[best]), float(curve.threshold[best])
        return Scores(
            precision=good / count if count else 0.0,
            recall=good / self.n_truth if self.n_truth else 0.0,
            f1=f1,
            ap=ap,
            best_f1=best_f1,
            best_threshold=threshold,
            n_truth=self.n_truth,
            n_picks=count,
            hits=good,
            centring=float(np.median(self.distance[self.hit])) if good else None,
        )


@dataclass(frozen=True)
class Curve:
    """Precision and recall at every score that occurs, highest first; picks of equal score stand or fall together.

    Attributes
    ----------
    threshold, precision, recall, f1 : ndarray, shape (k,), float64
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]

    @property
    def average_precision(self) -> float:
        """See :attr:`Scores.ap`."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def f_beta(self, beta: float) -> NDArray[np.float64]:
        """F-measure in which recall weighs `beta` times as much as precision, shape (k,); 0 where both are 0."""
        weight = beta**2
        below = weight * self.precision + self.recall
        over = (1 + weight) * self.precision * self.recall
        return np.divide(over, below, out=np.zeros_like(below), where=below > 0)


def precision_recall(score: ArrayLike, hit: ArrayLike, n_truth: float) -> Curve:
    """Precision-recall curve of scored picks.

    Parameters
    ----------
    score : array, shape (n,)
        Finite.
    hit : array, shape (n,)
        Which picks have a true centre, as of :func:`~relion_ext_picker.evaluation.matching.match`, or with what
        probability they have one.
    n_truth : float
        Number of true centres.
    """
    values, hits = np.asarray(score, np.float64), np.asarray(hit, np.float64)
    order = np.argsort(-values, kind="stable")
    values = values[order]
    last = np.append(values[1:] != values[:-1], True)[: len(values)]
    good = np.cumsum(hits[order])[last]
    count = np.arange(1, len(values) + 1)[last]
    return Curve(values[last], good / count, good / max(n_truth, 1), 2 * good / (count + n_truth))


def match_picks(
    truth: Mapping[str, ArrayLike], picks: Mapping[str, tuple[ArrayLike, ArrayLike | None]], radius: float
) -> Matches:
    """Match the picks of several micrographs with the truth.

    Parameters
    ----------
    truth : mapping of array, shape (m, 2)
        True centres by micrograph. A micrograph without picks counts as missed altogether.
    picks : mapping of (array, shape (n, 2); array, shape (n,), or None)
        Coordinates and scores by micrograph. Micrographs that have no truth are left out, with a warning.
    radius : float
        Largest distance of a pick from its true centre, in the unit of the coordinates.
    """
    unknown = sorted(set(picks) - set(truth))
    if unknown:
        log.warning("no truth for %d micrographs with picks, such as %s; they are left out", len(unknown), unknown[0])
    scores, hits, distances, n_truth = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0)], 0
    for name, centres in truth.items():
        true_xy = np.asarray(centres, np.float64).reshape(-1, 2)
        n_truth += len(true_xy)
        if name not in picks:
            continue
        xy, score = np.asarray(picks[name][0], np.float64).reshape(-1, 2), picks[name][1]
        hit, index = match(true_xy, xy, score, radius)
        distance = np.full(len(xy), np.nan)
        distance[hit] = np.hypot(*(xy[hit] - true_xy[index[hit]]).T)
        hits.append(hit)
        scores.append(np.full(len(xy), np.nan) if score is None else np.asarray(score, np.float64))
        distances.append(distance)
    return Matches(np.concatenate(scores), np.concatenate(hits), np.concatenate(distances), n_truth)


def score_picks(
    truth: Mapping[str, ArrayLike], picks: Mapping[str, tuple[ArrayLike, ArrayLike | None]], radius: float
) -> Scores:
    """Score the picks of several micrographs as one set; parameters as of :func:`match_picks`."""
    return match_picks(truth, picks, radius).scores
