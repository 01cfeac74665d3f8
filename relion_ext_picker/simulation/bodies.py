"""Shapes of what lies on or in the ice: frozen ethane, gold beads, denatured protein, and the matter they are made of.

Every shape is a patch of thickness in Å, only as large as the body. Slow variations are drawn on a coarse grid and
enlarged, so that a body of a thousand pixels costs milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from relion_ext_picker.types import Array


@dataclass(frozen=True)
class Material:
    """An amorphous or crystalline solid.

    Attributes
    ----------
    potential : float
        Mean inner potential, V; above that of ice for what is embedded in it.
    grain : float
        Variance of the projected potential per Å of thickness and Å² of area, V² Å³: number density times the square
        of the integrated potential per atom or molecule, times the structure factor at medium resolution.
    absorption_length : float
        Å of thickness that take away 1 - 1/e of the electrons which the image is made of.
    """

    potential: float
    grain: float
    absorption_length: float


# 2.0 g/cm³ carbon: 0.10 atoms per Å³ of 120 V Å³ each. Ice: 0.031 molecules per Å³ of 146 V Å³ each. Ethane at
# 0.65 g/cm³: 0.013 molecules of 392 V Å³. Gold: 0.059 atoms of 480 V Å³. Protein: what exceeds the ice it displaces.
CARBON = Material(potential=8.5, grain=0.10 * 120.0**2 * 0.3, absorption_length=1500.0)
ICE_CRYSTAL = Material(potential=4.5, grain=0.031 * 146.0**2 * 0.2, absorption_length=1700.0)
ETHANE = Material(potential=5.1, grain=0.013 * 392.0**2 * 0.2, absorption_length=1700.0)
GOLD = Material(potential=28.0, grain=0.059 * 480.0**2 * 0.3, absorption_length=38.0)
PROTEIN = Material(potential=2.3, grain=400.0, absorption_length=3000.0)

COVERED, HIDING = 0.15, 40.0  # a body covers a pixel from this share of its largest thickness on, or from so many Å
CHAIN_STEP = 8.0  # Å between the beads of a denatured chain
VOLUME_PER_DALTON = 1.21  # Å³ of protein


@dataclass(frozen=True)
class Body:
    """A patch of matter.

    Attributes
    ----------
    thickness : ndarray, shape (h, w), float32
        Å along the beam.
    material : Material
    relief : ndarray, shape (h, w), float32, optional
        Projected potential besides the mean, V Å: the lattice of a crystal.
    extinction : ndarray, shape (h, w), float32, optional
        Optical depth besides that of the thickness: what a crystal diffracts out of the beam.
    outline : ndarray, shape (h, w), bool, optional
        Pixels that the body covers, where its thickness does not tell.
    """

    thickness: Array
    material: Material
    relief: Array | None = None
    extinction: Array | None = None
    outline: NDArray[np.bool_] | None = None

    def covered(self) -> NDArray[np.bool_]:
        """Pixels where the body hides what is below, shape (h, w)."""
        if self.outline is not None:
            return self.outline
        return np.asarray(self.thickness > min(HIDING, COVERED * float(self.thickness.max())))


def enlarge(coarse: Array, shape: tuple[int, int]) -> Array:
    """Smooth field of `shape` from its values at the knots of a coarse grid (cubic B-splines, float32).

    Parameters
    ----------
    coarse : ndarray, shape (m, n)
        The first and last knots lie on the borders of the field.
    shape : (int, int)
        Rows and columns wanted.
    """
    rows, cols = (_spline(size, knots) for size, knots in zip(shape, coarse.shape, strict=True))
    return np.asarray(rows @ coarse.astype(np.float32) @ cols.T, np.float32)


def _spline(size: int, knots: int) -> Array:
    """Weights of the knots at each of `size` places, shape (size, knots)."""
    away = np.abs(np.linspace(0, knots - 1, size, dtype=np.float32)[:, None] - np.arange(knots, dtype=np.float32))
    inner = 2 / 3 - away**2 * (1 - 0.5 * away)
    outer = np.clip(2 - away, 0, None) ** 3 / 6
    weights = np.where(away < 1, inner, outer)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def waves(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> Array:
    """Smooth noise of mean 0 and about unit variance whose bumps are `scale` px wide, shape `shape`."""
    rows, cols = (max(3, math.ceil(side / scale) + 1) for side in shape)
    return enlarge(2.1 * rng.standard_normal((rows, cols), np.float32), shape)


def grid(half: int, step: int = 1) -> tuple[Array, Array]:
    """x, shape (1, n), and y, shape (n, 1), from -half to half px in steps of about `step`."""
    axis = np.linspace(-half, half, 2 * max(1, round(half / step)) + 1, dtype=np.float32)
    return axis[None, :], axis[:, None]


def ethane_blob(radius: float, pixel_size: float, rng: np.random.Generator) -> Body:
    """Frozen ethane of about `radius` Å: a puddle with a round rim and the bubbles that the beam makes in it."""
    size = radius / pixel_size
    half = int(1.5 * size) + 3
    side = 2 * half + 1
    x, y = grid(half, max(1, int(size / 16)))
    puddle = np.zeros((y.size, x.size), np.float32)
    for _ in range(int(rng.integers(3, 8))):  # drops that ran into each other
        away, turn = size * rng.uniform(0, 0.8), rng.uniform(0, 2 * math.pi)
        width = size * rng.uniform(0.28, 0.5)
        puddle += np.exp(-((x - away * math.cos(turn)) ** 2 + (y - away * math.sin(turn)) ** 2) / (2 * width**2))
    # What reaches the border of the patch would be cut there; the puddle ends before.
    border = max(float(puddle[[0, -1]].max()), float(puddle[:, [0, -1]].max()))
    level = max(0.45, 1.1 * border)
    depth = np.clip((enlarge(puddle, (side, side)) - level) / (float(puddle.max()) - level), 0, 1)
    height = rng.uniform(0.7, 1.4) * min(2 * radius, 2500.0)
    thickness = height * np.sqrt(depth) * np.clip(1 + 0.06 * waves((side, side), 0.4 * size, rng), 0.5, 1.5)
    for _ in range(int(rng.poisson(rng.uniform(0, 40) * min(1.0, radius / 350) ** 2))):
        bubble = math.exp(rng.normal(math.log(25), 0.5)) / pixel_size
        place = rng.uniform(-0.8 * size, 0.8 * size, 2)
        _hollow(thickness, (half + float(place[0]), half + float(place[1])), min(bubble, 0.15 * size), pixel_size)
    return Body(np.asarray(thickness, np.float32), ETHANE)


def _hollow(thickness: Array, place: tuple[float, float], radius: float, pixel_size: float) -> None:
    """Take a sphere of `radius` px at x, y out of a body, as far as the body is thick there."""
    top, left = max(0, math.floor(place[1] - radius)), max(0, math.floor(place[0] - radius))
    window = thickness[top : int(place[1] + radius) + 2, left : int(place[0] + radius) + 2]
    rows, cols = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
    inside = np.clip(radius**2 - (rows - place[1]) ** 2 - (cols - place[0]) ** 2, 0, None)
    window -= np.minimum(2 * pixel_size * np.sqrt(inside), 0.6 * window).astype(np.float32)


def gold_bead(radius: float, pixel_size: float, rng: np.random.Generator) -> Body:
    """A colloidal gold particle of `radius` Å: nearly a sphere, made of one or two crystals."""
    size = radius / pixel_size
    x, y = grid(int(1.2 * size) + 2)
    turn, squeeze = rng.uniform(0, math.pi), rng.uniform(0.9, 1.0)
    u = x * math.cos(turn) + y * math.sin(turn)
    v = (y * math.cos(turn) - x * math.sin(turn)) / squeeze
    distance = np.hypot(u, v) * (1 + 0.012 * np.cos(6 * np.arctan2(v, u)))  # facets
    thickness = np.asarray(2 * radius * np.sqrt(np.clip(1 - (distance / size) ** 2, 0, 1)), np.float32)
    # A crystal near a Bragg condition is darker; in a twin that is one side of a line.
    side = v < size * rng.uniform(-1.5, 0.8)
    extinction = np.asarray(rng.uniform(0, 0.6) * side * thickness / (2 * radius), np.float32)
    return Body(thickness, GOLD, extinction=extinction)


def denatured_protein(diameter: float, pixel_size: float, rng: np.random.Generator) -> Body:
    """Unfolded protein of about the mass of a particle of `diameter` Å: a loose tangle of chains."""
    mass = rng.uniform(0.25, 1.0) * math.pi / 6 * (0.8 * diameter) ** 3 / VOLUME_PER_DALTON
    volume = VOLUME_PER_DALTON * min(mass, 600e3)
    extent = 0.35 * volume ** (1 / 3) * rng.uniform(0.9, 1.6)  # Å, standard deviation of the tangle
    count = max(40, int(volume / 250))  # beads of 250 Å³
    # A walk that is drawn back to its middle: each bead keeps `memory` of the place of the one before.
    memory = math.sqrt(max(0.0, 1 - (CHAIN_STEP / extent) ** 2 / 2))
    places = signal.lfilter([1.0], [1.0, -memory], rng.normal(0, CHAIN_STEP / math.sqrt(2), (count, 2)), axis=0)
    half = int((1.05 * np.abs(places).max() + 15) / pixel_size) + 2
    edges = np.arange(-half - 0.5, half + 1.0) * pixel_size
    beads = np.histogram2d(places[:, 1], places[:, 0], bins=(edges, edges))[0]
    density = ndimage.gaussian_filter(beads.astype(np.float32), 4.5 / pixel_size)
    thickness = np.asarray(density * (volume / count / pixel_size**2), np.float32)
    # The chains leave gaps, where no particle could be used either.
    blurred = ndimage.gaussian_filter(thickness, 10.0 / pixel_size)
    return Body(thickness, PROTEIN, outline=np.asarray(blurred > COVERED * blurred.max()))
