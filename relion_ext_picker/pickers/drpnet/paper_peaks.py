"""Peaks by prominence: the extended maxima that the published DRPnet takes for candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from relion_ext_picker.types import Array

EIGHT = np.ones((3, 3), bool)
_reconstruction: Any = morphology.reconstruction  # scikit-image has no types


@dataclass(frozen=True)
class Peaks:
    """Extended maxima of a map.

    Attributes
    ----------
    rows, cols : ndarray, shape (n,)
        Centroids, px weighted by how far they rise above the foot of the peak (the authors weight all alike, which is
        less exact).
    strength : ndarray, shape (n,), float32
        Largest value of the second map inside each.
    """

    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    strength: Array

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, keep: NDArray[np.bool_]) -> Peaks:
        """The peaks for which `keep` (n,) is true."""
        return Peaks(self.rows[keep], self.cols[keep], self.strength[keep])


def extended_maxima(values: Array, height: float, strength: Array) -> Peaks:
    """Peaks that rise at least `height` above the highest saddle that leads to a higher one.

    The extended maxima are the regional maxima (8 neighbours) of the h-maxima transform, which is the reconstruction
    by dilation of the map lowered by h. Where the reconstruction lies below the map it is flat, so that each connected
    region above it has one level, and a region is a maximum exactly where its summit stands out by the whole h.

    Parameters
    ----------
    values : ndarray, shape (h, w)
        Finite.
    height : float
        Prominence, positive, in the unit of `values`.
    strength : ndarray, shape (h, w)
        Map from which the peaks get their strength.
    """
    lowered = values - np.float32(height)
    excess = values - _reconstruction(lowered, values, footprint=EIGHT)
    labels, count = ndimage.label(excess > 0, structure=EIGHT)
    numbers = np.arange(1, count + 1)
    summit = np.asarray(ndimage.maximum(excess, labels, numbers)) if count else np.zeros(0)
    chosen = numbers[summit >= height * (1 - 1e-4)]
    if not len(chosen):
        return Peaks(np.zeros(0), np.zeros(0), np.zeros(0, np.float32))
    centres = np.asarray(ndimage.center_of_mass(excess, labels, chosen), np.float64)
    top = np.asarray(ndimage.maximum(strength, labels, chosen), np.float32)
    return Peaks(centres[:, 0], centres[:, 1], top)


def prominent(response: Array, strength: Array, sigma: float, height: float) -> Peaks:
    """Candidates in the response of the first network.

    Parameters
    ----------
    response : ndarray, shape (h, w)
        At least 0.
    strength : ndarray, shape (h, w)
    sigma : float
        Smoothing in px, after the first smoothing of 2 px.
    height : float
        Prominence in grey levels, of 255 for the strongest response.
    """
    ceiling = float(response.max())
    if not ceiling > 0:
        return Peaks(np.zeros(0), np.zeros(0), np.zeros(0, np.float32))
    levels = ndimage.gaussian_filter(np.round(response * np.float32(255 / ceiling)), 2.0, mode="nearest")
    levels = ndimage.gaussian_filter(levels, sigma, mode="constant", truncate=3.0)
    # After this much smoothing every second px holds all there is, at a quarter of the time.
    step = 2 if sigma >= 3 else 1
    found = extended_maxima(levels[::step, ::step], height, strength[::step, ::step])
    return Peaks(found.rows * step, found.cols * step, found.strength)
