"""Training patches without end: small fields of particles as they look after a micrograph has been prepared.

Made directly at the size the networks see, in physical units: a particle of so many Å is REFERENCE px wide, which fixes
the pixel size and with it the contrast transfer. Every field draws its own particle, microscope, dose and dirt
(domain randomisation), so that a network meets anything but the data it will be used on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.image.normalise import standardise
from relion_ext_picker.simulation.dirt import Canvas, add_dirt
from relion_ext_picker.simulation.exposure import ABSORBED, background, draw_transfer, noise, through_lens
from relion_ext_picker.simulation.procedural import SHAPES, PointCloud, point_cloud
from relion_ext_picker.simulation.scatter import discs, places, project
from relion_ext_picker.types import Array

BORDER = 20  # px simulated around the patch, at least, so that particles may be cut by its edge
PARTICLES = (70.0, 420.0)  # Å: particle diameters, drawn evenly in their logarithm, which fix the pixel size
SNR = (0.012, 4.0)  # of a particle at the size that the networks see


@dataclass(frozen=True)
class Field:
    """One training patch.

    Attributes
    ----------
    image : ndarray, shape (side, side), float32
        Background removed, robust standard deviation 1.
    xy : ndarray, shape (n, 2), float32
        Centres of the particles inside, px.
    snr : float
        Variance of the signal in particle discs over that of the noise, at this size.
    """

    image: Array
    xy: Array
    snr: float


class FieldGenerator:
    """Draws fields.

    Parameters
    ----------
    seed : int
    reference : float
        Particle diameter in px.
    side : int
        Side of a patch, px.
    highpass : float
        Background removal, see :func:`~relion_ext_picker.image.fourier.rescale`, px.
    clouds : sequence of PointCloud
        Particles to mix with the procedural ones; may be empty.
    procedural : float
        Share of fields with a procedural particle, where there are `clouds`.
    snr : (float, float)
        Range of signal-to-noise ratios, drawn evenly in their logarithm.
    empty : float
        Share of fields without a particle.
    soiled : bool
        Draw dirt and decoys.
    in_contact : float
        Share of fields with packed particles.
    facets : bool
        Small crystals with straight edges are among the dirt.
    sparse : bool
        Few particles are as common as many: densities are drawn evenly in their logarithm.
    """

    def __init__(
        self,
        seed: int,
        reference: float,
        side: int = 128,
        *,
        highpass: float = 48.0,
        clouds: Sequence[PointCloud] = (),
        procedural: float = 0.5,
        snr: tuple[float, float] = SNR,
        empty: float = 0.07,
        soiled: bool = True,
        in_contact: float = 0.0,
        facets: bool = False,
        sparse: bool = False,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._reference, self._side, self._highpass, self._snr = reference, side, highpass, snr
        self._size = fft.next_fast_len(side + 2 * BORDER, real=True)
        self._clouds, self._procedural, self._empty, self._soiled = list(clouds), procedural, empty, soiled
        self._in_contact, self._facets, self._sparse = in_contact, facets, sparse

    def draw(self) -> Field:
        """The next field."""
        rng, size = self._rng, self._size
        cloud = self._particle()
        diameter = self._reference * float(np.clip(np.exp(rng.normal(0, 0.11)), 0.72, 1.35))
        empty = rng.random() < self._empty
        xy = np.zeros((0, 2), np.float32) if empty else places(size, diameter, rng, self._in_contact, self._sparse)
        canvas = Canvas(np.zeros((size, size), np.float32), np.zeros((size, size), bool))
        signal = project(cloud, diameter, xy, size, rng)
        dirty = self._soiled and add_dirt(canvas, self._reference, rng, self._facets)
        if dirty:
            one = signal if len(xy) else project(cloud, diameter, np.full((1, 2), size / 2), size, rng)
            canvas.values *= one.max()
            clean = ~canvas.mask[tuple(np.clip(np.rint(xy[:, ::-1]).astype(int), 0, size - 1).T)]
            if not clean.all():
                xy = xy[clean]
                signal = project(cloud, diameter, xy, size, rng)
        if self._soiled:
            dirty |= self._decoys(canvas, cloud, diameter, xy)
        image, snr = self._record(signal, canvas.values if dirty else None, xy, diameter)
        image = standardise(rescale(image, 1.0, self._highpass).values)
        return self._cut(image, xy, snr)

    def _particle(self) -> PointCloud:
        if self._clouds and self._rng.random() >= self._procedural:
            return self._clouds[int(self._rng.integers(len(self._clouds)))]
        return point_cloud(str(self._rng.choice(list(SHAPES))), self._rng, count=int(self._rng.integers(300, 1200)))

    def _decoys(self, canvas: Canvas, cloud: PointCloud, diameter: float, xy: Array) -> bool:
        """Draw things that are not the particle, smaller bodies and clumps of it; whether there were any."""
        rng, size = self._rng, self._size
        found = []
        if rng.random() < 0.25:
            bodies = rng.uniform(0, size - 1, (int(rng.integers(1, 12)), 2))
            shrink = rng.uniform(0.2, 0.5)
            faint = np.float32(rng.uniform(0.1, 0.6))
            found.append(faint * project(cloud, diameter * shrink, bodies, size, rng))
        if rng.random() < 0.1:
            middle = rng.uniform(0, size - 1, 2)
            if not len(xy) or np.min(np.hypot(*(xy - middle).T)) > 1.5 * diameter:
                clump = middle + rng.normal(0, rng.uniform(0.3, 0.6) * diameter, (int(rng.integers(6, 20)), 2))
                found.append(project(cloud, diameter, clump, size, rng))
        for matter in found:
            canvas.values += matter
        return bool(found)

    def _record(self, signal: Array, dirt: Array | None, xy: Array, diameter: float) -> tuple[Array, float]:
        """What the camera sees, and the signal-to-noise ratio that it was given."""
        rng, size = self._rng, self._size
        pixel_size = float(np.exp(rng.uniform(*np.log(PARTICLES)))) / self._reference
        transfer = draw_transfer(size, pixel_size, rng)
        snr = float(np.exp(rng.uniform(*np.log(self._snr))))
        image = through_lens(signal, transfer) if len(xy) else np.zeros((size, size), np.float32)
        power = float(image[discs(xy, diameter, size)].var()) if len(xy) else 0.0
        if dirt is not None:
            image += through_lens(dirt, transfer)
            image -= np.float32(ABSORBED) * dirt
        if not len(xy):
            power = float(image.var())
        image *= np.float32(math.sqrt(snr / max(power, 1e-12)))
        image += noise(size, transfer, rng)
        image += np.float32(2.0 * rng.uniform(0, 1) ** 2) * background(size, rng)
        if rng.random() < 0.12:  # a denoised or low-passed micrograph
            image = np.asarray(ndimage.gaussian_filter(image, rng.uniform(0.5, 2.0)), np.float32)
        return image, snr

    def _cut(self, image: Array, xy: Array, snr: float) -> Field:
        rng, side = self._rng, self._side
        patch = image[BORDER : BORDER + side, BORDER : BORDER + side] * np.float32(rng.uniform(0.8, 1.25))
        inner = xy - BORDER
        inside = np.all((inner >= -0.5) & (inner < side - 0.5), axis=1)
        turn = int(rng.integers(4))
        patch = np.rot90(patch, turn)
        kept = inner[inside]
        for _ in range(turn):  # rot90 sends (x, y) to (y, side - 1 - x)
            kept = np.stack([kept[:, 1], side - 1 - kept[:, 0]], axis=1)
        return Field(np.ascontiguousarray(patch), kept.astype(np.float32), snr)


@dataclass(frozen=True)
class FieldSource:
    """Simulated patches as training asks for them; can be sent to a worker process.

    Attributes
    ----------
    reference : float
        Particle diameter in px.
    side : int
        Side of a patch, px.
    clouds : tuple of PointCloud
    procedural, empty, in_contact : float
    soiled, facets, sparse : bool
    snr : (float, float)
        See :class:`FieldGenerator`.
    """

    reference: float
    side: int = 128
    clouds: tuple[PointCloud, ...] = ()
    procedural: float = 0.5
    empty: float = 0.07
    soiled: bool = True
    snr: tuple[float, float] = SNR
    in_contact: float = 0.0
    facets: bool = False
    sparse: bool = False

    def draws(self, seed: int) -> Callable[[], tuple[Array, Array]]:
        """An endless supply of (image (side, side), centres (n, 2))."""
        generator = FieldGenerator(
            seed, self.reference, self.side, clouds=self.clouds, procedural=self.procedural, empty=self.empty,
            soiled=self.soiled, snr=self.snr, in_contact=self.in_contact, facets=self.facets, sparse=self.sparse,
        )  # fmt: skip

        def draw() -> tuple[Array, Array]:
            field = generator.draw()
            return field.image, field.xy

        return draw


def patches(
    seed: int,
    side: int = 160,
    reference: float = 32.0,
    *,
    clouds: Sequence[PointCloud] = (),
    empty: float = 0.07,
    soiled: bool = True,
) -> Iterator[tuple[Array, Array]]:
    """Training patches and their labels without end, made in memory.

    Parameters
    ----------
    seed : int
        The same seed gives the same patches; worker processes need a seed each.
    side : int
        Side of a patch, px.
    reference : float
        Particle diameter, px; that of a single field differs by up to a third.
    clouds, empty, soiled
        See :class:`FieldGenerator`, which also knows rarer settings and tells the signal-to-noise ratio.

    Yields
    ------
    image : ndarray, shape (side, side), float32
        Background removed, robust standard deviation 1; particles are mostly dark.
    xy : ndarray, shape (n, 2), float32
        Centres of the particles, x = column, px, 0-based; n may be 0.
    """
    draw = FieldSource(reference, side, tuple(clouds), empty=empty, soiled=soiled).draws(seed)
    while True:
        yield draw()
