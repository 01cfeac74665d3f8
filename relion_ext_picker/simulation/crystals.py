"""Crystals of hexagonal and cubic ice: facets, bend contours, and the lattice where the pixels resolve it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from relion_ext_picker.simulation.bodies import ICE_CRYSTAL, Body, enlarge, grid, waves
from relion_ext_picker.types import Array


@dataclass(frozen=True)
class Lattice:
    """The reflections that a crystal shows.

    Attributes
    ----------
    spacing : float
        Of the planes, Å.
    turns : tuple of float
        Directions of their normals, degrees.
    """

    spacing: float
    turns: tuple[float, ...]


# Hexagonal ice along c: three sets of (100); cubic ice along [110]: two sets of (111); tilted crystals show one set.
HEXAGONAL = Lattice(3.90, (0.0, 60.0, 120.0))
CUBIC = Lattice(3.67, (0.0, 70.53))
TILTED = Lattice(3.67, (0.0,))

REFLECTION = 1.3  # V: Fourier coefficient of the potential for the strongest reflections
RESOLVED = 2.1  # px per spacing
MOSAIC = 30.0  # Å: size of the grains in which larger pixels see the lattice, each diffracting a little differently
DIFFRACTING = 250.0  # Å of crystal that give the full lattice contrast; thicker ones scatter more than once


def ice_crystal(radius: float, pixel_size: float, rng: np.random.Generator, *, flat: bool = False) -> Body:
    """A crystal of ice that settled on the specimen.

    Parameters
    ----------
    radius : float
        Å.
    pixel_size : float
        Å/px.
    rng : numpy.random.Generator
    flat : bool
        A thin plate, through which the specimen shows.

    Returns
    -------
    Body
        Patch with the crystal in its middle.
    """
    size = radius / pixel_size
    half = int(1.45 * size) + 3
    shape = (2 * half + 1, 2 * half + 1)
    lattice = (HEXAGONAL, CUBIC, TILTED)[int(rng.integers(3))]
    outline = _outline(size, half, 6 if lattice is HEXAGONAL else int(rng.integers(4, 8)), rng)
    if flat:
        height = rng.uniform(60, 250)
        profile = np.clip((1 - outline) * radius / rng.uniform(10, 40), 0, 1)
    elif rng.random() < 0.35:  # flat top and bevelled sides
        height = rng.uniform(0.6, 1.3) * radius
        profile = np.clip((1 - outline) / rng.uniform(0.15, 0.5), 0, 1)
    else:  # rounded by sublimation
        height = rng.uniform(1.2, 2.0) * radius
        profile = np.sqrt(np.clip(1 - outline * outline, 0, 1))
    thickness = min(height, 3500.0) * profile
    thickness *= np.clip(1 + 0.05 * waves(shape, max(2.0, 0.25 * size), rng), 0.7, 1.3)
    thickness *= _terraces(half, size, pixel_size, rng)
    contours = _contours(half, size, rng)
    strength = rng.uniform(0.05, 0.5) * min(1.0, float(thickness.max()) / 800)
    relief = _fringes(half, lattice, pixel_size, rng)
    if relief is None:
        grains = waves(shape, max(1.0, MOSAIC / pixel_size, half / 60), rng)
        contours = np.clip(contours + 0.25 * grains, 0, None)
        strength = max(strength, 0.15)
    else:
        relief *= np.minimum(thickness, DIFFRACTING) * (0.35 + 0.65 * contours)
    extinction = strength * contours * thickness / max(float(thickness.max()), 1.0)
    return Body(thickness, ICE_CRYSTAL, relief, np.asarray(extinction, np.float32))


def _outline(size: float, half: int, sides: int, rng: np.random.Generator) -> Array:
    """Field that is 1 on the outline of a polygon, less inside: round corners for small powers, sharp for large."""
    x, y = grid(half, max(1, int(size / 24)))
    power = float(rng.choice([5.0, 9.0, 30.0]))
    turns = 2 * math.pi * (np.arange(sides) + rng.uniform(-0.15, 0.15, sides)) / sides + rng.uniform(0, 2 * math.pi)
    total = np.zeros((y.size, x.size), np.float32)
    for turn, distance in zip(turns.tolist(), rng.uniform(0.72, 0.95, sides).tolist(), strict=True):
        wall = (x * math.cos(turn) + y * math.sin(turn)) / (size * distance)
        total += np.clip(wall, 0, 3) ** power
    return enlarge(total ** (1 / power), (2 * half + 1, 2 * half + 1))


def _terraces(half: int, size: float, pixel_size: float, rng: np.random.Generator) -> Array:
    """Relative height of steps across the crystal, shape (n, n)."""
    x, y = grid(half)
    steps = np.ones((y.size, x.size), np.float32)
    for _ in range(int(rng.integers(0, 4))):
        turn, away = rng.uniform(0, 2 * math.pi), size * rng.uniform(-0.6, 0.6)
        beyond = (x * math.cos(turn) + y * math.sin(turn) - np.float32(away)) * np.float32(pixel_size / 12)
        steps *= 1 - np.float32(rng.uniform(0.04, 0.2)) * np.clip(0.5 + beyond, 0, 1)
    return steps


def _contours(half: int, size: float, rng: np.random.Generator) -> Array:
    """Where the bent crystal fulfils a Bragg condition: stripes, over a part of it; 0 to 1, shape (n, n)."""
    x, y = grid(half, max(1, int(size / 40)))
    turn = rng.uniform(0, 2 * math.pi)
    along = (x * math.cos(turn) + y * math.sin(turn)) / size
    across = (y * math.cos(turn) - x * math.sin(turn)) / size
    shape = (y.size, x.size)
    bend = rng.uniform(0.4, 2.0) * along + rng.normal(0, 0.6) * along**2 + rng.normal(0, 0.3) * across**2
    bend += 0.08 * waves(shape, max(2.0, y.size / 5), rng) + rng.uniform(0, 1)
    stripes = np.exp(-np.square(np.sin(math.pi * bend) / rng.uniform(0.3, 0.7)))
    stripes += 0.4 * np.exp(-np.square(np.sin(math.pi * (2.6 * bend + rng.uniform(0, 1))) / 0.5))
    stripes *= np.clip(0.6 + 0.4 * waves(shape, max(2.0, y.size / 4), rng), 0, 1)
    part = 1 / (1 + np.exp(-7 * (along * rng.choice([-1, 1]) + across * rng.normal(0, 0.5) + rng.uniform(-0.5, 0.3))))
    return enlarge(np.asarray(stripes * part, np.float32), (2 * half + 1, 2 * half + 1))


def _fringes(half: int, lattice: Lattice, pixel_size: float, rng: np.random.Generator) -> Array | None:
    """Potential of the lattice, V, shape (n, n); nothing where the pixels are too large to show it."""
    if lattice.spacing < RESOLVED * pixel_size:
        return None
    x, y = grid(half)
    fringes = np.zeros((y.size, x.size), np.float32)
    first = rng.uniform(0, 360)
    for turn in lattice.turns:
        angle = math.radians(first + turn)
        wave = 2 * math.pi * pixel_size / lattice.spacing
        right, down = wave * math.cos(angle) * x + rng.uniform(0, 2 * math.pi), wave * math.sin(angle) * y
        strength = np.float32(2 * REFLECTION * rng.uniform(0.3, 1.0))
        # cos(a + b) as products of rows and columns: no cosine per pixel.
        fringes += (strength * np.cos(right)) * np.cos(down)
        fringes -= (strength * np.sin(right)) * np.sin(down)
    return fringes
