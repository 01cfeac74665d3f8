"""Local resolution: what a map of resolutions says in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.types import Array

PERCENTS = (5, 25, 50, 75, 95)
INSIDE = 0.5  # of the mask
BINS = 60


@dataclass(frozen=True)
class LocalResolution:
    """Local resolution inside a mask.

    Attributes
    ----------
    voxels : int
        That count: inside the mask, and with a value (RELION leaves 0 where it has none).
    mean, lowest, highest : float
        Å; the lowest number is the best resolution.
    quantiles : dict of int to float
        Percent -> Å.
    counts, edges : ndarray, shapes (60,) and (61,)
        Histogram, Å.
    section : ndarray, shape (box, box)
        Å in the slice across z that holds most voxels of the mask, NaN where nothing counts.
    level : int
        Number of that slice.
    """

    voxels: int
    mean: float
    lowest: float
    highest: float
    quantiles: dict[int, float]
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    section: Array
    level: int


def local_resolution(values: Array, mask: Array | None = None) -> LocalResolution:
    """Summarise a map of local resolutions.

    Parameters
    ----------
    values : ndarray, shape (box, box, box)
        Å, as ``relion_postprocess --locres`` writes it; 0 where there is no value.
    mask : ndarray, same shape, optional
        Voxels above 0.5 count; without a mask all that have a value.

    Raises
    ------
    ValueError
        The shapes differ or no voxel counts.
    """
    if mask is not None and mask.shape != values.shape:
        raise ValueError(f"the mask is of another size, {mask.shape} instead of {values.shape}")
    counted = np.isfinite(values) & (values > 0)
    if mask is not None:
        counted &= mask > INSIDE
    inside = values[counted].astype(np.float64)
    if not len(inside):
        raise ValueError("no voxel with a local resolution lies inside the mask")
    counts, edges = np.histogram(inside, BINS)
    level = int(np.argmax(counted.sum(axis=(1, 2))))
    return LocalResolution(
        voxels=len(inside),
        mean=float(inside.mean()),
        lowest=float(inside.min()),
        highest=float(inside.max()),
        quantiles=dict(zip(PERCENTS, (float(value) for value in np.percentile(inside, PERCENTS)), strict=True)),
        counts=counts.astype(np.int64),
        edges=edges,
        section=np.where(counted[level], values[level], np.nan).astype(np.float32),
        level=level,
    )
