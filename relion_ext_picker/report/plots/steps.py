"""What each step of a preprocessing chain does to one micrograph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relion_ext_picker.report.plots.canvas import INK
from relion_ext_picker.types import Array


def steps_figure(steps: Sequence[tuple[str, Array]], window: tuple[slice, slice], columns: int = 5) -> Figure:
    """A part of an image after each step, in reading order.

    Parameters
    ----------
    steps : sequence of (str, ndarray of shape (h, w))
        Name and image, all of one shape; masks are drawn as they are.
    window : (slice, slice)
        Rows and columns to show.
    columns : int
        Pictures in a row.
    """
    rows = math.ceil(len(steps) / columns)
    height, width = steps[0][1][window].shape
    side = 2.2  # inch
    figure = Figure(figsize=(side * columns, (side * height / width + 0.25) * rows), facecolor="white")
    FigureCanvasAgg(figure)
    for number, (name, image) in enumerate(steps):
        axes = figure.add_subplot(rows, columns, number + 1)
        part = np.asarray(image[window], np.float32)
        low, high = np.percentile(part, [0.5, 99.5])
        axes.imshow(part, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
        axes.set_title(name, fontsize=8, color=INK, pad=3)
        axes.set_axis_off()
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.2 / (side * rows), wspace=0.04, hspace=0.12)
    return figure
