"""Recognition as published - every window on its own - without computing anything twice.

Each window has its own mean and standard deviation, which enter linearly before the first sigmoid only: the first layer
of a window is

    (w * x - mean sum(w)) / deviation + b

so that w * x is one convolution of the whole micrograph, shared by all windows. From the first sigmoid on, windows are
worked out in groups of neighbours, which lie side by side in memory. The four rotations turn the network
instead of the image: blocks and maps fit each other, so turning commutes with every layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepem.field import Field
from relion_ext_picker.pickers.deepem.network import DeepEM
from relion_ext_picker.pickers.deepem.presets import STEP
from relion_ext_picker.pickers.deepem.spectral import SpectralConvolution, Step, Workspace
from relion_ext_picker.types import Array

GROUP = 64  # windows worked on at a time: the more, the longer the loops; the fewer, the more stays in the cache
CHUNK = 300_000  # values of the first layer at a time, so that they stay in the cache of a core


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


class Piece(NamedTuple):
    """Windows next to each other: columns `start` to `stop` of a row of windows."""

    row: int
    start: int
    stop: int


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
    most = min(GROUP, int(accepted.sum()))
    groups = list(_groups(accepted, most))
    if groups:
        device = network.output.weight.device
        field = Field(image, scan.step, device)
        slope = np.divide(1.0, spread, out=np.zeros_like(spread), where=accepted)
        threads = workers or (1 if device.type != "cpu" else torch.get_num_threads())
        spaces = [Workspace(device) for _ in range(threads)]
        for turn in range(4):
            turned = _Turned(network, turn)
            turned.filter(field, mean, slope)
            scorers = [_Scorer(turned, most, space) for space in spaces]
            for group, part in _run(scorers, groups):
                first = 0
                for row, start, stop in group:
                    score[row, start:stop] += 0.25 * part[first : first + stop - start]
                    first += stop - start
    return WindowScores(np.where(accepted, score, np.float32(0)), accepted, spread)


def _groups(accepted: NDArray[np.bool_], most: int) -> Iterator[list[Piece]]:
    """Groups that hold all accepted windows, `most` in each but the last one, as ranges of columns in rows."""
    group: list[Piece] = []
    room = most
    for row, line in enumerate(accepted):
        columns = np.flatnonzero(line)
        while len(columns):
            start = int(columns[0])
            inside = columns[columns < start + room]
            group.append(Piece(row, start, int(inside[-1]) + 1))
            columns = columns[len(inside) :]
            room -= group[-1].stop - start
            if not room:
                yield group
                group, room = [], most
    if group:
        yield group


def _run(scorers: list[_Scorer], groups: list[list[Piece]]) -> list[tuple[list[Piece], Array]]:
    """Scores of all groups."""
    if len(scorers) == 1:
        return [(group, scorers[0].score(group)) for group in groups]
    waiting = iter(groups)

    @torch.inference_mode()
    def work(scorer: _Scorer) -> list[tuple[list[Piece], Array]]:
        torch.set_num_threads(1)  # of this thread; the operations are too short to be shared out
        return [(group, scorer.score(group)) for group in waiting]

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(len(scorers)) as pool:
            return [result for part in pool.map(work, scorers) for result in part]
    finally:
        torch.set_num_threads(threads)


class _Turned:
    """A network turned by a multiple of 90°, made ready for one micrograph."""

    def __init__(self, network: DeepEM, turn: int) -> None:
        self.architecture = architecture = network.architecture
        first, second, third = (_turn(layer, turn) for layer in (network.conv1, network.conv2, network.conv3))
        self._weight, self._bias = first[0][:, 0], first[1]
        pools, pooled = architecture.pools, architecture.pooled
        self.layers = [
            SpectralConvolution(layer[0] / pools[i] ** 2, layer[1], pooled[i])
            for i, layer in enumerate((second, third))
        ]
        side = pooled[2]
        output = torch.rot90(network.output.weight.view(architecture.maps[2], side, side), turn, (1, 2))
        self._output = output.permute(1, 2, 0).reshape(1, -1) / pools[2] ** 2
        self._output_bias = network.output.bias

    def filter(self, field: Field, mean: NDArray[np.float64], slope: NDArray[np.float64]) -> None:
        """Filter a micrograph; `mean` of its windows and `slope`, one over their deviation."""
        self._step = field.step
        self._maps = field.filtered(self._weight)
        total = self._weight.double().sum((1, 2)).cpu().numpy()
        shift = -total[:, None, None] * ((mean - field.middle) * slope)[None]
        device = self._weight.device
        self._slope = torch.from_numpy(slope.astype(np.float32)).to(device)
        self._shift = torch.from_numpy(shift.astype(np.float32)).to(device) + self._bias[:, None, None]

    def first(self, piece: Piece, values: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """What makes the first convolution of windows: where a + b * c goes to d, of which the second axis is rows.

        `b` has all rows of a window; `d`, which is part of `values` (maps, rows, side, n), as many as fit.
        """
        step, columns = self._step, slice(piece.start, piece.stop)
        slope, shift = self._slope[piece.row, columns], self._shift[:, piece.row, None, None, columns]
        maps, _, side, n = values.shape
        field = self._maps[:, piece.row * step : piece.row * step + side]
        whole, rest = divmod(side, step)  # columns that all planes have, and those that the first planes have besides
        parts = []
        if whole:
            # Column step * q + p of window j lies in plane p at place q + j.
            place = field[:, :, :, piece.start :]
            windows = place.as_strided((maps, side, whole, step, n), (*place.stride()[:2], 1, place.stride(2), 1))
            target = values[:, :, : whole * step]
            strides = (*target.stride()[:2], step * target.stride(2), *target.stride()[2:])
            target = target.as_strided((*target.shape[:2], whole, step, n), strides)
            parts.append((shift[..., None, :], windows, slope, target))
        if rest:
            windows = field[:, :, :rest, piece.start + whole : piece.stop + whole]
            parts.append((shift, windows, slope, values[:, :, whole * step :]))
        return parts

    def last(self, means: Tensor) -> Tensor:
        """Last means (features, n) -> scores (n,)."""
        return torch.sigmoid(torch.mm(self._output, means)[0] + self._output_bias)


class _Scorer:
    """Scores groups of at most `most` windows in memory of its own."""

    def __init__(self, turned: _Turned, most: int, space: Workspace) -> None:
        self._turned, self._space = turned, space
        architecture = turned.architecture
        pools, pooled = architecture.pools, architecture.pooled
        self._values = self._rows(most, space)
        self._maps = maps = space.take("means 0", pooled[0], pooled[0], architecture.maps[0], most)
        self._steps: list[Step] = []
        for layer, pool, side in zip(turned.layers, pools[1:], pooled[1:], strict=True):
            means = space.take(f"means {side} of {layer.side}", side, side, layer.outputs, most)

            def use(columns: slice, values: Tensor, pool: int = pool, means: Tensor = means) -> list[Step]:
                target = means[:, columns.start // pool : columns.stop // pool].flatten(2)
                return [partial(_sigmoid_sums, values.flatten(2)[None], pool, target[None], space)]

            self._steps += layer.steps(maps, use, space, pool)
            maps = means
        self._last = maps.view(-1, most)

    def _rows(self, most: int, space: Workspace) -> Tensor:
        """Room for values of the first layer, as many rows as stay in the cache: (maps, rows, side, most)."""
        maps, pool = self._turned.architecture.maps[0], self._turned.architecture.pools[0]
        side = self._turned.architecture.convolved[0]
        rows = max(1, CHUNK // (maps * pool * side * most))
        return space.take("values", maps, min(rows, side // pool) * pool, side, most)

    def score(self, group: list[Piece]) -> Array:
        """Scores of windows, shape (n,)."""
        pool = self._turned.architecture.pools[0]
        side = self._values.shape[2]
        parts, first = [], 0
        for piece in group:
            count = piece.stop - piece.start
            parts += self._turned.first(piece, self._values[..., first : first + count])
            first += count
        for top in range(0, side, self._values.shape[1]):
            rows = min(side - top, self._values.shape[1])
            for shift, windows, slope, target in parts:
                torch.addcmul(shift, windows.narrow(1, top, rows), slope, out=target.narrow(1, 0, rows))
            target = self._maps[top // pool : (top + rows) // pool].permute(2, 0, 1, 3)
            _sigmoid_sums(self._values[:, :rows], pool, target, self._space)
        for step in self._steps:
            step()
        result: Array = self._turned.last(self._last)[:first].cpu().numpy()
        return result


def _turn(layer: nn.Conv2d, turn: int) -> tuple[Tensor, Tensor]:
    assert layer.bias is not None
    return torch.rot90(layer.weight, turn, (2, 3)), layer.bias


def _sigmoid_sums(values: Tensor, pool: int, out: Tensor, space: Workspace) -> None:
    """Sums over blocks of the sigmoid of maps (maps, h, w, n), into (maps, h / pool, w / pool, n); `values` is lost."""
    values.sigmoid_()
    if pool == 1:
        out.copy_(values)
        return
    # The last axis taken for the channels, the mean runs along memory.
    sums = space.take("sums", *out.shape)
    torch.ops.aten.avg_pool2d(
        values.permute(0, 3, 1, 2), (pool, pool), divisor_override=1, out=sums.permute(0, 3, 1, 2)
    )
    out.copy_(sums)
