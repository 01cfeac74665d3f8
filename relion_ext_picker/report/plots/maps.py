"""Pages on reconstructions: Fourier shell correlation, local resolution, resolution against number of particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from relion_ext_picker.evaluation.bfactor import BFactorFit
from relion_ext_picker.evaluation.localres import LocalResolution
from relion_ext_picker.evaluation.resolution import Crossing
from relion_ext_picker.report.plots.canvas import (
    BLUE,
    INK,
    LINE,
    MARGIN,
    MUTED,
    PAGE,
    VERMILLION,
    finish_bar,
    page,
    style,
    write,
)
from relion_ext_picker.report.plots.pages import HIGH, LEFT, LOWER, UPPER, WIDE, key
from relion_ext_picker.types import Array

Curve = NDArray[np.float64]

_LOOK: Mapping[str, tuple[str, Any, float, str]] = {
    "corrected": (INK, "-", 2.2, "corrected"),
    "masked": (BLUE, "-", 1.4, "masked"),
    "unmasked": (MUTED, "-", 1.4, "unmasked"),
    "randomised": (VERMILLION, (0, (4, 3)), 1.4, "masked, random phases"),
    "gold_standard": (INK, "-", 2.2, "half maps of the refinement"),
}


def fsc_page(
    title: str, resolution: Curve, curves: Mapping[str, Curve], best: tuple[Curve, Curve],
    crossings: Sequence[Crossing], footer: str,
) -> Figure:  # fmt: skip
    """Fourier shell correlations with their crossings, and the signal-to-noise ratio that follows.

    Parameters
    ----------
    title : str
    resolution : ndarray, shape (n,)
        Å per shell.
    curves : mapping of ndarray, shape (n,)
        By name: unmasked, masked, randomised, corrected or gold_standard.
    best : (ndarray, ndarray), shape (n,) each
        The curve that counts, and its signal-to-noise ratio.
    crossings : sequence of Crossing
    footer : str
    """
    figure = page(title, footer)
    upper = figure.add_axes((LEFT, 0.445, WIDE, 0.37))
    style(upper, "How far do the half maps agree?", "Resolution (Å)", "Fourier shell correlation", counts=False)
    frequency = np.concatenate([[0.0], 1.0 / resolution[1:]])
    for name, (colour, dash, width, label) in _LOOK.items():
        if name in curves:
            upper.plot(frequency, curves[name], color=colour, ls=dash, lw=width, label=label)
    for at in crossings:
        upper.axhline(at.limit, color=LINE if at.limit > 0.2 else MUTED, lw=0.9, zorder=0)
        if at.shell and at.reached:
            upper.plot(1 / at.interpolated, at.limit, ls="", marker="o", ms=7, color=VERMILLION, zorder=6)
            upper.annotate(
                f"{at.interpolated:.2f} Å at {at.limit:g}", (1 / at.interpolated, at.limit), xytext=(7, 7),
                textcoords="offset points", color=VERMILLION, fontsize=9, weight="bold",
            )  # fmt: skip
    lowest = min(float(curve.min()) for curve in curves.values())
    upper.set_ylim(min(-0.05, 1.1 * max(lowest, -0.4)), 1.04)
    key(upper)
    lower = figure.add_axes((LEFT, LOWER, WIDE, 0.17))
    style(lower, "Signal-to-noise ratio, 2 FSC / (1 - FSC)", "Resolution (Å)", "SSNR", counts=False)
    ratio = best[1]
    drawn = np.isfinite(ratio) & (ratio > 0)
    lower.semilogy(frequency[drawn], ratio[drawn], color=INK, lw=1.6)
    lower.axhline(1.0, color=MUTED, lw=0.9)
    high = float(ratio[drawn].max()) if drawn.any() else 10.0
    lower.set_ylim(0.01, max(10.0, min(2 * high, 1e5)))
    lower.yaxis.set_major_locator(LogLocator(numticks=6))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lower.yaxis.set_minor_locator(NullLocator())
    for axes in (upper, lower):
        axes.set_xlim(0, frequency[-1])
        _resolution_axis(axes, frequency[-1])
    return figure


def _resolution_axis(axes: Axes, highest: float) -> None:
    """Ticks at even steps of spatial frequency, named by their resolution."""
    steps = np.linspace(0, highest, 11)[1:]
    axes.xaxis.set_major_locator(FixedLocator(steps.tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 / value:.3g}" if value > 0 else ""))


def local_page(found: LocalResolution, reference: Array | None, pixel_size: float, footer: str) -> Figure:
    """Histogram of the local resolution, and a slice coloured by it.

    Parameters
    ----------
    found : LocalResolution
    reference : ndarray, shape (box, box), optional
        The same slice of the map, shown in grey beneath.
    pixel_size : float
        Å/px.
    footer : str
    """
    figure = page("Local resolution", footer)
    side = 0.46
    axes = figure.add_axes((MARGIN, 0.13, side * PAGE[1] / PAGE[0] * 1.5, side * 1.5))
    colours = matplotlib.colormaps["viridis_r"]
    low, high = found.quantiles[5], found.quantiles[95]
    if high - low < 0.05:
        low, high = low - 0.05, high + 0.05
    box = len(found.section)
    shown = np.isfinite(found.section)
    rows, cols = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    middle = (0.5 * (rows[0] + rows[-1]), 0.5 * (cols[0] + cols[-1]))
    reach = 0.56 * max(rows[-1] - rows[0], cols[-1] - cols[0], 8)
    if reference is not None:
        dark, bright = np.percentile(reference, (1, 99.7))
        axes.imshow(reference, cmap="gray", vmin=dark, vmax=max(bright, dark + 1e-6), origin="lower")
    axes.imshow(found.section, cmap=colours, vmin=low, vmax=high, origin="lower",
                          alpha=1.0 if reference is None else 0.6, interpolation="nearest")  # fmt: skip
    axes.set(xticks=[], yticks=[], xlim=(middle[1] - reach, middle[1] + reach),
             ylim=(middle[0] - reach, middle[0] + reach))  # fmt: skip
    axes.spines[:].set(color=MUTED, linewidth=0.6)
    axes.set_title(f"Slice {found.level + 1} of {box} along z, {2 * reach * pixel_size:.0f} Å wide", loc="left",
                   fontsize=10.5, weight="bold", color=INK, pad=8)  # fmt: skip
    edge = MARGIN + side * PAGE[1] / PAGE[0] * 1.5
    bar = figure.add_axes((edge + 0.012, 0.13, 0.014, side * 1.5))
    scale = ScalarMappable(Normalize(low, high), colours)  # not of the picture, which may be half transparent
    finish_bar(figure.colorbar(scale, cax=bar, extend="both"), "Local resolution (Å)")
    right = edge + 0.13
    histogram = figure.add_axes((right, 0.36, 1 - MARGIN - right, 0.42))
    style(histogram, "How is it distributed?", "Local resolution (Å)", "Voxels")
    edges = found.edges
    tint = colours(np.clip((0.5 * (edges[:-1] + edges[1:]) - low) / (high - low), 0, 1))
    histogram.bar(edges[:-1], found.counts, np.diff(edges), align="edge", color=tint)
    histogram.axvline(found.quantiles[50], color=INK, lw=1.3, label=f"median {found.quantiles[50]:.2f} Å")
    histogram.set_xlim(edges[0], edges[-1])
    key(histogram)
    write(figure, (right, 0.255), "Share of the voxels, better than", 1 - MARGIN - right, color=MUTED)
    for index, (percent, value) in enumerate(found.quantiles.items()):
        write(figure, (right, 0.225 - 0.024 * index), f"{percent} %", 0.05)
        write(figure, (right + 0.05, 0.225 - 0.024 * index), f"{value:.2f} Å", 0.1)
    return figure


def series_page(particles: Curve, resolution: Curve, fit: BFactorFit, footer: str) -> Figure:
    """Resolution against the number of particles, with the fitted line and its confidence band.

    Parameters
    ----------
    particles : ndarray, shape (n,)
    resolution : ndarray, shape (n,)
        Å.
    fit : BFactorFit
    footer : str
    """
    figure = page("Resolution against number of particles", footer)
    axes = figure.add_axes((LEFT, LOWER + 0.06, WIDE * 0.93, UPPER + HIGH - LOWER - 0.08))
    style(axes, "What do more particles bring?", "Particles", "1 / resolution² (Å⁻²)", counts=False)
    used = fit.used
    x = np.geomspace(0.8 * particles.min(), 1.25 * particles.max(), 100)
    line, band = fit.line(x), fit.band(x)
    label = f"B = {fit.b_factor:.0f} Å²"
    if np.isfinite(band).all():
        axes.fill_between(x, line - band, line + band, color=BLUE, alpha=0.15, lw=0, label="95 % confidence band")
        label += f" ({fit.low:.0f} to {fit.high:.0f})"
    axes.plot(x, line, color=BLUE, lw=1.8, label=label)
    points = 1 / resolution**2
    axes.plot(particles[used], points[used], ls="", marker="o", ms=7, color=INK, label="reconstructions")
    if not used.all():
        axes.plot(particles[~used], points[~used], ls="", marker="o", ms=7, mfc="white", mec=VERMILLION, mew=1.5,
                  label="left out: at Nyquist")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if particles.max() < 30 * particles.min():
        axes.xaxis.set_major_locator(FixedLocator(np.unique(particles).tolist()))
        axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.set_xlim(x[0], x[-1])
    room = 0.12 * (points.max() - points.min() or points.max())
    axes.set_ylim(max(0.0, points.min() - room), points.max() + room)
    right = axes.secondary_yaxis(
        "right", functions=(lambda value: value, lambda value: value)
    )  # the same scale, named by resolution
    right.set_ylabel("Resolution at FSC = 0.143 (Å)", color=INK, labelpad=6)
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value**-0.5:.2f}" if value > 0 else ""))
    right.spines["right"].set_color(MUTED)
    right.tick_params(color=MUTED, labelcolor=INK)
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    told = "ln N = B / (2 d²) + constant (Rosenthal & Henderson 2003); d interpolated, N in both halves together."
    write(figure, (LEFT, 0.085), told, WIDE, color=MUTED, fontsize=8.5)
    return figure
