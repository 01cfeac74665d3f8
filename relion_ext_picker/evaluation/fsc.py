"""Fourier shell correlation of two half maps, as RELION calculates it.

RELION sums over the half of the transform that a real-to-complex FFT gives, counting every element once, and puts an
element at distance k (in Fourier pixels) into shell floor(k + 0.5). A sum over the full transform weighs the elements
differently and gives other numbers where shells have few elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from relion_ext_picker.types import Array

Curve = NDArray[np.float64]

RANDOMISE_BELOW = 0.8  # RELION's --randomize_at_fsc
KEPT_BEYOND = 2  # shells beyond the first randomised one where RELION keeps the uncorrected value


@dataclass(frozen=True)
class FscCurves:
    """Fourier shell correlations of two half maps.

    Attributes
    ----------
    resolution : ndarray, shape (box // 2 + 1,)
        Å of every shell; infinite for shell 0.
    unmasked : ndarray, shape (box // 2 + 1,)
    masked, randomised, corrected : ndarray or None
        Of the masked maps, of the masked maps with random phases, and what RELION calls corrected ("true"); None
        without a mask.
    randomise_from : int or None
        First shell with random phases, None without a mask or if no shell needed them.
    """

    resolution: Curve
    unmasked: Curve
    masked: Curve | None = None
    randomised: Curve | None = None
    corrected: Curve | None = None
    randomise_from: int | None = None

    @property
    def best(self) -> Curve:
        """The corrected curve where there is one, else the unmasked."""
        return self.unmasked if self.corrected is None else self.corrected


def shell_resolutions(box: int, pixel_size: float) -> Curve:
    """Resolution of every shell in Å, shape (box // 2 + 1,); infinite for shell 0."""
    with np.errstate(divide="ignore"):
        return box * pixel_size / np.arange(box // 2 + 1, dtype=np.float64)


def correlation(one: NDArray[np.complexfloating], other: NDArray[np.complexfloating]) -> Curve:
    """Fourier shell correlation of two half transforms.

    Paper 002 (Nguyen et al. 2021), eq. 4: the sum of F1 conj(F2) over a shell, divided by the square root of the
    product of the sums of |F1|² and |F2|².

    Parameters
    ----------
    one, other : complex ndarray, shape (box, box, box // 2 + 1)

    Returns
    -------
    ndarray, shape (box // 2 + 1,)
        0 where a shell holds nothing.
    """
    size = one.shape[2]
    sums = np.zeros((3, size))
    for first, second, squared in zip(one, other, _squared_distances(one.shape[0]), strict=True):
        shell = np.floor(np.sqrt(squared) + 0.5).astype(np.intp)
        inside = shell < size
        number, a, b = shell[inside], first[inside], second[inside]
        for row, value in enumerate((a.real * b.real + a.imag * b.imag, abs(a) ** 2, abs(b) ** 2)):
            sums[row] += np.bincount(number, value, size)
    power = sums[1] * sums[2]
    return np.asarray(np.divide(sums[0], np.sqrt(power), out=np.zeros(size), where=power > 0))


def _squared_distances(box: int) -> Iterator[NDArray[np.float64]]:
    """Squared distance from the origin, in Fourier pixels, of the elements of a half transform, plane by plane.

    Large maps must not need more memory than their transforms.
    """
    full = np.fft.fftfreq(box) * box
    across = full[:, None] ** 2 + np.arange(box // 2 + 1) ** 2
    for height in full:
        yield across + height**2


def half_map_fsc(half1: Array, half2: Array, pixel_size: float, mask: Array | None = None, seed: int = 0) -> FscCurves:
    """All curves of RELION's PostProcess from two half maps.

    With a mask, phases are made random from the first shell on where the unmasked curve is below 0.8, and the curve of
    the masked random maps, which shows what the mask alone correlates, is taken off: (FSC - FSC_n) / (1 - FSC_n), from
    the second shell after that on (Chen et al. 2013, as in RELION).

    Parameters
    ----------
    half1, half2 : ndarray, shape (box, box, box)
    pixel_size : float
        Å/px.
    mask : ndarray, same shape, optional
        0..1.
    seed : int
        Of the random phases.

    Raises
    ------
    ValueError
        The maps are no cubes of one size.
    """
    box = half1.shape[0]
    volumes = [half1, half2] if mask is None else [half1, half2, mask]
    if any(volume.shape != (box, box, box) for volume in volumes):
        raise ValueError("half maps and mask must be cubes of the same size")
    resolution = shell_resolutions(box, pixel_size)
    transforms = [fft.rfftn(np.asarray(half, np.float32)) for half in (half1, half2)]
    unmasked = correlation(transforms[0], transforms[1])
    if mask is None:
        return FscCurves(resolution, unmasked)
    masked = correlation(fft.rfftn(half1 * mask), fft.rfftn(half2 * mask))
    below = np.flatnonzero(unmasked[1:] < RANDOMISE_BELOW)
    if not len(below):
        return FscCurves(resolution, unmasked, masked, None, masked.copy(), None)
    first = int(below[0]) + 1
    rng = np.random.default_rng(seed)
    for transform in transforms:
        _randomise(transform, first, rng)
    scrambled = [fft.rfftn(fft.irfftn(item, (box, box, box)) * mask) for item in transforms]
    randomised = correlation(scrambled[0], scrambled[1])
    return FscCurves(resolution, unmasked, masked, randomised, corrected(masked, randomised, first), first)


def corrected(masked: Curve, randomised: Curve, randomise_from: int) -> Curve:
    """RELION's corrected curve from the masked and the phase-randomised one; see :func:`half_map_fsc`."""
    shell = np.arange(len(masked))
    take_off = (shell >= randomise_from + KEPT_BEYOND) & (randomised < 1)
    return np.divide(masked - randomised, 1 - randomised, out=masked.astype(np.float64), where=take_off)


def _randomise(transform: NDArray[np.complexfloating], first: int, rng: np.random.Generator) -> None:
    """Give random phases to all elements at `first` Fourier pixels or farther, in place, and keep their amplitudes."""
    for plane, squared in zip(transform, _squared_distances(transform.shape[0]), strict=True):
        beyond = squared >= first**2
        phase = rng.uniform(0, 2 * np.pi, int(beyond.sum()))
        plane[beyond] = np.abs(plane[beyond]) * np.exp(1j * phase)


def ssnr(fsc: Curve, halves: bool = True) -> Curve:
    """Spectral signal-to-noise ratio that belongs to a Fourier shell correlation.

    Paper 002 (Nguyen et al. 2021), eq. 5: FSC / (1 - FSC) is the ratio of the maps that were compared; eq. 6:
    2 FSC / (1 - FSC) that of all particles where the maps are of one half each.

    Parameters
    ----------
    fsc : ndarray
    halves : bool
        Eq. 6 rather than eq. 5.

    Returns
    -------
    ndarray
        0 where the correlation is negative, infinite where it is 1.
    """
    positive = np.clip(np.asarray(fsc, np.float64), 0, 1)
    with np.errstate(divide="ignore"):
        return (2 if halves else 1) * positive / (1 - positive)
