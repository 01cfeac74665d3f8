"""Particles without end: point clouds that look like proteins at the resolution a picker sees.

A particle is a set of weighted points whose longest extent is 1. Points gather in sub-domains, because a protein is
not smooth, and follow a shape class: hollow shell, barrel, stacked rings, cylinder, irregular lobes with or without
symmetry, rod, membrane protein in a micelle, small compact body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.types import Array

Points = NDArray[np.float64]


@dataclass(frozen=True)
class PointCloud:
    """A particle.

    Attributes
    ----------
    xyz : ndarray, shape (n, 3), float32
        Centred; twice the largest distance from the centre is 1 (the diameter).
    weight : ndarray, shape (n,), float32
        Scattering of each point, sum 1.
    grain : float
        Standard deviation of the Gaussian that every point stands for, in diameters.
    """

    xyz: Array
    weight: Array
    grain: float


def _ball(rng: np.random.Generator, count: int) -> Points:
    """Points uniform in the unit ball."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * rng.uniform(0, 1, (count, 1)) ** (1 / 3))


def _shell(rng: np.random.Generator, count: int) -> Points:
    """Hollow sphere: ferritins, virus-like particles, encapsulins."""
    inner = rng.uniform(0.45, 0.85)
    direction = _ball(rng, count)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * rng.uniform(inner**3, 1, (count, 1)) ** (1 / 3))


def _tube(rng: np.random.Generator, count: int, inner: float, height: float) -> Points:
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = np.sqrt(rng.uniform(inner**2, 1, count))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-height, height, count)], axis=1)


def _barrel(rng: np.random.Generator, count: int) -> Points:
    """Stacked rings with a channel: proteasomes, chaperonins, haemocyanins."""
    points = _tube(rng, count, rng.uniform(0.25, 0.7), rng.uniform(0.7, 1.4))
    rings = rng.integers(1, 5)
    gap = rng.uniform(0, 0.5)
    phase = np.cos(points[:, 2] / np.ptp(points[:, 2]) * 2 * np.pi * rings)
    return points[rng.uniform(size=count) < 1 - gap * (0.5 + 0.5 * phase)]


def _cylinder(rng: np.random.Generator, count: int) -> Points:
    """Solid cylinder, from a disc to a short rod."""
    return _tube(rng, count, 0.0, rng.uniform(0.25, 1.8))


def _ring(rng: np.random.Generator, count: int) -> Points:
    """Flat ring: clamps, AAA rings seen from above and as bars from the side."""
    return _tube(rng, count, rng.uniform(0.35, 0.65), rng.uniform(0.2, 0.5))


def _irregular(rng: np.random.Generator, count: int) -> Points:
    """A few ellipsoidal lobes that touch: most complexes."""
    lobes = int(rng.integers(2, 8))
    centres = [np.zeros(3)]
    sizes = [rng.uniform(0.35, 1.0, 3)]
    for _ in range(lobes - 1):
        direction = _ball(rng, 1)[0]
        direction /= np.linalg.norm(direction)
        size = rng.uniform(0.25, 0.9, 3)
        centres.append(centres[rng.integers(len(centres))] + direction * rng.uniform(0.5, 1.1))
        sizes.append(size)
    volume = np.array([np.prod(size) for size in sizes])
    lobe = rng.choice(lobes, count, p=volume / volume.sum())
    return np.asarray(np.array(centres)[lobe] + _ball(rng, count) * np.array(sizes)[lobe])


def _symmetric(rng: np.random.Generator, count: int) -> Points:
    """Cn or Dn copies of an irregular subunit around an axis."""
    order = int(rng.choice([2, 3, 4, 5, 6, 7]))
    dihedral = bool(rng.random() < 0.5)
    copies = order * (2 if dihedral else 1)
    subunit = _irregular(rng, max(32, count // copies))
    subunit = subunit / np.abs(subunit).max()
    subunit = subunit + [rng.uniform(0.3, 1.4) + 0.15 * order * rng.uniform(0, 1), 0, rng.uniform(0.3, 0.9)]
    parts = []
    for index in range(order):
        angle = 2 * np.pi * index / order
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        parts.append(subunit @ turn.T)
        if dihedral:
            parts.append((subunit * [1, -1, -1]) @ turn.T)
    return np.concatenate(parts)


def _membrane(rng: np.random.Generator, count: int) -> Points:
    """Soluble domains on a flat micelle or nanodisc."""
    share = rng.uniform(0.3, 0.6)
    belt = _ball(rng, int(count * share)) * [1.0, 1.0, rng.uniform(0.35, 0.6)]
    domain = _irregular(rng, count - len(belt))
    domain = domain / np.abs(domain).max() * rng.uniform(0.5, 0.9) + [0, 0, rng.uniform(0.4, 0.9)]
    return np.concatenate([belt, domain])


def _compact(rng: np.random.Generator, count: int) -> Points:
    """One ellipsoid, from round to elongated."""
    return _ball(rng, count) * [1.0, rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.0)]


def _rod(rng: np.random.Generator, count: int) -> Points:
    """Elongated, bent body: up to four times as long as wide."""
    points = _ball(rng, count) * [1.0, rng.uniform(0.25, 0.45), rng.uniform(0.25, 0.45)]
    bend = rng.uniform(0, 0.5)
    points[:, 1] += bend * points[:, 0] ** 2
    return points


SHAPES: dict[str, Callable[[np.random.Generator, int], Points]] = {
    "shell": _shell,
    "barrel": _barrel,
    "cylinder": _cylinder,
    "ring": _ring,
    "irregular": _irregular,
    "symmetric": _symmetric,
    "membrane": _membrane,
    "compact": _compact,
    "rod": _rod,
}


def point_cloud(kind: str, rng: np.random.Generator, count: int = 1500) -> PointCloud:
    """A random particle of a shape class.

    Parameters
    ----------
    kind : str
        A key of `SHAPES`.
    rng : numpy.random.Generator
    count : int
        About how many points.

    Returns
    -------
    PointCloud
    """
    points = SHAPES[kind](rng, count)
    # Sub-domains: every point is drawn towards the nearest of some seeds, whose weights differ.
    seeds = points[rng.choice(len(points), min(len(points), int(rng.integers(12, 80))), replace=False)]
    nearest = cKDTree(seeds).query(points)[1]
    pull = rng.uniform(0.0, 0.45)
    points = points + pull * (seeds[nearest] - points)
    weight = rng.uniform(1 - rng.uniform(0.1, 0.6), 1.0, len(seeds))[nearest]
    points = points - np.average(points, axis=0, weights=weight)
    points = points / (2 * np.linalg.norm(points, axis=1).max())
    return PointCloud(
        points.astype(np.float32), (weight / weight.sum()).astype(np.float32), float(rng.uniform(0.015, 0.035))
    )


def procedural_volume(kind: str, rng: np.random.Generator, side: int, diameter: float) -> Array:
    """Density of a random particle of a shape class on a cubic grid.

    Parameters
    ----------
    kind : str
        A key of `SHAPES`.
    rng : numpy.random.Generator
    side : int
        Voxels per side; at least `diameter`.
    diameter : float
        Longest extent in voxels.

    Returns
    -------
    ndarray, shape (side, side, side), float32
        Not negative; largest value 1; axes z, y, x; centred on voxel ``side // 2``.
    """
    from scipy import ndimage

    cloud = point_cloud(kind, rng, count=40_000)
    place = np.rint(cloud.xyz[:, ::-1] * diameter).astype(np.int64) + side // 2
    inside = np.all((place >= 0) & (place < side), axis=1)
    flat = np.ravel_multi_index(tuple(place[inside].T), (side, side, side))
    volume = np.bincount(flat, cloud.weight[inside], side**3).reshape(side, side, side)
    volume = ndimage.gaussian_filter(volume, max(1.0, cloud.grain * diameter)).astype(np.float32)
    return np.asarray(volume / volume.max(), np.float32)
