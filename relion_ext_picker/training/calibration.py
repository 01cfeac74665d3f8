"""Scores that are probabilities: what share of the candidates of a score is particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.image.peaks import thin
from relion_ext_picker.pickers.deepem.default import INTERCEPT, SLOPE, DefaultDeepEM
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import HIT_RADIUS
from relion_ext_picker.types import Array

APART = 0.5  # of the diameter: the smallest distance of two candidates
LIMIT = 1e-6
STEPS = 50
LEAST_SLOPE = 0.1


def calibrated(picker: DefaultDeepEM, labelled: Sequence[Labelled], unknown: Sequence[Array]) -> DefaultDeepEM:
    """A picker whose score is the probability that a candidate is a particle.

    Parameters
    ----------
    picker : DefaultDeepEM
        Not calibrated.
    labelled : sequence of Labelled
    unknown : sequence of ndarray, shape (k, 2)
        Places of each micrograph, in its px, that count neither way.
    """
    scores, hits = [np.zeros(0, np.float32)], [np.zeros(0, bool)]
    for item, left_out in zip(labelled, unknown, strict=True):
        xy, score, hit = judged_candidates(picker, item)
        known = ~match(left_out, xy, score, 0.5 * HIT_RADIUS * diameter_of(picker, item))[0]
        scores.append(score[known])
        hits.append(hit[known])
    score, hit = np.concatenate(scores), np.concatenate(hits)
    if not hit.any() or hit.all():
        return picker
    clipped = np.clip(score.astype(np.float64), LIMIT, 1 - LIMIT)
    slope, intercept = logistic(np.log(clipped / (1 - clipped)), hit)
    return with_calibration(picker, {SLOPE: round(slope, 5), INTERCEPT: round(intercept, 5)})


def uncalibrated(picker: DefaultDeepEM) -> DefaultDeepEM:
    """The same picker with the scores of its network."""
    return with_calibration(picker, {})


def with_calibration(picker: DefaultDeepEM, constants: dict[str, float]) -> DefaultDeepEM:
    """The same picker with other constants of calibration; those of other purposes stay."""
    others = {name: value for name, value in picker.card.calibration.items() if name not in (SLOPE, INTERCEPT)}
    card = replace(picker.card, calibration={**others, **constants})
    return DefaultDeepEM(card, {"net": picker.network().state_dict()}, picker.device, len(picker.turns))


def judged_candidates(picker: DefaultDeepEM, item: Labelled) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Candidates of a micrograph: coordinates (n, 2), scores (n,), and which of them are marked as particles."""
    diameter = diameter_of(picker, item)
    score_map = picker.propose(item.frame)
    rows, cols, score = picker.peaks(score_map, APART * diameter, 0.0)
    xy = score_map.to_original(rows, cols)
    kept = thin(xy, score, APART * diameter)
    hit, _ = match(item.xy, xy[kept], score[kept], HIT_RADIUS * diameter)
    return xy[kept], score[kept], hit


def diameter_of(picker: DefaultDeepEM, item: Labelled) -> float:
    """Particle diameter in px of the micrograph."""
    return picker.card.reference_diameter * float(np.mean(item.frame.grid.scale))


def logistic(value: NDArray[np.float64], true: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the log odds of being true (Platt 1999, with his targets, which are not quite 0 and 1)."""
    count, good = len(true), int(true.sum())
    target = np.where(true, (good + 1) / (good + 2), 1 / (count - good + 2))
    design = np.stack([value, np.ones(count)], axis=1)
    answer = np.array([1.0, 0.0])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ answer, -50, 50)))
        curvature = (design * (chance * (1 - chance) + 1e-6)[:, None]).T @ design
        change = np.linalg.solve(curvature + 1e-6 * np.eye(2), design.T @ (target - chance))
        answer += np.clip(change, -2, 2)
        if np.abs(change).max() < 1e-8:
            break
    return max(LEAST_SLOPE, float(answer[0])), float(answer[1])
