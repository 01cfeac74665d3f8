"""What lies in a micrograph besides whole, single particles, and where.

Contaminants are matter with a thickness: they shift the phase by their mean potential, scatter irregularly because
they are made of atoms, and where they are thick they take electrons away. Without that grain they look painted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.simulation.bodies import CARBON, COVERED, Body, denatured_protein, ethane_blob, gold_bead
from relion_ext_picker.simulation.crystals import ice_crystal
from relion_ext_picker.simulation.film import Film, covered_circle, film_edge, film_hole
from relion_ext_picker.simulation.nuisances import KINDS, Contamination, Fragment, Nuisance

__all__ = ["KINDS", "SHARES", "Contamination", "Fragment", "Nuisance", "contaminate"]

# How often each kind occurs, relative to the others that may.
SHARES = {
    "carbon": 0.12, "hole": 0.06, "crystal": 0.27, "ethane": 0.13, "gold": 0.12, "aggregate": 0.18, "broken": 0.12,
}  # fmt: skip

AGGREGATE_MEMBERS = (8, 25)
BEAD_RADII = (25.0, 50.0, 75.0)  # Å
LARGEST_CRYSTAL, LARGEST_BLOB = 1100.0, 1000.0  # Å, radii
SOFTNESS = 4.0  # Å over which the cut through a broken particle fades
COARSE = 16  # px between the samples from which the circle around a film is found


def contaminate(
    shape: tuple[int, int],
    pixel_size: float,
    diameter: float,
    mean_count: float,
    rng: np.random.Generator,
    kinds: Sequence[str] = KINDS,
) -> Contamination:
    """Contaminants at random places of a field.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å/px.
    diameter : float
        Of the particle, Å: aggregates and fragments are made of particles.
    mean_count : float
        Mean number of occurrences; the number is drawn from a Poisson distribution. A shower of beads, crystals or
        fragments is one occurrence and several nuisances. Carbon occurs once at most.
    rng : numpy.random.Generator
    kinds : sequence of str
        The kinds that may occur.

    Raises
    ------
    ValueError
        A kind is unknown.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no kind of contaminant; known are {', '.join(KINDS)}")
    scene = _Scene(Contamination.none(shape), pixel_size, diameter, rng)
    allowed = [kind for kind in KINDS if kind in kinds]
    for _ in range(int(rng.poisson(mean_count))):
        if not allowed:
            break
        shares = np.array([SHARES[kind] for kind in allowed])
        kind = allowed[int(rng.choice(len(allowed), p=shares / shares.sum()))]
        getattr(scene, kind)()
        if kind in ("carbon", "hole"):
            allowed = [other for other in allowed if other not in ("carbon", "hole")]
    return scene.field


@dataclass(frozen=True)
class _Scene:
    """A field under construction: one method per kind draws an occurrence of it."""

    field: Contamination
    pixel_size: float
    diameter: float
    rng: np.random.Generator

    def carbon(self) -> None:
        self._film(film_edge(self.field.labels.shape, self.pixel_size, self.rng), "carbon")

    def hole(self) -> None:
        self._film(film_hole(self.field.labels.shape, self.pixel_size, self.rng), "hole")

    def crystal(self) -> None:
        """A large crystal, a cluster of small ones, or a shower of thin plates."""
        style, largest = self.rng.random(), self._largest(LARGEST_CRYSTAL)
        if style < 0.45:
            radius = self._between(min(150.0, largest), largest)
            self._body(ice_crystal(radius, self.pixel_size, self.rng), "crystal", self._place())
        elif style < 0.7:
            place, spread = self._place(), self._between(100.0, 300.0)
            for _ in range(int(self.rng.integers(3, 10))):
                radius = min(largest, spread * self.rng.uniform(0.3, 0.9))
                near = place + self.rng.normal(0, 0.8 * spread / self.pixel_size, 2)
                self._body(ice_crystal(radius, self.pixel_size, self.rng), "crystal", near)
        else:
            for _ in range(int(self.rng.integers(2, 12))):
                radius = min(largest, self._between(50.0, 220.0))
                self._body(ice_crystal(radius, self.pixel_size, self.rng, flat=True), "crystal", self._place())

    def ethane(self) -> None:
        largest = self._largest(LARGEST_BLOB)
        radius = self._between(min(120.0, largest), largest)
        self._body(ethane_blob(radius, self.pixel_size, self.rng), "ethane", self._place())

    def gold(self) -> None:
        """Beads of one size, some of them in pairs."""
        radius = float(self.rng.choice(BEAD_RADII))
        place = self._place()
        for _ in range(int(self.rng.integers(2, 13))):
            size = radius * self.rng.normal(1, 0.05)
            if self.rng.random() < 0.2:
                turn = self.rng.uniform(0, 2 * math.pi)
                step = 2.1 * radius / self.pixel_size
                place = place + step * np.array([math.cos(turn), math.sin(turn)])
            else:
                place = self._place()
            self._body(gold_bead(size, self.pixel_size, self.rng), "gold", place)

    def aggregate(self) -> None:
        size = self.diameter / self.pixel_size
        clump = _clump(self._place(), size, self.rng)
        x, y = clump.mean(axis=0).tolist()
        radius = float(np.hypot(*(clump - (x, y)).T).max()) + 0.5 * size + 1
        covered = [self._disc((u, v), 0.5 * size, "aggregate") for u, v in clump.tolist()]
        if any(covered):
            self.field.clumps.append(clump)
            self.field.nuisances.append(Nuisance("aggregate", x, y, radius))

    def broken(self) -> None:
        """Fragments of particles and unfolded protein, scattered over the field."""
        for _ in range(int(self.rng.integers(3, 12))):
            if self.rng.random() < 0.4:
                body = denatured_protein(self.diameter, self.pixel_size, self.rng)
                self._body(body, "broken", self._place())
            else:
                self._fragment()

    def _fragment(self) -> None:
        radius = 0.5 * self.diameter / self.pixel_size
        x, y = np.floor(self._place()).tolist()
        turn, offset = self.rng.uniform(0, 2 * math.pi), radius * self.rng.uniform(-0.5, 0.3)
        cut = Fragment(x, y, math.cos(turn), math.sin(turn), offset, SOFTNESS / self.pixel_size)
        if not self._disc((x, y), radius, "broken", cut):
            return
        self.field.fragments.append(cut)
        # A minor segment fits into the circle over its chord, a larger one only into that of the particle.
        away = min(0.0, offset)
        enclosing = math.sqrt(radius**2 - away**2) + 1
        self.field.nuisances.append(Nuisance("broken", x + away * cut.nx, y + away * cut.ny, enclosing))

    def _disc(self, place: tuple[float, float], radius: float, kind: str, cut: Fragment | None = None) -> bool:
        """Label a disc around x, y, or the part of it that a cut leaves; whether any of it lies in the field."""
        (x, y), (rows, cols) = place, self.field.labels.shape
        top, left = max(0, math.ceil(y - radius)), max(0, math.ceil(x - radius))
        bottom, right = min(rows, math.floor(y + radius) + 1), min(cols, math.floor(x + radius) + 1)
        if bottom <= top or right <= left:
            return False
        v, u = np.ogrid[top:bottom, left:right]
        covered = np.asarray((v - y) ** 2 + (u - x) ** 2 <= radius**2)
        if cut is not None:
            covered &= cut.nx * (u - x) + cut.ny * (v - y) <= cut.offset
        self.field.cover(covered, kind, (top, left))
        return bool(covered.any())

    def _body(self, body: Body, kind: str, place: NDArray[np.float64]) -> None:
        """Add a body whose patch has its middle at `place` (x, y), and note the circle around it."""
        rows, cols = body.thickness.shape
        top, left = math.floor(place[1]) - rows // 2, math.floor(place[0]) - cols // 2
        if self.field.add(body, kind, (top, left)):
            step = max(1, rows // 128)
            x, y, radius = covered_circle(body.covered()[::step, ::step], step)
            self.field.nuisances.append(Nuisance(kind, left + x, top + y, radius))

    def _film(self, film: Film, kind: str) -> None:
        rows, cols = self.field.labels.shape
        for corner, thickness in film.tiles((rows, cols), self.pixel_size):
            part = Body(thickness, CARBON, outline=thickness > COVERED * film.thickness)
            self.field.add(part, kind, corner)
        seen = self.field.labels[::COARSE, ::COARSE] == KINDS.index(kind) + 1
        if seen.any():
            self.field.nuisances.append(Nuisance(kind, *covered_circle(seen, COARSE)))

    def _place(self) -> NDArray[np.float64]:
        rows, cols = self.field.labels.shape
        return self.rng.uniform(0, 1, 2) * (cols, rows)

    def _between(self, low: float, high: float) -> float:
        """A length whose logarithm is uniform."""
        return math.exp(self.rng.uniform(math.log(low), math.log(high)))

    def _largest(self, radius: float) -> float:
        """`radius` in Å, or as much of it as leaves most of the field free."""
        rows, cols = self.field.labels.shape
        return float(min(radius, 0.25 * min(rows, cols) * self.pixel_size))


def _clump(centre: NDArray[np.float64], diameter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Centres x, y of particles stuck together, each to one that is there already."""
    places = [centre]
    for _ in range(int(rng.integers(*AGGREGATE_MEMBERS)) - 1):
        neighbour = places[int(rng.integers(len(places)))]
        direction = rng.uniform(0, 2 * math.pi)
        step = diameter * rng.uniform(0.35, 0.75)
        places.append(neighbour + step * np.array([math.cos(direction), math.sin(direction)]))
    return np.array(places)
