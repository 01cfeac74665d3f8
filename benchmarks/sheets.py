"""Sheets of pictures for the documentation: panels in a grid, saved as small PNG files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.types import Array

DPI, GAP = 100, 8  # px per inch; px between panels
FIRST, SECOND, OUTLINE = "#0060c0", "#d06000", "#ff9000"  # the colours that a sheet may have besides greys
REACH = 12  # half interquartile ranges about the median that are shown at most: gold would leave no grey to particles
GREYS = 16  # noise hides the steps, and the files stay small


@dataclass
class Sheet:
    """A figure of equal square panels in a grid, with room for text below each row."""

    columns: int
    rows: int
    tile: int
    text: int

    def __post_init__(self) -> None:
        self.width = self.columns * (self.tile + GAP) + GAP
        self.height = self.rows * (self.tile + self.text + GAP) + GAP
        self.figure = Figure((self.width / DPI, self.height / DPI), dpi=DPI)

    def panel(self, number: int, label: str = "") -> Axes:
        """Axes one panel wide, counted row by row, whose pixels are those of the file."""
        left = GAP + (number % self.columns) * (self.tile + GAP)
        top = GAP + (number // self.columns) * (self.tile + self.text + GAP)
        bottom = self.height - top - self.tile
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, self.tile / self.width, self.tile / self.height)
        )
        axes.set_axis_off()
        self.figure.text(left / self.width, (bottom - 4) / self.height, label, va="top", fontsize=9, linespacing=1.3)
        return axes

    def save(self, path: Path) -> None:
        """Write a PNG of few colours."""
        buffer = io.BytesIO()
        FigureCanvasAgg(self.figure)
        self.figure.savefig(buffer, dpi=DPI)
        colours = [np.linspace(0, 255, GREYS)[:, None].repeat(3, 1)]
        for name in (FIRST, SECOND, OUTLINE):
            full = np.array([int(name[at : at + 2], 16) for at in (1, 3, 5)])
            colours.append(255 - np.linspace(0.25, 1, 4)[:, None] * (255 - full))
        palette = Image.new("P", (1, 1))
        palette.putpalette(np.rint(np.concatenate(colours)).astype(np.uint8).tobytes())
        image = Image.open(buffer).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def show(axes: Axes, image: Array, tile: int) -> None:
    """Reduce an image, or the upper left square of it, to a panel; what is finer than its pixels is filtered away."""
    side = min(image.shape)
    values = rescale(np.ascontiguousarray(image[:side, :side]), tile / side).values
    middle, quarter = np.median(values), np.subtract(*np.percentile(values, (75, 25))) / 2
    low, high = np.percentile(values, (0.3, 99.7)).clip(middle - REACH * quarter, middle + REACH * quarter)
    axes.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation="nearest", extent=(0, side, side, 0))
