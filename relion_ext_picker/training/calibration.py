"""Scores that are probabilities: what share of the candidates of a score is particles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.image.peaks import local_maxima, thin
from relion_ext_picker.pickers.deepem.default import INTERCEPT, NETWORK, SLOPE, DefaultDeepEM
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import HIT_RADIUS
from relion_ext_picker.types import Array

APART = 0.5  # of the diameter: the smallest distance of two candidates
LIMIT = 1e-6
LEAST_SLOPE = 0.1
INCOMPLETE = 0.5  # share of the sure candidates that is marked, below which a micrograph counts as picked in part

_log = logging.getLogger(__name__)


def calibrated(picker: DefaultDeepEM, labelled: Sequence[Labelled]) -> DefaultDeepEM:
    """A picker whose score is the probability that a candidate is a particle.

    Where hardly any of the best candidates of a micrograph are marked, it counts as picked in part, at random: others
    are then taken for particles with the probability that follows (Elkan and Noto 2008, "Learning classifiers from only
    positive and unlabeled data", KDD, section 3).

    Parameters
    ----------
    picker : DefaultDeepEM
        Not calibrated.
    labelled : sequence of Labelled
    """
    found = [judged_candidates(picker, item) for item in labelled]
    odds = np.concatenate([_log_odds(score) for _, score, _ in found])
    marked = np.concatenate([hit for _, _, hit in found])
    if not marked.any() or marked.all():
        return picker
    sure = np.median(np.concatenate([score[hit] for _, score, hit in found]))
    shares = []
    for item, (_, score, hit) in zip(labelled, found, strict=True):
        share = float(hit[score >= sure].mean()) if hit[score >= sure].any() else 1.0
        if share < INCOMPLETE:
            _log.info("%s: only %.0f %% of what looks like a particle is marked", item.name, 100 * share)
        shares.append(np.full(len(score), share if share < INCOMPLETE else 1.0))
    slope, intercept = logistic(odds, _smooth(marked.astype(np.float64), marked))
    known = np.concatenate(shares)
    if (known < 1).any():
        chance = np.exp(np.clip(slope * odds + intercept, -30, 30)) * (1 - known) / known
        slope, intercept = logistic(odds, _smooth(np.where(marked, 1.0, np.minimum(chance, 1.0)), marked))
    return with_calibration(picker, {SLOPE: round(slope, 5), INTERCEPT: round(intercept, 5)})


def uncalibrated(picker: DefaultDeepEM) -> DefaultDeepEM:
    """The same picker with the scores of its network, as they are."""
    return with_calibration(picker, {})


def with_calibration(picker: DefaultDeepEM, constants: dict[str, float]) -> DefaultDeepEM:
    """The same picker with other constants of calibration."""
    card = replace(picker.card, calibration=constants)
    return DefaultDeepEM(card, {NETWORK: picker.network().state_dict()}, picker.device, len(picker.turns))


def judged_candidates(picker: DefaultDeepEM, item: Labelled) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Candidates of a micrograph: coordinates (n, 2), scores (n,), and which of them are marked as particles."""
    diameter = diameter_of(picker, item)
    score_map = picker.propose(item.frame)
    scale = 0.5 * (score_map.grid.scale[0] + score_map.grid.scale[1])
    # Not the picker's own: raw scores of few marked particles are low, and so are those of what is worth to know.
    rows, cols, score = local_maxima(score_map.values, APART * diameter / scale, 0.0)
    xy = score_map.to_original(rows, cols)
    kept = thin(xy, score, APART * diameter)
    hit, _ = match(item.xy, xy[kept], score[kept], HIT_RADIUS * diameter)
    return xy[kept], score[kept], hit


def diameter_of(picker: DefaultDeepEM, item: Labelled) -> float:
    """Particle diameter in px of the micrograph."""
    return picker.card.reference_diameter * float(np.mean(item.frame.grid.scale))


def logistic(value: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of the log odds whose probabilities fit `target`, 0..1, best."""
    design = np.stack([value, np.ones(len(value))], axis=1)

    def loss(answer: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = design @ answer
        entropy = np.logaddexp(0, logit) - target * logit
        return float(entropy.mean()), design.T @ (expit(logit) - target) / len(value)

    found = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(LEAST_SLOPE, None), (None, None)]
    )
    return float(found.x[0]), float(found.x[1])


def _log_odds(score: Array) -> NDArray[np.float64]:
    clipped = np.clip(score.astype(np.float64), LIMIT, 1 - LIMIT)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _smooth(target: NDArray[np.float64], marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Targets that are not quite 0 and 1 (Platt 1999), so that a perfect separation has a finite slope."""
    good = int(marked.sum())
    low, high = 1 / (len(marked) - good + 2), (good + 1) / (good + 2)
    return low + (high - low) * target
