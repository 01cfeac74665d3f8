"""Scores that are probabilities: what share of the candidates of a score is particles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.image.peaks import local_maxima, thin
from relion_ext_picker.pickers.base import Picker, Request, pick_prepared
from relion_ext_picker.pickers.deepem.default import INTERCEPT, SLOPE, DefaultDeepEM
from relion_ext_picker.pickers.deepem.network import NETWORK
from relion_ext_picker.pickers.density import conditioned, share_of_usual
from relion_ext_picker.training.deepem import Line, log_odds
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import HIT_RADIUS
from relion_ext_picker.types import Array, ScoreMap

APART = 0.5  # of the diameter: the smallest distance of two candidates
LEAST_SLOPE = 0.1
SURE = 0.75  # quantile of the scores of marked particles from which a candidate is hardly ever something else
INCOMPLETE = 0.5  # share of the sure candidates that is marked, below which a micrograph counts as picked in part
DENSITY = "density"  # name of the card's constant, see pickers.density
MOST_COMMON = 4.0  # times the density of the training, that a picker may be made to expect
SAME: Line = (1.0, 0.0)  # the line that leaves scores as they are


@dataclass(frozen=True)
class Judged:
    """Candidates of a micrograph.

    Attributes
    ----------
    name : str
        Of the micrograph.
    xy : ndarray, shape (n, 2), float32
        px of the micrograph.
    score : ndarray, shape (n,), float32
    marked : ndarray of bool, shape (n,)
        Which of them are particles that somebody has marked.
    """

    name: str
    xy: Array
    score: Array
    marked: NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """What turns scores into probabilities.

    Attributes
    ----------
    line : (float, float)
        Slope and intercept for the log odds of a score.
    marked : dict of float
        Of each micrograph, the share of its particles that is marked: 1, or less where it was picked in part.
    """

    line: Line
    marked: dict[str, float]


def calibration_of(found: Sequence[Judged]) -> Calibration:
    """The line that makes a score the probability that a candidate is a particle.

    Where hardly any of the best candidates of a micrograph are marked, it counts as picked in part, at random: others
    are then taken for particles with the probability that follows (Elkan and Noto 2008, "Learning classifiers from only
    positive and unlabeled data", KDD, section 3).
    """
    odds = np.concatenate([log_odds(each.score) for each in found])
    marked = np.concatenate([each.marked for each in found])
    if not marked.any() or marked.all():
        return Calibration(SAME, {each.name: 1.0 for each in found})
    shares = _shares_marked(
        found, float(np.quantile(np.concatenate([each.score[each.marked] for each in found]), SURE))
    )
    line = logistic(odds, _smooth(marked.astype(np.float64), marked))
    known = np.concatenate([np.full(len(each.score), shares[each.name]) for each in found])
    if (known < 1).any():
        chance = unmarked_particle(marked_odds=np.exp(np.clip(line[0] * odds + line[1], -30, 30)), share=known)
        line = logistic(odds, _smooth(np.where(marked, 1.0, chance), marked))
    return Calibration((round(line[0], 5), round(line[1], 5)), shares)


def unmarked_particle(marked_odds: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that a candidate that nobody has marked is a particle (Elkan and Noto 2008, equation 3).

    Parameters
    ----------
    marked_odds : ndarray
        Odds that a candidate like this is marked.
    share : ndarray
        Of the particles that is marked, above 0.
    """
    return np.asarray(np.minimum(marked_odds * (1 - share) / share, 1.0))


def _shares_marked(found: Sequence[Judged], sure: float) -> dict[str, float]:
    """1 for each micrograph, but for those picked in part the share of their candidates above `sure` that is marked."""
    best = {each.name: each.marked[each.score >= sure] for each in found}
    partly = [name for name, marked in best.items() if len(marked) and marked.mean() < INCOMPLETE]
    # Of all of them together: a single one has few marks, and may have none among its best candidates.
    share = float(np.concatenate([best[name] for name in partly]).mean()) if partly else 1.0
    return {name: (share or 1.0) if name in partly else 1.0 for name in best}


def calibrated(picker: DefaultDeepEM, labelled: Sequence[Labelled]) -> DefaultDeepEM:
    """A picker whose score is the probability that a candidate is a particle, see :func:`calibration_of`.

    Parameters
    ----------
    picker : DefaultDeepEM
        Its scores may be calibrated already.
    labelled : sequence of Labelled
    """
    return adjusted(picker, calibration_of([judged_candidates(picker, item) for item in labelled]).line)


def adjusted(picker: DefaultDeepEM, line: Line) -> DefaultDeepEM:
    """The same picker with the log odds of its scores taken through a line."""
    constants = picker.card.calibration
    slope, intercept = constants.get(SLOPE, 1.0), constants.get(INTERCEPT, 0.0)
    if line == SAME:
        return picker
    found = {SLOPE: round(line[0] * slope, 5), INTERCEPT: round(line[0] * intercept + line[1], 5)}
    return with_calibration(picker, {**constants, **found})


def uncalibrated(picker: DefaultDeepEM) -> DefaultDeepEM:
    """The same picker with the scores of its network, as they are."""
    return with_calibration(picker, {})


def with_calibration(picker: DefaultDeepEM, constants: dict[str, float]) -> DefaultDeepEM:
    """The same picker with other constants of calibration."""
    card = replace(picker.card, calibration=constants)
    return DefaultDeepEM(card, {NETWORK: picker.network().state_dict()}, picker.device, len(picker.turns))


def quietened(picker: DefaultDeepEM, noise: Sequence[ScoreMap], threshold: float, allowed: float) -> DefaultDeepEM:
    """A picker that takes particles for the more common, so that it finds few in noise.

    Scores fall in a micrograph that has fewer particles than usual (see :mod:`relion_ext_picker.pickers.density`). The
    more are usual, the lower they are where hardly any are, and the same where there are many.

    Parameters
    ----------
    picker : DefaultDeepEM
        With a density.
    noise : sequence of ScoreMap
        Prepared images without a particle, about as large as micrographs.
    threshold : float
        That of the picker.
    allowed : float
        Share of the images that may have picks.
    """
    constants = picker.card.calibration
    plain = with_calibration(picker, {name: value for name, value in constants.items() if name != DENSITY})
    density = quiet_density(plain, noise, constants[DENSITY], threshold, allowed)
    return with_calibration(picker, {**constants, DENSITY: round(density, 4)})


def quiet_density(plain: Picker, noise: Sequence[ScoreMap], density: float, threshold: float, allowed: float) -> float:
    """The least density not below `density` at which a picker finds few in noise, see :func:`quietened`.

    Parameters
    ----------
    plain : Picker
        Without a density.
    noise : sequence of ScoreMap
    density : float
        Particles per square of the diameter.
    threshold, allowed : float
    """
    reference = plain.card.reference_diameter
    found = []
    for frame in noise:
        shape = (frame.values.shape[0], frame.values.shape[1])
        score = pick_prepared(plain, frame, shape, 1.0, Request(reference, threshold=0.0))[1]
        found.append((score, frame.values.size / reference**2))
    highest = MOST_COMMON * density
    while density < highest:
        tops = [conditioned(score, share_of_usual(score, area, density)).max(initial=0.0) for score, area in found]
        if np.mean(np.array(tops) >= threshold) <= allowed:
            break
        density *= 1.02
    return density


def quiet_threshold(picker: Picker, noise: Sequence[ScoreMap], least: float, allowed: float) -> float:
    """The least threshold not below `least` at which a picker finds something in few images of noise.

    Parameters
    ----------
    picker : Picker
    noise : sequence of ScoreMap
        Prepared images without a particle.
    least, allowed : float
    """
    reference = picker.card.reference_diameter
    highest = []
    for frame in noise:
        shape = (frame.values.shape[0], frame.values.shape[1])
        score = pick_prepared(picker, frame, shape, 1.0, Request(reference, threshold=0.0))[1]
        highest.append(float(score.max(initial=0.0)))
    return max(least, sorted(highest, reverse=True)[int(allowed * len(highest))] + 0.001)


def judged_candidates(picker: DefaultDeepEM, item: Labelled) -> Judged:
    """Candidates of a micrograph, and which of them are marked as particles."""
    diameter = diameter_of(picker, item)
    score_map = picker.propose(item.frame)
    scale = 0.5 * (score_map.grid.scale[0] + score_map.grid.scale[1])
    # Not the picker's own: raw scores of few marked particles are low, and so are those of what is worth to know.
    rows, cols, score = local_maxima(score_map.values, APART * diameter / scale, 0.0)
    xy = score_map.to_original(rows, cols)
    kept = thin(xy, score, APART * diameter)
    hit, _ = match(item.xy, xy[kept], score[kept], HIT_RADIUS * diameter)
    return Judged(item.name, xy[kept], score[kept], hit)


def diameter_of(picker: DefaultDeepEM, item: Labelled) -> float:
    """Particle diameter in px of the micrograph."""
    return picker.card.reference_diameter * float(np.mean(item.frame.grid.scale))


def logistic(value: NDArray[np.float64], target: NDArray[np.float64]) -> Line:
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


def _smooth(target: NDArray[np.float64], marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Targets that are not quite 0 and 1 (Platt 1999), so that a perfect separation has a finite slope."""
    good = int(marked.sum())
    low, high = 1 / (len(marked) - good + 2), (good + 1) / (good + 2)
    return low + (high - low) * target
