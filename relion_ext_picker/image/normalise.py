"""Grey levels that mean the same in every micrograph."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from relion_ext_picker.types import Array

FAINTEST = 0.3  # of the median local spread: what varies less, such as a mask's fill, is not blown up
CLIP = 6.0  # standard deviations; gold and ice crystals beyond this say nothing more


def standardise(image: Array, clip: float = CLIP) -> Array:
    """Median 0, spread 1, clipped.

    The spread is the interquartile range over 1.349, equal to the standard deviation for Gaussian noise and unmoved by
    ice crystals, gold or a piece of carbon.

    Parameters
    ----------
    image : ndarray, shape (h, w)
    clip : float
        Values beyond this many standard deviations are clipped.

    Returns
    -------
    ndarray, shape (h, w), float32
        All zero for a constant image.
    """
    low, middle, high = np.percentile(image[::2, ::2] if image.size > 1_000_000 else image, [25, 50, 75])
    spread = (high - low) / 1.349
    if not spread > 0:
        return np.zeros(image.shape, np.float32)
    scaled = (image - np.float32(middle)) / np.float32(spread)
    return np.asarray(np.clip(scaled, -clip, clip), np.float32)


def standardise_locally(image: Array, side: int, clip: float = CLIP) -> Array:
    """Mean 0 and standard deviation 1 of the surroundings, for every pixel its own: those of the box around it.

    Nearly what normalising each window by itself does, once for the whole image and in time that does not depend on the
    side of the box. The image is mirrored at its edges.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        Of spread near 1, as :func:`standardise` leaves it, since squares are summed in 32 bit.
    side : int
        Of the box, px.
    clip : float
        Values beyond this many standard deviations are clipped.

    Returns
    -------
    ndarray, shape (h, w), float32
        All zero for a constant image.
    """
    mean = ndimage.uniform_filter(image, side, mode="reflect")
    centred = image - mean
    # About the mean of the whole box, not the running one: a box that straddles an edge has the spread of both sides.
    variance = ndimage.uniform_filter(np.square(image), side, mode="reflect") - np.square(mean)
    spread = np.sqrt(np.maximum(variance, 0))
    usual = float(np.median(spread))
    if not usual > 0:
        return np.zeros(image.shape, np.float32)
    return np.asarray(np.clip(centred / np.maximum(spread, FAINTEST * usual), -clip, clip), np.float32)
