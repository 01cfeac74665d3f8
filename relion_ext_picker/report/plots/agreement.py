"""Pages on picks: against known particles, and by the classes they fall into."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from relion_ext_picker.evaluation.classes2d import ClassVerdict
from relion_ext_picker.evaluation.curves import Matches, Scores
from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    MARGIN,
    MUTED,
    PAGE,
    VERMILLION,
    nothing,
    page,
    style,
    whole_numbers,
    write,
)
from relion_ext_picker.report.plots.pages import HIGH, LEFT, LOWER, UPPER, WIDE, key
from relion_ext_picker.types import ClassTable

_MOST = 4000  # points of a drawn curve


def picks_page(
    every: Matches, centring: tuple[NDArray[np.float64], float, float], scores: Scores, threshold: float, footer: str
) -> Figure:
    """Precision-recall curve, F-measures against the threshold, distances from the true centres.

    Parameters
    ----------
    every : Matches
        Of all picks.
    centring : (ndarray, float, float)
        Distances of the hits and pixel size and radius, all in Å.
    scores : Scores
        Of the picks that count.
    threshold : float
        From which picks count, negative without.
    footer : str
    """
    figure = page("Picks against known particles", footer)
    side = 0.36 * WIDE
    left = figure.add_axes((LEFT, 0.44, side, side * PAGE[0] / PAGE[1] * 0.82))
    style(left, "How many are right, how many are found?", "Recall", "Precision", counts=False)
    right = figure.add_axes((LEFT + 0.47 * WIDE, 0.44, 0.53 * WIDE, side * PAGE[0] / PAGE[1] * 0.82))
    style(right, "Which threshold?", "Threshold", "", counts=False)
    here = f"picks that count: {scores.precision:.1%} right, {scores.recall:.1%} found"
    left.plot(scores.recall, scores.precision, ls="", marker="o", ms=8, color=VERMILLION, label=here, zorder=5)
    if every.ranked:
        curve = every.curve
        some = np.unique(np.linspace(0, len(curve.threshold) - 1, _MOST).round().astype(int))
        left.plot(
            curve.recall[some], curve.precision[some], color=BLUE, lw=2.0,
            label=f"average precision {curve.average_precision:.3f}",
        )  # fmt: skip
        at = curve.threshold[some]
        right.plot(at, curve.precision[some], color=MUTED, lw=1.2, ls=(0, (4, 3)), label="precision")
        right.plot(at, curve.recall[some], color=MUTED, lw=1.2, label="recall")
        for beta, colour in ((1, INK), (2, BLUE)):
            values = curve.f_beta(beta)
            best = int(np.argmax(values))
            label = f"F{beta}, highest {values[best]:.3f} at {curve.threshold[best]:.3g}"
            right.plot(at, values[some], color=colour, lw=2.0, label=label)
            right.plot(curve.threshold[best], values[best], ls="", marker="o", ms=6, color=colour)
        if threshold >= 0:
            right.axvline(threshold, color=VERMILLION, lw=1.3, label=f"threshold {threshold:.3g}")
        right.set_xlim(float(at.min()), float(at.max()))
    else:
        nothing(right, "The picks have no scores that tell them apart")
    for axes in (left, right):
        axes.set_ylim(0, 1.02)
    left.set_xlim(0, 1.02)
    left.legend(loc="lower left", frameon=False, fontsize=8.5, labelcolor=INK)
    if every.ranked:
        right.legend(loc="lower left", frameon=False, fontsize=8.5, labelcolor=INK)
    distance, pixel, radius = centring
    below = figure.add_axes((LEFT, LOWER, WIDE, 0.175))
    style(below, "How well are they centred?", "Distance from the known centre (Å)", "Picks")
    if len(distance):
        below.hist(distance, bins=50, range=(0, radius), color=BLUE, ec="white", lw=0.4)
        middle = float(np.median(distance))
        below.axvline(middle, color=INK, lw=1.3, label=f"median {middle:.1f} Å, {middle / pixel:.1f} px")
        below.set_xlim(0, radius)
        key(below)
    else:
        nothing(below, "No pick lies near a known particle")
    return figure


def classes_page(
    classes: ClassTable, verdict: ClassVerdict, micrographs: tuple[NDArray[np.int64], NDArray[np.int64]],
    bins: Mapping[str, Sequence[float]], footer: str,
) -> Figure:  # fmt: skip
    """Resolution and size of the classes; good particles per micrograph and by the score of the pick.

    Parameters
    ----------
    classes : ClassTable
    verdict : ClassVerdict
    micrographs : (ndarray, ndarray), shape (m,) each
        Particles and good particles per micrograph.
    bins : mapping of sequence
        Columns from, to, particles and good; may be empty.
    footer : str
    """
    figure = page("2D classes", footer)
    upper = figure.add_axes((LEFT, UPPER, WIDE, HIGH))
    style(upper, "Which classes are good?", "Share of the particles", "Resolution (Å)", counts=False)
    known = np.isfinite(classes.resolution) & (classes.resolution > 0) & (classes.distribution > 0)
    if known.any():
        kinds = (
            (known & verdict.good, BLUE, "good"), (known & verdict.rare, VERMILLION, "well resolved, but small"),
            (known & ~verdict.good & ~verdict.rare, MUTED, "others"),
        )  # fmt: skip
        for chosen, colour, label in kinds:
            if chosen.any():
                upper.plot(
                    classes.distribution[chosen], classes.resolution[chosen], ls="", marker="o", ms=6, mew=0,
                    color=colour, alpha=0.85, label=f"{label} ({int(chosen.sum())})",
                )  # fmt: skip
        if verdict.by == "resolution" and verdict.limit > 0:
            upper.axhline(verdict.limit, color=MUTED, lw=1.0, ls=(0, (4, 3)))
        upper.invert_yaxis()
        upper.xaxis.set_major_formatter(PercentFormatter(1.0))
        upper.set_xlim(left=0)
        upper.legend(loc="lower right", frameon=False, fontsize=8.5, labelcolor=INK)
    else:
        nothing(upper, "No class has a resolution")
    half = 0.45 * WIDE
    left = figure.add_axes((LEFT, LOWER, half, HIGH))
    style(left, "How many good particles has a micrograph?", "Good particles", "Micrographs")
    _histogram(left, micrographs[1])
    right = figure.add_axes((LEFT + WIDE - half, LOWER, half, HIGH))
    style(right, "Does the score tell good picks?", "Score of the pick", "Particles")
    if bins:
        low, high = np.array(bins["from"]), np.array(bins["to"])
        right.bar(low, bins["particles"], high - low, align="edge", color="#c9d3dc", ec="white", lw=0.4, label="all")
        right.bar(low, bins["good"], high - low, align="edge", color=BLUE, ec="white", lw=0.4,
                  label="in good classes")  # fmt: skip
        for x, count, share in zip(0.5 * (low + high), bins["particles"], bins["share"], strict=True):
            if count:
                right.annotate(f"{share:.0%}", (x, count), xytext=(0, 2), textcoords="offset points", ha="center",
                               va="bottom", fontsize=7.5, color=INK)  # fmt: skip
        right.set_xlim(low[0], high[-1])
        right.set_ylim(0, 1.15 * max(bins["particles"]))
        key(right)
    else:
        nothing(right, "The particles have no scores that differ")
    write(figure, (MARGIN, 0.055), "Above a bar: share of its particles that is in good classes.", 1 - 2 * MARGIN,
          color=MUTED, fontsize=7.5)  # fmt: skip
    return figure


def _histogram(axes: Any, counts: NDArray[np.int64]) -> None:
    low, high = int(counts.min()), int(counts.max())
    width = max(1, math.ceil((high - low + 1) / 40))
    edges = np.arange(low, high + width + 1, width) - 0.5
    number, _ = np.histogram(counts, edges)
    axes.bar(edges[:-1], number, np.diff(edges), align="edge", color=BLUE, ec="white", lw=0.4)
    middle = float(np.median(counts))
    axes.axvline(middle, color=INK, lw=1.3, label=f"median {middle:g}")
    axes.xaxis.set_major_locator(whole_numbers(10))
    axes.set_ylim(0, 1.1 * max(1, int(number.max())))
    key(axes)
