"""One simulated micrograph: particles in ice, seen through the microscope by a counting camera.

The specimen is a weak phase object in layers of different defocus; the wave's interference gives the intensity
``1 + 2 F^-1{CTF F{phase}}``, thickness takes electrons away, the camera blurs a little and counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from relion_ext_picker.simulation.contaminants import Contamination, contaminate
from relion_ext_picker.simulation.optics import ctf_2d, electron_wavelength, interaction_constant
from relion_ext_picker.simulation.projection import Projector, uniform_orientations
from relion_ext_picker.simulation.structures import Structure
from relion_ext_picker.types import Array, Ctf

APART = 0.9  # smallest distance of two particles in diameters, seen along the beam ...
OVERLAPS, OVERLAP_APART = 0.04, 0.5  # ... but this share may come closer, because they lie at different depths
MOST_COVERED = 0.45  # share of the area that discs of APART diameters can cover when placed at random
LAYER = 100.0  # Å of depth that share one defocus
MOST_LAYERS = 8
ABSORPTION_LENGTH = 3000.0  # Å of ice that take away 1 - 1/e of the electrons
ICE_DENSITY, WATER_POTENTIAL = 0.031, 146.0  # molecules per Å³, V Å³ per molecule
DIFFUSION = 1.0 / 3.0  # Å² per axis and e/Å²: mean square movement of water molecules under the beam
SETTLED = 0.3  # particle centres keep this many diameters away from contaminants


@dataclass(frozen=True, kw_only=True)
class MicrographSettings:
    """Conditions of a session; ranges are drawn from for every micrograph.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å/px.
    particles : float
        Mean number per micrograph.
    contaminants : float
        Mean number per micrograph.
    thickness : float
        Of the ice, Å.
    defocus : (float, float)
        Range of the underfocus, Å.
    astigmatism : float
        Largest difference of the two defoci, Å.
    voltage, spherical_aberration, amplitude_contrast : float
        kV, mm, fraction.
    bfactor : (float, float)
        Range of the envelope exp(-B s²/4), Å².
    dose : float
        Electrons per Å² that hit the specimen.
    """

    shape: tuple[int, int]
    pixel_size: float
    particles: float = 80.0
    contaminants: float = 0.5
    thickness: float = 400.0
    defocus: tuple[float, float] = (8000.0, 25000.0)
    astigmatism: float = 300.0
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1
    bfactor: tuple[float, float] = (50.0, 120.0)
    dose: float = 30.0


@dataclass(frozen=True)
class SimulatedMicrograph:
    """A micrograph and all that is known of it.

    Attributes
    ----------
    image : ndarray, shape (h, w), float32
        Counts.
    xy : ndarray, shape (n, 2), float32
        Particle centres, whole px, 0-based, x = column.
    angles : ndarray, shape (n, 3), float32
        rot, tilt, psi in degrees, RELION's convention.
    defocus_offset : ndarray, shape (n,), float32
        What depth adds to the defocus of each particle, Å.
    ctf : Ctf
        Of the middle of the ice.
    bfactor : float
        Å².
    contaminated : ndarray, shape (h, w), bool
    """

    image: Array
    xy: Array
    angles: Array
    defocus_offset: Array
    ctf: Ctf
    bfactor: float
    contaminated: NDArray[np.bool_]


def capacity(shape: tuple[int, int], pixel_size: float, diameter: float) -> int:
    """How many particles of `diameter` Å fit into a micrograph without crowding."""
    disc = math.pi / 4 * (APART * diameter / pixel_size) ** 2
    return int(MOST_COVERED * shape[0] * shape[1] / disc)


def simulate_micrograph(
    structure: Structure, settings: MicrographSettings, rng: np.random.Generator, projector: Projector | None = None
) -> SimulatedMicrograph:
    """Simulate one micrograph.

    Parameters
    ----------
    structure : Structure
        Its voxel size must be the pixel size of `settings`.
    settings : MicrographSettings
    rng : numpy.random.Generator
        The only source of chance.
    projector : Projector, optional
        Of the structure; give it when several micrographs are made.

    Raises
    ------
    ValueError
        Voxel and pixel size differ.
    """
    if not math.isclose(structure.voxel_size, settings.pixel_size, rel_tol=1e-6):
        raise ValueError(f"structure at {structure.voxel_size} Å, micrograph at {settings.pixel_size} Å/px")
    projector = projector or Projector(structure.potential)
    ctf, bfactor = _draw_optics(settings, rng)
    frame = _Frame.around(settings, structure, ctf)
    dirt = contaminate(settings.shape, settings.pixel_size, structure.diameter, settings.contaminants, rng)
    dirt = frame.embed(dirt)
    xy = _place(frame, settings, structure.diameter, dirt.mask, rng)
    angles = uniform_orientations(len(xy), rng)
    layers = max(1, min(MOST_LAYERS, math.ceil(settings.thickness / LAYER)))
    layer = rng.integers(layers, size=len(xy))
    offsets = ((np.arange(layers) + 0.5) / layers - 0.5) * settings.thickness
    phase = np.zeros((layers, *frame.shape), np.float32)
    _stamp(phase, layer, xy, projector(angles))
    for clump in dirt.clumps:
        views = projector(uniform_orientations(len(clump), rng))
        _stamp(phase, rng.integers(layers, size=len(clump)), np.rint(clump).astype(np.int64), views)
    if dirt.fragments:
        views = projector(uniform_orientations(len(dirt.fragments), rng))
        views = views * np.stack([cut.weights(views.shape[-1]) for cut in dirt.fragments])
        places = np.array([(cut.x, cut.y) for cut in dirt.fragments], np.int64)
        _stamp(phase, rng.integers(layers, size=len(places)), places, views)
    phase *= np.float32(settings.pixel_size)
    ice = settings.thickness * _thickness_profile(frame.shape, rng)
    scattered = _through_lens(phase, offsets, (dirt, ice), settings, (ctf, bfactor), rng)
    transmitted = np.exp(-ice / np.float32(ABSORPTION_LENGTH) - dirt.absorption)
    image = _record(np.maximum(1 + 2 * scattered, 0.02) * transmitted, settings, rng)
    inside = frame.contains(xy)
    return SimulatedMicrograph(
        np.ascontiguousarray(image[frame.window]),
        (xy[inside] - frame.origin).astype(np.float32),
        angles[inside],
        offsets[layer[inside]].astype(np.float32),
        ctf,
        bfactor,
        np.ascontiguousarray(dirt.mask[frame.window]),
    )


@dataclass(frozen=True)
class _Frame:
    """The micrograph inside a larger field that keeps the transform from wrapping one border onto the other."""

    shape: tuple[int, int]
    inner: tuple[int, int]
    margin: int

    @classmethod
    def around(cls, settings: MicrographSettings, structure: Structure, ctf: Ctf) -> _Frame:
        """A field with room for cut particles and for half of the reach of the defocused wave."""
        reach = electron_wavelength(ctf.voltage) * ctf.defocus_u / (2 * settings.pixel_size)
        margin = math.ceil(max(0.5 * structure.diameter, 0.5 * reach) / settings.pixel_size) + 4
        rows, cols = (fft.next_fast_len(side + 2 * margin, real=True) for side in settings.shape)
        return cls((rows, cols + cols % 2), settings.shape, margin)

    @property
    def origin(self) -> NDArray[np.int64]:
        """x and y of the micrograph's first pixel."""
        return np.array([self.margin, self.margin])

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the micrograph."""
        rows, cols = self.inner
        return slice(self.margin, self.margin + rows), slice(self.margin, self.margin + cols)

    def contains(self, xy: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which places (x, y) of the field lie in the micrograph."""
        place = xy - self.origin
        return np.asarray(np.all((place >= 0) & (place < self.inner[::-1]), axis=1))

    def embed(self, dirt: Contamination) -> Contamination:
        """Continue contaminants beyond the border, as a mirror does."""
        (rows, cols), (full_rows, full_cols) = self.inner, self.shape
        beyond = (full_rows - rows - self.margin, full_cols - cols - self.margin)
        return dirt.padded(((self.margin, beyond[0]), (self.margin, beyond[1])))


def _draw_optics(settings: MicrographSettings, rng: np.random.Generator) -> tuple[Ctf, float]:
    defocus = rng.uniform(*settings.defocus)
    half = 0.5 * rng.uniform(0, settings.astigmatism)
    ctf = Ctf(
        round(defocus + half, 2), round(defocus - half, 2), round(rng.uniform(0, 180), 2), settings.voltage,
        settings.spherical_aberration, settings.amplitude_contrast,
    )  # fmt: skip
    return ctf, float(rng.uniform(*settings.bfactor))


def _place(
    frame: _Frame, settings: MicrographSettings, diameter: float, mask: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Whole-pixel centres x, y in the field, shape (n, 2).

    Particles are also placed around the micrograph, where their edges reach into it.
    """
    size = diameter / settings.pixel_size
    free = ndimage.distance_transform_edt(~mask[::4, ::4]) * 4 > SETTLED * size if mask.any() else None
    area = frame.shape[0] * frame.shape[1] / (frame.inner[0] * frame.inner[1])
    wanted = int(rng.poisson(settings.particles * area))
    kept = np.zeros((wanted, 2), np.int64)
    count = 0
    for place in rng.integers((0, 0), (frame.shape[1], frame.shape[0]), (30 * wanted, 2)):
        if count == wanted:
            break
        if free is not None and not free[place[1] // 4, place[0] // 4]:
            continue
        apart = size * (OVERLAP_APART if rng.random() < OVERLAPS else APART)
        if count == 0 or np.square(kept[:count] - place).sum(axis=1).min() >= apart**2:
            kept[count] = place
            count += 1
    return kept[:count]


def _stamp(layers: Array, layer: NDArray[np.int64], xy: NDArray[np.int64], views: Array) -> None:
    """Add projections (n, s, s), centred on pixel s // 2, to their layers; parts beyond the field are cut."""
    rows, cols = layers.shape[1:]
    side = views.shape[-1]
    for which, (x, y), view in zip(layer, xy, views, strict=True):
        top, left = int(y) - side // 2, int(x) - side // 2
        t, b, le, r = max(0, top), min(rows, top + side), max(0, left), min(cols, left + side)
        if t < b and le < r:
            layers[which, t:b, le:r] += view[t - top : b - top, le - left : r - left]


def _thickness_profile(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Ice thickness relative to its mean: a gradient and gentle waves, shape (h, w)."""
    waves = np.zeros(shape, np.float32)
    for row in range(3):
        for col in range(3):
            if row + col:
                along = np.cos(np.pi * row * (np.arange(shape[0], dtype=np.float32) + 0.5) / shape[0])[:, None]
                across = np.cos(np.pi * col * (np.arange(shape[1], dtype=np.float32) + 0.5) / shape[1])[None, :]
                waves += np.float32(rng.normal(0, 0.12) / (row + col)) * along * across
    return np.clip(1 + waves, 0.4, 1.8)


def ice_spectrum(frequency: Array, dose: float) -> Array:
    """Power spectrum of the potential of vitreous ice per Å of thickness, V² Å³.

    Molecules times form factor squared times structure factor: little at low frequency, because water is hardly
    compressible, a ring at 1/3.7 Å and the value of independent molecules beyond. Molecules move under the beam (about
    1 Å per e/Å²: McMullan, Vinothkumar & Henderson 2015, Ultramicroscopy 158, 26-32), so that the longer the exposure,
    the less of the fine noise remains in the sum.

    Parameters
    ----------
    frequency : ndarray
        1/Å.
    dose : float
        e/Å².
    """
    s2 = np.square(frequency)
    structure = 0.06 + 0.94 / (1 + np.exp(-(frequency - 0.235) / 0.015))
    structure = structure + 0.9 * np.exp(-0.5 * np.square((frequency - 1 / 3.7) / 0.02))
    form = np.exp(-3.0 * s2)  # squared form factor of oxygen
    decay = np.maximum(2 * np.pi**2 * DIFFUSION * dose * s2, 1e-3)
    kept = 2 / decay * (1 - (1 - np.exp(-decay)) / decay)  # mean correlation of all pairs of moments of the exposure
    return np.asarray(ICE_DENSITY * WATER_POTENTIAL**2 * structure * form * kept, np.float32)


def _through_lens(
    layers: Array,
    offsets: NDArray[np.float64],
    matter: tuple[Contamination, Array],
    settings: MicrographSettings,
    optics: tuple[Ctf, float],
    rng: np.random.Generator,
) -> Array:
    """``F^-1{CTF F{phase}}`` of particles in layers (V Å), contaminants and ice of a thickness in Å."""
    dirt, ice = matter
    ctf, bfactor = optics
    shape, pixel_size = (layers.shape[1], layers.shape[2]), settings.pixel_size
    frequency = np.hypot(
        np.fft.fftfreq(shape[0], pixel_size).astype(np.float32)[:, None],
        np.fft.rfftfreq(shape[1], pixel_size).astype(np.float32)[None, :],
    )
    # White noise has power pixel_size² per unit variance; thicker ice scatters proportionally more.
    noise = rng.standard_normal(shape, np.float32) * np.sqrt(ice)
    spectrum = fft.rfft2(noise) * np.sqrt(ice_spectrum(frequency, settings.dose)) / np.float32(pixel_size)
    if dirt.mask.any():
        rigid = rng.standard_normal(shape, np.float32) * np.sqrt(dirt.grain) / np.float32(pixel_size)
        spectrum += fft.rfft2(rigid) * np.exp(np.float32(-1.5) * np.square(frequency))
        spectrum += fft.rfft2(dirt.potential)
    spectrum *= ctf_2d(shape, pixel_size, ctf, bfactor=bfactor)
    for layer, offset in zip(layers, offsets.tolist(), strict=True):
        spectrum += fft.rfft2(layer) * ctf_2d(shape, pixel_size, ctf, extra_defocus=offset, bfactor=bfactor)
    spectrum *= np.float32(interaction_constant(settings.voltage))
    return np.asarray(fft.irfft2(spectrum, s=shape, overwrite_x=True), np.float32)


def camera_mtf(shape: tuple[int, int]) -> Array:
    """Modulation transfer of a counting camera over ``rfft2`` frequencies: about 0.55 at the Nyquist frequency."""
    y, x = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    return np.asarray(np.sinc(y) * np.sinc(x) * np.exp(-0.6 * (y**2 + x**2)), np.float32)


def _record(intensity: Array, settings: MicrographSettings, rng: np.random.Generator) -> Array:
    """Counts of an intensity relative to the beam: Poisson statistics, then the spread of each count."""
    counts = rng.poisson(intensity * np.float32(settings.dose * settings.pixel_size**2)).astype(np.float32)
    shape = (counts.shape[0], counts.shape[1])
    return np.asarray(fft.irfft2(fft.rfft2(counts) * camera_mtf(shape), s=shape, overwrite_x=True), np.float32)
