"""The values that every part of the program passes around.

Lengths are px of the array at hand; coordinates are 0-based pixel centres with x = column and y = row in file order,
which is RELION's convention (the first row of the file has y = 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Ctf:
    """Contrast transfer parameters of one micrograph.

    Attributes
    ----------
    defocus_u, defocus_v : float
        Defocus in Å, positive for underfocus.
    defocus_angle : float
        Angle of `defocus_u` from the x axis in degrees.
    voltage : float
        kV.
    spherical_aberration : float
        mm.
    amplitude_contrast : float
        Fraction, 0..1.
    """

    defocus_u: float
    defocus_v: float
    defocus_angle: float = 0.0
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1


@dataclass(frozen=True)
class Micrograph:
    """One row of a micrographs STAR file.

    Attributes
    ----------
    name : str
        Verbatim from the STAR file, relative to the project, never rewritten.
    pixel_size : float
        Å/px of the micrograph as stored.
    optics_group : int
        Number of the optics group, 1 where the file has none.
    ctf : Ctf or None
        None where the file has no CTF columns.
    """

    name: str
    pixel_size: float
    optics_group: int = 1
    ctf: Ctf | None = None


@dataclass(frozen=True)
class Picks:
    """Particles found in one micrograph, best first.

    Attributes
    ----------
    micrograph : Micrograph
    xy : ndarray, shape (n, 2), float32
        Centres in px of the micrograph as stored.
    score : ndarray, shape (n,), float32
        Figure of merit, 0..1.
    class_number : ndarray, shape (n,), int
        Class of the particle for modes that tell classes apart, else 0.
    shape : (int, int)
        Rows and columns of the micrograph.
    """

    micrograph: Micrograph
    xy: Array
    score: Array
    class_number: NDArray[np.int64]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True)
class Grid:
    """Where the samples of a resampled map lie in the micrograph: the only coordinate conversion of the program.

    Sample (r, c) of the map lies at row ``r * scale[0] + offset[0]`` and column ``c * scale[1] + offset[1]`` of the
    micrograph. The factors differ between the axes whenever the micrograph is not square, because sizes are whole.

    Attributes
    ----------
    scale : (float, float)
        Micrograph px per map px, rows then columns.
    offset : (float, float)
        Micrograph position of map sample (0, 0).
    """

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def resized(cls, original: tuple[int, int], new: tuple[int, int]) -> Grid:
        """Grid of an image of shape `original` resampled to shape `new` over the same field of view."""
        scale = (original[0] / new[0], original[1] / new[1])
        return cls(scale, (0.5 * scale[0] - 0.5, 0.5 * scale[1] - 0.5))

    def coarser(self, stride: int) -> Grid:
        """Grid of a map that has one sample per block of `stride` x `stride` samples of this one."""
        shift = 0.5 * (stride - 1)
        return Grid(
            (self.scale[0] * stride, self.scale[1] * stride),
            (self.offset[0] + shift * self.scale[0], self.offset[1] + shift * self.scale[1]),
        )

    def to_original(self, rows: NDArray[Any], cols: NDArray[Any]) -> Array:
        """Map positions, shape (n,) each, to micrograph coordinates (x, y), shape (n, 2)."""
        x = np.asarray(cols, np.float64) * self.scale[1] + self.offset[1]
        y = np.asarray(rows, np.float64) * self.scale[0] + self.offset[0]
        return np.stack([x, y], axis=1).astype(np.float32)

    def from_original(self, xy: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Micrograph coordinates (x, y), shape (n, 2), to fractional rows and columns of the map."""
        xy = np.asarray(xy, np.float64).reshape(-1, 2)
        return (xy[:, 1] - self.offset[0]) / self.scale[0], (xy[:, 0] - self.offset[1]) / self.scale[1]


@dataclass(frozen=True)
class ScoreMap:
    """A map over (part of) a micrograph and where it lies: a rescaled image, or a score for every place.

    Attributes
    ----------
    values : ndarray, shape (h, w), float32
    grid : Grid
    """

    values: Array
    grid: Grid = field(default_factory=Grid)

    def to_original(self, rows: NDArray[Any], cols: NDArray[Any]) -> Array:
        """See :meth:`Grid.to_original`."""
        return self.grid.to_original(rows, cols)


@dataclass(frozen=True)
class ModelCard:
    """What a model file says of itself; stored as JSON in the header of the safetensors file.

    Attributes
    ----------
    mode : str
        "drpnet", "deepem" or "deepcryopicker".
    preset : str
        "default" or the name of a preset that follows the paper.
    reference_diameter : float
        Particle diameter in px of the rescaled image that the networks see.
    networks : dict
        Per network: {"architecture": name, "config": {...}}. The tensors of network NAME are called ``NAME.*``.
    threshold : float
        Score from which a candidate counts as a particle.
    calibration : dict of float
        Constants that turn raw network outputs into the score.
    provenance : dict
        Data, command, seed, versions and held-out scores.
    """

    mode: str
    preset: str
    reference_diameter: float
    networks: dict[str, dict[str, Any]]
    threshold: float
    calibration: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ParticleTable:
    """What a job downstream of picking says of its particles, one row each; a column that its file lacks is None.

    Attributes
    ----------
    names : tuple of str
        The micrographs, as the file names them.
    micrograph : ndarray, shape (n,), int
        Index into `names`.
    xy : ndarray, shape (n, 2), float64, or None
        Coordinates in px of the micrograph, as extracted.
    origin : ndarray, shape (n, 2), float64, or None
        Shift in Å that centres the particle: its centre lies at ``xy - origin / micrograph_pixel_size``.
    micrograph_pixel_size, pixel_size : ndarray, shape (n,), float64, or None
        Å/px of the micrograph and of the extracted particle.
    class_number : ndarray, shape (n,), int, or None
        From 1; 0 before classification.
    angles : ndarray, shape (n, 3), float64, or None
        Rot, tilt and psi in degrees.
    pmax : ndarray, shape (n,), float64, or None
        Probability of the best orientation and class, 0..1.
    likelihood : ndarray, shape (n,), float64, or None
        Contribution to the logarithm of the likelihood.
    subset : ndarray, shape (n,), int, or None
        Half of the data, 1 or 2.
    figure_of_merit : ndarray, shape (n,), float64, or None
        Score of the pick.
    optics_group : ndarray, shape (n,), int, or None
    box : int or None
        Side of the extracted particles in px.
    """

    names: tuple[str, ...]
    micrograph: NDArray[np.int64]
    xy: NDArray[np.float64] | None = None
    origin: NDArray[np.float64] | None = None
    micrograph_pixel_size: NDArray[np.float64] | None = None
    pixel_size: NDArray[np.float64] | None = None
    class_number: NDArray[np.int64] | None = None
    angles: NDArray[np.float64] | None = None
    pmax: NDArray[np.float64] | None = None
    likelihood: NDArray[np.float64] | None = None
    subset: NDArray[np.int64] | None = None
    figure_of_merit: NDArray[np.float64] | None = None
    optics_group: NDArray[np.int64] | None = None
    box: int | None = None

    def __len__(self) -> int:
        return len(self.micrograph)


@dataclass(frozen=True)
class ClassTable:
    """What a job says of its classes; row k is class k + 1, and a column that its file lacks is None.

    Attributes
    ----------
    distribution : ndarray, shape (k,), float64
        Share of the particles, summed over probabilities.
    resolution : ndarray, shape (k,), float64
        Å, where the signal-to-noise ratio falls below 1; NaN where there is none.
    completeness : ndarray, shape (k,), float64, or None
        Share of Fourier space that the particles of the class cover.
    accuracy_rotations, accuracy_translations : ndarray, shape (k,), float64, or None
        Degrees and Å; NaN where it was not estimated.
    score : ndarray, shape (k,), float64, or None
        Of the class ranker, 0..1.
    box : int or None
        Side of the images in px.
    pixel_size : float or None
        Å/px of the images.
    """

    distribution: NDArray[np.float64]
    resolution: NDArray[np.float64]
    completeness: NDArray[np.float64] | None = None
    accuracy_rotations: NDArray[np.float64] | None = None
    accuracy_translations: NDArray[np.float64] | None = None
    score: NDArray[np.float64] | None = None
    box: int | None = None
    pixel_size: float | None = None

    def __len__(self) -> int:
        return len(self.distribution)
