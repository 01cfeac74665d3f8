"""What a network is asked to answer."""

from __future__ import annotations

import numpy as np

from relion_ext_picker.types import Array


def heat_map(xy: Array, side: tuple[int, int], stride: int, sigma: float) -> Array:
    """Gaussian bumps of height 1 at particle centres; where bumps meet the higher one counts.

    Parameters
    ----------
    xy : ndarray, shape (n, 2)
        Centres in px of the image.
    side : (int, int)
        Rows and columns of the image, multiples of `stride`.
    stride : int
        Image px per sample of the map.
    sigma : float
        Standard deviation of a bump in px of the image.

    Returns
    -------
    ndarray, shape (side[0] // stride, side[1] // stride), float32
    """
    y = (np.arange(side[0] // stride) * stride + 0.5 * (stride - 1)).astype(np.float32)
    x = (np.arange(side[1] // stride) * stride + 0.5 * (stride - 1)).astype(np.float32)
    out = np.zeros((len(y), len(x)), np.float32)
    reach = 4 * sigma
    for cx, cy in xy:
        rows = slice(*np.searchsorted(y, (cy - reach, cy + reach)))
        cols = slice(*np.searchsorted(x, (cx - reach, cx + reach)))
        bump = np.exp(-0.5 * ((y[rows, None] - cy) ** 2 + (x[None, cols] - cx) ** 2) / sigma**2)
        np.maximum(out[rows, cols], bump, out=out[rows, cols])
    return out
