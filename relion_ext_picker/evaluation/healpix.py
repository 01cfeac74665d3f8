"""Equal-area cells on the sphere: HEALPix in its ring order (Górski et al. 2005, sections 4.1 and 5).

Order k divides each of twelve base cells into 4^k: 12,288 cells at order 5, the number of views in paper 002, table 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vectors = NDArray[np.float64]


def cell_count(order: int) -> int:
    """Number of cells at an order."""
    return 12 << 2 * order


def view_vectors(rot: ArrayLike, tilt: ArrayLike) -> Vectors:
    """Directions of view, shape (n, 3), of RELION's angles in degrees."""
    phi, theta = np.radians(np.asarray(rot, np.float64)), np.radians(np.asarray(tilt, np.float64))
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)


def cells_of(vectors: ArrayLike, order: int) -> NDArray[np.int64]:
    """Cell, ring order, of each unit vector.

    Parameters
    ----------
    vectors : array, shape (n, 3)
    order : int
        0 to 13 or so.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    x, y, z = np.asarray(vectors, np.float64).reshape(-1, 3).T
    nside = 2**order
    z = np.clip(z, -1.0, 1.0)
    across = np.mod(np.arctan2(y, x) * (2 / np.pi), 4.0)  # longitude, 0..4
    across[across >= 4.0] = 0.0
    cells = np.empty(len(z), np.int64)
    belt = np.abs(z) <= 2 / 3
    up = np.floor(nside * (0.5 + across[belt] - 0.75 * z[belt])).astype(np.int64)  # ascending edge lines
    down = np.floor(nside * (0.5 + across[belt] + 0.75 * z[belt])).astype(np.int64)  # descending ones
    ring = nside + 1 + up - down  # 1 .. 2 nside + 1, counted from z = 2/3
    shift = 1 - (ring & 1)
    place = np.mod((up + down - nside + shift + 1) // 2, 4 * nside)
    cells[belt] = 2 * nside * (nside - 1) + (ring - 1) * 4 * nside + place
    cap = ~belt
    part = across[cap] % 1.0
    # sqrt(3 (1 - |z|)) from x and y: near the poles 1 - |z| has lost its digits
    near = np.hypot(x[cap], y[cap]) / np.sqrt((1.0 + np.abs(z[cap])) / 3.0)
    up = (nside * part * near).astype(np.int64)
    down = (nside * (1.0 - part) * near).astype(np.int64)
    ring = up + down + 1  # from the nearer pole
    place = np.minimum((across[cap] * ring).astype(np.int64), 4 * ring - 1)
    north = 2 * ring * (ring - 1) + place
    south = cell_count(order) - 2 * ring * (ring + 1) + place
    cells[cap] = np.where(z[cap] > 0, north, south)
    return cells


def centres(order: int) -> Vectors:
    """Centres of all cells, ring order, shape (12 · 4^order, 3)."""
    nside = 2**order
    rings = np.arange(1, 4 * nside)
    cap = np.minimum(rings, 4 * nside - rings)  # number of the ring from the nearer pole
    polar = cap < nside
    length = 4 * np.minimum(cap, nside)
    height = np.where(
        polar, 1.0 - cap**2 / (3.0 * nside**2), 4.0 / 3.0 - 2.0 * np.minimum(cap, 2 * nside) / (3.0 * nside)
    )
    z = np.where(rings > 2 * nside, -height, height)
    half = np.where(polar, 0.5, np.where((rings - nside) % 2 == 0, 0.5, 0.0))  # odd rings of the belt start at 0
    number = np.repeat(rings - 1, length)
    place = np.arange(len(number)) - np.repeat(np.cumsum(length) - length, length)
    phi = 2 * np.pi * (place + half[number]) / length[number]
    flat = np.sqrt((1 - z) * (1 + z))[number]
    return np.stack([flat * np.cos(phi), flat * np.sin(phi), z[number]], axis=1)
