"""Wavelength, interaction constant and CTF against textbook values and an independent formula."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import numpy as np
import pytest

from relion_ext_picker.simulation.optics import ctf_2d, electron_wavelength, interaction_constant
from relion_ext_picker.types import Ctf

ASTIGMATIC = Ctf(16000, 12000, 35.0, 300.0, 2.7, 0.1)


@pytest.mark.parametrize(
    ("voltage", "wavelength", "sigma"), [(120, 0.033492, 8.64e-4), (200, 0.025079, 7.29e-4), (300, 0.019687, 6.53e-4)]
)
def test_constants(voltage: float, wavelength: float, sigma: float) -> None:
    assert electron_wavelength(voltage) == pytest.approx(wavelength, abs=1e-6)
    assert interaction_constant(voltage) == pytest.approx(sigma, rel=2e-3)


def transfer(ctf: Ctf, sx: float, sy: float) -> float:
    """CTF of one frequency from the wave: exit wave 1 + i eta, objective lens phase, intensity."""
    wavelength = 12.2643 / math.sqrt(ctf.voltage * 1e3 + 0.97845e-6 * (ctf.voltage * 1e3) ** 2)
    s, direction = math.hypot(sx, sy), math.atan2(sy, sx) - math.radians(ctf.defocus_angle)
    defocus = ctf.defocus_u * math.cos(direction) ** 2 + ctf.defocus_v * math.sin(direction) ** 2
    lens = math.pi * wavelength * s**2 * (0.5 * ctf.spherical_aberration * 1e7 * (wavelength * s) ** 2 - defocus)
    a = ctf.amplitude_contrast
    scattered = 1j * math.sqrt(1 - a * a) - a  # phase part and (absorbing) amplitude part
    return (scattered * cmath.exp(-1j * lens)).real


@pytest.mark.parametrize("ctf", [ASTIGMATIC, replace(ASTIGMATIC, voltage=120.0, amplitude_contrast=0.2)])
def test_ctf_is_that_of_the_wave(ctf: Ctf) -> None:
    shape, pixel_size = (48, 64), 2.0
    values = ctf_2d(shape, pixel_size, ctf)
    assert values.shape == (48, 33) and values.dtype == np.float32
    sx, sy = np.fft.rfftfreq(64, pixel_size), np.fft.fftfreq(48, pixel_size)
    expected = np.array([[transfer(ctf, x, y) for x in sx] for y in sy])
    np.testing.assert_allclose(values, expected, atol=2e-3)


def test_underfocus_makes_particles_dark() -> None:
    values = ctf_2d((64, 64), 4.0, Ctf(15000, 15000, amplitude_contrast=0.07))
    assert values[0, 0] == pytest.approx(-0.07, abs=1e-6)
    assert values[0, 1] < values[0, 0]


def test_full_plane_extra_defocus_and_envelope() -> None:
    full = ctf_2d((32, 30), 2.0, ASTIGMATIC, rfft=False)
    np.testing.assert_allclose(full[:, :15], ctf_2d((32, 30), 2.0, ASTIGMATIC)[:, :15], atol=1e-6)
    deeper = replace(ASTIGMATIC, defocus_u=16500.0, defocus_v=12500.0)
    np.testing.assert_allclose(
        ctf_2d((32, 32), 2.0, ASTIGMATIC, extra_defocus=500.0), ctf_2d((32, 32), 2.0, deeper), atol=1e-4
    )
    damped = ctf_2d((32, 32), 2.0, ASTIGMATIC, bfactor=80.0)
    at_nyquist = ctf_2d((32, 32), 2.0, ASTIGMATIC)[0, 16] * math.exp(-80.0 / 4 / 16)
    assert damped[0, 16] == pytest.approx(at_nyquist, abs=1e-6)
