"""Recognition as published - every window on its own - without computing anything twice.

Each window has its own mean and standard deviation, which enter linearly before the first sigmoid only: the first layer
of a window is

    (w * x - mean sum(w)) / deviation + b

so that w * x is one convolution of the whole micrograph, shared by all windows. From the first sigmoid on, windows are
worked out in groups of neighbours in a row, which lie side by side in memory. The four rotations turn the network
instead of the image: blocks and maps fit each other, so turning commutes with every layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepem.network import DeepEM
from relion_ext_picker.pickers.deepem.presets import STEP
from relion_ext_picker.pickers.deepem.spectral import SpectralConvolution, Workspace
from relion_ext_picker.types import Array

WIDE = 128  # windows in a group in the first layer, which works along them: the more, the longer its loops
NARROW = 32  # windows in a group from then on: what they need stays within a few MB
CHUNK = 1_000_000  # values that sigmoids are taken of at a time, so that they stay in the cache


@dataclass(frozen=True)
class StdWindow:
    """Standard deviations that a window may have to be looked at.

    Attributes
    ----------
    low, high : float
        Both exclusive.
    relative : bool
        In units of the median of all windows of the micrograph, otherwise as stored.
    """

    low: float = 0.0
    high: float = float("inf")
    relative: bool = True

    def accepts(self, spread: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the windows with these standard deviations are looked at; constant ones never are."""
        unit = float(np.median(spread)) if self.relative else 1.0
        return (spread > max(self.low * unit, 0.0)) & (spread < self.high * unit)


@dataclass(frozen=True)
class Scan:
    """How a micrograph is scanned.

    Attributes
    ----------
    step : int
        Px between the windows; the first one begins at the first px.
    spread : StdWindow
        By default so wide that a particle of good contrast passes, and the edge of the carbon does not.
    """

    step: int = STEP
    spread: StdWindow = StdWindow(0.7, 1.5)


@dataclass(frozen=True)
class WindowScores:
    """Scores of the windows of a micrograph.

    Attributes
    ----------
    score : ndarray, shape (rows, columns), float32
        Mean over the four rotations; 0 where the window was not looked at.
    accepted : ndarray of bool, shape (rows, columns)
    spread : ndarray, shape (rows, columns), float64
        Sample standard deviations.
    """

    score: Array
    accepted: NDArray[np.bool_]
    spread: NDArray[np.float64]


def window_moments(image: Array, box: int, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sample standard deviation (n - 1) of every window.

    Parameters
    ----------
    image : ndarray, shape (h, w)
    box, step : int
        Px.

    Returns
    -------
    mean, spread : ndarray, shape ((h - box) // step + 1, (w - box) // step + 1)
    """
    middle = float(image.mean(dtype=np.float64))  # differences of sums lose what values have in common
    centred = image.astype(np.float64) - middle
    total = _window_sums(centred, box, step)
    square = _window_sums(np.square(centred, out=centred), box, step)
    count = box * box
    variance = np.maximum(square - total**2 / count, 0) / (count - 1)
    # What is left of a constant window after rounding is not a deviation.
    variance[variance < 1e-12 * np.maximum(square / count, np.mean(square) / count)] = 0
    return total / count + middle, np.sqrt(variance)


def _window_sums(values: NDArray[np.float64], box: int, step: int) -> NDArray[np.float64]:
    for _ in range(2):
        sums = np.zeros((values.shape[0] + 1, values.shape[1]))
        np.cumsum(values, axis=0, out=sums[1:])
        values = np.ascontiguousarray((sums[box::step] - sums[: len(sums) - box : step]).T)
    return values


@torch.inference_mode()
def scan_windows(network: DeepEM, image: Array, scan: Scan, workers: int = 0) -> WindowScores:
    """Score every window of a micrograph.

    Parameters
    ----------
    network : DeepEM
        On the device to compute on.
    image : ndarray, shape (h, w), float32
        As the windows are cut from it.
    scan : Scan
    workers : int
        Threads; 0 takes as many as torch uses, and one on a GPU.

    Raises
    ------
    InputError
        The step is below 1, or the micrograph is smaller than a window.
    """
    box = network.architecture.box
    if scan.step < 1:
        raise InputError(f"the step between windows is {scan.step} px; it has to be 1 or more")
    if min(image.shape) < box:
        raise InputError(
            f"the micrograph of {image.shape[1]} x {image.shape[0]} px is smaller than a window of {box} px: check "
            "the preset and the pixel size"
        )
    mean, spread = window_moments(image, box, scan.step)
    accepted = scan.spread.accepts(spread)
    score = np.zeros(accepted.shape, np.float32)
    tasks = list(_groups(accepted))
    if tasks:
        device = network.output.weight.device
        field = _Field(image, scan.step, device)
        slope = np.divide(1.0, spread, out=np.zeros_like(spread), where=accepted)
        threads = workers or (1 if device.type != "cpu" else torch.get_num_threads())
        spaces = [Workspace(device) for _ in range(threads)]
        for turn in range(4):
            turned = _Turned(network, turn)
            turned.filter(field, mean, slope)
            for (row, columns), part in _run(turned, tasks, spaces):
                score[row, columns] += 0.25 * part
    return WindowScores(np.where(accepted, score, np.float32(0)), accepted, spread)


def _groups(accepted: NDArray[np.bool_]) -> Iterator[tuple[int, slice]]:
    """Rows and ranges of columns that hold all accepted windows, at most WIDE in a range."""
    for row, line in enumerate(accepted):
        columns = np.flatnonzero(line)
        while len(columns):
            start = int(columns[0])
            inside = columns[columns < start + WIDE]
            yield row, slice(start, int(inside[-1]) + 1)
            columns = columns[len(inside) :]


def _run(
    turned: _Turned, tasks: list[tuple[int, slice]], spaces: list[Workspace]
) -> list[tuple[tuple[int, slice], Array]]:
    """Scores of all groups, by as many threads as there are workspaces."""
    if len(spaces) == 1:
        return [(task, turned.score(*task, spaces[0])) for task in tasks]
    waiting = iter(tasks)

    @torch.inference_mode()
    def work(space: Workspace) -> list[tuple[tuple[int, slice], Array]]:
        torch.set_num_threads(1)  # of this thread; the operations are too short to be shared out
        return [(task, turned.score(*task, space)) for task in waiting]

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(len(spaces)) as pool:
            return [result for part in pool.map(work, spaces) for result in part]
    finally:
        torch.set_num_threads(threads)


class _Field:
    """Fourier transform of a micrograph, and the order in which filtered micrographs are stored.

    Column x is stored in plane x % step at place x // step: windows of one row, `step` apart, then lie side by side.
    """

    def __init__(self, image: Array, step: int, device: torch.device) -> None:
        self.shape = (image.shape[0], image.shape[1])
        self.step = step
        self.middle = float(np.float32(image.mean(dtype=np.float64)))
        self._size = [int(fft.next_fast_len(side, real=True)) for side in self.shape]
        centred = torch.from_numpy((image - np.float32(self.middle)).astype(np.float32)).to(device)
        self._spectrum = torch.fft.rfft2(centred, s=self._size)

    def filtered(self, weight: Tensor) -> Tensor:
        """Valid correlation with kernels (maps, k, k) -> (maps, rows, step, places)."""
        kernel, step = weight.shape[-1], self.step
        rows, columns = (side - kernel + 1 for side in self.shape)
        places = -(-columns // step)
        out = torch.zeros(len(weight), rows, step, places, device=weight.device)
        whole = torch.zeros(rows, places * step, device=weight.device)
        # Of a transform of a small kernel, whole rows would be zeros: two products with waves are quicker.
        waves = [_waves(size, kernel).to(weight.device) for size in self._size]
        bands = torch.matmul(waves[0], weight.to(waves[0].dtype))
        for index, band in enumerate(bands):
            spectrum = torch.mm(band, waves[1][: self._spectrum.shape[1]].T).mul_(self._spectrum)
            whole[:, :columns] = torch.fft.irfft2(spectrum, s=self._size)[:rows, :columns]
            out[index] = whole.view(rows, places, step).transpose(1, 2)
        return out


def _waves(size: int, count: int) -> Tensor:
    """Conjugate of the matrix of a Fourier transform of `count` values padded to `size`, (size, count)."""
    phase = torch.arange(size)[:, None] * torch.arange(count) % size * (2 * math.pi / size)
    return torch.polar(torch.ones_like(phase), phase)


class _Turned:
    """A network turned by a multiple of 90°, made ready for one micrograph."""

    def __init__(self, network: DeepEM, turn: int) -> None:
        self.architecture = architecture = network.architecture
        first, second, third = (_turn(layer, turn) for layer in (network.conv1, network.conv2, network.conv3))
        self._weight, self._bias = first[0][:, 0], first[1]
        pools, pooled = architecture.pools, architecture.pooled
        self._second = SpectralConvolution(second[0] / pools[0] ** 2, second[1], pooled[0])
        self._third = SpectralConvolution(third[0] / pools[1] ** 2, third[1], pooled[1])
        side = pooled[2]
        output = network.output.weight.view(architecture.maps[2], side, side)
        self._output = torch.rot90(output, turn, (1, 2)).reshape(1, -1) / pools[2] ** 2
        self._output_bias = network.output.bias

    def filter(self, field: _Field, mean: NDArray[np.float64], slope: NDArray[np.float64]) -> None:
        """Filter a micrograph; `mean` of its windows and `slope`, one over their deviation."""
        self._step = field.step
        self._maps = field.filtered(self._weight)
        total = self._weight.double().sum((1, 2)).cpu().numpy()
        shift = -total[:, None, None] * ((mean - field.middle) * slope)[None]
        device = self._weight.device
        self._slope = torch.from_numpy(slope.astype(np.float32)).to(device)
        self._shift = torch.from_numpy(shift.astype(np.float32)).to(device) + self._bias[:, None, None]

    def score(self, row: int, columns: slice, space: Workspace) -> Array:
        """Scores of windows next to each other in a row, shape (n,)."""
        maps = self._first(row, columns, space)
        parts = [self._rest(part, space) for part in torch.split(maps, NARROW, dim=-1)]
        result: Array = torch.cat(parts).cpu().numpy()
        return result

    def _rest(self, maps: Tensor, space: Workspace) -> Tensor:
        """All layers after the first mean: (maps, period, period, n) -> (n,)."""
        pools, n = self.architecture.pools, maps.shape[-1]
        middle = self._third.frame(space, "middle", n)
        side = self._third.side
        _sigmoid_sums(self._second(maps, space), pools[1], middle[:, :side, :side], space)
        side = self.architecture.pooled[2]
        last = space.take("last", self.architecture.maps[2], side, side, n)
        _sigmoid_sums(self._third(middle, space), pools[2], last, space)
        return torch.sigmoid(torch.mm(self._output, last.view(-1, n))[0] + self._output_bias)

    def _first(self, row: int, columns: slice, space: Workspace) -> Tensor:
        """Maps of the first mean, (maps, period, period, n)."""
        maps, pool, step = len(self._weight), self.architecture.pools[0], self._step
        side, small = self.architecture.convolved[0], self.architecture.pooled[0]
        n = columns.stop - columns.start
        slope, shift = self._slope[row, columns], self._shift[:, row, None, None, columns]
        out = self._second.frame(space, "first", n)
        whole, rest = divmod(side, step)  # columns that all planes have, and those that the first planes have besides
        rows = max(1, CHUNK // (maps * pool * side * n))
        for top in range(0, small, rows):
            bottom = min(top + rows, small)
            y = row * step + top * pool
            field = self._maps[:, y : row * step + bottom * pool]
            values = space.take("values", maps, (bottom - top) * pool, side, n)
            if whole:
                # Column step * q + p of window j lies in plane p at place q + j.
                place = field[:, :, :, columns.start :]
                strides = (*place.stride()[:2], 1, place.stride(2), 1)
                windows = place.as_strided((*values.shape[:2], whole, step, n), strides)
                target = values[:, :, : whole * step].view(windows.shape)
                torch.addcmul(shift[..., None, :], windows, slope, out=target)
            if rest:
                windows = field[:, :, :rest, columns.start + whole : columns.stop + whole]
                torch.addcmul(shift, windows, slope, out=values[:, :, whole * step :])
            _sums(values.sigmoid_(), pool, out[:, top:bottom, :small], space)
        return out


def _turn(layer: nn.Conv2d, turn: int) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return torch.rot90(layer.weight, turn, (2, 3)), layer.bias


def _sigmoid_sums(values: Tensor, pool: int, out: Tensor, space: Workspace) -> None:
    """Sums over blocks of the sigmoid of maps (maps, h, w, n), a few maps at a time; `values` is lost."""
    maps = max(1, CHUNK // values[0].numel())
    for start in range(0, len(values), maps):
        part = slice(start, start + maps)
        _sums(values[part].sigmoid_(), pool, out[part], space)


def _sums(values: Tensor, pool: int, out: Tensor, space: Workspace) -> None:
    """Sums over blocks of `pool` x `pool` of maps (maps, h, w, n) into (maps, h / pool, w / pool, n)."""
    if pool == 1:
        out.copy_(values)
        return
    maps, height, width, n = values.shape
    tall = space.take("tall", maps, height // pool, width, n)
    _add(values.view(maps, -1, pool, width, n), 2, tall)
    _add(tall.view(maps, height // pool, -1, pool, n), 3, out)


def _add(values: Tensor, axis: int, out: Tensor) -> None:
    """Sum over a short axis."""
    first, second, *more = values.unbind(axis)
    torch.add(first, second, out=out)
    for other in more:
        out.add_(other)
