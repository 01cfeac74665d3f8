"""The pages of text and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    MANY,
    MARGIN,
    MUTED,
    VERMILLION,
    heading,
    nothing,
    page,
    style,
    whole_numbers,
    write,
)
from relion_ext_picker.report.statistics import Values, running_median

ROW = 0.024  # height of a line of text, of the page
FAILURES_SHOWN = 8
LEFT = MARGIN + 0.045  # room for the y labels, which so begin at the margin
WIDE = 1 - MARGIN - LEFT
HIGH, UPPER, LOWER = 0.265, 0.55, 0.125


def cover_page(
    title: str, headlines: Sequence[tuple[str, str, str]], settings: Mapping[str, str],
    failures: Sequence[tuple[str, str]], footer: str,
) -> Figure:  # fmt: skip
    """First page: headline numbers, settings, and what failed.

    Parameters
    ----------
    title : str
    headlines : sequence of (label, value, note)
        Up to seven numbers in large type; the note stands below in small type.
    settings : mapping of str
        Name to value, in this order, in two columns.
    failures : sequence of (name, message)
        Micrographs that failed and why; the first eight are listed.
    footer : str
    """
    figure = page(title, footer)
    right = 1 - MARGIN
    step = (right - MARGIN) / 7
    for index, (label, value, note) in enumerate(headlines):
        x = MARGIN + index * step
        colour = VERMILLION if label == "Failed" and value != "0" else INK
        write(figure, (x, 0.845), label, step - 0.01, color=MUTED)
        write(figure, (x, 0.792), value, step - 0.01, color=colour, fontsize=20)
        write(figure, (x, 0.766), note, step - 0.01, color=MUTED, fontsize=7.5)
    listed = list(failures[:FAILURES_SHOWN])
    if len(failures) > len(listed):
        listed.append(("…", f"and {len(failures) - len(listed):,} more, see summary.star"))
    bottom = 0.075 + (ROW * len(listed) + 0.065 if listed else 0)
    _settings(figure, [(name, value) for name, value in settings.items() if value], bottom)
    if listed:
        heading(figure, bottom - 0.028, "Failed micrographs")
    for index, (name, message) in enumerate(listed):
        y = bottom - 0.065 - index * ROW
        write(figure, (MARGIN, y), name, 0.29, cut=0.0, color=VERMILLION)
        write(figure, (MARGIN + 0.31, y), message, right - MARGIN - 0.31)
    return figure


def _settings(figure: Figure, items: list[tuple[str, str]], bottom: float) -> None:
    """Names and values in two columns, no lower than `bottom`; what finds no place is counted."""
    if not items:
        return
    heading(figure, 0.70, "Settings")
    rows = int((0.672 - bottom) / ROW)
    if len(items) > 2 * rows:
        items = [*items[: 2 * rows - 1], ("…", f"and {len(items) - 2 * rows + 1} more")]
    half = (1 - 2 * MARGIN - 0.04) / 2
    split = max(math.ceil(len(items) / 2), min(rows, 8))
    for index, (name, value) in enumerate(items):
        x, y = MARGIN + index // split * (half + 0.04), 0.66 - index % split * ROW
        write(figure, (x, y), name, 0.13, color=MUTED)
        write(figure, (x + 0.14, y), value, half - 0.14)


def counts_page(picks: Values, footer: str) -> Figure:
    """Second page: histogram of the picks per micrograph, and picks in acquisition order.

    Parameters
    ----------
    picks : ndarray, shape (n,)
        Picks of each micrograph in order, NaN where it failed.
    footer : str
    """
    figure = page("Picks per micrograph", footer)
    axes = figure.add_axes((LEFT, UPPER, WIDE, HIGH))
    style(axes, "How many picks do the micrographs have?", "Picks per micrograph", "Micrographs")
    known = picks[np.isfinite(picks)]
    if len(known):
        low, high = int(known.min()), int(known.max())
        width = max(1, math.ceil((high - low + 1) / 50))
        edges = np.arange(low, high + width + 1, width) - 0.5
        _bars(axes, np.histogram(known, edges)[0], edges)
        _vertical(axes, float(np.median(known)), f"median {np.median(known):g}", INK)
        room = max(3.0, 0.02 * (high - low))
        axes.set_xlim(edges[0] - room, edges[-1] + room)
        axes.xaxis.set_major_locator(whole_numbers(12))
    else:
        nothing(axes, "No micrograph was finished")
    below = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    _in_order(below, picks, "Do they change over the session?", "Picks", counts=True)
    failed = np.flatnonzero(~np.isfinite(picks)) + 1
    if len(failed) and len(known):
        below.plot(
            failed, np.full(len(failed), 0.025), transform=below.get_xaxis_transform(), ls="", marker="^", ms=5, mew=0,
            color=VERMILLION, label=f"failed ({len(failed):,})", rasterized=len(failed) > MANY, zorder=5,
        )  # fmt: skip
    key(below)
    return figure


def scores_page(scores: Values, means: Values, defocus: Values, picks: Values, about: tuple[float, str]) -> Figure:
    """Third page: histogram of all scores, mean score in acquisition order, picks against defocus where it is known.

    Parameters
    ----------
    scores : ndarray, shape (m,)
        Scores of all picks; values that are not finite are left out.
    means : ndarray, shape (n,)
        Mean score of each micrograph in order, NaN where it failed or has no picks.
    defocus : ndarray, shape (n,)
        Å, NaN where unknown.
    picks : ndarray, shape (n,)
        NaN where it failed.
    about : (float, str)
        Threshold (NaN draws none) and footer.
    """
    threshold, footer = about
    figure = page("Scores", footer)
    both = np.isfinite(defocus) & np.isfinite(picks)
    left = figure.add_axes((LEFT, UPPER, 0.45 * WIDE if both.any() else WIDE, HIGH))
    style(left, "How sure is the picker?", "Score of a pick", "Picks")
    scores = scores[np.isfinite(scores)]
    if len(scores):
        low, high = min(0.0, float(scores.min())), max(1.0, float(scores.max()))
        _bars(left, *np.histogram(scores, bins=50, range=(low, high)))
        left.set_xlim(low, high)
        if math.isfinite(threshold):
            _vertical(left, threshold, f"threshold {threshold:.3g}", VERMILLION)
    else:
        nothing(left, "No picks")
    below = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    _in_order(below, means, "Do the scores drift over the session?", "Mean score", counts=False)
    key(below)
    if both.any():
        right = figure.add_axes((LEFT + 0.55 * WIDE, UPPER, 0.45 * WIDE, HIGH))
        style(right, "Do the picks depend on defocus?", "Defocus (µm)", "Picks per micrograph")
        order = np.argsort(defocus[both], kind="stable")
        x, y = defocus[both][order] * 1e-4, picks[both][order]
        _points(right, x, y)
        _trend(right, x, running_median(y))
        right.set_ylim(0, max(1.0, 1.08 * float(y.max())))
        key(right)
    return figure


def _bars(axes: Axes, counts: NDArray[Any], edges: NDArray[Any]) -> None:
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=BLUE, ec="white", lw=0.4)
    axes.set_ylim(0, 1.08 * max(1, int(counts.max())))


def _vertical(axes: Axes, x: float, label: str, colour: str) -> None:
    """A vertical line named above the axes, where nothing can lie under its name."""
    axes.axvline(x, color=colour, lw=1.3)
    axes.annotate(label, (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                  ha="center", va="bottom", color=colour, fontsize=8.5)  # fmt: skip


def _points(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    size, alpha = (5.0, 0.9) if len(x) < 60 else (3.5, 0.65) if len(x) < MANY else (2.5, 0.35)
    axes.plot(x, y, ls="", marker="o", ms=size, mew=0, alpha=alpha, color=BLUE, rasterized=len(x) > MANY)


def _trend(axes: Axes, x: NDArray[Any], trend: NDArray[Any]) -> None:
    """A running median; nothing where it is empty."""
    if len(trend):
        axes.plot(x, trend, color=INK, lw=1.6, label="running median")


def key(axes: Axes) -> None:
    """What lines and marks mean, above the axes at the right, where no data can lie."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, frameon=False, borderaxespad=0.2,
                    borderpad=0, fontsize=8.5, labelcolor=INK)  # fmt: skip


def _in_order(axes: Axes, values: Values, title: str, y: str, counts: bool) -> None:
    """Values per micrograph in order, with the running median; NaN leaves a gap."""
    style(axes, title, "Micrograph, in acquisition order", y, counts)
    number = np.arange(1, len(values) + 1)
    known = np.isfinite(values)
    if not known.any():
        nothing(axes, "No picks")
        return
    _points(axes, number[known], values[known])
    _trend(axes, number[known], running_median(values[known]))
    low, high = float(values[known].min()), float(values[known].max())
    room = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(0 if counts else low - room, high + room)
    side = max(0.5, 0.01 * len(values))
    axes.set_xlim(1 - side, len(values) + side)
    axes.xaxis.set_major_locator(whole_numbers(12))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
