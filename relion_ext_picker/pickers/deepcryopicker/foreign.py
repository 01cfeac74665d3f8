"""Carbon and large ice crystals, which adaptive equalisation would make look like particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.pickers.deepcryopicker.settings import ForeignSettings
from relion_ext_picker.types import Array


def foreign_areas(image: Array, radius: float, settings: ForeignSettings | None = None) -> NDArray[np.bool_]:
    """Areas that are larger than particles and far from the usual grey level.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        The working image, before the preprocessing chain.
    radius : float
        Of the largest particle looked for, px.
    settings : ForeignSettings, optional

    Returns
    -------
    ndarray, shape (h, w), bool
    """
    use = settings or ForeignSettings()
    smooth = ndimage.gaussian_filter(image, 0.5 * radius)
    middle, spread = _usual(smooth)
    off = np.abs(smooth - middle)
    labels, count = ndimage.label(off > use.rim * spread)
    if not spread > 0 or not count:
        return np.zeros(image.shape, bool)
    depth = np.concatenate([[np.inf], np.asarray(ndimage.maximum(off, labels, np.arange(1, count + 1)))])
    # Particles side by side are one area too, but not where it is at least half as deep as anywhere.
    deep = np.pad(off > 0.5 * depth[labels], 1)
    room = np.asarray(ndimage.maximum(ndimage.distance_transform_edt(deep)[1:-1, 1:-1], labels, np.arange(count + 1)))
    areas = ((room > use.room * radius) & (depth > use.core * spread) & np.isfinite(depth))[labels]
    if not areas.any():
        return np.asarray(areas, bool)
    return np.asarray(ndimage.distance_transform_edt(~areas) <= use.margin * radius, bool)


def _usual(values: Array) -> tuple[float, float]:
    """Middle and robust standard deviation of the narrowest range that half of the values lie in.

    Unlike quartiles these are those of the ice even where carbon covers nearly half of the image.
    """
    ordered = np.sort(values.ravel()[:: max(1, values.size // 100_000)])
    half = len(ordered) // 2
    width = ordered[half:] - ordered[: len(ordered) - half]
    first = int(width.argmin())
    return float(ordered[first : first + half + 1].mean()), float(width[first] / 1.349)
