"""A micrograph filtered with many kernels, kept in the order in which windows are read from it."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from relion_ext_picker.types import Array


class Field:
    """Fourier transform of a micrograph, and the order in which filtered micrographs are stored.

    Column x is stored in plane x % step at place x // step: windows of one row, `step` apart, then lie side by side.

    Parameters
    ----------
    image : ndarray, shape (h, w)
    step : int
        Px between windows.
    device : torch.device

    Attributes
    ----------
    shape : (int, int)
        Of the micrograph.
    step : int
    middle : float
        What was subtracted from the micrograph.
    """

    def __init__(self, image: Array, step: int, device: torch.device) -> None:
        self.shape = (image.shape[0], image.shape[1])
        self.step = step
        self.middle = float(np.float32(image.mean(dtype=np.float64)))
        self._size = [int(fft.next_fast_len(side, real=True)) for side in self.shape]
        centred = torch.from_numpy((image - np.float32(self.middle)).astype(np.float32)).to(device)
        self._spectrum = torch.fft.rfft2(centred, s=self._size)
        self._out = torch.empty(0, device=device)

    def filtered(self, weight: Tensor) -> Tensor:
        """Valid correlation with kernels (maps, k, k) -> (maps, rows, step, places); the result before is lost."""
        kernel, step = weight.shape[-1], self.step
        rows, columns = (side - kernel + 1 for side in self.shape)
        places = -(-columns // step)
        if self._out.shape != (len(weight), rows, step, places):  # fresh memory takes long
            self._out = torch.empty(len(weight), rows, step, places, device=weight.device)
        whole = torch.zeros(rows, places * step, device=weight.device)
        # Of a transform of a small kernel, whole rows would be zeros: two products with waves are quicker.
        waves = [_waves(size, kernel).to(weight.device) for size in self._size]
        bands = torch.matmul(waves[0], weight.to(waves[0].dtype))
        for index, band in enumerate(bands):
            spectrum = torch.mm(band, waves[1][: self._spectrum.shape[1]].T).mul_(self._spectrum)
            whole[:, :columns] = torch.fft.irfft2(spectrum, s=self._size)[:rows, :columns]
            self._out[index] = whole.view(rows, places, step).transpose(1, 2)
        return self._out


def _waves(size: int, count: int) -> Tensor:
    """Conjugate of the matrix of a Fourier transform of `count` values padded to `size`, (size, count)."""
    phase = torch.arange(size)[:, None] * torch.arange(count) % size * (2 * math.pi / size)
    return torch.polar(torch.ones_like(phase), phase)
