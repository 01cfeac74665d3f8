"""The pages of a feedback report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from relion_ext_picker.evaluation.curves import Curve
from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    LINE,
    MARGIN,
    MUTED,
    VERMILLION,
    nothing,
    page,
    rule,
    style,
    whole_numbers,
    write,
)
from relion_ext_picker.report.plots.pages import HIGH, LEFT, LOWER, ROW, UPPER, WIDE, key
from relion_ext_picker.report.statistics import Values

if TYPE_CHECKING:
    from relion_ext_picker.report.feedback import Kept

PALE = "#c9d3dc"
COLOURS = {"true": BLUE, "false": VERMILLION, "rare": "#e69f00", "open": PALE}
BINS = 40
ROUNDS_SHOWN = 12
BETA = 2.0


def feedback_rounds_page(rounds: Sequence[Sequence[str]], counts: Values, verdict: str, footer: str) -> Figure:
    """The table of rounds, picks and good particles of each, and whether another one pays.

    Parameters
    ----------
    rounds : sequence of rows of str
        Its first row is the head.
    counts : ndarray, shape (r, 2)
        Particles and good ones of each round.
    verdict : str
    footer : str
    """
    figure = page("Rounds", footer)
    wide = (1 - 2 * MARGIN) / len(rounds[0])
    first = max(1, len(rounds) - ROUNDS_SHOWN)
    for line, row in enumerate([rounds[0], *rounds[first:]]):
        y = 0.86 - line * ROW - (0.01 if line else 0)
        for column, cell in enumerate(row):
            write(figure, (MARGIN + column * wide, y), cell, wide - 0.005, color=INK if line else MUTED)
    rule(figure, 0.85, LINE)
    write(figure, (MARGIN, 0.5), verdict[:1].upper() + verdict[1:], 1 - 2 * MARGIN, weight="bold")
    axes = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    style(axes, "What became of the picks?", "Round", "Particles")
    place = np.arange(1, len(counts) + 1)
    axes.bar(place, counts[:, 0], 0.6, color=PALE, label="all")
    axes.bar(place, counts[:, 1], 0.6, color=BLUE, label="in good classes")
    for x, (every, good) in zip(place, counts, strict=True):
        axes.annotate(f"{good / max(1, every):.0%}", (x, every), xytext=(0, 2), textcoords="offset points", ha="center",
                      va="bottom", fontsize=8, color=INK)  # fmt: skip
    axes.set_xlim(0.4, max(len(counts), 6) + 0.6)
    axes.set_ylim(0, 1.15 * max(1.0, float(counts.max(initial=1))))
    axes.xaxis.set_major_locator(whole_numbers(12))
    key(axes)
    return figure


def labels_page(scores: Mapping[str, Values], threshold: float | None, curve: Curve | None, footer: str) -> Figure:
    """Picks by score and label, and what a threshold would keep.

    Parameters
    ----------
    scores : mapping of ndarray
        Label -> scores of its picks.
    threshold : float or None
        Score recommended.
    curve : Curve or None
        Of the labelled picks.
    footer : str
    """
    figure = page("Labels and threshold", footer)
    upper = figure.add_axes((LEFT, UPPER, WIDE, HIGH))
    style(upper, "Does the score tell what became of the picks?", "Score of the pick", "Picks")
    lower = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    style(lower, "Which threshold?", "Threshold", "", counts=False)
    every = np.concatenate([np.zeros(0), *scores.values()])
    if len(every):
        edges = np.linspace(min(0.0, float(every.min())), max(1.0, float(every.max())), BINS + 1)
        bottom = np.zeros(BINS)
        for label, values in scores.items():
            number, _ = np.histogram(values, edges)
            upper.bar(edges[:-1], number, np.diff(edges), bottom, align="edge", color=COLOURS.get(label, MUTED),
                      ec="white", lw=0.4, label=f"{label} ({len(values):,})")  # fmt: skip
            bottom += number
        for axes in (upper, lower):
            axes.set_xlim(edges[0], edges[-1])
        upper.set_ylim(0, 1.12 * max(1, int(bottom.max())))
    else:
        nothing(upper, "The picks have no scores")
    if curve is not None and len(curve.threshold):
        for values, name, colour, width in (
            (curve.precision, "precision", MUTED, 1.2), (curve.recall, "recall", INK, 1.2),
            (curve.f_beta(BETA), "F2", BLUE, 2.0),
        ):  # fmt: skip
            lower.plot(curve.threshold, values, color=colour, lw=width, label=name)
        lower.set_ylim(0, 1.02)
    else:
        nothing(lower, "Nothing is labelled")
    if threshold is not None:
        for axes in (upper, lower):
            axes.axvline(threshold, color=INK, lw=1.3, ls=(0, (4, 3)), label=f"recommended {threshold:.3f}")
    for axes in (upper, lower):
        if axes.get_legend_handles_labels()[1]:
            key(axes)
    told = "True and rare are in good classes, false in bad ones; open ones teach nothing. Recall is of the good picks."
    write(figure, (MARGIN, 0.055), told, 1 - 2 * MARGIN, color=MUTED, fontsize=7.5)
    return figure


def kept_page(kept: Kept, footer: str) -> Figure:
    """How many good particles of every class or direction the threshold keeps.

    Parameters
    ----------
    kept : Kept
    footer : str
    """
    figure = page("Views before and after the threshold", footer)
    used = np.flatnonzero(kept.before > 0)
    used = used[np.argsort(-kept.before[used], kind="stable")]
    before, after = kept.before[used], kept.after[used]
    place = np.arange(len(used))
    upper = figure.add_axes((LEFT, UPPER, WIDE, HIGH))
    style(upper, f"How many good particles has each {kept.what}?", kept.what.capitalize(), "Particles")
    upper.bar(place, before, 0.75, color=PALE, label=f"all picks ({int(before.sum()):,})")
    upper.bar(place, after, 0.75, color=BLUE, label=f"at the threshold ({int(after.sum()):,})")
    upper.set_ylim(0, 1.15 * max(1, int(before.max())))
    key(upper)
    lower = figure.add_axes((LEFT, LOWER, WIDE, HIGH))
    style(lower, f"Which share of each {kept.what} stays?", kept.what.capitalize(), "", counts=False)
    lower.bar(place, after / before, 0.75, color=BLUE)
    share = float(after.sum() / before.sum())
    lower.axhline(share, color=INK, lw=1.0, ls=(0, (4, 3)), label=f"of all, {share:.0%}")
    lower.axhline(0.5 * share, color=VERMILLION, lw=1.0, label="below half of that it is lost, beyond chance")
    lower.set_ylim(0, 1.15)
    lower.yaxis.set_major_formatter(PercentFormatter(1.0))
    key(lower)
    for axes in (upper, lower):
        axes.set_xticks(place, [kept.names[index] for index in used.tolist()], fontsize=8 if len(used) < 30 else 6)
        axes.set_xlim(-0.6, max(len(used), 6) - 0.4)
    write(figure, (MARGIN, 0.055), kept.told, 1 - 2 * MARGIN, color=MUTED, fontsize=7.5)
    return figure
