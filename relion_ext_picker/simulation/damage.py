"""What the beam does to the specimen: particles fade, water moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.simulation.optics import REST_ENERGY_KEV
from relion_ext_picker.types import Array

ICE_DENSITY, WATER_POTENTIAL = 0.031, 146.0  # molecules per Å³, V Å³ per molecule
DIFFUSION = 1.0 / 3.0  # Å² per axis and e/Å²: mean square movement of water molecules under the beam


def critical_exposure(frequency: NDArray[np.floating], voltage: float = 300.0) -> NDArray[np.float64]:
    """Exposure in e/Å² after which a structure factor's amplitude has fallen to exp(-1/2).

    Measured at 300 kV by Grant & Grigorieff (2015), eLife 4, e06980. Electrons of other energies deposit energy in
    inverse proportion to the square of their velocity, which at 200 kV gives the factor 0.8 of the same paper.

    Parameters
    ----------
    frequency : ndarray
        1/Å; infinite exposure is returned for 0.
    voltage : float
        kV.
    """
    with np.errstate(divide="ignore"):
        measured = 0.245 * np.power(np.asarray(frequency, np.float64), -1.665) + 2.81
    return np.asarray(measured * _velocity_squared(voltage) / _velocity_squared(300.0))


def _velocity_squared(voltage: float) -> float:
    """Of an electron, in units of that of light."""
    return 1 - (REST_ENERGY_KEV / (REST_ENERGY_KEV + voltage)) ** 2


def damage_envelope(frequency: NDArray[np.floating], dose: float, voltage: float = 300.0) -> Array:
    """Amplitude that is left in the sum of all frames of an exposure that begins with an intact specimen.

    A frame that ends after exposure N has the amplitude exp(-N / 2 N_e); this is the mean over the exposure, to which
    the sum of frames of any length tends, because damage goes on within a frame as well.

    Parameters
    ----------
    frequency : ndarray
        1/Å.
    dose : float
        e/Å² up to the end of the last frame that is used.
    voltage : float
        kV.
    """
    decay = np.maximum(dose / (2 * critical_exposure(frequency, voltage)), 1e-9)
    return np.asarray(-np.expm1(-decay) / decay, np.float32)


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
