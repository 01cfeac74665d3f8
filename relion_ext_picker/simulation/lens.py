"""The way from matter to contrast: Fourier transforms of the field and the contrast transfer at every depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from relion_ext_picker.simulation.blocks import in_blocks
from relion_ext_picker.simulation.optics import aberration, electron_wavelength
from relion_ext_picker.types import Array, Ctf

RINGS = 8192  # steps in which factors that depend on the length of the frequency are tabulated

Spectrum = np.ndarray[tuple[int, int], np.dtype[np.complex64]]


class Lens:
    """Contrast transfer of one micrograph over the frequencies of ``rfft2``.

    What depends on the defocus is multiplied into spectra as they are added up; envelopes, which depend on the length
    of the frequency alone, are given as tables over :attr:`frequency` when the sum goes back to an image.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns, the columns even.
    pixel_size : float
        Å/px.
    ctf : Ctf
        At defocus 0 of :meth:`add`.
    workers : int
        Threads.

    Attributes
    ----------
    frequency : ndarray, shape (RINGS,), float32
        1/Å.
    """

    def __init__(self, shape: tuple[int, int], pixel_size: float, ctf: Ctf, workers: int = 1) -> None:
        self.shape, self._workers = shape, workers
        sx = np.fft.rfftfreq(shape[1], pixel_size).astype(np.float32)
        sy = np.fft.fftfreq(shape[0], pixel_size).astype(np.float32)
        self.half = (len(sy), len(sx))
        step = math.hypot(0.5, 0.5) / pixel_size / (RINGS - 1)
        self.frequency = (np.arange(RINGS) * step).astype(np.float32)
        self._phase = np.empty(self.half, np.float32)
        self._ring = np.empty(self.half, np.uint16)
        per_defocus = np.float32(math.pi * electron_wavelength(ctf.voltage))
        self._across, self._down = per_defocus * sx * sx, per_defocus * sy * sy

        def prepare(rows: slice) -> None:
            self._phase[rows] = aberration(sx, sy[rows, None], ctf)
            self._ring[rows] = np.sqrt(sx * sx + np.square(sy[rows, None])) / np.float32(step) + np.float32(0.5)

        in_blocks(prepare, len(sy), workers)

    def empty(self) -> Spectrum:
        """A spectrum of zeros."""
        return np.zeros(self.half, np.complex64)

    def transform(self, image: Array) -> Spectrum:
        """``rfft2`` of an image."""
        return np.asarray(fft.rfft2(image, workers=self._workers), np.complex64)

    def add(self, total: Spectrum, spectrum: Spectrum, defocus: float = 0.0) -> None:
        """Add to `total` a spectrum times the contrast transfer at an additional defocus in Å."""

        def work(rows: slice) -> None:
            total[rows] += spectrum[rows] * self._transfer(rows, defocus)

        in_blocks(work, len(total), self._workers)

    def project(self, image: Array) -> Spectrum:
        """Spectrum of a projection in the middle of the ice times the contrast transfer."""
        spectrum = self.transform(image)

        def work(rows: slice) -> None:
            spectrum[rows] *= self._transfer(rows, 0.0)

        in_blocks(work, len(spectrum), self._workers)
        return spectrum

    def image(self, parts: Sequence[tuple[Spectrum, Array]]) -> Array:
        """Image of a sum of spectra, each times its envelope, a table over :attr:`frequency`."""
        total = self.empty()

        def work(rows: slice) -> None:
            for spectrum, envelope in parts:
                total[rows] += spectrum[rows] * envelope[self._ring[rows]]

        in_blocks(work, len(total), self._workers)
        return np.asarray(fft.irfft2(total, s=self.shape, overwrite_x=True, workers=self._workers), np.float32)

    def filtered(self, image: Array, envelope: Array) -> Array:
        """`image` with its spectrum times an envelope, a table over :attr:`frequency`."""
        return self.image([(self.transform(image), envelope)])

    def variance(self, spectrum: Spectrum) -> Array:
        """Share of each frequency of the table in the variance of the image of `spectrum`, shape (RINGS,)."""
        return self._by_ring(lambda rows: np.square(spectrum[rows].real) + np.square(spectrum[rows].imag))

    def transfer_variance(self) -> Array:
        """:meth:`variance` of white noise of variance 1 times the contrast transfer, as expected."""
        return self._by_ring(lambda rows: np.square(self._transfer(rows, 0.0))) * (self.shape[0] * self.shape[1])

    def white_variance(self) -> Array:
        """:meth:`variance` of white noise of variance 1, as expected."""
        return self._by_ring(lambda rows: np.ones_like(self._phase[rows])) * (self.shape[0] * self.shape[1])

    def _transfer(self, rows: slice, defocus: float) -> Array:
        chi = self._phase[rows]
        if defocus:
            chi = chi + np.float32(defocus) * (self._across + self._down[rows, None])
        return np.asarray(-np.sin(chi), np.float32)

    def _by_ring(self, power: Callable[[slice], Array]) -> Array:
        """Sums over rings of squared magnitudes, the constant left out, in units of variance of the image."""
        columns = np.full(self.half[1], 2.0, np.float32)  # this half stands for the other half as well,
        columns[[0, -1]] = 1.0  # but for the columns that are their own mirror image

        def work(rows: slice) -> NDArray[np.float64]:
            weighted = (power(rows) * columns).ravel()
            return np.asarray(np.bincount(self._ring[rows].ravel(), weighted, RINGS), np.float64)

        total = np.sum(in_blocks(work, self.half[0], self._workers), axis=0)
        total[0] = 0.0
        return np.asarray(total / float(self.shape[0] * self.shape[1]) ** 2, np.float32)
