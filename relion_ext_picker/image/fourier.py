"""Rescaling a micrograph to the size the networks see, and removing its background, in one cosine transform."""

from __future__ import annotations

import numpy as np
from scipy import fft

from relion_ext_picker.types import Array, Grid, ScoreMap


def bin_by(image: Array, factor: int) -> Array:
    """Mean of blocks of `factor` x `factor` px; rows and columns that do not fill a block are cut off at the end."""
    if factor == 1:
        return image
    rows, cols = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: rows * factor, : cols * factor].reshape(rows, factor, cols, factor)
    # Adding strided slices touches the image once per axis and needs no copy of full size.
    tall = np.zeros((rows, cols, factor), np.float32)
    for index in range(factor):
        tall += blocks[:, index]
    return np.asarray(tall.sum(axis=2) / np.float32(factor**2), np.float32)


def rescale(image: Array, factor: float, highpass: float = 0.0, multiple: int = 1) -> ScoreMap:
    """Resample a micrograph, without aliasing and without wrap-around.

    The cosine transform mirrors the image at its borders, so that gradients do not ring across opposite edges as they
    do with a Fourier transform. Large reductions are preceded by block means, which leaves the kept frequencies
    within 3 % of their value and makes the transform small.

    Parameters
    ----------
    image : ndarray, shape (h, w), float32
    factor : float
        New px per old px; below 1 reduces, above 1 enlarges.
    highpass : float
        Standard deviation, in px of the result, of the Gaussian whose smoothed image is subtracted; 0 keeps all but
        the mean.
    multiple : int
        The sides of the result are multiples of this; each axis is stretched by the little that it takes.

    Returns
    -------
    ScoreMap
        The resampled image, mean 0, and its grid.
    """
    block = max(1, min(int(0.4 / factor), *image.shape))
    binned = bin_by(image, block)
    covered = (binned.shape[0] * block, binned.shape[1] * block)
    height, width = (multiple * max(1, round(side * factor / multiple)) for side in covered)
    shape = (height, width)
    spectrum = fft.dctn(binned, type=2, norm="ortho", overwrite_x=block > 1)
    kept = np.zeros(shape, np.float32)
    rows, cols = min(shape[0], binned.shape[0]), min(shape[1], binned.shape[1])
    kept[:rows, :cols] = spectrum[:rows, :cols]
    del spectrum, binned
    kept *= np.float32(np.sqrt(shape[0] * shape[1] / (covered[0] * covered[1])) * block)
    if highpass > 0:
        damp = [np.exp(-0.5 * (np.pi * np.arange(side) / side * highpass) ** 2) for side in shape]
        kept *= np.float32(1) - (damp[0][:, None] * damp[1][None, :]).astype(np.float32)
    kept[0, 0] = 0
    values = fft.idctn(kept, type=2, norm="ortho", overwrite_x=True)
    return ScoreMap(np.ascontiguousarray(values, np.float32), Grid.resized(covered, shape))
