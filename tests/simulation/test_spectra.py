"""Power spectra of simulated micrographs against the curves that they should follow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from relion_ext_picker.simulation.damage import critical_exposure, damage_envelope, ice_spectrum
from relion_ext_picker.simulation.micrograph import MicrographSettings, SimulatedMicrograph, simulate_micrograph
from relion_ext_picker.simulation.optics import electron_wavelength, interaction_constant
from relion_ext_picker.simulation.projection import Projector
from relion_ext_picker.simulation.structures import Structure
from relion_ext_picker.types import Array

PIXEL = 1.5
SETTINGS = {
    "pixel_size": PIXEL, "contaminants": 0.0, "defocus": (9000.0, 9000.0), "astigmatism": (0.0, 0.0),
    "bfactor": (40.0, 40.0), "camera": "ideal",
}  # fmt: skip


def contrast(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the image per V Å: textbook formula at the conditions above."""
    wavelength = electron_wavelength(300)
    lens = math.pi * wavelength * 9000 * frequency**2 - 0.5 * math.pi * 2.7e7 * wavelength**3 * frequency**4
    transfer = math.sqrt(1 - 0.1**2) * np.sin(lens) + 0.1 * np.cos(lens)
    return 2 * interaction_constant(300) * transfer * np.exp(-40 * frequency**2 / 4)


def power(image: Array) -> NDArray[np.float64]:
    return np.square(np.abs(np.fft.fft2(image.astype(np.float64))))


def frequencies(side: int) -> NDArray[np.float64]:
    axis = np.fft.fftfreq(side, PIXEL)
    return np.hypot(axis[:, None], axis[None, :])


@pytest.fixture(scope="module")
def white() -> tuple[Structure, Projector]:
    """An object that scatters alike at all frequencies."""
    volume = np.random.default_rng(0).normal(0, 24, (64, 64, 64)).astype(np.float32)
    return Structure("white", volume, PIXEL, 64 * PIXEL), Projector(volume)


def one_particle(white: tuple[Structure, Projector], **changes: object) -> tuple[SimulatedMicrograph, Array]:
    """A micrograph with a single particle, far from the border, and the projection of that particle in V Å."""
    structure, projector = white
    settings = MicrographSettings(shape=(512, 512), particles=0.7, thickness=(1e-6, 1e-6), **SETTINGS | changes)  # type: ignore[arg-type]
    for seed in range(100):
        made = simulate_micrograph(structure, settings, np.random.default_rng(seed), projector)
        if len(made.xy) == 1 and np.abs(made.xy - 256).max() < 100:
            x, y = made.xy[0].astype(int)
            projection = np.zeros((512, 512), np.float32)
            projection[y - 32 : y + 32, x - 32 : x + 32] = projector(made.angles)[0] * PIXEL
            far = np.ones((512, 512), bool)
            far[y - 140 : y + 140, x - 140 : x + 140] = False
            if made.image[far].std() < 1.1 * math.sqrt(made.image.mean()) + 1e-3 * made.image.std():
                return made, projection
    raise AssertionError("no seed gives a single particle")


def test_power_follows_the_analytic_transfer_function(white: tuple[Structure, Projector]) -> None:
    """Rotational averages within 1 %, amplitudes included, in image over object of a single noise-free particle."""
    made, projection = one_particle(white, dose=(1e12, 1e12), damage=False)
    image, scattered = power(made.image / (1e12 * PIXEL**2) - 1), power(projection)
    s = frequencies(512)
    rings = np.rint(s * PIXEL * 512).astype(int)
    measured, plain, expected, analytic = (
        np.bincount(rings.ravel(), values.ravel())
        for values in (image, scattered, scattered * contrast(s) ** 2, contrast(s) ** 2)
    )
    ring = np.arange(len(plain))
    used = (ring > 4) & (ring < 220)  # 0.3 1/Å; the projection has nothing in the corners
    strong = used & (expected > 0.02 * expected[used].max())
    assert strong.sum() > 100
    np.testing.assert_allclose(measured[strong], expected[strong], rtol=2e-3)
    # Zeros of the curve are zeros of the image.
    curve = analytic / np.bincount(rings.ravel())
    zeros = [n for n in range(20, 200) if curve[n] < curve[n - 1] and curve[n] < curve[n + 1]]
    assert len(zeros) > 4
    for n in zeros:
        assert measured[n] / plain[n] < 0.1 * np.max(measured[n - 12 : n + 12] / plain[n - 12 : n + 12])


def test_damage_lowers_high_frequencies(white: tuple[Structure, Projector]) -> None:
    """What is left of the known signal is the envelope, and all of it without damage."""
    s = frequencies(512)
    for damage in (True, False):
        made, projection = one_particle(white, dose=(60.0, 60.0), damage=damage)
        image = np.fft.fft2(made.image / (60 * PIXEL**2) - 1)
        signal = -np.fft.fft2(projection) * contrast(s)  # what scatters is dark
        left = []
        for low, high in ((0.03, 0.06), (0.08, 0.12), (0.15, 0.2)):
            ring = (s > low) & (s < high)
            strength = np.square(np.abs(signal[ring]))
            left.append((image[ring] * signal[ring].conj()).real.sum() / strength.sum())
            expected = np.average(damage_envelope(s[ring], 60.0), weights=strength) if damage else 1.0
            assert left[-1] == pytest.approx(expected, abs=0.05)
        assert left[0] > 1.8 * left[2] or not damage


def test_critical_exposure_is_the_published_one() -> None:
    """Grant & Grigorieff (2015): about 3 e/Å² at 3 Å and 0.8 of that at 200 kV."""
    assert critical_exposure(np.array([1 / 3.0]))[0] == pytest.approx(0.245 * 3**1.665 + 2.81)
    ratio = critical_exposure(np.array([0.1]), 200.0) / critical_exposure(np.array([0.1]), 300.0)
    assert ratio[0] == pytest.approx(0.8, abs=0.01)
    assert np.isinf(critical_exposure(np.array([0.0]))[0])
    assert damage_envelope(np.array([0.0, 0.2]), 1e-3) == pytest.approx([1, 1], abs=1e-3)
    # The mean over an exposure is that of its two halves, the second of which begins where the first ends.
    half, whole = (damage_envelope(np.array([0.2]), dose)[0] for dose in (10.0, 20.0))
    start = math.exp(-10 / (2 * critical_exposure(np.array([0.2]))[0]))
    assert whole == pytest.approx(0.5 * half * (1 + start), rel=1e-5)


def test_ice_noise_has_its_spectrum(white: tuple[Structure, Projector]) -> None:
    """Shot noise aside, the power of an empty micrograph is that of the ice times the transfer function."""
    dose, side = 200.0, 512
    settings = MicrographSettings(
        shape=(side, side),
        particles=0.0,
        thickness=(1200.0, 1200.0),
        dose=(dose, dose),
        **SETTINGS,  # type: ignore[arg-type]
    )
    total, expected = 0.0, 0.0
    axis = np.abs(np.fft.fftfreq(side))
    s = frequencies(side)
    # Uneven ice makes steps at the border, whose power lies on the axes.
    rings = np.rint(s * PIXEL * 60).astype(int) + 100 * ((axis[:, None] < 0.02) | (axis[None, :] < 0.02))
    for seed in range(4):
        made = simulate_micrograph(white[0], settings, np.random.default_rng(seed), white[1])
        mean = made.image.mean()
        relative = power(made.image / mean - 1) / side**2
        wanted = contrast(s) ** 2 * ice_spectrum(s.astype(np.float32), dose) * made.thickness / PIXEL**2 + 1 / mean
        total = total + np.bincount(rings.ravel(), relative.ravel())
        expected = expected + np.bincount(rings.ravel(), wanted.ravel())
    np.testing.assert_allclose(total[5:30], expected[5:30], rtol=0.05)
    shot = 4 * np.bincount(rings.ravel())[5:30] / mean
    assert np.max(expected[5:30] / shot) > 1.5  # so that the ice matters in what was compared


def test_ice_has_a_ring_that_movement_takes_away() -> None:
    s = np.array([0.05, 0.15, 1 / 3.7, 0.4], np.float32)
    short, long = ice_spectrum(s, 0.01), ice_spectrum(s, 40.0)
    assert short[2] > short[3] > short[1] and short[2] > 10 * short[1]
    assert long[2] / short[2] < 0.2 < long[0] / short[0]
