"""Convolutions of many small maps with large kernels, as products with small matrices.

A direct convolution of a 74 x 74 map with 21 x 21 kernels costs ten times the work of one in Fourier space, but fast
Fourier transforms of that size run at a tenth of the speed of a matrix product. The transforms here are matrix
products: real Fourier series, separately along rows and columns. One step of the fast transform (what half a period
apart is added for the even frequencies and subtracted for the odd ones) halves the work and needs no data in another
order. All maps of many windows lie side by side in the last axes, so that every operation runs along memory, and the
work is cut so that what one step hands to the next is still in the cache of the core: columns of the maps for the
transforms along y, a few frequencies along y for all between. Such steps are short; they are prepared once, down to the
memory that they work on, and then called for all windows.

Positions count from the middle of a map or kernel. The series of a map x of period N is

    c[f] = sum_j x[j] cos(2 pi f j / N),    s[f] = sum_j x[j] sin(2 pi f j / N),    f = 0 .. N / 2

and that of its correlation with a kernel of series (C, S) is (C c + S s, C s - S c), as of complex numbers c - i s.
Along two axes a series has four parts, cc, cs, sc and ss (first that along y). They are two complex numbers,

    cc + ss - i (sc - cs)    and    cc - ss - i (sc + cs),

at the frequencies (f, -g) and (f, g), which are multiplied each by itself. The frequencies are f = 2 r + p with slot
r = 0 .. N / 4 and parity p = 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

CACHE = 300_000  # values that a step works on at a time, so that they stay in the cache
Step = Callable[[], object]
Use = Callable[[slice, Tensor], list[Step]]


class Workspace:
    """Memory that is used again and again, by one thread: fresh memory costs more than what is computed in it.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._arrays: dict[str, dict[tuple[int, ...], Tensor]] = {}
        self._memory: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An array of `shape` with any content; the one taken before under this name is lost."""
        arrays = self._arrays.setdefault(name, {})
        if shape not in arrays:
            size = math.prod(shape)
            memory = self._memory.get(name)
            if memory is None or memory.numel() < size:
                arrays.clear()
                memory = self._memory[name] = torch.zeros(size, device=self._device)
            arrays[shape] = memory[:size].view(shape)
        return arrays[shape]


class SpectralConvolution:
    """Valid correlation of square maps with kernels, plus a bias.

    Parameters
    ----------
    weight : Tensor, shape (outputs, inputs, k, k)
    bias : Tensor, shape (outputs,)
    side : int
        Of the maps that come in.
    """

    def __init__(self, weight: Tensor, bias: Tensor, side: int) -> None:
        outputs, inputs, kernel, _ = weight.shape
        self.inputs, self.outputs, self.side = inputs, outputs, side
        self.out_side = side - kernel + 1
        self._period = side + side % 2  # maps are 0 beyond `side`
        self._half = self._period // 2
        self._slots = self._period // 4 + 1
        self._kept = min(self._half, self.out_side)
        device = weight.device
        centre, out_centre = (side - 1) / 2, (self.out_side - 1) / 2
        self._forward = _series(self._period, self._half, centre).to(device)
        self._backward = _series(self._period, self._kept, out_centre).transpose(1, 2).contiguous().to(device)
        self._kernel = _products(weight.double().cpu(), self._period).to(device)
        self._bias = bias[:, None].float()

    @property
    def multiplications(self) -> int:
        """Multiplications and additions for one window."""
        rows, half, kept = 2 * self._slots, self._half, self._kept
        forward = self.inputs * 2 * rows * half * (self.side + 2 * rows)
        pointwise = (2 * self._slots) ** 2 * 8 * self.inputs * self.outputs
        backward = self.outputs * 2 * kept * rows * (2 * rows + self.out_side)
        return forward + pointwise + backward

    def steps(self, maps: Tensor, use: Use, space: Workspace, unit: int = 1) -> list[Step]:
        """What to call, in this order, to convolve maps and use the result.

        Parameters
        ----------
        maps : Tensor, shape (side, side, inputs, n)
            Contiguous, of n windows; where they are going to be when the first step is called.
        use : callable
            Takes a range of columns, of which there is a multiple of `unit`, and where the result will be there, shape
            (out_side, columns, outputs, n); returns what to call then. It may destroy the result.
        space : Workspace
            Between the first step and the last, not to be used for anything else under a name of one word.
        unit : int
            A divisor of `out_side`.
        """
        n = maps.shape[-1]
        series = space.take("series", 2, 2, self._slots, self.side, self.inputs * n)
        result = space.take("result", 2, 2, self._slots, self.out_side, self.outputs * n)
        steps = []
        for columns in _ranges(self.side, 1, CACHE // (self.side * self.inputs * n)):
            steps += self._transform(maps[:, columns].flatten(2), series[:, :, :, columns], space)
        for parity in range(2):
            for slots in _ranges(self._slots, 1, CACHE // (6 * self.side * self.inputs * n)):
                steps += self._multiply(series[parity, :, slots], result[parity, :, slots], (parity, slots), space)
        for columns in _ranges(self.out_side, unit, CACHE // (self.out_side * self.outputs * n)):
            values, made = self._columns(result[:, :, :, columns], space)
            steps += made + use(columns, values.view(*values.shape[:2], self.outputs, n))
        return steps

    def _transform(self, maps: Tensor, series: Tensor, space: Workspace) -> list[Step]:
        """Columns (side, columns, width) to their series along y, (parity, cosine or sine, slot, columns, width)."""
        folded = space.take("folded", 2, self._half, *maps.shape[1:])
        steps = _fold(maps, folded)
        for parity in range(2):
            target = series[parity].flatten(0, 1).flatten(1)
            steps.append(partial(torch.mm, self._forward[parity], folded[parity].flatten(1), out=target))
        return steps

    def _multiply(self, maps: Tensor, result: Tensor, place: tuple[int, slice], space: Workspace) -> list[Step]:
        """From maps (cosine or sine, slot, column, inputs * n) at frequencies along y, a parity and a range of slots.

        `result` is the same for the outputs.
        """
        parts, count, _, width = maps.shape
        n, slots, out_width = width // self.inputs, self._slots, result.shape[-1]
        folded = space.take("folded", 2, parts, count, self._half, width)  # the first is the parity along x
        steps = _fold(maps, folded, 2)
        series = space.take("near", 2, parts, count, 2, slots, width)
        steps += _products_with(self._forward, folded, series.flatten(3, 4))
        pairs = space.take("pairs", count, 2, slots, 2, 2, width)  # which of the two complex numbers, and part of it
        cc, cs, sc, ss = (part.transpose(0, 1) for part in _quarters(series, 1, 3))
        steps += [
            partial(torch.add, cc, ss, out=pairs[..., 0, 0, :]),
            partial(torch.sub, sc, cs, out=pairs[..., 0, 1, :]),
            partial(torch.sub, cc, ss, out=pairs[..., 1, 0, :]),
            partial(torch.add, sc, cs, out=pairs[..., 1, 1, :]),
        ]
        product = space.take("product", count, 2, slots, 2, 2, out_width)
        kernel = self._kernel[place].flatten(0, 1)
        operands = pairs.view(-1, 2 * self.inputs, n), product.view(-1, 2 * self.outputs, n)
        steps.append(partial(torch.bmm, kernel, operands[0], out=operands[1]))
        if place[0] == place[1].start == 0:
            steps.append(partial(product[0, 0, 0, :, 0].view(2, self.outputs, n).add_, self._bias / 2))
        series = space.take("near", 2, parts, count, 2, slots, out_width)
        cc, cs, sc, ss = (part.transpose(0, 1) for part in _quarters(series, 1, 3))
        real, imaginary, other_real, other_imaginary = _quarters(product, 3, 4)
        steps += [
            partial(torch.add, real, other_real, out=cc),
            partial(torch.sub, other_imaginary, imaginary, out=cs),
            partial(torch.add, imaginary, other_imaginary, out=sc),
            partial(torch.sub, real, other_real, out=ss),
        ]
        halves = space.take("halves", 2, parts, count, self._kept, out_width)
        steps += _products_with(self._backward, series.flatten(3, 4), halves)
        return steps + self._unfold(halves, result, 2)

    def _columns(self, series: Tensor, space: Workspace) -> tuple[Tensor, list[Step]]:
        """Columns of the result, (out_side, columns, width), of their series along y."""
        shape = series.shape[-2:]
        halves = space.take("halves", 2, self._kept, *shape)
        steps: list[Step] = []
        for parity in range(2):
            source = series[parity].flatten(0, 1).flatten(1)
            steps.append(partial(torch.mm, self._backward[parity], source, out=halves[parity].flatten(1)))
        result = space.take("columns", self.out_side, *shape)
        return result, steps + self._unfold(halves, result, 0)

    def _unfold(self, halves: Tensor, whole: Tensor, axis: int) -> list[Step]:
        """Even plus odd part, and beyond half a period even minus odd part."""
        even, odd = halves
        steps: list[Step] = [partial(torch.add, even, odd, out=whole.narrow(axis, 0, self._kept))]
        if self.out_side > self._half:
            rest = self.out_side - self._half
            even, odd = even.narrow(axis, 0, rest), odd.narrow(axis, 0, rest)
            steps.append(partial(torch.sub, even, odd, out=whole.narrow(axis, self._half, rest)))
        return steps


def _fold(values: Tensor, out: Tensor, axis: int = 0) -> list[Step]:
    """Sum and difference of the halves of an axis; of an odd number, what is missing is 0."""
    half = out.shape[axis + 1]
    rest = values.shape[axis] - half
    first, second = values.narrow(axis, 0, rest), values.narrow(axis, half, rest)
    steps: list[Step] = [
        partial(torch.add, first, second, out=out[0].narrow(axis, 0, rest)),
        partial(torch.sub, first, second, out=out[1].narrow(axis, 0, rest)),
    ]
    if rest < half:
        steps.append(partial(out.narrow(axis + 1, rest, half - rest).copy_, values.narrow(axis, rest, half - rest)))
    return steps


def _products_with(matrices: Tensor, batches: Tensor, out: Tensor) -> list[Step]:
    """Products of a matrix for each parity with all that is of this parity."""
    return [
        partial(torch.bmm, matrix.expand(batch[..., 0, 0].numel(), -1, -1), batch.flatten(0, 1), out=to.flatten(0, 1))
        for matrix, batch, to in zip(matrices, batches, out, strict=True)
    ]


def _quarters(values: Tensor, first: int, second: int) -> list[Tensor]:
    """The four parts along two axes of length 2, of which the second one comes after the first."""
    return [values.select(second, j).select(first, i) for i in range(2) for j in range(2)]


def _ranges(count: int, unit: int, most: int) -> Iterator[slice]:
    """Ranges of about the same size that make up `count`: multiples of `unit` and, where possible, at most `most`."""
    units = count // unit
    pieces = -(-units // max(1, most // unit))
    for piece in range(pieces):
        yield slice(units * piece // pieces * unit, units * (piece + 1) // pieces * unit)


def _series(period: int, count: int, centre: float) -> Tensor:
    """Cosines and then sines at positions 0 .. count - 1, (parity, 2 * slots, count); 0 for frequencies too many."""
    slots = torch.arange(period // 4 + 1, dtype=torch.float64)
    position = torch.arange(count, dtype=torch.float64) - centre
    out = []
    for parity in range(2):
        frequency = 2 * slots + parity
        phase = 2 * math.pi / period * frequency[:, None] * position
        out.append(torch.cat([phase.cos(), phase.sin()]) * (frequency <= period // 2).repeat(2)[:, None])
    return torch.stack(out).float()


def _products(weight: Tensor, period: int) -> Tensor:
    """Matrices that multiply a series with those of the kernels, (parity, slot of y, -1, 2 * outputs, 2 * inputs).

    In the third axis are the parity, the slot of x and the two complex numbers; rows and columns go by part of a
    complex number and map. The factors of the inverse transform are in them.
    """
    kernel = weight.shape[-1]
    slots = torch.arange(period // 4 + 1, dtype=torch.float64)
    frequency = torch.stack([2 * slots, 2 * slots + 1])  # (parity, slot)
    position = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    phase = 2 * math.pi / period * frequency[..., None] * position
    factor = torch.where((frequency == 0) | (frequency == period / 2), 1.0, 2.0) / period
    factor = factor * (frequency <= period // 2)
    basis = torch.stack([phase.cos(), phase.sin()]) * factor[..., None]  # (part, parity, slot, k)
    cc, cs, sc, ss = torch.einsum("oikl,aysk,bxtl->abysxtoi", weight, basis, basis).flatten(0, 1)
    real = torch.stack([cc + ss, cc - ss], 4) / 2
    imaginary = torch.stack([sc - cs, sc + cs], 4) / 2
    rows = torch.cat([torch.cat([real, imaginary], -1), torch.cat([-imaginary, real], -1)], -2)
    return rows.flatten(2, 4).float().contiguous()
