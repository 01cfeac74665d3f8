"""The pages on how a picker taught itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    MARGIN,
    MISSED,
    MUTED,
    PAGE,
    VERMILLION,
    heading,
    page,
    style,
    whole_numbers,
    write,
)
from relion_ext_picker.report.plots.pages import LEFT, WIDE, key
from relion_ext_picker.report.plots.training import COLUMNS, contact_sheet
from relion_ext_picker.types import Array

if TYPE_CHECKING:
    from relion_ext_picker.report.teaching import Teaching

COLOURS = {"top": MISSED, "side": "#ffd23f", "irregular": "#ff8ad8"}
GROUP_ROWS = 2  # lines of examples of each class, where there are no more than
FEW_GROUPS = 3  # classes; of more, one line fits
LINES = (MUTED, MUTED, BLUE, BLUE, VERMILLION)


def found_page(teaching: Teaching, footer: str) -> Figure:
    """A micrograph with what clustering found: good examples in full lines, the others dotted."""
    figure = page(f"What clustering found: {teaching.name}", footer)
    height, width = teaching.image.shape
    paper = PAGE[0] / PAGE[1]
    wide = min(0.6, 0.8 * width / height / paper)
    high = wide * paper * height / width
    axes = figure.add_axes((MARGIN, 0.875 - high, wide, high))
    greys = matplotlib.colormaps["gray"].resampled(16)
    axes.imshow(teaching.image, cmap=greys, vmin=0, vmax=1, interpolation="bilinear", aspect="auto")
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    handles = []
    for kind, colour in COLOURS.items():
        for good, line, name in ((True, "-", "to learn from"), (False, (0, (1, 2)), "not good enough")):
            some = (teaching.kind == kind) & (teaching.good == good)
            if not some.any():
                continue
            size = 2 * teaching.radius[some]
            axes.add_collection(
                EllipseCollection(
                    size, size, np.zeros(len(size)), units="xy", offsets=teaching.xy[some], facecolors="none",
                    offset_transform=axes.transData, edgecolors=colour, linewidths=1.5, linestyles=[line],
                ),
                autolim=False,
            )  # fmt: skip
            label = f"{kind}, {name} ({np.count_nonzero(some)})"
            handles.append(Line2D([], [], color=colour, lw=2, ls=line, label=label))
    side = MARGIN + max(wide, 0.4) + 0.03
    if handles:
        legend = figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(side - 0.01, 0.885), frameon=True,
                               facecolor="#5a6570", edgecolor="none", fontsize=8.5, labelcolor="white")  # fmt: skip
        legend.get_frame().set_alpha(1.0)
    for index, (name, value) in enumerate(teaching.facts):
        write(figure, (side, 0.6 - 0.032 * index), name, 0.12, color=MUTED, fontsize=8.5)
        write(figure, (side + 0.125, 0.6 - 0.032 * index), value, 1 - MARGIN - side - 0.125, fontsize=8.5)
    return figure


def examples_page(examples: Mapping[str, Array], footer: str) -> Figure:
    """Some windows of every class that the network learned."""
    figure = page("What it learned from", footer)
    wide = (1 - 2 * MARGIN) / COLUMNS
    tall = wide * PAGE[0] / PAGE[1]
    top, lines = 0.86, GROUP_ROWS if len(examples) <= FEW_GROUPS else 1
    for name, windows in examples.items():
        heading(figure, top, f"{name.capitalize()}, a sample")
        sheet = contact_sheet(windows[: COLUMNS * lines], lines)
        axes = figure.add_axes((MARGIN, top - 0.025 - lines * tall, COLUMNS * wide, lines * tall))
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
        top -= lines * tall + 0.06
    return figure


def losses_page(teaching: Teaching, footer: str) -> Figure:
    """Loss of every network that was trained; the last one picks."""
    figure = page("Learning", footer)
    axes = figure.add_axes((LEFT, 0.2, WIDE, 0.6))
    style(axes, "Does it learn?", teaching.unit.capitalize(), "Loss", counts=False)
    for index, curve in enumerate(teaching.curves):
        last = index == len(teaching.curves) - 1
        colour = LINES[-1] if last else LINES[min(index, len(LINES) - 2)]
        axes.plot(curve.at, curve.loss, color=colour, lw=2.2 if last else 1.3, ls="-" if last or index % 2 else "--",
                  label=curve.name)  # fmt: skip
    axes.set_ylim(0, 1.08 * max(1e-3, max(float(np.max(curve.loss, initial=0)) for curve in teaching.curves)))
    axes.set_xlim(0, max(1.0, 1.02 * max(float(np.max(curve.at, initial=1)) for curve in teaching.curves)))
    axes.xaxis.set_major_locator(whole_numbers(12))
    key(axes)
    told = "The two halves of the micrographs teach a network each, which says what there is in the other half."
    if len(teaching.curves) > 1:
        write(figure, (LEFT, 0.1), told, WIDE, color=INK, fontsize=8.5)
    return figure
