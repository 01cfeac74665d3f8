"""What lies in a micrograph besides particles: ice crystals and droplets, the edge of the carbon film, aggregates.

Contaminants are matter with a thickness: they shift the phase by their mean potential, which through the amplitude
contrast makes them dark, and scatter irregularly because they are made of atoms. Without that grain they look painted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.types import Array


@dataclass(frozen=True)
class Material:
    """An amorphous or polycrystalline solid.

    Attributes
    ----------
    potential : float
        Mean inner potential, V.
    grain : float
        Variance of the projected potential per Å of thickness and Å² of area, V² Å³: number density times the square
        of the integrated potential per atom or molecule, times the structure factor at medium resolution.
    """

    potential: float
    grain: float


# 2.0 g/cm³ carbon: 0.10 atoms per Å³ of 120 V Å³ each. Ice: 0.031 molecules per Å³ of 146 V Å³ each.
CARBON = Material(potential=8.5, grain=0.10 * 120.0**2 * 0.3)
ICE_CRYSTAL = Material(potential=4.5, grain=0.031 * 146.0**2 * 0.5)

AGGREGATE_MEMBERS = (8, 25)
CARBON_EDGE_CHANCE = 0.15  # of a contaminant; at most one per micrograph
AGGREGATE_CHANCE = 0.3


@dataclass
class Contamination:
    """Contaminants of one field, summed.

    Attributes
    ----------
    potential : ndarray, shape (h, w), float32
        Projected mean potential, V Å.
    grain : ndarray, shape (h, w), float32
        Variance density of the projected potential, V² Å⁴.
    mask : ndarray, shape (h, w), bool
        Where no particle can be used.
    clumps : list of ndarray, shape (n, 2)
        Centres x, y in px of the particles that make up each aggregate.
    """

    potential: Array
    grain: Array
    mask: NDArray[np.bool_]
    clumps: list[NDArray[np.float64]]

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Contamination:
        """A clean field."""
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool), [])

    def add(self, thickness: Array, material: Material, corner: tuple[int, int] = (0, 0)) -> None:
        """Add a body by its `thickness` in Å (a patch whose first pixel lies at row, column `corner`)."""
        rows, cols = self.mask.shape
        top, left = max(0, corner[0]), max(0, corner[1])
        bottom, right = min(rows, corner[0] + thickness.shape[0]), min(cols, corner[1] + thickness.shape[1])
        if bottom <= top or right <= left:
            return
        part = thickness[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
        window = (slice(top, bottom), slice(left, right))
        self.potential[window] += np.float32(material.potential) * part
        self.grain[window] += np.float32(material.grain) * part
        self.mask[window] |= part > 0.15 * float(thickness.max())


def contaminate(
    shape: tuple[int, int], pixel_size: float, diameter: float, mean_count: float, rng: np.random.Generator
) -> Contamination:
    """Contaminants at random places of a field.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å/px.
    diameter : float
        Of the particle, Å: aggregates are made of particles.
    mean_count : float
        Mean number of contaminants; the number is drawn from a Poisson distribution.
    rng : numpy.random.Generator
    """
    field = Contamination.none(shape)
    edge = False
    for _ in range(int(rng.poisson(mean_count))):
        kind = rng.random()
        centre = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        if kind < CARBON_EDGE_CHANCE and not edge:
            field.add(carbon_film(shape, pixel_size, rng), CARBON)
            edge = True
        elif kind < CARBON_EDGE_CHANCE + AGGREGATE_CHANCE:
            clump = _clump(centre, diameter / pixel_size, rng)
            field.clumps.append(clump)
            _cover(field.mask, clump, 0.5 * diameter / pixel_size)
        else:
            body = ice_body(pixel_size, rng)
            field.add(body, ICE_CRYSTAL, (int(centre[1]) - len(body) // 2, int(centre[0]) - len(body) // 2))
    return field


def carbon_film(shape: tuple[int, int], pixel_size: float, rng: np.random.Generator) -> Array:
    """Thickness in Å, shape (h, w), of a holey film whose edge crosses the field."""
    h, w = shape
    radius = rng.uniform(5000, 12000) / pixel_size  # of the hole
    direction = rng.uniform(0, 2 * math.pi)
    # The edge passes at this distance from the middle of the field: the film covers a minor part of it.
    offset = rng.uniform(0.15, 0.42) * min(h, w)
    x = np.arange(w, dtype=np.float32)[None, :] - 0.5 * w + (radius - offset) * math.cos(direction)
    y = np.arange(h, dtype=np.float32)[:, None] - 0.5 * h + (radius - offset) * math.sin(direction)
    beyond = (np.hypot(x, y) - np.float32(radius)) * np.float32(pixel_size)
    beyond += 15 * ndimage.zoom(rng.standard_normal((9, 9)).astype(np.float32), (h / 9, w / 9), order=3)[:h, :w]
    thickness = rng.uniform(100, 200)
    rim = 1 + np.float32(rng.uniform(0, 0.5)) * np.exp(-np.square((beyond - 40) / 40))
    return np.asarray(thickness * rim / (1 + np.exp(-np.clip(beyond / 12, -30, 30))), np.float32)


def ice_body(pixel_size: float, rng: np.random.Generator) -> Array:
    """Thickness in Å, shape (n, n), of a crystal or droplet of ice that settled on the specimen."""
    radius = math.exp(rng.uniform(math.log(70), math.log(450))) / pixel_size
    half = int(1.6 * radius) + 4
    axis = np.arange(-half, half + 1, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    if rng.random() < 0.5:  # crystal: the intersection of half planes, flat on top
        sides = int(rng.integers(5, 8))
        turns = 2 * math.pi * (np.arange(sides) + rng.uniform(-0.25, 0.25, sides)) / sides + rng.uniform(0, 2 * math.pi)
        walls = [
            (x * math.cos(turn) + y * math.sin(turn)) / (radius * rng.uniform(0.7, 1.0)) for turn in turns.tolist()
        ]
        outline = np.maximum.reduce(walls)
        slope = rng.uniform(0.1, 0.35)
        profile = np.clip((1 - outline) / slope, 0, 1)
    else:  # droplet: a wavy outline, round on top
        angle = np.arctan2(y, x)
        waves = [rng.normal(0, 0.35 / k**1.5) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in range(2, 8)]
        outline = np.hypot(x, y) / (radius * np.maximum(0.5, 1 + np.sum(waves, axis=0)))
        profile = np.sqrt(np.clip(1 - outline**2, 0, 1))
    relief = np.zeros_like(x)
    for size in (3.0, 8.0, 20.0):  # px: terraces and grains of several sizes
        noise = ndimage.gaussian_filter(rng.standard_normal(x.shape).astype(np.float32), size)
        relief += noise / max(float(noise.std()), 1e-6)
    height = rng.uniform(0.4, 1.0) * min(2 * radius * pixel_size, 500.0)
    solid = profile * np.clip(1 + 0.1 * relief, 0.3, 1.7)
    return np.asarray(height * ndimage.gaussian_filter(solid, 8.0 / pixel_size), np.float32)


def _clump(centre: NDArray[np.float64], diameter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Centres x, y of particles stuck together, each to one that is there already."""
    places = [centre]
    for _ in range(int(rng.integers(*AGGREGATE_MEMBERS)) - 1):
        neighbour = places[int(rng.integers(len(places)))]
        direction = rng.uniform(0, 2 * math.pi)
        step = diameter * rng.uniform(0.35, 0.75)
        places.append(neighbour + step * np.array([math.cos(direction), math.sin(direction)]))
    return np.array(places)


def _cover(mask: NDArray[np.bool_], places: NDArray[np.float64], radius: float) -> None:
    """Set `mask` within `radius` px of the places (x, y)."""
    for x, y in places:
        top, left = max(0, math.floor(y - radius)), max(0, math.floor(x - radius))
        rows, cols = np.ogrid[
            top : min(mask.shape[0], int(y + radius) + 1), left : min(mask.shape[1], int(x + radius) + 1)
        ]
        mask[top : top + rows.shape[0], left : left + cols.shape[1]] |= (rows - y) ** 2 + (cols - x) ** 2 <= radius**2
