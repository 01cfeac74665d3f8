"""One simulated micrograph: particles in ice, seen through the microscope by a camera.

The specimen is a weak phase object in layers of different defocus; the wave's interference gives the intensity
``1 + 2 F^-1{CTF F{phase}}``, thickness takes electrons away, and the camera counts what is left in its own way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.simulation.blocks import white_noise
from relion_ext_picker.simulation.contaminants import Contamination, contaminate
from relion_ext_picker.simulation.lens import Lens, Spectrum
from relion_ext_picker.simulation.orientations import draw_orientations, uniform_orientations
from relion_ext_picker.simulation.projection import Projector
from relion_ext_picker.simulation.recording import Exposure
from relion_ext_picker.simulation.settings import MicrographSettings
from relion_ext_picker.simulation.snr import solve_dose
from relion_ext_picker.simulation.specimen import (
    Bodies,
    Frame,
    capacity,
    discs,
    free_places,
    join_bodies,
    layer_depths,
    overlapped,
    place_particles,
    stamp,
    thickness_profile,
)
from relion_ext_picker.simulation.structures import Structure
from relion_ext_picker.types import Array, Ctf

__all__ = ["MicrographSettings", "SimulatedMicrograph", "capacity", "simulate_micrograph"]

ABSORPTION_LENGTH = 3000.0  # Å of ice that take away 1 - 1/e of the electrons


@dataclass(frozen=True)
class SimulatedMicrograph:
    """A micrograph and all that is known of it.

    Attributes
    ----------
    image : ndarray, shape (h, w), float32
        Electrons per pixel as the camera reports them.
    xy : ndarray, shape (n, 2), float32
        Particle centres, whole px, 0-based, x = column.
    angles : ndarray, shape (n, 3), float32
        rot, tilt, psi in degrees, RELION's convention.
    defocus_offset : ndarray, shape (n,), float32
        What depth adds to the defocus of each particle, Å.
    overlapped : ndarray, shape (n,), bool
        Another particle, a member of an aggregate or a fragment lies nearer than 0.9 diameters, seen along the beam.
    ctf : Ctf
        Of the middle of the ice.
    bfactor : float
        Å².
    snr : float
        Signal-to-noise ratio as measured in this image, see :mod:`~.snr`; 0 without particles.
    dose : float
        e/Å² that were recorded.
    thickness : float
        Mean of the ice over the micrograph, Å.
    contamination : Contamination
        Labels and list of the contaminants, in px of the micrograph.
    """

    image: Array
    xy: Array
    angles: Array
    defocus_offset: Array
    overlapped: NDArray[np.bool_]
    ctf: Ctf
    bfactor: float
    snr: float
    dose: float
    thickness: float
    contamination: Contamination


def simulate_micrograph(
    structure: Structure,
    settings: MicrographSettings,
    rng: np.random.Generator,
    projector: Projector | None = None,
    workers: int = 1,
) -> SimulatedMicrograph:
    """Simulate one micrograph. The same generator state gives the same bytes whatever the number of threads.

    Parameters
    ----------
    structure : Structure
        Its voxel size must be the pixel size of `settings`.
    settings : MicrographSettings
    rng : numpy.random.Generator
        The only source of chance; one of ``numpy.random.default_rng``.
    projector : Projector, optional
        Of the structure; give it when several micrographs are made.
    workers : int
        Threads.

    Raises
    ------
    ValueError
        Voxel and pixel size differ.
    InputError
        The signal-to-noise ratio asked for cannot be reached.
    """
    if not math.isclose(structure.voxel_size, settings.pixel_size, rel_tol=1e-6):
        raise ValueError(f"structure at {structure.voxel_size} Å, micrograph at {settings.pixel_size} Å/px")
    projector = projector or Projector(structure.potential)
    ctf, bfactor = _draw_optics(settings, rng)
    thickness = float(rng.uniform(*settings.thickness))
    dose, snr = float(rng.uniform(*settings.dose)), float(rng.uniform(*settings.snr))
    dose *= (settings.used_frames or settings.frames) / settings.frames

    frame = Frame.around(settings.shape, settings.pixel_size, structure.diameter, ctf)
    size = structure.diameter / settings.pixel_size
    dirt = contaminate(
        settings.shape, settings.pixel_size, structure.diameter, settings.contaminants, rng, settings.kinds
    )
    around = frame.embed(dirt)
    depths = layer_depths(thickness)
    bodies, count = _draw_bodies(frame, settings, size, around, (len(depths), rng))
    inside = frame.contains(bodies.xy[:count])
    ice = thickness_profile(frame.shape, rng)
    ice *= np.float32(thickness / ice[frame.window].mean(dtype=np.float64))

    lens = Lens(frame.shape, settings.pixel_size, ctf, workers)
    exposure = Exposure(
        lens,
        settings,
        bfactor,
        signal=_signal(lens, bodies, depths, projector, workers),
        noise=_noise(lens, ice, rng, workers),
        dirt=_dirt(lens, around, settings.pixel_size, rng, workers) if dirt.nuisances else None,
        transmitted=_transmitted(ice, around if dirt.nuisances else None),
        seen=_seen(frame, bodies.xy[:count][inside], size),
    )
    if snr > 0 and inside.any():
        dose = solve_dose(snr, exposure.budget(ice), exposure.signal_variance)
    del ice, around  # of the size of the field, and no longer needed
    image, measured = exposure.record(dose, rng, workers)
    return SimulatedMicrograph(
        np.ascontiguousarray(image[frame.window]),
        (bodies.xy[:count][inside] - frame.origin).astype(np.float32),
        bodies.angles[:count][inside],
        depths[bodies.layer[:count][inside]].astype(np.float32),
        overlapped(bodies.xy[:count], bodies.xy, size)[inside],
        ctf,
        bfactor,
        measured,
        dose,
        thickness,
        dirt,
    )


def _draw_optics(settings: MicrographSettings, rng: np.random.Generator) -> tuple[Ctf, float]:
    defocus = rng.uniform(*settings.defocus)
    half = 0.5 * rng.uniform(*settings.astigmatism)
    ctf = Ctf(
        round(defocus + half, 2), round(defocus - half, 2), round(rng.uniform(0, 180), 2), settings.voltage,
        settings.spherical_aberration, settings.amplitude_contrast,
    )  # fmt: skip
    return ctf, float(rng.uniform(*settings.bfactor))


def _draw_bodies(
    frame: Frame,
    settings: MicrographSettings,
    size: float,
    dirt: Contamination,
    chance: tuple[int, np.random.Generator],
) -> tuple[Bodies, int]:
    """All that is made of the structure, in the field, and how many of it are whole particles: the first ones."""
    layers, rng = chance
    free = free_places(dirt.labels > 0, size)
    xy = place_particles(frame, settings.particles, size, settings.overlaps, free, rng)
    angles = draw_orientations(settings.orientations, settings.orientation_spread, len(xy), rng)
    particles = Bodies(xy, angles, rng.integers(layers, size=len(xy)), (None,) * len(xy))
    more = sum(len(clump) for clump in dirt.clumps) + len(dirt.fragments)
    # What has stuck together or broken has no preference.
    return join_bodies(particles, dirt, uniform_orientations(more, rng), rng.integers(layers, size=more)), len(xy)


def _signal(lens: Lens, bodies: Bodies, depths: NDArray[np.float64], projector: Projector, workers: int) -> Spectrum:
    """Sums of voxels of all bodies, times the contrast transfer at their depths: one layer in memory at a time."""
    total = lens.empty()
    for number, depth in enumerate(depths.tolist()):
        members = np.flatnonzero(bodies.layer == number)
        if not len(members):
            continue
        views = projector(bodies.angles[members], workers)
        for view, cut in zip(views, (bodies.cuts[member] for member in members), strict=True):
            if cut is not None:
                view *= cut.weights(view.shape[-1])
        layer = np.zeros(lens.shape, np.float32)
        stamp(layer, bodies.xy[members], views)
        lens.add(total, lens.transform(layer), depth)
    return total


def _noise(lens: Lens, ice: Array, rng: np.random.Generator, workers: int) -> Spectrum:
    """White noise whose variance is the thickness of the ice in Å: thicker ice scatters proportionally more."""
    noise = white_noise(lens.shape, rng, workers)
    noise *= np.sqrt(ice)
    return lens.project(noise)


def _dirt(lens: Lens, dirt: Contamination, pixel_size: float, rng: np.random.Generator, workers: int) -> Spectrum:
    """Contaminants: their mean potential and the irregular scattering of their atoms."""
    image = white_noise(lens.shape, rng, workers)
    image *= np.sqrt(dirt.grain)
    image /= np.float32(pixel_size)  # white noise has power pixel_size² per unit variance
    image += dirt.potential
    return lens.project(image)


def _transmitted(ice: Array, dirt: Contamination | None) -> Array:
    """Share of the electrons that passes, shape (h, w)."""
    depth = ice / np.float32(-ABSORPTION_LENGTH)
    if dirt is not None:
        depth -= dirt.absorption
    return np.asarray(np.exp(depth, out=depth))


def _seen(frame: Frame, xy: NDArray[np.int64], size: float) -> NDArray[np.bool_]:
    """Discs of the particles of the micrograph, in the field."""
    seen = np.zeros(frame.shape, bool)
    seen[frame.window] = discs(frame.inner, xy - frame.origin, size)
    return seen
