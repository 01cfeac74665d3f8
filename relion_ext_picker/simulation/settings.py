"""Conditions under which micrographs are simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relion_ext_picker.simulation.camera import CAMERAS
from relion_ext_picker.simulation.contaminants import KINDS
from relion_ext_picker.simulation.orientations import KINDS as ORIENTATIONS

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class MicrographSettings:
    """Conditions of a session; from each range (lowest, highest) one value is drawn for every micrograph.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å/px.
    particles : float
        Mean number per micrograph.
    overlaps : float
        Share of the particles that may overlap others.
    orientations : str
        See :func:`~.orientations.draw_orientations`.
    orientation_spread : float
        Degrees.
    contaminants : float
        Mean number per micrograph.
    kinds : sequence of str
        Which contaminants may occur.
    thickness : (float, float)
        Of the ice, Å.
    defocus : (float, float)
        Underfocus, mean of the two directions, Å.
    astigmatism : (float, float)
        Difference of the two defoci, Å.
    voltage, spherical_aberration, amplitude_contrast : float
        kV, mm, fraction.
    bfactor : (float, float)
        Of the envelope exp(-B s²/4), Å².
    dose : (float, float)
        Electrons per Å² that hit the specimen in all frames.
    frames : int
        Into how many frames the exposure is divided.
    used_frames : int
        How many of the first frames make up the micrograph; 0: all of them.
    snr : (float, float)
        Signal-to-noise ratio that the micrograph shall have, see :mod:`~.snr`; the recorded dose is chosen
        accordingly. (0, 0): the one that `dose` gives, as always where there is no particle.
    camera : str
        One of :data:`~.camera.CAMERAS`.
    damage : bool
        Whether the beam takes away fine detail of the particles.

    Raises
    ------
    ValueError
        A name is unknown, or there are fewer frames than are used.
    """

    shape: tuple[int, int]
    pixel_size: float
    particles: float = 80.0
    overlaps: float = 0.04
    orientations: str = "uniform"
    orientation_spread: float = 20.0
    contaminants: float = 0.5
    kinds: Sequence[str] = KINDS
    thickness: Range = (400.0, 400.0)
    defocus: Range = (8000.0, 25000.0)
    astigmatism: Range = (0.0, 300.0)
    voltage: float = 300.0
    spherical_aberration: float = 2.7
    amplitude_contrast: float = 0.1
    bfactor: Range = (50.0, 120.0)
    dose: Range = (30.0, 30.0)
    frames: int = 1
    used_frames: int = 0
    snr: Range = (0.0, 0.0)
    camera: str = "counting"
    damage: bool = True

    def __post_init__(self) -> None:
        if self.camera not in CAMERAS:
            raise ValueError(f"camera {self.camera!r}: must be one of {', '.join(CAMERAS)}")
        if self.orientations not in ORIENTATIONS:
            raise ValueError(f"orientations {self.orientations!r}: must be one of {', '.join(ORIENTATIONS)}")
        if not 0 <= self.used_frames <= self.frames:
            raise ValueError(f"used frames {self.used_frames}: there are {self.frames}")
