"""Training patches without end: small fields of particles as they look after a micrograph has been prepared.

Made directly at the size the networks see, in physical units: a particle of so many Å is REFERENCE px wide, which fixes
the pixel size and with it the contrast transfer. Every field draws its own particle, microscope, dose and dirt
(domain randomisation), so that a network meets anything but the data it will be used on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.image.normalise import standardise
from relion_ext_picker.simulation.dirt import Canvas, add_dirt
from relion_ext_picker.simulation.optics import ctf_2d
from relion_ext_picker.simulation.procedural import SHAPES, PointCloud, point_cloud
from relion_ext_picker.types import Array, Ctf

BORDER = 20  # px simulated around the patch, so that particles may be cut by its edge


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
        Particles to mix with the procedural ones, half and half; may be empty.
    snr : (float, float)
        Range of signal-to-noise ratios, drawn evenly in their logarithm.
    empty : float
        Share of fields without a particle.
    soiled : bool
        Draw dirt and decoys.
    """

    def __init__(
        self,
        seed: int,
        reference: float,
        side: int = 128,
        *,
        highpass: float = 48.0,
        clouds: Sequence[PointCloud] = (),
        snr: tuple[float, float] = (0.012, 4.0),
        empty: float = 0.07,
        soiled: bool = True,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._reference, self._side, self._highpass, self._snr = reference, side, highpass, snr
        self._clouds, self._empty, self._soiled = list(clouds), empty, soiled

    def draw(self) -> Field:
        """The next field."""
        rng = self._rng
        size = self._side + 2 * BORDER
        cloud = self._particle()
        diameter = self._reference * float(np.clip(np.exp(rng.normal(0, 0.11)), 0.72, 1.35))
        canvas = Canvas(np.zeros((size, size), np.float32), np.zeros((size, size), bool))
        xy = self._places(size, diameter)
        signal = self._project(cloud, diameter, xy, size)
        strength = float(np.abs(signal).max()) or float(
            self._project(cloud, diameter, np.full((1, 2), size / 2), size).max()
        )
        if self._soiled:
            add_dirt(canvas, strength, self._reference, rng)
        if len(xy):
            clear = ~canvas.mask[tuple(np.clip(np.rint(xy[:, ::-1]).astype(int), 0, size - 1).T)]
            if not clear.all():
                xy = xy[clear]
                signal = self._project(cloud, diameter, xy, size)
        if self._soiled:
            canvas.values += self._decoys(cloud, diameter, xy, size)
        image, snr = self._record(signal, canvas.values, xy, diameter)
        image = standardise(rescale(image, 1.0, self._highpass).values)
        return self._cut(image, xy, snr)

    def _particle(self) -> PointCloud:
        if self._clouds and self._rng.random() < 0.5:
            return self._clouds[int(self._rng.integers(len(self._clouds)))]
        return point_cloud(str(self._rng.choice(list(SHAPES))), self._rng, count=int(self._rng.integers(300, 1200)))

    def _places(self, size: int, diameter: float) -> Array:
        """Centres with a random density and a random smallest distance."""
        rng = self._rng
        if rng.random() < self._empty:
            return np.zeros((0, 2), np.float32)
        crowd = rng.uniform(0.02, 1.0) ** 1.3 * 1.25 * size**2 / diameter**2
        wanted = max(1, int(round(crowd)))
        apart = diameter * (rng.uniform(0.85, 1.15) if rng.random() < 0.75 else rng.uniform(0.45, 0.85))
        tries = rng.uniform(0, size - 1, (wanted * 12, 2))
        kept: list[NDArray[np.float64]] = []
        for place in tries:
            if len(kept) == wanted:
                break
            if not kept or np.min(np.sum((np.array(kept) - place) ** 2, axis=1)) >= apart**2:
                kept.append(place)
        return np.array(kept, np.float32).reshape(-1, 2)

    def _rotations(self, count: int) -> NDArray[np.float64]:
        """Random rotations, (count, 3, 3): uniform, or with the particle's axis near one direction."""
        rng = self._rng
        quaternion = rng.normal(size=(count, 4))
        quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
        w, x, y, z = quaternion.T
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        turns = np.moveaxis(np.array(rows), 2, 0)
        if rng.random() < 0.3:  # preferred orientation: in-plane turns of one or two views
            angle = rng.uniform(0, 2 * np.pi, count)
            spin = np.zeros((count, 3, 3))
            spin[:, 0, 0] = spin[:, 1, 1] = np.cos(angle)
            spin[:, 1, 0], spin[:, 0, 1], spin[:, 2, 2] = np.sin(angle), -np.sin(angle), 1
            turns = spin @ turns[rng.integers(0, 2, count) % max(1, count)]
        return turns

    def _project(self, cloud: PointCloud, diameter: float, xy: Array, size: int) -> Array:
        """Sum of projections of the particle at the places, smoothed by its grain."""
        if not len(xy):
            return np.zeros((size, size), np.float32)
        turns = self._rotations(len(xy))[:, :2].astype(np.float32)
        points = np.einsum("pij,nj->pni", turns, cloud.xyz * np.float32(diameter)) + xy[:, None, :]
        flat = points.reshape(-1, 2)
        weight = np.tile(cloud.weight, len(xy))
        image = splat(flat, weight, size)
        return np.asarray(ndimage.gaussian_filter(image, max(0.5, cloud.grain * diameter)), np.float32)

    def _decoys(self, cloud: PointCloud, diameter: float, xy: Array, size: int) -> Array:
        """Things that are not the particle: smaller bodies, halves of it, clumps."""
        rng = self._rng
        out = np.zeros((size, size), np.float32)
        if rng.random() < 0.25:
            count = int(rng.integers(1, 12))
            places = rng.uniform(0, size - 1, (count, 2)).astype(np.float32)
            shrink = rng.uniform(0.2, 0.5)
            out += rng.uniform(0.1, 0.6) * self._project(cloud, diameter * shrink, places, size)
        if rng.random() < 0.1:
            middle = rng.uniform(0, size - 1, 2)
            if not len(xy) or np.min(np.hypot(*(xy - middle).T)) > 1.5 * diameter:
                clump = middle + rng.normal(0, rng.uniform(0.3, 0.6) * diameter, (int(rng.integers(6, 20)), 2))
                out += self._project(cloud, diameter, clump.astype(np.float32), size)
        return out

    def _record(self, signal: Array, dirt: Array, xy: Array, diameter: float) -> tuple[Array, float]:
        """What the camera sees: contrast transfer, noise of the ice and of the electrons, background."""
        rng = self._rng
        size = signal.shape[0]
        pixel_size = float(np.exp(rng.uniform(np.log(70), np.log(420)))) / self._reference
        defocus = float(rng.uniform(0.4, 4.0)) * 1e4
        ctf = Ctf(
            defocus, defocus * float(rng.uniform(0.95, 1.0)), float(rng.uniform(0, 180)),
            float(rng.choice([300, 300, 200, 120])), float(rng.choice([2.7, 2.0, 1.4, 0.01])),
            float(rng.uniform(0.07, 0.2)),
        )  # fmt: skip
        transfer = ctf_2d((size, size), pixel_size, ctf, bfactor=float(rng.uniform(0, 400)))
        clean = fft.irfft2(fft.rfft2(signal) * transfer, s=signal.shape)
        soiled = clean + fft.irfft2(fft.rfft2(dirt) * transfer, s=dirt.shape)
        soiled = soiled - 0.1 * dirt  # what absorbs and scatters away stays dark whatever the transfer
        disc = self._discs(xy, diameter, size)
        power = float(clean[disc].var()) if disc.any() else 1.0
        snr = float(np.exp(rng.uniform(*np.log(self._snr))))
        if not disc.any():
            power = float(max(soiled.var(), 1e-12))
        noise = self._noise(size, transfer)
        image = soiled / np.sqrt(power) * np.sqrt(snr) + noise
        image += self._background(size) * rng.uniform(0, 1) ** 2 * 2.0
        if rng.random() < 0.12:  # a denoised or low-passed micrograph
            image = np.asarray(ndimage.gaussian_filter(image, rng.uniform(0.5, 2.0)), np.float32)
        return np.asarray(image, np.float32), snr

    def _discs(self, xy: Array, diameter: float, size: int) -> NDArray[np.bool_]:
        disc = np.zeros((size, size), bool)
        if len(xy):
            place = np.clip(np.rint(xy).astype(int), 0, size - 1)
            disc[place[:, 1], place[:, 0]] = True
            disc = np.asarray(ndimage.distance_transform_edt(~disc) <= 0.5 * diameter)
        return disc

    def _noise(self, size: int, transfer: Array) -> Array:
        """Unit variance: electrons (nearly white) and ice (coloured by the transfer)."""
        rng = self._rng
        fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
        radius = np.hypot(fy, fx) + 0.5 / size
        white = fft.rfft2(rng.standard_normal((size, size), np.float32))
        electrons = white * np.exp(-rng.uniform(0, 2.0) * radius**2)
        ice = fft.rfft2(rng.standard_normal((size, size), np.float32)) * transfer * radius ** -rng.uniform(0, 1.2)
        share = rng.uniform(0, 0.8) if rng.random() < 0.7 else 0.0
        parts = []
        for spectrum in (electrons, ice):
            part = fft.irfft2(spectrum, s=(size, size))
            parts.append(part / part.std())
        noise = np.sqrt(1 - share) * parts[0] + np.sqrt(share) * parts[1]
        return np.asarray(noise / noise.std(), np.float32)

    def _background(self, size: int) -> Array:
        """Smooth variation of ice thickness and illumination, unit variance."""
        spectrum = np.zeros((size, size), np.float32)
        spectrum[:6, :6] = self._rng.normal(size=(6, 6))
        spectrum[0, 0] = 0
        smooth = fft.idctn(spectrum, type=2, norm="ortho")
        return np.asarray(smooth / smooth.std(), np.float32)

    def _cut(self, image: Array, xy: Array, snr: float) -> Field:
        rng, side = self._rng, self._side
        patch = image[BORDER : BORDER + side, BORDER : BORDER + side] * np.float32(rng.uniform(0.8, 1.25))
        inner = xy - BORDER
        inside = np.all((inner >= -0.5) & (inner < side - 0.5), axis=1)
        turn = int(rng.integers(4))
        patch = np.rot90(patch, turn)
        places = inner[inside]
        for _ in range(turn):  # rot90 sends (x, y) to (y, side - 1 - x)
            places = np.stack([places[:, 1], side - 1 - places[:, 0]], axis=1)
        return Field(np.ascontiguousarray(patch), places.astype(np.float32), snr)


def splat(points: Array, weight: Array, size: int) -> Array:
    """Deposit weighted points (n, 2), x and y in px, on a square image by bilinear shares."""
    corner = np.floor(points).astype(np.int64)
    part = points - corner
    image = np.zeros(size * size, np.float64)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            share = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1]) * weight
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            image += np.bincount(y[inside] * size + x[inside], share[inside], size * size)
    return image.reshape(size, size).astype(np.float32)


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
    empty : float
    soiled : bool
        See :class:`FieldGenerator`.
    """

    reference: float
    side: int = 128
    clouds: tuple[PointCloud, ...] = ()
    empty: float = 0.07
    soiled: bool = True

    def draws(self, seed: int) -> Callable[[], tuple[Array, Array]]:
        """An endless supply of (image (side, side), centres (n, 2))."""
        generator = FieldGenerator(
            seed, self.reference, self.side, clouds=self.clouds, empty=self.empty, soiled=self.soiled
        )

        def draw() -> tuple[Array, Array]:
            field = generator.draw()
            return field.image, field.xy

        return draw
