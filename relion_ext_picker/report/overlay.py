"""A micrograph made small enough to look at, with its picks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from relion_ext_picker.image.fourier import bin_by
from relion_ext_picker.types import Array, Grid

LONGEST_SIDE = 1280  # px; more adds bytes and no detail to a page of paper
LOWPASS = 0.04  # standard deviation of the display filter in particle diameters: noise goes, the particle's rim stays
PERCENTILES = (1.0, 99.0)
REACH = 3.5  # standard deviations about the median that are shown at most


@dataclass(frozen=True)
class Overlay:
    """A picture of a micrograph and its picks, ready for drawing.

    Attributes
    ----------
    title : str
    image : ndarray, shape (h, w), float32
        Reduced, low-passed and clipped micrograph, 0..1.
    xy : ndarray, shape (n, 2), float32
        Picks in px of `image`.
    radius : float
        Particle radius in px of `image`.
    score : ndarray, shape (n,), float32
    grid : Grid
        Where the samples of `image` lie in the micrograph.
    pixel_size : float
        Å per px of `image`, NaN where unknown.
    """

    title: str
    image: Array
    xy: Array
    radius: float
    score: Array
    grid: Grid = field(default_factory=Grid)
    pixel_size: float = math.nan

    def reduced(self, xy: NDArray[Any]) -> Array:
        """Micrograph coordinates (n, 2) to px of `image`."""
        rows, cols = self.grid.from_original(xy)
        return np.stack([cols, rows], axis=1).astype(np.float32)


def make_overlay(
    image: NDArray[Any], xy: NDArray[Any], score: NDArray[Any], diameter_px: float, title: str,
    pixel_size: float = math.nan,
) -> Overlay:  # fmt: skip
    """Prepare a micrograph for display: block means, a mild low-pass, contrast for the bulk of the grey levels.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        Micrograph as stored; values that are not finite are shown as the mean.
    xy : ndarray, shape (n, 2)
        Picks in px of the micrograph.
    score : ndarray, shape (n,)
    diameter_px : float
        Particle diameter in px of the micrograph.
    title : str
    pixel_size : float
        Å/px of the micrograph; gives the picture a scale bar.

    Returns
    -------
    Overlay
        Its image has at most 1280 px along its longer side.
    """
    factor = max(1, math.ceil(max(image.shape) / LONGEST_SIDE))
    factor = min(factor, *image.shape)  # a strip thinner than a block would vanish
    small = bin_by(np.asarray(image, np.float32), factor)
    finite = np.isfinite(small)
    if not finite.all():
        small = np.where(finite, small, small[finite].mean() if finite.any() else 0).astype(np.float32)
    radius = 0.5 * diameter_px / factor
    small = ndimage.gaussian_filter(small, min(max(0.5, LOWPASS * 2 * radius), 4.0), mode="nearest")
    low, first, middle, third, high = np.percentile(small, [PERCENTILES[0], 25, 50, 75, PERCENTILES[1]])
    if third > first:  # carbon or ice must not take the greys away from the particles
        reach = REACH * (third - first) / 1.349
        low, high = max(low, middle - reach), min(high, middle + reach)
    spread = high - low
    small = np.clip((small - low) / spread, 0, 1) if spread > 0 else np.full(small.shape, 0.5)
    grid = Grid().coarser(factor)
    rows, cols = grid.from_original(np.asarray(xy))
    return Overlay(
        title=title,
        image=small.astype(np.float32),
        xy=np.stack([cols, rows], axis=1).astype(np.float32),
        radius=radius,
        score=np.asarray(score, np.float32).reshape(-1),
        grid=grid,
        pixel_size=pixel_size * factor,
    )


def compare(overlay: Overlay, truth_xy: NDArray[Any]) -> tuple[Array, Array]:
    """Which true centres have no pick, and which picks no true centre, for marking them in a picture.

    A pick takes the nearest free centre within the particle radius; the better pick chooses first. (The numbers of an
    evaluation are not made here.)

    Parameters
    ----------
    overlay : Overlay
    truth_xy : ndarray, shape (m, 2)
        True centres in px of the micrograph as stored.

    Returns
    -------
    missed, false : ndarray, shape (k, 2) and (l, 2), float32
        In px of the picture.
    """
    truth = overlay.reduced(truth_xy)
    if not len(truth) or not len(overlay.xy):
        return truth, overlay.xy
    free = np.ones(len(truth), bool)
    false = []
    near = cKDTree(truth).query_ball_point(overlay.xy, overlay.radius)
    for index in np.argsort(-overlay.score, kind="stable"):
        open_ones = [k for k in near[index] if free[k]]
        if open_ones:
            free[min(open_ones, key=lambda k: float(np.hypot(*(truth[k] - overlay.xy[index]))))] = False
        else:
            false.append(index)
    return truth[free], overlay.xy[np.asarray(sorted(false), np.intp)]
