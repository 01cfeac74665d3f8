"""From what pickers found to figures: pooled scores, and how far they would vary with other micrographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from accuracy_sets import MAKE_NO_PARTICLE, Known
from contestants import Found, Picks
from numpy.typing import NDArray

from relion_ext_picker.evaluation.curves import Matches, Scores, match_picks, precision_recall
from relion_ext_picker.types import Array

NEAR, NEARER = 0.4, 0.2  # diameters: a pick as far as this from a centre is right
RESAMPLES, LEVEL = 1000, 95  # bootstrap over micrographs; % of the resamples that an interval holds


@dataclass(frozen=True)
class Outcome:
    """A picker on a set.

    Attributes
    ----------
    settings : str
    threshold : float
    picks, curve : Scores
        At the default threshold, and of all candidates; distances in px.
    auto : Scores or None
        With `--threshold auto`; None for pickers without it.
    nearer : float
        Average precision where picks have to lie twice as near.
    written : int
        Picks at the default threshold, those at the edge included.
    soiled : mapping of int
        How many of them lie on carbon, ice and gold; empty for real micrographs.
    cpu : float
        Processor time per micrograph, seconds.
    each : sequence of Matches
        All candidates, one entry per micrograph.
    """

    settings: str
    threshold: float
    picks: Scores
    curve: Scores
    auto: Scores | None
    nearer: float
    written: int
    soiled: Mapping[str, int]
    cpu: float
    each: Sequence[Matches]

    @property
    def ap(self) -> float:
        """Average precision; 0 without any pick."""
        return self.curve.ap or 0.0


def outcome_of(found: Found, known: Known) -> Outcome:
    """Score what a picker found."""
    truth, radius = known.particles, NEAR * known.field.diameter_px
    candidates, picks = counted(found.candidates, known), counted(found.picks, known)
    automatic = None if found.automatic is None else counted(found.automatic, known)
    return Outcome(
        settings=found.settings,
        threshold=found.threshold,
        picks=match_picks(truth, picks, radius).scores,
        curve=match_picks(truth, candidates, radius).scores,
        auto=match_picks(truth, automatic, radius).scores if automatic is not None else None,
        nearer=match_picks(truth, candidates, 0.5 * radius).scores.ap or 0.0,
        written=sum(len(xy) for xy, _ in found.picks.values()),
        soiled=soiled(found.picks, known),
        cpu=found.cpu / len(known.field.files),
        each=[match_picks({name: truth[name]}, {name: candidates[name]} if name in candidates else {}, radius)
              for name in truth],
    )  # fmt: skip


def best_of(outcomes: Sequence[Outcome]) -> Outcome:
    """The one of the highest average precision: the settings that the truth would have one choose."""
    return max(outcomes, key=lambda each: each.ap)


def counted(picks: Picks, known: Known) -> dict[str, tuple[Array, Array]]:
    """The picks that are not cut by the edge, as with particles."""
    kept = {}
    for name, (xy, score) in picks.items():
        inside = known.counts(name, xy)
        kept[name] = xy[inside], score[inside]
    return kept


def soiled(picks: Picks, known: Known) -> dict[str, int]:
    """How many picks lie on each kind of contaminant."""
    if not known.labels:
        return {}
    return {
        kind: sum(int(known.soiled(name, xy, labels).sum()) for name, (xy, _) in picks.items())
        for kind, labels in MAKE_NO_PARTICLE.items()
    }


def resampled(each: Sequence[Matches], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision with the micrographs of each row (n, micrographs) instead; shape (n,)."""
    found = []
    for row in rows:
        score, hit = (np.concatenate([getattr(each[index], name) for index in row]) for name in ("score", "hit"))
        truth = sum(each[index].n_truth for index in row)
        found.append(precision_recall(score, hit, truth).average_precision if len(score) else 0.0)
    return np.array(found)


def draws(sets: Sequence[str], outcomes: Mapping[tuple[str, str], Outcome]) -> dict[str, NDArray[np.int64]]:
    """Micrographs of each set that the bootstrap draws, the same for all pickers: (resamples, micrographs)."""
    rng = np.random.default_rng(0)
    counts = {name: next(len(outcome.each) for (other, _), outcome in outcomes.items() if other == name)
              for name in sets}  # fmt: skip
    return {name: rng.integers(0, count, (RESAMPLES, count)) for name, count in counts.items()}


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle `LEVEL` % of resampled values."""
    low, high = np.percentile(values, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
