"""Particles of a small field: where they lie, how they are turned, and the sum of their projections."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.simulation.procedural import PointCloud
from relion_ext_picker.types import Array

SPARSE = (0.03, 1.2)  # particles to a square of one diameter, where few are as common as many
SHARPEST = 0.5  # px: standard deviation that the points of a particle have at least, so that pixels do not show


def places(
    size: int, diameter: float, rng: np.random.Generator, in_contact: float = 0.0, sparse: bool = False
) -> Array:
    """Centres of particles with a random density and a random smallest distance.

    Parameters
    ----------
    size : int
        Side of the field, px.
    diameter : float
        Px.
    rng : numpy.random.Generator
    in_contact : float
        Share of the fields in which they are packed, see :func:`packed`.
    sparse : bool
        Densities are drawn evenly in their logarithm.

    Returns
    -------
    ndarray, shape (n, 2), float32
        x and y in px; at least one, at most 1.25 to a square of one diameter.
    """
    if in_contact and rng.random() < in_contact:
        return packed(size, diameter, rng)
    density = math.exp(rng.uniform(*np.log(SPARSE))) if sparse else rng.uniform(0.02, 1.0) ** 1.3 * 1.25
    wanted = max(1, int(round(density * size**2 / diameter**2)))
    apart = diameter * (rng.uniform(0.85, 1.15) if rng.random() < 0.75 else rng.uniform(0.45, 0.85))
    return keep_apart(rng.uniform(0, size - 1, (wanted * 12, 2)).astype(np.float32), apart, wanted)


def packed(size: int, diameter: float, rng: np.random.Generator) -> Array:
    """Centres on a shaken hexagonal lattice with gaps, shape (n, 2), float32; at least one."""
    step = diameter * rng.uniform(0.85, 1.2)
    turn, reach = rng.uniform(0, 2 * np.pi), math.ceil(size / step) + 2
    along, across = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    x, y = step * (along + 0.5 * across).ravel(), step * math.sqrt(0.75) * across.ravel()
    xy = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], axis=1)
    xy += size * rng.uniform(0.3, 0.7, 2) + rng.normal(0, diameter * rng.uniform(0.03, 0.2), xy.shape)
    inside = xy[np.all((xy >= 0) & (xy <= size - 1), axis=1)]
    kept = rng.random(len(inside)) < rng.uniform(0.4, 1.0)
    kept[0] = True
    return inside[kept].astype(np.float32)


def keep_apart(tries: Array, apart: float, wanted: int) -> Array:
    """Take places in their order, leaving out those closer than `apart` to one already taken.

    Parameters
    ----------
    tries : ndarray, shape (n, 2)
    apart : float
        Smallest distance, px.
    wanted : int
        How many to take at most.

    Returns
    -------
    ndarray, shape (m, 2), float32
    """
    x, y = np.ascontiguousarray(tries.T)
    free = np.ones(len(tries), bool)
    kept: list[int] = []
    while len(kept) < wanted:
        index = int(free.argmax())
        if not free[index]:
            break
        kept.append(index)
        free &= (x - x[index]) ** 2 + (y - y[index]) ** 2 >= apart**2
        free[index] = False
    return np.asarray(tries[kept], np.float32)


def rotations(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random rotations, shape (count, 3, 3): uniform, or in 30 % of the calls in-plane turns of one or two views."""
    quaternion = rng.normal(size=(count, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    w, x, y, z = quaternion.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    turns = np.moveaxis(np.array(rows), 2, 0)
    if rng.random() < 0.3:  # preferred orientation
        angle = rng.uniform(0, 2 * np.pi, count)
        spin = np.zeros((count, 3, 3))
        spin[:, 0, 0] = spin[:, 1, 1] = np.cos(angle)
        spin[:, 1, 0], spin[:, 0, 1], spin[:, 2, 2] = np.sin(angle), -np.sin(angle), 1
        turns = spin @ turns[rng.integers(0, 2, count) % max(1, count)]
    return turns


def project(cloud: PointCloud, diameter: float, xy: NDArray[np.floating], size: int, rng: np.random.Generator) -> Array:
    """Sum of randomly turned projections of a particle, smoothed by its grain.

    Parameters
    ----------
    cloud : PointCloud
    diameter : float
        Of the particle, px.
    xy : ndarray, shape (n, 2)
        Centres, px; those too far outside to be seen cost nothing.
    size : int
        Side of the field, px.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (size, size), float32
    """
    reach = 0.5 * diameter + 1
    seen = xy[np.all((xy > -reach) & (xy < size - 1 + reach), axis=1)].astype(np.float32)
    if not len(seen):
        return np.zeros((size, size), np.float32)
    turns = (rotations(len(seen), rng)[:, :2] * diameter).astype(np.float32)
    # Written out: a matrix product this small may wake the threads of a linear algebra library, and they collide when
    # every core has a process of its own.
    points = [
        turns[:, axis, :1] * cloud.xyz[:, 0]
        + turns[:, axis, 1:2] * cloud.xyz[:, 1]
        + turns[:, axis, 2:] * cloud.xyz[:, 2]
        + seen[:, axis, None]
        for axis in (0, 1)
    ]
    image = splat(points[0], points[1], cloud.weight, size)
    return np.asarray(ndimage.gaussian_filter(image, max(SHARPEST, cloud.grain * diameter)), np.float32)


def splat(x: Array, y: Array, weight: Array, size: int) -> Array:
    """Deposit weighted points on a square image by bilinear shares.

    Parameters
    ----------
    x, y : ndarray, shape (p, n), float32
        Px; points beyond the image are lost.
    weight : ndarray, shape (n,), float32
    size : int
        Side of the image, px.

    Returns
    -------
    ndarray, shape (size, size), float32
    """
    # Points beyond the image land in a margin that is cut off, which is cheaper than to sort them out.
    margin = 1 + max(0, math.ceil(-min(x.min(), y.min())), math.ceil(max(x.max(), y.max()) - size + 1))
    side = size + 2 * margin
    left, top = np.floor(x), np.floor(y)
    right, below = x - left, y - top
    corner = (top.astype(np.intp) * side + left.astype(np.intp)).ravel() + margin * (side + 1)
    lower = weight * below
    upper = weight - lower
    lower_right, upper_right = lower * right, upper * right
    shares = (upper - upper_right, upper_right, lower - lower_right, lower_right)
    image = np.zeros(side * side, np.float64)
    for share, offset in zip(shares, (0, 1, side, side + 1), strict=True):
        image[offset:] += np.bincount(corner, share.ravel(), side * side)[: side * side - offset]
    inner = slice(margin, margin + size)
    return image.reshape(side, side)[inner, inner].astype(np.float32)


def discs(xy: Array, diameter: float, size: int) -> NDArray[np.bool_]:
    """Which pixels of a field lie within half a diameter of a centre, centres taken to the nearest pixel of the field.

    Returns
    -------
    ndarray, shape (size, size), bool
    """
    radius = int(0.5 * diameter)
    side = size + 2 * radius
    covered = np.zeros((side, side), bool)
    axis = np.arange(-radius, radius + 1)
    disc = axis[:, None] ** 2 + axis**2 <= (0.5 * diameter) ** 2
    for x, y in np.clip(np.rint(xy).astype(int), 0, size - 1).tolist():
        covered[y : y + 2 * radius + 1, x : x + 2 * radius + 1] |= disc
    return covered[radius : radius + size, radius : radius + size]
