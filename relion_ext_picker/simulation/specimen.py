"""What lies in the ice and where: particles, aggregates and fragments at their depths, ice of uneven thickness."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from relion_ext_picker.simulation.contaminants import Contamination, Fragment
from relion_ext_picker.simulation.optics import electron_wavelength
from relion_ext_picker.types import Array, Ctf

APART = 0.9  # smallest distance of two particles in diameters, seen along the beam ...
OVERLAP_APART = 0.5  # ... but some may come closer, because they lie at different depths
MOST_COVERED = 0.45  # share of the area that discs of APART diameters can cover when placed at random
LAYER = 100.0  # Å of depth that share one defocus
MOST_LAYERS = 8
SETTLED = 0.3  # particle centres keep this many diameters away from contaminants

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The micrograph inside a larger field that keeps the transform from wrapping one border onto the other.

    Attributes
    ----------
    shape : (int, int)
        Of the field.
    inner : (int, int)
        Of the micrograph.
    margin : int
        px above and left of the micrograph; there are at least as many below and right of it.
    """

    shape: tuple[int, int]
    inner: tuple[int, int]
    margin: int

    @classmethod
    def around(cls, inner: tuple[int, int], pixel_size: float, diameter: float, ctf: Ctf) -> Frame:
        """A field with room for cut particles and for half of the reach of the defocused wave."""
        reach = electron_wavelength(ctf.voltage) * ctf.defocus_u / (2 * pixel_size)
        margin = math.ceil(max(0.5 * diameter, 0.5 * reach) / pixel_size) + 4
        rows, cols = (fft.next_fast_len(side + 2 * margin, real=True) for side in inner)
        while cols % 2:
            cols = fft.next_fast_len(cols + 1, real=True)
        return cls((rows, cols), inner, margin)

    @property
    def origin(self) -> Places:
        """x and y of the micrograph's first pixel."""
        return np.array([self.margin, self.margin])

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the micrograph."""
        rows, cols = self.inner
        return slice(self.margin, self.margin + rows), slice(self.margin, self.margin + cols)

    def contains(self, xy: Places) -> NDArray[np.bool_]:
        """Which places (x, y) of the field lie in the micrograph."""
        place = xy - self.origin
        return np.asarray(np.all((place >= 0) & (place < self.inner[::-1]), axis=1))

    def embed(self, dirt: Contamination) -> Contamination:
        """Continue contaminants beyond the border, as a mirror does."""
        (rows, cols), (full_rows, full_cols) = self.inner, self.shape
        beyond = (full_rows - rows - self.margin, full_cols - cols - self.margin)
        return dirt.padded(((self.margin, beyond[0]), (self.margin, beyond[1])))


@dataclass(frozen=True)
class Bodies:
    """Particles and parts of them in the field.

    Attributes
    ----------
    xy : ndarray, shape (n, 2), int64
        Centres, px of the field.
    angles : ndarray, shape (n, 3), float32
        rot, tilt, psi in degrees.
    layer : ndarray, shape (n,), int64
        Which layer of the ice.
    cuts : tuple of (Fragment or None)
        What is left of each; None for a whole particle.
    """

    xy: Places
    angles: Array
    layer: Places
    cuts: tuple[Fragment | None, ...]

    def __len__(self) -> int:
        return len(self.xy)


def capacity(shape: tuple[int, int], pixel_size: float, diameter: float) -> int:
    """How many particles of `diameter` Å fit into a micrograph without crowding."""
    disc = math.pi / 4 * (APART * diameter / pixel_size) ** 2
    return int(MOST_COVERED * shape[0] * shape[1] / disc)


def layer_depths(thickness: float) -> NDArray[np.float64]:
    """Defocus in Å that each layer of ice has beyond that of the middle."""
    count = max(1, min(MOST_LAYERS, math.ceil(thickness / LAYER)))
    return ((np.arange(count) + 0.5) / count - 0.5) * thickness


def place_particles(
    frame: Frame, wanted: float, size: float, overlaps: float, free: NDArray[np.bool_], rng: np.random.Generator
) -> Places:
    """Whole-pixel centres x, y in the field, shape (n, 2).

    Particles are also placed around the micrograph, where their edges reach into it.

    Parameters
    ----------
    frame : Frame
    wanted : float
        Mean number in the micrograph.
    size : float
        Diameter, px.
    overlaps : float
        Share that may lie as near to others as OVERLAP_APART diameters.
    free : ndarray, shape (h / 4, w / 4), bool
        Where particles may lie, see :func:`free_places`.
    rng : numpy.random.Generator
    """
    area = frame.shape[0] * frame.shape[1] / (frame.inner[0] * frame.inner[1])
    most = int(rng.poisson(wanted * area))
    apart = size * np.where(rng.random(most) < overlaps, OVERLAP_APART, APART)
    tries = rng.integers((0, 0), (frame.shape[1], frame.shape[0]), (30 * most, 2))
    tries = tries[free[tries[:, 1] // 4, tries[:, 0] // 4]]
    kept = np.zeros((most, 2), np.int64)
    count = 0
    for place in tries:
        if count == most:
            break
        if count == 0 or np.square(kept[:count] - place).sum(axis=1).min() >= apart[count] ** 2:
            kept[count] = place
            count += 1
    return kept[:count]


def free_places(mask: NDArray[np.bool_], size: float) -> NDArray[np.bool_]:
    """Where the centre of a particle of `size` px may lie, given for every fourth row and column of a mask."""
    coarse = mask[::4, ::4]
    if not coarse.any():
        return np.ones_like(coarse)
    return np.asarray(ndimage.distance_transform_edt(~coarse) * 4 > SETTLED * size)


def overlapped(xy: Places, others: Places, size: float) -> NDArray[np.bool_]:
    """Which particles have another centre nearer than APART diameters.

    Parameters
    ----------
    xy : ndarray, shape (n, 2)
        Particles.
    others : ndarray, shape (m, 2)
        Everything that they may overlap; the particles are among it.
    size : float
        Diameter, px.
    """
    if not len(xy):
        return np.zeros(0, bool)
    near = cKDTree(others).query_ball_point(xy, APART * size * (1 - 1e-9), return_length=True)
    return np.asarray(near > 1)


def join_bodies(particles: Bodies, dirt: Contamination, angles: Array, layer: Places) -> Bodies:
    """Particles, members of aggregates and fragments in one list, in this order.

    Parameters
    ----------
    particles : Bodies
    dirt : Contamination
        Of the field.
    angles : ndarray, shape (m, 3)
        Orientations of the members and fragments.
    layer : ndarray, shape (m,)
        Their layers.
    """
    clumped = [np.rint(clump) for clump in dirt.clumps]
    broken = [np.array([[cut.x, cut.y]]) for cut in dirt.fragments]
    if not clumped and not broken:
        return particles
    xy = np.concatenate([particles.xy, *clumped, *broken]).astype(np.int64)
    cuts: tuple[Fragment | None, ...] = (None,) * (len(xy) - len(broken)) + tuple(dirt.fragments)
    return replace(
        particles,
        xy=xy,
        angles=np.concatenate([particles.angles, angles]),
        layer=np.concatenate([particles.layer, layer]),
        cuts=cuts,
    )


def stamp(field: Array, xy: Places, views: Array) -> None:
    """Add projections (n, s, s), centred on pixel s // 2, to a field; parts beyond it are cut."""
    rows, cols = field.shape
    side = views.shape[-1]
    for (x, y), view in zip(xy.tolist(), views, strict=True):
        top, left = y - side // 2, x - side // 2
        t, b, le, r = max(0, top), min(rows, top + side), max(0, left), min(cols, left + side)
        if t < b and le < r:
            field[t:b, le:r] += view[t - top : b - top, le - left : r - left]


def discs(shape: tuple[int, int], xy: Places, size: float) -> NDArray[np.bool_]:
    """Pixels within `size` / 2 px of a centre, shape `shape`."""
    half = int(0.5 * size)
    axis = np.arange(-half, half + 1)
    disc = (np.square(axis)[:, None] + np.square(axis)[None, :] <= (0.5 * size) ** 2).astype(np.float32)
    covered = np.zeros(shape, np.float32)
    stamp(covered, xy, np.broadcast_to(disc, (len(xy), *disc.shape)))
    return covered > 0


def thickness_profile(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Ice thickness relative to about its mean: a gradient and gentle waves, shape (h, w)."""
    order = np.arange(3)
    weight = rng.normal(0, 0.12, (3, 3)) / np.maximum(order[:, None] + order[None, :], 1)
    weight[0, 0] = 0
    down, across = (np.cos(np.pi * order * ((np.arange(side) + 0.5) / side)[:, None]) for side in shape)
    waves = (down @ weight).astype(np.float32) @ across.T.astype(np.float32)
    waves += np.float32(1)
    return np.asarray(np.clip(waves, 0.4, 1.8, out=waves))
