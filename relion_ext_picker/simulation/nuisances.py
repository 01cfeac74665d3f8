"""What is known of the contaminants of a micrograph: matter, labels and the list of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.simulation.bodies import Body
from relion_ext_picker.types import Array

KINDS = ("carbon", "hole", "crystal", "ethane", "gold", "aggregate", "broken")

# V Å: a body's phase approaches this (0.8 rad at 300 kV) and its further thickness only absorbs. The image is linear
# in the phase, which beyond about one rad would give fringes that no micrograph shows.
SATURATION = 1200.0


@dataclass(frozen=True)
class Nuisance:
    """One contaminant.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    x, y : float
        Middle in px of the micrograph, 0-based; of carbon and holes the middle of the covered part.
    radius : float
        Of a circle around all of it, px.
    """

    kind: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Fragment:
    """A part of a particle: what of a projection lies on one side of a soft line.

    Attributes
    ----------
    x, y : float
        Where the middle of the whole projection goes, whole px.
    nx, ny : float
        Unit normal of the line, towards the part that is missing.
    offset : float
        Distance of the line from the middle along the normal, px.
    softness : float
        Width of the edge, px.
    """

    x: float
    y: float
    nx: float
    ny: float
    offset: float
    softness: float

    def weights(self, side: int) -> Array:
        """Factors for a projection of `side` x `side` px whose middle is pixel ``side // 2``, float32."""
        axis = np.arange(side, dtype=np.float32) - side // 2
        beyond = (self.nx * axis[None, :] + self.ny * axis[:, None] - self.offset) / self.softness
        return np.asarray(1 / (1 + np.exp(np.clip(beyond, -30, 30))), np.float32)


@dataclass
class Contamination:
    """Contaminants of one field, summed.

    Attributes
    ----------
    potential : ndarray, shape (h, w), float32
        Projected mean potential, V Å.
    grain : ndarray, shape (h, w), float32
        Variance density of the projected potential, V² Å⁴.
    absorption : ndarray, shape (h, w), float32
        Optical depth: multiply the intensity by ``exp(-absorption)``. Darkness that the amplitude contrast makes of
        `potential` is not in it.
    labels : ndarray, shape (h, w), uint8
        0 where particles can be used, else 1 + the index in `KINDS`; later kinds hide earlier ones.
    nuisances : list of Nuisance
    clumps : list of ndarray, shape (n, 2)
        Centres x, y in px of the particles that make up each aggregate; they are in `labels` but have yet to be drawn.
    fragments : list of Fragment
        Broken particles, in `labels`, yet to be drawn as well.
    """

    potential: Array
    grain: Array
    absorption: Array
    labels: NDArray[np.uint8]
    nuisances: list[Nuisance] = field(default_factory=list)
    clumps: list[NDArray[np.float64]] = field(default_factory=list)
    fragments: list[Fragment] = field(default_factory=list)

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Contamination:
        """A clean field."""
        potential, grain, absorption = (np.zeros(shape, np.float32) for _ in range(3))
        return cls(potential, grain, absorption, np.zeros(shape, np.uint8))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where no particle can be used, shape (h, w)."""
        return self.labels > 0

    def add(self, body: Body, kind: str, corner: tuple[int, int] = (0, 0)) -> bool:
        """Add a body whose first pixel lies at row, column `corner`; parts beyond the field are cut.

        Parameters
        ----------
        body : Body
        kind : str
            One of `KINDS`.
        corner : (int, int)
            May lie outside of the field.

        Returns
        -------
        bool
            Whether any pixel of the field is covered.
        """
        rows, cols = self.labels.shape
        top, left = max(0, corner[0]), max(0, corner[1])
        bottom = min(rows, corner[0] + body.thickness.shape[0])
        right = min(cols, corner[1] + body.thickness.shape[1])
        if bottom <= top or right <= left:
            return False
        window = (slice(top, bottom), slice(left, right))
        part = (slice(top - corner[0], bottom - corner[0]), slice(left - corner[1], right - corner[1]))
        material, thickness = body.material, body.thickness[part]
        limit = np.float32(SATURATION / material.potential)
        weak = limit * -np.expm1(thickness / -limit)  # Å that count as phase
        self.potential[window] += np.float32(material.potential) * weak
        self.grain[window] += np.float32(material.grain) * weak
        self.absorption[window] += (thickness - weak) / np.float32(material.absorption_length)
        if body.relief is not None:
            self.potential[window] += body.relief[part]
        if body.extinction is not None:
            self.absorption[window] += body.extinction[part]
        covered = body.covered()[part]
        self.cover(covered, kind, (top, left))
        return bool(covered.any())

    def cover(self, covered: NDArray[np.bool_], kind: str, corner: tuple[int, int]) -> None:
        """Label the pixels of a patch that lies inside the field."""
        window = self.labels[corner[0] : corner[0] + covered.shape[0], corner[1] : corner[1] + covered.shape[1]]
        np.maximum(window, np.uint8(KINDS.index(kind) + 1) * covered, out=window)

    def padded(self, pad: tuple[tuple[int, int], tuple[int, int]]) -> Contamination:
        """The same inside a larger field, continued as a mirror does.

        Parameters
        ----------
        pad : ((int, int), (int, int))
            Rows above and below, columns left and right.
        """
        rows, cols = self.labels.shape
        down, right = pad[0][0], pad[1][0]
        if not self.nuisances:
            return Contamination.none((rows + sum(pad[0]), cols + sum(pad[1])))
        return Contamination(
            np.pad(self.potential, pad, mode="symmetric"),
            np.pad(self.grain, pad, mode="symmetric"),
            np.pad(self.absorption, pad, mode="symmetric"),
            np.pad(self.labels, pad, mode="symmetric"),
            [Nuisance(item.kind, item.x + right, item.y + down, item.radius) for item in self.nuisances],
            [clump + (right, down) for clump in self.clumps],
            [Fragment(cut.x + right, cut.y + down, cut.nx, cut.ny, cut.offset, cut.softness) for cut in self.fragments],
        )
