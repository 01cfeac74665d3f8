"""Pages that set several pickers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    LINE,
    MANY,
    MARGIN,
    MUTED,
    VERMILLION,
    heading,
    nothing,
    page,
    rule,
    style,
    whole_numbers,
    write,
)
from relion_ext_picker.report.plots.pages import HIGH, LEFT, LOWER, UPPER, WIDE, key
from relion_ext_picker.report.statistics import running_median

COLOURS = (BLUE, VERMILLION, "#009e73", "#cc79a7", "#e69f00", MUTED)  # Okabe and Ito
_COMBINATIONS = 12
_ROWS = 26


def grid_page(title: str, grid: Sequence[Sequence[str]], footer: str) -> Figure:
    """A table of text, its first row the head.

    Parameters
    ----------
    title : str
    grid : sequence of rows of str
    footer : str
    """
    figure = page(title, footer)
    first = 0.27
    wide = (1 - 2 * MARGIN - first) / max(1, len(grid[0]) - 1)
    y = 0.85
    for number, row in enumerate(grid[: _ROWS + 1]):
        bold: dict[str, Any] = {"weight": "bold"} if number == 0 else {}
        write(figure, (MARGIN, y), row[0], first - 0.01, color=MUTED)
        for column, cell in enumerate(row[1:]):
            write(figure, (MARGIN + first + column * wide, y), cell, wide - 0.012, cut=0.0, **bold)
        if number == 0:
            rule(figure, y - 0.014, LINE)
            y -= 0.012
        y -= 0.028
    return figure


def compare_page(
    names: Sequence[str], overlap: NDArray[np.float64], found: Mapping[str, Sequence[Any]],
    counts: NDArray[np.int64], footer: str,
) -> Figure:  # fmt: skip
    """Who finds what, how much they share, and picks per micrograph.

    Parameters
    ----------
    names : sequence of str
    overlap : ndarray, shape (k, k)
        Share of the picks of a row that a column has as well.
    found : mapping
        Columns by ("1+2"), places, and perhaps known.
    counts : ndarray, shape (micrographs, k)
    footer : str
    """
    figure = page("Who finds what?", footer)
    left = figure.add_axes((LEFT, UPPER + 0.02, 0.5 * WIDE, HIGH))
    style(left, "Which sets have the same particle?", "", "Places")
    shown = min(_COMBINATIONS, len(found["by"]))
    if shown:
        place = np.arange(shown)
        every = np.array(found["places"][:shown])
        left.bar(place, every, 0.7, color="#c9d3dc" if "known" in found else BLUE,
                 label="not known" if "known" in found else None)  # fmt: skip
        if "known" in found:
            known = np.array(found["known"][:shown])
            left.bar(place, known, 0.7, color=BLUE, label="known particles")
        for x, count in zip(place, every, strict=True):
            left.annotate(f"{count:,}", (x, count), xytext=(0, 2), textcoords="offset points", ha="center",
                          va="bottom", fontsize=8, color=INK)  # fmt: skip
        left.set_xticks(place, [str(by).replace("+", " + ") for by in found["by"][:shown]])
        left.set_ylim(0, 1.12 * max(1, int(every.max())))
        key(left)
    else:
        nothing(left, "No picks")
    right = figure.add_axes((LEFT + 0.6 * WIDE, UPPER + 0.02, 0.3 * WIDE, HIGH))
    style(right, "How many of its picks does another have?", "in", "of", counts=False)
    ticks = [str(number + 1) for number in range(len(names))]
    right.imshow(overlap, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(overlap):
        right.text(column, row, f"{value:.0%}", ha="center", va="center", fontsize=9,
                   color="white" if value > 0.55 else INK)  # fmt: skip
    right.grid(False)
    right.set_xticks(range(len(names)), ticks)
    right.set_yticks(range(len(names)), ticks)
    heading(figure, 0.475, "Sets of picks")
    for index, name in enumerate(names):
        across, down = MARGIN + index % 2 * 0.45, 0.44 - index // 2 * 0.024
        write(figure, (across, down), f"{index + 1}", 0.02, weight="bold", color=COLOURS[index % len(COLOURS)])
        write(figure, (across + 0.02, down), name, 0.4, cut=0.0)
    below = figure.add_axes((LEFT, LOWER, WIDE, 0.2))
    style(below, "Do they pick alike over the session?", "Micrograph, in the order of the file", "Picks")
    number = np.arange(1, len(counts) + 1)
    for column in range(counts.shape[1]):
        colour = COLOURS[column % len(COLOURS)]
        trend = running_median(counts[:, column])
        many = len(trend) > 0
        below.plot(number, counts[:, column], ls="", marker="o", ms=3.5, mew=0, alpha=0.5 if many else 0.9,
                   color=colour, rasterized=len(counts) > MANY, label=None if many else str(column + 1))  # fmt: skip
        if many:
            below.plot(number, trend, color=colour, lw=1.6, label=f"{column + 1}, running median")
    below.set_ylim(0, 1.1 * max(1, int(counts.max(initial=1))))
    below.xaxis.set_major_locator(whole_numbers(12))
    key(below)
    return figure
