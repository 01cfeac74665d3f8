"""Contaminants of a small field: ice, gold, carbon, fibres. Positive values are matter, as for particles."""

from __future__ import annotations

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
        Projected matter, in the unit of the particle.
    mask : ndarray, shape (h, w), bool
        Where a particle could not be used.
    """

    values: Array
    mask: NDArray[np.bool_]


def add_dirt(canvas: Canvas, strength: float, diameter: float, rng: np.random.Generator) -> None:
    """Draw contaminants, none in half of the fields.

    Parameters
    ----------
    canvas : Canvas
        Changed in place.
    strength : float
        Largest value of a particle's projection.
    diameter : float
        Particle diameter, px.
    rng : numpy.random.Generator
    """
    if rng.random() < 0.5:
        return
    kinds = (_ice, _ice, _gold, _carbon, _crystal, _fibre)
    for index in rng.choice(len(kinds), size=int(rng.integers(1, 4))):
        kinds[int(index)](canvas, strength, diameter, rng)


def _distance(canvas: Canvas, rng: np.random.Generator, squeeze: float) -> tuple[Array, Array]:
    """Elliptic distance from a random place, px, and the angle around it."""
    h, w = canvas.values.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    y, x = y - rng.uniform(0, h), x - rng.uniform(0, w)
    turn = rng.uniform(0, np.pi)
    u = x * np.cos(turn) + y * np.sin(turn)
    v = (y * np.cos(turn) - x * np.sin(turn)) * squeeze
    return np.hypot(u, v).astype(np.float32), np.arctan2(v, u).astype(np.float32)


def _ice(canvas: Canvas, strength: float, diameter: float, rng: np.random.Generator) -> None:
    """A blob of ice or ethane: wavy outline, soft or sharp edge, much stronger than a particle."""
    distance, angle = _distance(canvas, rng, rng.uniform(1.0, 1.8))
    radius = diameter * np.exp(rng.uniform(np.log(0.15), np.log(2.0)))
    wave = sum(rng.normal(0, 0.1) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4, 5))
    edge = rng.uniform(0.6, 0.3 * radius + 1)
    blob = 1 / (1 + np.exp(np.clip((distance - radius * (1 + wave)) / edge, -30, 30)))
    height = strength * np.exp(rng.uniform(np.log(0.7), np.log(12))) * (-1 if rng.random() < 0.1 else 1)
    texture = 1 + rng.uniform(0, 0.3) * ndimage.gaussian_filter(rng.normal(size=blob.shape), 1.5) * 4
    canvas.values += (height * blob * texture).astype(np.float32)
    canvas.mask |= blob > 0.3


def _gold(canvas: Canvas, strength: float, diameter: float, rng: np.random.Generator) -> None:
    """Small, very dense beads."""
    for _ in range(int(rng.integers(1, 5))):
        distance, _angle = _distance(canvas, rng, 1.0)
        bead = distance < diameter * rng.uniform(0.05, 0.25)
        canvas.values += np.float32(strength * rng.uniform(5, 25)) * bead
        canvas.mask |= bead


def _carbon(canvas: Canvas, strength: float, diameter: float, rng: np.random.Generator) -> None:
    """The support film beyond the edge of a hole: thicker, grainy, with a rim."""
    h, w = canvas.values.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    radius = rng.uniform(2, 40) * diameter
    turn = rng.uniform(0, 2 * np.pi)
    reach = radius + rng.uniform(-0.45, 0.45) * h
    distance = np.hypot(x - w / 2 + reach * np.cos(turn), y - h / 2 + reach * np.sin(turn))
    film = 1 / (1 + np.exp(np.clip((radius - distance) / rng.uniform(0.5, 3), -30, 30)))
    grain = ndimage.gaussian_filter(rng.normal(size=(h, w)), rng.uniform(0.4, 2.0))
    grain *= strength * rng.uniform(0.1, 0.8) / max(float(grain.std()), 1e-6)
    canvas.values += (film * (strength * rng.uniform(0.3, 4) + grain)).astype(np.float32)
    canvas.mask |= film > 0.3


def _crystal(canvas: Canvas, strength: float, diameter: float, rng: np.random.Generator) -> None:
    """Crystalline ice: a patch with fringes."""
    distance, _angle = _distance(canvas, rng, rng.uniform(1, 2))
    h, w = canvas.values.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    turn, period = rng.uniform(0, np.pi), rng.uniform(3, 0.6 * diameter)
    fringes = np.cos(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / period)
    patch = np.exp(-0.5 * (distance / (diameter * rng.uniform(0.4, 1.5))) ** 2)
    canvas.values += (strength * rng.uniform(0.5, 3) * patch * (1 + fringes)).astype(np.float32)
    canvas.mask |= patch > 0.3


def _fibre(canvas: Canvas, strength: float, diameter: float, rng: np.random.Generator) -> None:
    """A filament or a crease across the field."""
    h, w = canvas.values.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    turn, bend = rng.uniform(0, np.pi), rng.uniform(-0.003, 0.003)
    u = (x - rng.uniform(0, w)) * np.cos(turn) + (y - rng.uniform(0, h)) * np.sin(turn)
    v = (y - h / 2) * np.cos(turn) - (x - w / 2) * np.sin(turn) + bend * u**2
    width = diameter * rng.uniform(0.03, 0.25)
    line = np.exp(-0.5 * (v / width) ** 2)
    canvas.values += (strength * rng.uniform(0.4, 2) * line).astype(np.float32)
    canvas.mask |= line > 0.5
