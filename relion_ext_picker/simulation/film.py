"""The holey carbon film: its rim crosses the field as an arc or surrounds it as a whole hole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.types import Array

TILE = 256  # px: tiles are drawn one by one, and those inside the hole not at all
EDGE = 5.0  # Å: the rim ends within a few times this, steep enough for Fresnel fringes
ROUGHNESS = ((7.0, 400.0), (2.5, 60.0))  # Å: how far the rim strays, and along which length


@dataclass(frozen=True)
class Film:
    """A film around one round hole.

    Attributes
    ----------
    centre : (float, float)
        x and y of the middle of the hole, px.
    radius : float
        Of the hole, px.
    thickness : float
        Å.
    bulge : float
        How much thicker the rim is, as a share of the thickness.
    rim : ndarray, shape (n,), float32
        How far the rim strays from the circle, Å, over angles from -pi to pi.
    relief : ndarray, shape (rows + 1, cols + 1), float32
        Relative thickness at the corners of the tiles.
    """

    centre: tuple[float, float]
    radius: float
    thickness: float
    bulge: float
    rim: Array
    relief: Array

    def tiles(self, shape: tuple[int, int], pixel_size: float) -> Iterator[tuple[tuple[int, int], Array]]:
        """Corner (row, column) and thickness in Å of each tile of the field that the film reaches."""
        bulge_end, stray = 250.0 / pixel_size, (float(np.abs(self.rim).max()) + 8 * EDGE) / pixel_size
        for top in range(0, shape[0], TILE):
            for left in range(0, shape[1], TILE):
                y = np.arange(top, min(top + TILE, shape[0]), dtype=np.float32)[:, None] - np.float32(self.centre[1])
                x = np.arange(left, min(left + TILE, shape[1]), dtype=np.float32)[None, :] - np.float32(self.centre[0])
                distance = np.sqrt(y * y + x * x)
                if float(distance.max()) < self.radius - stray:
                    continue
                relief = _bilinear(self.relief, (top // TILE, left // TILE), distance.shape)
                if float(distance.min()) > self.radius + bulge_end + stray:
                    yield (top, left), relief * np.float32(self.thickness)
                    continue
                angle = np.arctan2(y, x)
                stations = np.linspace(-math.pi, math.pi, len(self.rim))
                beyond = (distance - np.float32(self.radius)) * np.float32(pixel_size)
                beyond += np.interp(angle, stations, self.rim).astype(np.float32)
                bulge = 1 + np.float32(self.bulge) * np.exp(-np.square((beyond - 60) / 60))
                step = 1 / (1 + np.exp(-np.clip(beyond / EDGE, -30, 30)))
                yield (top, left), np.asarray(self.thickness * relief * bulge * step, np.float32)


def film_edge(shape: tuple[int, int], pixel_size: float, rng: np.random.Generator) -> Film:
    """A film that covers a minor part of the field: its rim crosses it as a gentle arc."""
    radius = rng.uniform(5000, 12000) / pixel_size
    direction = rng.uniform(0, 2 * math.pi)
    offset = rng.uniform(0.15, 0.42) * min(shape)  # the rim passes the middle of the field at this distance
    centre = (
        0.5 * shape[1] - (radius - offset) * math.cos(direction),
        0.5 * shape[0] - (radius - offset) * math.sin(direction),
    )
    return _film(centre, radius, shape, pixel_size, rng)


def film_hole(shape: tuple[int, int], pixel_size: float, rng: np.random.Generator) -> Film:
    """A film with a hole of about the size of the field: carbon all around, or on most sides."""
    radius = rng.uniform(0.36, 0.56) * min(shape)
    centre = (
        shape[1] * rng.uniform(0.42, 0.58),
        shape[0] * rng.uniform(0.42, 0.58),
    )
    return _film(centre, radius, shape, pixel_size, rng)


def _film(
    centre: tuple[float, float], radius: float, shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> Film:
    around = 2 * math.pi * radius * pixel_size  # Å
    spacing = max(10.0, around / 20000)
    count = max(16, int(around / spacing))
    rim = np.zeros(count)
    for amplitude, length in ROUGHNESS:
        noise = ndimage.gaussian_filter1d(
            rng.standard_normal(count), min(0.25 * length / spacing, count / 8), mode="wrap"
        )
        rim += amplitude * noise / max(float(noise.std()), 1e-6)
    relief = np.clip(1 + rng.normal(0, 0.04, (shape[0] // TILE + 2, shape[1] // TILE + 2)), 0.85, 1.15)
    return Film(
        centre, radius, rng.uniform(100, 200), rng.uniform(0, 0.5),
        np.append(rim, rim[0]).astype(np.float32), relief.astype(np.float32),
    )  # fmt: skip


def _bilinear(corners: Array, tile: tuple[int, int], shape: tuple[int, ...]) -> Array:
    """Values between the four corners of a tile (which may be cut), shape `shape`."""
    row, col = tile
    down = (np.arange(shape[0], dtype=np.float32) / TILE)[:, None]
    right = (np.arange(shape[1], dtype=np.float32) / TILE)[None, :]
    upper = corners[row, col] * (1 - right) + corners[row, col + 1] * right
    lower = corners[row + 1, col] * (1 - right) + corners[row + 1, col + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def covered_circle(covered: NDArray[np.bool_], step: int) -> tuple[float, float, float]:
    """x, y and radius in px of a circle around all covered pixels, of a mask of every `step`-th pixel.

    Between the last sample and the border a thin part may hide, so the circle is two diagonals wider than the samples.
    """
    rows, cols = np.nonzero(covered)
    x, y = float(cols.mean()) * step, float(rows.mean()) * step
    reach = np.hypot(cols * step - x, rows * step - y).max()
    return x, y, float(reach) + 2 * math.sqrt(2) * step
