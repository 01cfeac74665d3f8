"""Matter in space: domains filled with the rods that proteins and RNA are made of.

At 5 to 10 Å a protein is a bundle of rods: helices 10 Å apart, or sheets of strands. A domain is a rounded body filled
with such rods; its volume follows from its mass, so that the density inside is that of protein, whatever the shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Points = NDArray[np.float64]
Triple = tuple[float, float, float]

SPREAD = 1.2  # volume of a domain's body over that of its matter: loops and crevices, and what neighbours cut off
ROUNDNESS = 2.5  # exponent of a domain's surface: 2 is an ellipsoid, infinity a box
BENDING = 0.008  # rad per Å by which rods wind around the axis of their domain, as helices of a bundle do
WOBBLE, TILT = 1.0, 0.08  # Å and rad (standard deviations) by which each rod is displaced and tilted: no crystal
LIPID_APART = 1.05  # lipid keeps out of other domains: their depth here at least
GRID, NEIGHBOURHOOD = 2.0, 3.5  # Å: voxel and standard deviation with which crowding is measured
LOOSE = 1.1  # Å, standard deviation of side chains about their place


@dataclass(frozen=True)
class Matter:
    """Positions (n, 3) in Å as x, y, z; integrated potential in V Å³ and displaced volume in Å³, (n,) each."""

    xyz: Points
    potential: NDArray[np.float64]
    volume: NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """Mean potential inside in V, and displaced volume in Å³ per Da."""

    potential: float
    volume: float


PROTEIN = Material(6.8, 1.21)
RNA = Material(8.0, 0.91)  # a nucleotide: 321 Da whose atoms, bonded, add up to 2330 V Å³
LIPID = Material(5.6, 1.6)  # tails of 5.3 V and denser heads; amphipols and detergents are alike


@dataclass(frozen=True)
class Fold:
    """Rods of repeating units, side by side.

    Attributes
    ----------
    material : Material
    spacing : (float, float)
        Å between neighbouring rods along the first axis of the cross-section, and between rows.
    staggered : bool
        Every other row is moved by half a spacing.
    rise, turn : float
        Å along the rod and degrees about it from one unit to the next.
    unit : tuple of (radius Å, angle in degrees, height Å, share of the mass)
        The points that stand for a unit.
    unit_mass : float
        Da.
    """

    material: Material
    spacing: tuple[float, float]
    staggered: bool
    rise: float
    turn: float
    unit: tuple[tuple[float, float, float, float], ...]
    unit_mass: float

    @property
    def volume(self) -> float:
        """Å³ of the body per Da, with the room between rods."""
        return self.spacing[0] * self.spacing[1] * self.rise / self.unit_mass


# Backbone and side chain of a residue of 110 Da; a base pair of A-form RNA of 642 Da with its two phosphates, sugars
# and bases. Dimensions: Branden & Tooze, Introduction to Protein Structure; Saenger, Principles of Nucleic Acid
# Structure.
FOLDS = {
    "helices": Fold(
        PROTEIN, (10.0, 8.66), True, 1.5, 100.0,
        ((1.6, 0.0, 0.0, 0.25), (2.3, 40.0, 0.5, 0.25), (3.6, 50.0, 0.6, 0.25), (5.2, 60.0, 0.4, 0.25)), 110.0,
    ),
    "sheets": Fold(
        PROTEIN, (8.4, 4.8), False, 3.3, 180.0,
        ((0.9, 90.0, 0.0, 0.25), (0.9, -90.0, 1.6, 0.25), (2.3, 0.0, 0.4, 0.25), (3.9, 0.0, 0.4, 0.25)), 110.0,
    ),
    "duplexes": Fold(
        RNA, (18.5, 16.0), True, 2.8, 32.7,
        tuple(
            (radius, angle + strand, height, share)
            for strand in (0.0, 150.0)
            for radius, angle, height, share in (
                (8.8, 0.0, 0.0, 0.15), (8.4, 25.0, 1.0, 0.15), (5.0, 35.0, 0.7, 0.1), (2.2, 40.0, 0.7, 0.1)
            )
        ), 642.0,
    ),
    "lipid": Fold(LIPID, (5.0, 4.33), True, 2.6, 70.0, ((1.2, 0.0, 0.0, 1.0),), 5.0 * 4.33 * 2.6 / LIPID.volume),
}  # fmt: skip


@dataclass(frozen=True)
class Domain:
    """A body filled with rods.

    Attributes
    ----------
    mass : float
        Da.
    centre : (float, float, float)
        x, y, z in Å.
    aspect : (float, float, float)
        Extents relative to each other: across, square to both, and along the rods.
    along, across : (float, float, float)
        Direction of the rods; direction of the first extent, for sheets the normal.
    fold : str
        A key of `FOLDS`. Lipid fills what other domains leave free, and only then has less than its mass.
    single : bool
        The domain lies on the symmetry axis and is not repeated.
    """

    mass: float
    centre: Triple
    aspect: Triple = (1.0, 1.0, 1.0)
    along: Triple = (0.0, 0.0, 1.0)
    across: Triple = (1.0, 0.0, 0.0)
    fold: str = "helices"
    single: bool = False

    @property
    def frame(self) -> Points:
        """Rows: unit vectors across, square to both, and along."""
        along = np.array(self.along, np.float64) / np.linalg.norm(self.along)
        across = np.array(self.across, np.float64) - np.dot(self.across, along) * along
        across /= np.linalg.norm(across)
        return np.stack([across, np.cross(along, across), along])

    @property
    def semi_axes(self) -> Points:
        """Half extents in Å that hold the mass."""
        aspect = np.array(self.aspect, np.float64)
        unit = 8 * math.gamma(1 + 1 / ROUNDNESS) ** 3 / math.gamma(1 + 3 / ROUNDNESS)
        return np.asarray(aspect * (SPREAD * self.mass * FOLDS[self.fold].volume / (unit * aspect.prod())) ** (1 / 3))

    def depth(self, xyz: Points) -> NDArray[np.float64]:
        """Distance of points from the centre as a fraction of the way to the surface, shape (n,)."""
        local = np.abs((xyz - np.array(self.centre)) @ self.frame.T) / self.semi_axes
        return np.asarray((local**ROUNDNESS).sum(axis=1) ** (1 / ROUNDNESS))

    def moved(self, rotation: Points) -> Domain:
        """The domain turned about the origin."""
        turned = (tuple((rotation @ np.array(v)).tolist()) for v in (self.centre, self.along, self.across))
        centre, along, across = turned
        return Domain(self.mass, centre, self.aspect, along, across, self.fold, self.single)


def cyclic(order: int) -> Points:
    """Rotations of the point group Cn about z, shape (n, 3, 3)."""
    angles = 2 * np.pi * np.arange(order) / order
    c, s, o = np.cos(angles), np.sin(angles), np.zeros(order)
    return np.stack([np.stack([c, -s, o], 1), np.stack([s, c, o], 1), np.stack([o, o, o + 1], 1)], 1)


def dihedral(order: int) -> Points:
    """Rotations of the point group Dn, n-fold about z and two-fold about x, shape (2 n, 3, 3)."""
    return np.concatenate([cyclic(order), cyclic(order) @ np.diag([1.0, -1.0, -1.0])])


def octahedral() -> Points:
    """Rotations of the point group O with its four-fold axes along x, y and z, shape (24, 3, 3)."""
    group = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                group.append(matrix)
    return np.array(group)


def build(domains: Sequence[Domain], symmetry: Points, rng: np.random.Generator) -> Matter:
    """Matter of domains and their symmetry mates, centre of volume in the origin.

    Where bodies intersect, each point belongs to the domain in which it lies deeper, and crowded points lose weight, so
    that nothing is much denser than its material; protein and RNA are then scaled to the mass of their domains
    together.

    Parameters
    ----------
    domains : sequence of Domain
        Of the asymmetric unit.
    symmetry : ndarray, shape (m, 3, 3)
        Rotations, the identity first.
    rng : numpy.random.Generator
        Displaces the rods.
    """
    copies = [domain.moved(turn) for domain in domains for turn in (symmetry[:1] if domain.single else symmetry)]
    parts, volumes, voltages, solid = [], [], [], []
    for domain in domains:
        xyz, mass = _fill(domain, rng)
        lipid = domain.fold == "lipid"
        others = [other.depth(xyz) for other in copies if other.fold != "lipid" and _touch(domain, other)]
        nearest = np.minimum.reduce([*others, np.full(len(xyz), np.inf)])
        keep = nearest > (LIPID_APART if lipid else domain.depth(xyz))
        turns = symmetry[:1] if domain.single else symmetry
        material = FOLDS[domain.fold].material
        parts.append(np.einsum("mij,nj->mni", turns, xyz[keep]).reshape(-1, 3))
        volumes.append(np.tile(mass[keep] * material.volume, len(turns)))
        voltages.append(np.full(len(parts[-1]), material.potential))
        solid.append(np.full(len(parts[-1]), 0.0 if lipid else 1 / material.volume))
    xyz, volume, voltage, density = (np.concatenate(values) for values in (parts, volumes, voltages, solid))
    wanted = sum(copy.mass for copy in copies if copy.fold != "lipid")
    for _ in range(4):
        volume /= np.maximum(_crowding(xyz, volume), 1.0)
        volume[density > 0] *= wanted / float((volume * density).sum())
    return Matter(xyz - np.average(xyz, axis=0, weights=volume), volume * voltage, volume)


def _touch(domain: Domain, other: Domain) -> bool:
    """Whether another domain may reach into this one."""
    apart = np.linalg.norm(np.subtract(domain.centre, other.centre))
    return bool(0 < apart < 1.5 * (domain.semi_axes.max() + other.semi_axes.max()))


def _crowding(xyz: Points, volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of space that is filled around each point, shape (n,); above 1 matter would penetrate matter."""
    corner = xyz.min(axis=0) - 4 * GRID
    place = np.rint((xyz - corner) / GRID).astype(np.int64)
    shape = tuple((place.max(axis=0) + 5).tolist())
    flat = np.ravel_multi_index(tuple(place.T), shape)
    filled = (np.bincount(flat, volume, math.prod(shape)) / GRID**3).astype(np.float32).reshape(shape)
    return np.asarray(ndimage.gaussian_filter(filled, NEIGHBOURHOOD / GRID).ravel()[flat])


def _fill(domain: Domain, rng: np.random.Generator) -> tuple[Points, NDArray[np.float64]]:
    """Points of the rods inside a domain, (n, 3) in Å, and their masses in Da, (n,)."""
    fold, semi = FOLDS[domain.fold], domain.semi_axes
    columns, rows = (math.ceil(extent / step) + 1 for extent, step in zip(semi[:2], fold.spacing, strict=True))
    units = math.ceil(semi[2] / fold.rise) + 1
    places, masses = [], []
    unit = np.array(fold.unit)
    for column, row in itertools.product(range(-columns, columns + 1), range(-rows, rows + 1)):
        # The lattice is centred between rods: an even number of rows then fits as well as an odd one.
        x = (column + 0.25 + (0.5 * (row % 2) if fold.staggered else 0.0)) * fold.spacing[0] + rng.normal(0, WOBBLE)
        y = (row + 0.5) * fold.spacing[1] + rng.normal(0, WOBBLE)
        z = (np.arange(-units, units + 1) + rng.uniform(-0.5, 0.5)) * fold.rise
        slope_x, slope_y = rng.normal(0, TILT, 2)
        axis = np.stack([x + (slope_x - BENDING * y) * z, y + (slope_y + BENDING * x) * z, z], axis=1)
        inside = ((np.abs(axis) / semi) ** ROUNDNESS).sum(axis=1) < 1
        if inside.sum() < 3:
            continue
        axis, sense = axis[inside], float(rng.choice([-1.0, 1.0]))
        angle = np.radians(unit[:, 1] + rng.uniform(0, 360 if fold.staggered else 1)) + np.radians(
            sense * fold.turn * np.arange(len(axis))[:, None]
        )
        radius = unit[:, 0]
        offset = np.stack([radius * np.cos(angle), radius * np.sin(angle), sense * unit[:, 2] + 0 * angle], axis=2)
        offset += rng.normal(0, LOOSE, offset.shape) * (unit[:, 0, None] > 3)
        places.append((axis[:, None, :] + offset).reshape(-1, 3))
        masses.append(np.tile(fold.unit_mass * unit[:, 3], len(axis)))
    return np.concatenate(places) @ domain.frame + np.array(domain.centre), np.concatenate(masses)
