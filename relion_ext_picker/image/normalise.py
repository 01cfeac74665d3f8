"""Grey levels that mean the same in every micrograph."""

from __future__ import annotations

import numpy as np

from relion_ext_picker.types import Array

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
