"""Pages on views: equal-area maps of the sphere after Hammer."""

from __future__ import annotations

from functools import lru_cache

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse
from numpy.typing import NDArray

from relion_ext_picker.evaluation.healpix import Vectors, cell_count, cells_of
from relion_ext_picker.evaluation.psf import RAYS, Efficiency
from relion_ext_picker.evaluation.sampling import Sampling, TiltAdvice
from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    LINE,
    MARGIN,
    MUTED,
    VERMILLION,
    finish_bar,
    page,
    style,
    write,
)
from relion_ext_picker.report.plots.pages import key

_ROWS = 420  # px of a map
_PER_CELL = 2  # particles per cell that a map is made fine for
_A, _B = 2 * np.sqrt(2.0), np.sqrt(2.0)  # half axes of the map


def angles_page(vectors: Vectors, found: tuple[Efficiency, Sampling, TiltAdvice], symmetry: str, footer: str) -> Figure:
    """Where the views are, how long the point spread function is in every direction, and what tilting would change.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
        A view per particle, as in the file.
    found : (Efficiency, Sampling, TiltAdvice)
    symmetry : str
    footer : str
    """
    result, even, advice = found
    figure = page("Views", footer)
    order = next((k for k in (5, 4, 3) if len(vectors) >= _PER_CELL * cell_count(k)), 3)
    count = np.bincount(cells_of(vectors, order), minlength=cell_count(order)).astype(np.float64)
    wide = (1 - 2 * MARGIN - 0.06) / 2
    colours = matplotlib.colormaps["viridis"].with_extremes(under="#eef1f4")
    left = figure.add_axes((MARGIN, 0.48, wide, 0.36))
    picture = _sphere(left, count, order, (0.5, max(1.5, float(np.percentile(count[count > 0], 99)))), colours)
    _name(left, f"Which views do {len(vectors):,} particles show?")
    bar = figure.add_axes((MARGIN + 0.1 * wide, 0.455, 0.8 * wide, 0.014))
    finish_bar(figure.colorbar(picture, cax=bar, orientation="horizontal", extend="max"),
               f"Particles per view, of {cell_count(order):,}")  # fmt: skip
    right = figure.add_axes((MARGIN + wide + 0.06, 0.48, wide, 0.36))
    relative = result.radius / np.median(result.radius)
    limits = (min(0.9, float(relative.min())), max(1.1, float(relative.max())))
    picture = _sphere(right, relative, RAYS, limits, matplotlib.colormaps["magma"])
    for direction in (result.worst, -result.worst):
        right.plot(*_project(direction), ls="", marker="o", ms=9, mfc="none", mec="#56d4ff", mew=1.8)
    _name(right, f"Where is detail smeared out? ({symmetry} applied; circles: worst)")
    bar = figure.add_axes((MARGIN + wide + 0.06 + 0.1 * wide, 0.455, 0.8 * wide, 0.014))
    finish_bar(figure.colorbar(picture, cax=bar, orientation="horizontal"), "Length of the PSF over its median")
    write(figure, (MARGIN, 0.382), "Longitude: rot, 0 in the middle, 180 at the rim; latitude: 90 - tilt. Equal areas.",
          1 - 2 * MARGIN, color=MUTED, fontsize=8)  # fmt: skip
    _below(figure, result, even, advice)
    return figure


def _below(figure: Figure, result: Efficiency, even: Sampling, advice: TiltAdvice) -> None:
    """Histogram of the sampling, radii of the point spread function, efficiency against tilt."""
    width = 0.245
    gap = (1 - 2 * MARGIN - 0.03 - 3 * width) / 2
    boxes = [(MARGIN + 0.03 + index * (width + gap), 0.115, width, 0.19) for index in range(3)]
    first = figure.add_axes(boxes[0])
    style(first, "How often is Fourier space sampled?", "Density of slices, mean 1", "Directions")
    first.hist(even.density, bins=40, range=(0, max(2.0, float(np.percentile(even.density, 99)))), color=BLUE,
               ec="white", lw=0.4, label=f"SCF {even.scf:.3f}, empty {even.empty:.1%}")  # fmt: skip
    key(first)
    second = figure.add_axes(boxes[1])
    style(second, "How long is the PSF?", "Radius (Å of the model)", "Directions")
    second.hist(result.radius, bins=40, color=BLUE, ec="white", lw=0.4, label=f"E_od {result.rays:.2f} by rays")
    key(second)
    third = figure.add_axes(boxes[2])
    style(third, "Would tilting help?", "Tilt of the specimen (°)", "E_od, rays", counts=False)
    third.plot(advice.tilts, advice.efficiencies, color=BLUE, lw=1.8, marker="o", ms=5, mew=0)
    if advice.best:
        third.axvline(advice.best, color=VERMILLION, lw=1.2, label=f"suggested: {advice.best:g}°")
        key(third)
    third.set_ylim(min(0.0, *advice.efficiencies), 1.05)


def _project(direction: Vectors) -> tuple[float, float]:
    """Hammer's equal-area projection of a direction."""
    longitude = np.arctan2(direction[1], direction[0])
    flat = np.hypot(direction[0], direction[1])
    below = np.sqrt(1 + flat * np.cos(longitude / 2))
    return float(_A * flat * np.sin(longitude / 2) / below), float(_B * direction[2] / below)


@lru_cache(maxsize=4)
def _cells_of_map(order: int) -> NDArray[np.int64]:
    """Cell under every px of a map, -1 outside; the projection inverted."""
    y, x = np.meshgrid(np.linspace(-_B, _B, _ROWS), np.linspace(-_A, _A, 2 * _ROWS), indexing="ij")
    squared = 1 - (x / 4) ** 2 - (y / 2) ** 2
    inside = (x / _A) ** 2 + (y / _B) ** 2 < 1
    z = np.sqrt(np.where(inside, squared, 1.0))
    longitude = 2 * np.arctan2(z * x, 2 * (2 * z**2 - 1))
    sine = np.clip(z * y, -1, 1)
    flat = np.sqrt(1 - sine**2)
    vectors = np.stack([flat * np.cos(longitude), flat * np.sin(longitude), sine], axis=-1).reshape(-1, 3)
    return np.where(inside, cells_of(vectors, order).reshape(x.shape), -1)


def _sphere(
    axes: Axes, values: NDArray[np.float64], order: int, limits: tuple[float, float], colours: Colormap
) -> AxesImage:
    """A value per cell as a map."""
    cells = _cells_of_map(order)
    picture = np.ma.masked_array(values[np.maximum(cells, 0)], cells < 0)
    outline = Ellipse((0, 0), 2 * _A, 2 * _B, fc="none", ec=MUTED, lw=0.8)
    image: AxesImage = axes.imshow(
        picture, extent=(-_A, _A, -_B, _B), origin="lower", cmap=colours, vmin=limits[0], vmax=limits[1],
        interpolation="nearest",
    )  # fmt: skip
    axes.add_patch(outline)
    for step in (-60, -30, 0, 30, 60):
        _line(axes, np.linspace(-179.9, 179.9, 90), np.full(90, float(step)))
    for step in (-120, -60, 0, 60, 120):
        _line(axes, np.full(90, float(step)), np.linspace(-90, 90, 90))
    axes.set(xlim=(-1.01 * _A, 1.01 * _A), ylim=(-1.02 * _B, 1.02 * _B))
    axes.set_axis_off()
    return image


def _line(axes: Axes, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> None:
    half, flat = np.radians(longitude) / 2, np.cos(np.radians(latitude))
    below = np.sqrt(1 + flat * np.cos(half))
    axes.plot(
        _A * flat * np.sin(half) / below, _B * np.sin(np.radians(latitude)) / below, color=LINE, lw=0.5, alpha=0.5
    )


def _name(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, weight="bold", color=INK, pad=8)
