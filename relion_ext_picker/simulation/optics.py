"""Electron optics: wavelength, interaction constant and the contrast transfer function of a micrograph.

Formulas: Reimer & Kohl, Transmission Electron Microscopy, 5th edition, chapters 2 and 6; Rohou & Grigorieff (2015),
J. Struct. Biol. 192, 216-221, for the CTF with astigmatism and amplitude contrast.
"""

from __future__ import annotations

import math

import numpy as np

from relion_ext_picker.types import Array, Ctf

REST_ENERGY_KEV = 510.998950  # of the electron
PLANCK_TIMES_LIGHT = 12.398419843  # h c in keV Å


def electron_wavelength(voltage_kv: float) -> float:
    """Relativistic wavelength in Å of electrons accelerated by `voltage_kv` kV."""
    return PLANCK_TIMES_LIGHT / math.sqrt(voltage_kv * (2 * REST_ENERGY_KEV + voltage_kv))


def interaction_constant(voltage_kv: float) -> float:
    """Phase in rad that one volt of projected potential per Å gives, rad/(V Å)."""
    total = (REST_ENERGY_KEV + voltage_kv) / (2 * REST_ENERGY_KEV + voltage_kv)
    return 2 * math.pi * total / (electron_wavelength(voltage_kv) * voltage_kv * 1e3)


def ctf_2d(
    shape: tuple[int, int],
    pixel_size: float,
    ctf: Ctf,
    *,
    extra_defocus: float = 0.0,
    bfactor: float = 0.0,
    rfft: bool = True,
) -> Array:
    """Contrast transfer function over the frequencies of a discrete Fourier transform.

    The value at low frequency is minus the amplitude contrast and falls further at underfocus: what scatters more than
    its surroundings comes out dark. RELION's CTF is the negative of this one.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the image.
    pixel_size : float
        Å/px.
    ctf : Ctf
    extra_defocus : float
        Added to both defoci, Å.
    bfactor : float
        Envelope exp(-bfactor s²/4), Å².
    rfft : bool
        Half plane as of ``numpy.fft.rfft2``; False gives the full plane of ``numpy.fft.fft2``.

    Returns
    -------
    ndarray, shape (h, w // 2 + 1) or (h, w), float32
    """
    columns = np.fft.rfftfreq if rfft else np.fft.fftfreq
    sx = columns(shape[1], pixel_size)[None, :].astype(np.float32)
    sy = np.fft.fftfreq(shape[0], pixel_size)[:, None].astype(np.float32)
    chi = aberration(sx, sy, ctf, extra_defocus)
    np.sin(chi, out=chi)
    np.negative(chi, out=chi)
    if bfactor:
        chi *= np.exp(np.float32(-0.25 * bfactor) * (sx * sx + sy * sy))
    return chi


def aberration(sx: Array, sy: Array, ctf: Ctf, extra_defocus: float = 0.0) -> Array:
    """Phase in rad whose sine is the negative of the contrast transfer function.

    It grows by ``pi * wavelength * s² * D`` when both defoci grow by D.

    Parameters
    ----------
    sx, sy : ndarray, float32
        Frequencies in 1/Å, of shapes that broadcast together.
    ctf : Ctf
    extra_defocus : float
        Added to both defoci, Å.
    """
    wavelength = electron_wavelength(ctf.voltage)
    s2 = sx * sx + sy * sy
    mean = 0.5 * (ctf.defocus_u + ctf.defocus_v) + extra_defocus
    half_difference = 0.5 * (ctf.defocus_u - ctf.defocus_v)
    angle = math.radians(2 * ctf.defocus_angle)
    # Defocus along a direction times s²: cos(2(a - b)) written out, so that no angle has to be computed per sample.
    defocus_s2 = np.float32(mean) * s2
    if half_difference:
        in_axes, between = half_difference * math.cos(angle), 2 * half_difference * math.sin(angle)
        defocus_s2 += np.float32(in_axes) * (sx * sx - sy * sy) + np.float32(between) * (sx * sy)
    chi: Array = np.float32(math.pi * wavelength) * defocus_s2
    chi -= np.float32(0.5 * math.pi * ctf.spherical_aberration * 1e7 * wavelength**3) * (s2 * s2)
    chi += np.float32(math.asin(ctf.amplitude_contrast))
    return chi
