"""Peaks of score maps and the thinning of picks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from relion_ext_picker.types import Array


def local_maxima(
    values: Array, distance: float, floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
    """Local maxima of a map, refined to a fraction of a px.

    Parameters
    ----------
    values : ndarray, shape (h, w)
    distance : float
        A maximum is the largest value within this radius, in px of the map.
    floor : float
        Values not above this are no maxima.

    Returns
    -------
    rows, cols : ndarray, shape (n,)
        Positions by a parabola through the three values along each axis; on the border the sample itself.
    height : ndarray, shape (n,)
        Value at the sample.
    """
    # The reach of a peak is half the distance: of two particles that touch both are maxima; thin() decides.
    reach = max(1, int(round(0.5 * distance)))
    offsets = np.arange(-reach, reach + 1)
    disc = offsets[:, None] ** 2 + offsets[None, :] ** 2 <= reach**2
    highest = ndimage.maximum_filter(values, footprint=disc, mode="constant", cval=-np.inf)
    rows, cols = np.nonzero((values == highest) & (values > floor))
    height = values[rows, cols]
    return rows + _vertex(values, rows, cols, 0), cols + _vertex(values, rows, cols, 1), height.astype(np.float32)


def _vertex(values: Array, rows: NDArray[Any], cols: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Shift of the vertex of the parabola through a sample and its neighbours along `axis`, within half a px."""
    size = values.shape[axis]
    step = (1, 0) if axis == 0 else (0, 1)
    place = rows if axis == 0 else cols
    inside = (place > 0) & (place < size - 1)
    shift = np.zeros(len(rows))
    r, c = rows[inside], cols[inside]
    before = values[r - step[0], c - step[1]].astype(np.float64)
    after = values[r + step[0], c + step[1]].astype(np.float64)
    bend = before + after - 2 * values[r, c]
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = np.where(bend < 0, 0.5 * (before - after) / bend, 0.0)
    shift[inside] = np.clip(raw, -0.5, 0.5)
    return shift


def share_inside(xy: Array, shape: tuple[int, int], diameter: float) -> Array:
    """How much of each particle, taken as a disc, lies inside the micrograph.

    Parameters
    ----------
    xy : ndarray, shape (n, 2)
        Centres, px.
    shape : (int, int)
        Rows and columns of the micrograph.
    diameter : float
        Of the disc, px.

    Returns
    -------
    ndarray, shape (n,), float32
        1 for a whole particle, 0.5 for one whose centre lies on an edge; in a corner the product of both edges.
    """
    far = np.array([shape[1], shape[0]]) - 0.5 - xy
    reach = np.clip(np.concatenate([xy + 0.5, far], axis=1) / (0.5 * diameter), -1, 1)
    segment = (np.arccos(reach) - reach * np.sqrt(1 - reach**2)) / np.pi
    return np.asarray(np.prod(1 - segment, axis=1), np.float32)


def thin(xy: Array, score: Array, distance: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: indices of the picks kept, best first.

    Parameters
    ----------
    xy : ndarray, shape (n, 2)
    score : ndarray, shape (n,)
    distance : float
        No two kept picks are closer than this, in the unit of `xy`.
    """
    order = np.argsort(-score, kind="stable")
    if len(order) < 2 or distance <= 0:
        return order.astype(np.int64)
    neighbours: list[list[int]] = cKDTree(xy).query_ball_point(xy, distance * (1 - 1e-6))
    alive = np.ones(len(xy), bool)
    kept = []
    for index in order:
        if alive[index]:
            kept.append(index)
            alive[neighbours[index]] = False
    return np.asarray(kept, np.int64)
