"""Micrographs with their picks."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from relion_ext_picker.report.overlay import Overlay
from relion_ext_picker.report.plots.canvas import (
    INK,
    MANY,
    MARGIN,
    MISSED,
    MUTED,
    PAGE,
    finish_bar,
    page,
    scale,
    score_colours,
    style,
    write,
)
from relion_ext_picker.types import Array


def overlay_page(overlay: Overlay, limits: tuple[float, float], rule: str, footer: str) -> Figure:
    """A micrograph with its picks as circles coloured by score, and its score histogram beside it.

    Parameters
    ----------
    overlay : Overlay
    limits : (float, float)
        Scores at the ends of the colour bar.
    rule : str
        How the micrograph was chosen, printed on the page.
    footer : str
    """
    figure = page(overlay.title, footer)
    height, width = overlay.image.shape
    paper = PAGE[0] / PAGE[1]
    wide = min(0.63, 0.8 * width / height / paper)  # of the page; a micrograph that is higher than wide gets narrower
    high = wide * paper * height / width
    axes = figure.add_axes((MARGIN, 0.875 - high, wide, high))
    _draw_overlay(axes, overlay, limits)
    side = MARGIN + max(wide, 0.4) + 0.045
    room = min(1 - MARGIN - side, 0.28)
    for index, (name, value) in enumerate(_facts(overlay)):
        write(figure, (side, 0.861 - 0.03 * index), name, 0.08, color=MUTED)
        write(figure, (side + 0.09, 0.861 - 0.03 * index), value, room - 0.09)
    inner = (side + 0.03, room - 0.04)
    histogram = figure.add_axes((inner[0], 0.44, inner[1], 0.2))
    style(histogram, "", "", "Picks")
    counts, edges = np.histogram(overlay.score[np.isfinite(overlay.score)], bins=30, range=limits)
    colours = scale(limits).to_rgba(0.5 * (edges[:-1] + edges[1:]))
    histogram.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours)
    histogram.set_xlim(limits)
    histogram.set_ylim(0, 1.08 * max(1, int(counts.max())))
    histogram.tick_params(labelbottom=False, bottom=False)
    bar_axes = figure.add_axes((inner[0], 0.408, inner[1], 0.018))
    finish_bar(figure.colorbar(scale(limits), cax=bar_axes, orientation="horizontal"), "Score of a pick")
    for index, line in enumerate(textwrap.wrap(rule, 40)):
        write(figure, (side, 0.27 - 0.024 * index), line, room + 0.02, color=MUTED, fontsize=8)
    return figure


def _facts(overlay: Overlay) -> list[tuple[str, str]]:
    """Name and value of what is known of a picture."""
    found = len(overlay.score)
    rows = [("Picks", f"{found:,}"), ("Mean score", f"{overlay.score.mean():.3f}" if found else "–")]
    if math.isfinite(overlay.pixel_size) and overlay.pixel_size > 0:
        height, width = (side * overlay.pixel_size * 0.1 for side in overlay.image.shape)
        rows.append(("Circles", f"{2 * overlay.radius * overlay.pixel_size:.0f} Å across"))
        rows.append(("Field", f"{width:.0f} × {height:.0f} nm"))
    return rows


def overlay_figure(overlay: Overlay, limits: tuple[float, float], missed: Array | None, false: Array | None) -> Figure:
    """A micrograph with its picks, alone; with `missed` true centres and `false` picks marked where they are given.

    The positions, shape (k, 2), are px of the picture.
    """
    height, width = overlay.image.shape
    across = 7.4 * math.sqrt(width / height)
    down = across * height / width
    figure = Figure(figsize=(across + 1.1, down + 0.95), facecolor="white")
    total = figure.get_size_inches()
    axes = figure.add_axes((0.15 / total[0], 0.5 / total[1], across / total[0], down / total[1]))
    _draw_overlay(axes, overlay, limits)
    handles = [Line2D([], [], ls="", marker="o", mfc="none", mec=score_colours()(0.6), ms=9, mew=1.5,
                      label=f"pick ({len(overlay.xy):,})")]  # fmt: skip
    if false is not None and len(false):
        for colour, width in (("black", 3.0), ("white", 1.4)):  # white on a dark rim shows on any grey
            axes.plot(*false.T, ls="", marker="x", ms=6, mew=width, color=colour, scalex=False, scaley=False)
        handles.append(
            Line2D([], [], ls="", marker="x", ms=7, mew=1.4, color=INK, label=f"not in the truth ({len(false):,})")
        )
    if missed is not None:
        _circles(axes, missed, overlay.radius, edgecolors=MISSED, linewidths=1.3, linestyles=[(0, (3, 2))])
        handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=MISSED, ms=9, mew=1.6,
                              label=f"missed ({len(missed):,})"))  # fmt: skip
    bar_at = ((across + 0.3) / total[0], 0.5 / total[1], 0.16 / total[0], down / total[1])
    finish_bar(figure.colorbar(scale(limits), cax=figure.add_axes(bar_at)), "Score of a pick")
    FigureCanvasAgg(figure)
    write(figure, (0.15 / total[0], 1 - 0.3 / total[1]), overlay.title, across / total[0], fontsize=11, weight="bold")
    corner = (0.1 / total[0], 0.08 / total[1])
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=corner, ncols=3, frameon=False,
                  borderaxespad=0.3, handletextpad=0.3, columnspacing=2.0)  # fmt: skip
    return figure


def _draw_overlay(axes: Axes, overlay: Overlay, limits: tuple[float, float]) -> None:
    """The picture with row 0 on top, as RELION's viewer has it, circles and a scale bar."""
    height, width = overlay.image.shape
    greys = matplotlib.colormaps["gray"].resampled(16)  # 4 bit per px; noise hides the steps
    axes.imshow(overlay.image, cmap=greys, vmin=0, vmax=1, origin="upper", interpolation="bilinear", aspect="auto",
                interpolation_stage="data")  # fmt: skip
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.spines[:].set(color=MUTED, linewidth=0.6)
    _circles(axes, overlay.xy, overlay.radius, edgecolors="black", linewidths=2.2, alpha=0.45)
    order = np.argsort(overlay.score, kind="stable")  # the best on top
    colours = scale(limits).to_rgba(overlay.score[order])
    _circles(axes, overlay.xy[order], overlay.radius, edgecolors=colours, linewidths=1.2)
    if math.isfinite(overlay.pixel_size) and overlay.pixel_size > 0:
        _scale_bar(axes, overlay)


def _circles(axes: Axes, xy: Array, radius: float, **style: Any) -> None:
    """Circles in data coordinates; thousands of them in one artist."""
    size = np.full(len(xy), 2 * radius)
    axes.add_collection(
        EllipseCollection(size, size, np.zeros(len(xy)), units="xy", offsets=xy, offset_transform=axes.transData,
                          facecolors="none", rasterized=len(xy) > MANY, **style),
        autolim=False,
    )  # fmt: skip


def _scale_bar(axes: Axes, overlay: Overlay) -> None:
    """A white bar of a round length, about a fifth of the width, on a dark patch at the lower left."""
    height, width = overlay.image.shape
    goal = 0.2 * width * overlay.pixel_size
    power = 10.0 ** math.floor(math.log10(goal))
    length = max(step for step in (1, 2, 5) if step * power <= goal) * power
    pixels, unit = length / overlay.pixel_size, 0.01 * min(height, width)
    patch = (1.5 * unit, height - 7.5 * unit)
    axes.add_patch(Rectangle(patch, pixels + 3 * unit, 6 * unit, fc="black", alpha=0.6, lw=0))
    axes.add_patch(Rectangle((3 * unit, height - 3.2 * unit), pixels, 0.8 * unit, fc="white", lw=0))
    axes.text(
        3 * unit + pixels / 2,
        height - 3.6 * unit,
        f"{length / 10:g} nm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
    )
