"""The pages of a training report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    MARGIN,
    MUTED,
    PAGE,
    VERMILLION,
    heading,
    nothing,
    page,
    style,
    whole_numbers,
    write,
)
from relion_ext_picker.report.plots.pages import HIGH, LEFT, LOWER, UPPER, WIDE, key
from relion_ext_picker.report.statistics import Values
from relion_ext_picker.types import Array

if TYPE_CHECKING:
    from relion_ext_picker.report.training import Choice, LearningCurve

COLUMNS, ROWS = 14, 3  # of windows shown of either kind
LINES = (BLUE, VERMILLION, INK, MUTED)


def learning_page(curve: LearningCurve, footer: str) -> Figure:
    """Losses, and the share of held-out windows that are judged wrongly, over the training."""
    figure = page("Learning", footer)
    upper = figure.add_axes((LEFT, UPPER, WIDE, HIGH))
    style(upper, "Does it learn, and more than the windows by heart?", curve.unit.capitalize(), "Loss", counts=False)
    _line(upper, curve.at, curve.loss, BLUE, "training windows")
    _line(upper, curve.at, curve.held_loss, VERMILLION, "windows of held-out micrographs")
    lower = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    style(lower, "How many held-out windows does it get wrong?", curve.unit.capitalize(), "Error", counts=False)
    _line(lower, curve.at, curve.held_error, VERMILLION, "at a score of 0.5")
    lower.yaxis.set_major_formatter(PercentFormatter(1.0))
    if curve.goal > 0:
        lower.axhline(curve.goal, color=MUTED, lw=1.0, ls=(0, (4, 3)), label=f"good enough, {curve.goal:.0%}")
    for axes, highest in ((upper, [curve.loss, curve.held_loss]), (lower, [curve.held_error, np.array([curve.goal])])):
        axes.set_ylim(0, 1.08 * max(1e-3, *(float(np.max(values, initial=0)) for values in highest)))
        axes.set_xlim(0, max(1.0, 1.02 * float(np.max(curve.at, initial=1))))
        axes.xaxis.set_major_locator(whole_numbers(12))
        key(axes)
    return figure


def threshold_page(choice: Choice, footer: str) -> Figure:
    """Precision-recall curve of the picks on held-out micrographs, and F2 against the threshold."""
    figure = page("Picks on the held-out micrographs", footer)
    curve, threshold = choice.curve, choice.threshold
    side = 0.42 * WIDE
    left = figure.add_axes((LEFT, 0.27, side, side * PAGE[0] / PAGE[1]))
    style(left, "How many are right, how many are found?", "Recall", "Precision", counts=False)
    right = figure.add_axes((LEFT + 0.53 * WIDE, 0.27, 0.47 * WIDE, side * PAGE[0] / PAGE[1]))
    style(right, "Which threshold?", "Threshold", "", counts=False)
    if not len(curve.threshold):
        nothing(left, "No picks")
        nothing(right, "No picks")
        return figure
    f2 = curve.f_beta(2)
    at = int(np.argmin(np.abs(curve.threshold - threshold)))
    left.plot(
        curve.recall, curve.precision, color=BLUE, lw=2.0, label=f"average precision {curve.average_precision:.3f}"
    )
    chosen = f"threshold {threshold:.3g}: {curve.precision[at]:.1%} right, {curve.recall[at]:.1%} found"
    left.plot(curve.recall[at], curve.precision[at], ls="", marker="o", ms=8, color=VERMILLION, label=chosen)
    right.plot(curve.threshold, curve.precision, color=MUTED, lw=1.2, ls=(0, (4, 3)), label="precision")
    right.plot(curve.threshold, curve.recall, color=MUTED, lw=1.2, label="recall")
    right.plot(curve.threshold, f2, color=BLUE, lw=2.0, label="F2")
    right.plot(curve.threshold[at], f2[at], ls="", marker="o", ms=8, color=VERMILLION, label=f"highest, {f2[at]:.3f}")
    for axes in (left, right):
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    left.legend(loc="lower left", frameon=False, fontsize=8.5, labelcolor=INK)
    right.legend(loc="lower center", frameon=False, fontsize=8.5, labelcolor=INK, ncols=2)
    told = "F2 = 5PR / (4P + R) of precision P and recall R: it counts a missed particle for more than a false pick."
    write(figure, (LEFT, 0.15), told, WIDE, color=MUTED, fontsize=8.5)
    return figure


def rounds_page(rounds: Mapping[str, Values], footer: str) -> Figure:
    """Scores of every round of training; "error" below, the others above."""
    figure = page("Rounds of training", footer)
    upper = figure.add_axes((LEFT, UPPER, WIDE, HIGH))
    style(upper, "Do verified picks help?", "Round", "Score", counts=False)
    lower = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    style(lower, "How many held-out windows does it get wrong?", "Round", "Error", counts=False)
    lower.yaxis.set_major_formatter(PercentFormatter(1.0))
    others = [name for name in rounds if name != "error"]
    for name, colour in zip(others, LINES, strict=False):
        _line(upper, np.arange(1.0, len(rounds[name]) + 1), rounds[name], colour, name)
    if "error" in rounds:
        _line(lower, np.arange(1.0, len(rounds["error"]) + 1), rounds["error"], VERMILLION, "at a score of 0.5")
        lower.set_ylim(0, 1.08 * max(1e-3, float(np.max(rounds["error"]))))
    key(upper)
    key(lower)
    for axes in (upper, lower):
        axes.xaxis.set_major_locator(whole_numbers(12))
    return figure


def windows_page(particles: Array, others: Array, footer: str) -> Figure:
    """Some of the windows that were learnt from."""
    figure = page("What it learnt from", footer)
    side = (1 - 2 * MARGIN) / COLUMNS
    tall = side * PAGE[0] / PAGE[1]
    for top, name, windows in ((0.86, "Particles, a sample", particles), (0.44, "Other windows, a sample", others)):
        heading(figure, top, name)
        sheet = contact_sheet(windows[: COLUMNS * ROWS], ROWS)
        axes = figure.add_axes((MARGIN, top - 0.025 - ROWS * tall, COLUMNS * side, ROWS * tall))
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
    return figure


def contact_sheet(windows: Array, rows: int) -> Array:
    """Windows in `rows` rows of `COLUMNS` with white lines between them, each in its own range of greys; 0..1."""
    side = windows.shape[-1]
    gap = max(1, side // 20)
    sheet = np.ones((rows * (side + gap), COLUMNS * (side + gap)), np.float32)
    for index, window in enumerate(windows):
        row, column = (place * (side + gap) for place in divmod(index, COLUMNS))
        low, high = np.percentile(window, (1, 99))
        sheet[row : row + side, column : column + side] = np.clip((window - low) / max(high - low, 1e-6), 0, 1)
    return sheet


def _line(axes: Axes, x: Values, y: Values, colour: str, label: str) -> None:
    axes.plot(x, y, color=colour, lw=1.8, marker="o", ms=4 if len(x) < 60 else 0, mew=0, label=label)
