"""Contaminants of a small field: ice, gold, carbon, fibres. Positive values are matter, as for particles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.types import Array


@dataclass
class Canvas:
    """A field under construction.

    Attributes
    ----------
    values : ndarray, shape (h, w), float32
        Projected matter; 1 is the largest value of a particle's projection.
    mask : ndarray, shape (h, w), bool
        Where a particle could not be used.
    """

    values: Array
    mask: NDArray[np.bool_]


def add_dirt(canvas: Canvas, diameter: float, rng: np.random.Generator, facets: bool = False) -> bool:
    """Draw contaminants, none in half of the fields.

    Parameters
    ----------
    canvas : Canvas
        Changed in place.
    diameter : float
        Particle diameter, px.
    rng : numpy.random.Generator
    facets : bool
        Small crystals with straight edges are among them.

    Returns
    -------
    bool
        Whether anything was drawn.
    """
    if rng.random() < 0.5:
        return False
    kinds = (_ice, _ice, _gold, _carbon, _crystal, _fibre, *((_facets,) if facets else ()))
    for index in rng.choice(len(kinds), size=int(rng.integers(1, 4))):
        kinds[int(index)](canvas, diameter, rng)
    return True


def _axes(shape: tuple[int, ...], x: float, y: float, turn: float, squeeze: float = 1.0) -> tuple[Array, Array]:
    """Coordinates of all pixels in axes through (x, y) that are turned by `turn`; the second is squeezed."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(y)
    cols = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(x)
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    return cols * cos + rows * sin, (rows * cos - cols * sin) * np.float32(squeeze)


def _somewhere(canvas: Canvas, rng: np.random.Generator, squeeze: float) -> tuple[Array, Array]:
    """Axes of an ellipse at a random place."""
    h, w = canvas.values.shape
    return _axes((h, w), rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0, np.pi), squeeze)


def _step(distance: Array, edge: float) -> Array:
    """1 where `distance` is far below 0, 0 far above; `edge` px wide."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance * np.float32(1 / edge), -30, 30))), np.float32)


def _noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Array:
    """White noise of unit variance, then smoothed."""
    return np.asarray(ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma), np.float32)


def _ice(canvas: Canvas, diameter: float, rng: np.random.Generator) -> None:
    """A blob of ice or ethane: wavy outline, soft or sharp edge, much stronger than a particle."""
    u, v = _somewhere(canvas, rng, rng.uniform(1.0, 1.8))
    distance = np.sqrt(u * u + v * v)
    radius = diameter * math.exp(rng.uniform(math.log(0.15), math.log(2.0)))
    # Waves around the outline, of 2 to 5 periods: powers of a unit number cost less than cosines of the angle.
    unit = (u + 1j * v) / np.maximum(distance, np.float32(1e-6))
    swing = (rng.normal(0, 0.1, 4) * np.exp(1j * rng.uniform(0, 2 * np.pi, 4))).astype(np.complex64)
    wave = ((((swing[3] * unit + swing[2]) * unit + swing[1]) * unit + swing[0]) * (unit * unit)).real
    blob = _step(distance - np.float32(radius) * (1 + wave), rng.uniform(0.6, 0.3 * radius + 1))
    height = math.exp(rng.uniform(math.log(0.7), math.log(12))) * (-1 if rng.random() < 0.1 else 1)
    texture = 1 + np.float32(4 * rng.uniform(0, 0.3)) * _noise(blob.shape, 1.5, rng)
    canvas.values += np.float32(height) * blob * texture
    canvas.mask |= blob > 0.3


def _gold(canvas: Canvas, diameter: float, rng: np.random.Generator) -> None:
    """Small, very dense beads."""
    h, w = canvas.values.shape
    for _ in range(int(rng.integers(1, 5))):
        x, y, radius = rng.uniform(0, w), rng.uniform(0, h), diameter * rng.uniform(0.05, 0.25)
        top, left = max(0, math.floor(y - radius)), max(0, math.floor(x - radius))
        window = (slice(top, math.ceil(y + radius) + 1), slice(left, math.ceil(x + radius) + 1))
        u, v = _axes(canvas.mask[window].shape, x - left, y - top, 0.0)
        bead = u * u + v * v < radius**2
        canvas.values[window] += np.float32(rng.uniform(5, 25)) * bead
        canvas.mask[window] |= bead


def _carbon(canvas: Canvas, diameter: float, rng: np.random.Generator) -> None:
    """The support film beyond the edge of a hole: thicker, grainy, with a rim."""
    h, w = canvas.values.shape
    radius = rng.uniform(2, 40) * diameter
    turn = rng.uniform(0, 2 * np.pi)
    reach = radius + rng.uniform(-0.45, 0.45) * h
    u, v = _axes((h, w), w / 2 - reach * math.cos(turn), h / 2 - reach * math.sin(turn), 0.0)
    film = _step(np.float32(radius) - np.sqrt(u * u + v * v), rng.uniform(0.5, 3))
    grain = _noise((h, w), rng.uniform(0.4, 2.0), rng)
    grain *= np.float32(rng.uniform(0.1, 0.8) / max(float(grain.std()), 1e-6))
    canvas.values += film * (np.float32(rng.uniform(0.3, 4)) + grain)
    canvas.mask |= film > 0.3


def _crystal(canvas: Canvas, diameter: float, rng: np.random.Generator) -> None:
    """Crystalline ice: a patch with fringes."""
    u, v = _somewhere(canvas, rng, rng.uniform(1, 2))
    turn, period = rng.uniform(0, np.pi), rng.uniform(3, 0.6 * diameter)
    across, _along = _axes(u.shape, 0.0, 0.0, turn)
    patch = np.exp(np.float32(-0.5 / (diameter * rng.uniform(0.4, 1.5)) ** 2) * (u * u + v * v))
    fringes = np.cos(across * np.float32(2 * np.pi / period))
    canvas.values += np.float32(rng.uniform(0.5, 3)) * patch * (1 + fringes)
    canvas.mask |= patch > 0.3


def _facets(canvas: Canvas, diameter: float, rng: np.random.Generator) -> None:
    """A few small ice crystals with straight edges, about as large as particles; some thicker at the rim."""
    h, w = canvas.values.shape
    height = math.exp(rng.uniform(math.log(0.5), math.log(10)))
    for _ in range(int(rng.integers(1, 7))):
        x, y, radius = rng.uniform(0, w), rng.uniform(0, h), 0.5 * diameter * rng.uniform(0.3, 1.6)
        reach = math.ceil(1.6 * radius + 4)
        window = tuple(
            slice(max(0, int(middle) - reach), min(side, int(middle) + reach + 1)) for middle, side in ((y, h), (x, w))
        )
        u, v = _axes(canvas.mask[window].shape, x - window[1].start, y - window[0].start, 0.0)
        sides = int(rng.integers(4, 8))
        turns = (np.arange(sides) + rng.uniform(-0.25, 0.25, sides)) * 2 * np.pi / sides + rng.uniform(0, np.pi)
        edges = [u * np.float32(math.cos(t)) + v * np.float32(math.sin(t)) - np.float32(rng.uniform(0.7, 1) * radius)
                 for t in turns]  # fmt: skip
        outside = np.maximum.reduce(edges)
        body = _step(outside, rng.uniform(0.3, 1.5))
        rim = np.exp(np.float32(-0.5 / rng.uniform(0.8, 2.5) ** 2) * outside**2) * np.float32(rng.uniform(0, 0.8))
        canvas.values[window] += np.float32(height * rng.uniform(0.5, 1.2)) * (body + rim)
        canvas.mask[window] |= body > 0.3


def _fibre(canvas: Canvas, diameter: float, rng: np.random.Generator) -> None:
    """A filament or a crease across the field."""
    h, w = canvas.values.shape
    turn, bend = rng.uniform(0, np.pi), rng.uniform(-0.003, 0.003)
    along, _ = _axes((h, w), rng.uniform(0, w), rng.uniform(0, h), turn)
    _, across = _axes((h, w), w / 2, h / 2, turn)
    across = across + np.float32(bend) * along**2
    line = np.exp(np.float32(-0.5 / (diameter * rng.uniform(0.03, 0.25)) ** 2) * across**2)
    canvas.values += np.float32(rng.uniform(0.4, 2)) * line
    canvas.mask |= line > 0.5
