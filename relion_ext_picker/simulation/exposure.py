"""What a camera sees of a small field: contrast transfer, noise of ice and electrons, uneven background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from relion_ext_picker.simulation.optics import ctf_2d
from relion_ext_picker.types import Array, Ctf

WAVES = 6  # of the cosine transform, per axis: what the background is made of
ABSORBED = 0.1  # of dirt: what absorbs and scatters away stays dark whatever the transfer


@dataclass(frozen=True)
class _Frequencies:
    """Over ``rfft2`` of a square field.

    Attributes
    ----------
    squared : ndarray, shape (size, size // 2 + 1), float32
        Of the frequency in 1/px, which is half a step off zero so that it has a logarithm.
    logarithm : ndarray
        Of that frequency.
    share : ndarray, shape (size // 2 + 1,), float32
        How often a column of the half plane occurs in the whole one.
    """

    squared: Array
    logarithm: Array
    share: Array


@lru_cache(maxsize=4)
def _frequencies(size: int) -> _Frequencies:
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    radius = np.hypot(fy, fx) + 0.5 / size
    share = np.full(size // 2 + 1, 2.0, np.float32)
    share[0] = 1
    if size % 2 == 0:
        share[-1] = 1
    return _Frequencies((radius**2).astype(np.float32), np.log(radius).astype(np.float32), share)


@lru_cache(maxsize=4)
def _cosines(size: int) -> Array:
    """The smoothest functions of the orthonormal cosine transform, shape (size, WAVES)."""
    basis = np.cos(np.pi * (np.arange(size)[:, None] + 0.5) * np.arange(WAVES) / size) * math.sqrt(2 / size)
    basis[:, 0] /= math.sqrt(2)
    return basis.astype(np.float32)


def draw_transfer(size: int, pixel_size: float, rng: np.random.Generator) -> Array:
    """Contrast transfer of a random microscope, shape (size, size // 2 + 1); see :func:`.optics.ctf_2d`."""
    defocus = rng.uniform(0.4, 4.0) * 1e4
    ctf = Ctf(
        defocus, defocus * rng.uniform(0.95, 1.0), rng.uniform(0, 180),
        (300.0, 300.0, 200.0, 120.0)[rng.integers(4)], (2.7, 2.0, 1.4, 0.01)[rng.integers(4)], rng.uniform(0.07, 0.2),
    )  # fmt: skip
    return ctf_2d((size, size), pixel_size, ctf, bfactor=rng.uniform(0, 400))


def through_lens(matter: Array, transfer: Array) -> Array:
    """Contrast of projected matter, shape (size, size)."""
    spectrum = fft.rfft2(matter)
    spectrum *= transfer
    return np.asarray(fft.irfft2(spectrum, s=matter.shape, overwrite_x=True), np.float32)


def noise(size: int, transfer: Array, rng: np.random.Generator) -> Array:
    """Unit variance: electrons (nearly white) and, in 70 % of the fields, ice (coloured by the transfer).

    Returns
    -------
    ndarray, shape (size, size), float32
    """
    grid = _frequencies(size)
    ice = rng.uniform(0, 0.8) if rng.random() < 0.7 else 0.0
    spectrum = _white(size, rng)
    spectrum *= np.exp(np.float32(-rng.uniform(0, 2.0)) * grid.squared)
    if ice:
        # The spectrum tells the variance of both parts, so that one transform back serves for their sum.
        spectrum *= np.float32(math.sqrt(1 - ice) / _deviation(spectrum, grid))
        grains = _white(size, rng)
        grains *= transfer
        grains *= np.exp(np.float32(-rng.uniform(0, 1.2)) * grid.logarithm)
        grains *= np.float32(math.sqrt(ice) / _deviation(grains, grid))
        spectrum += grains
    values = fft.irfft2(spectrum, s=(size, size), overwrite_x=True)
    values /= values.std()
    return np.asarray(values, np.float32)


def _white(size: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    return np.asarray(fft.rfft2(rng.standard_normal((size, size), np.float32)), np.complex64)


def _deviation(spectrum: NDArray[np.complex64], grid: _Frequencies) -> float:
    """Standard deviation of the image that has this spectrum."""
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power[0, 0] = 0
    return float(math.sqrt((power.sum(axis=0) * grid.share).sum()) / spectrum.shape[0] ** 2)


def background(size: int, rng: np.random.Generator) -> Array:
    """Smooth variation of ice thickness and illumination, unit variance, shape (size, size), float32."""
    waves = rng.standard_normal((WAVES, WAVES), np.float32)
    waves[0, 0] = 0
    waves *= np.float32(size / math.sqrt(float(np.square(waves).sum())))
    basis = _cosines(size)
    return np.asarray(basis @ waves @ basis.T, np.float32)
