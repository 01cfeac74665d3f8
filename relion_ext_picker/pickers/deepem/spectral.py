"""Convolutions of many small maps with large kernels, as products with small matrices.

A direct convolution of a 74 x 74 map with 21 x 21 kernels costs ten times the work of one in Fourier space, but fast
Fourier transforms of that size run at a tenth of the speed of a matrix product. The transforms here are matrix
products: real Fourier series, separately along rows and columns. One step of the fast transform (what half a period
apart is added for the even frequencies and subtracted for the odd ones) halves the work and needs no data in another
order. Many windows lie side by side in the last axis, so that every operation runs along memory.

Positions count from the middle of a map or kernel. The series of a map x of period N is

    c[f] = sum_j x[j] cos(2 pi f j / N),    s[f] = sum_j x[j] sin(2 pi f j / N),    f = 0 .. N / 2

and that of its correlation with a kernel of series (C, S) is (C c + S s, C s - S c), a matrix of two rows and columns;
along two axes it is the Kronecker product of that for rows and that for columns. The frequencies are f = 2 r + p with
slot r = 0 .. N / 4 and parity p = 0 or 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
        self.period = side + side % 2  # the side of the maps as they have to be given, 0 beyond `side`
        self._half = self.period // 2
        self._slots = self.period // 4 + 1
        self._kept = min(self._half, self.out_side)
        device = weight.device
        centre, out_centre = (side - 1) / 2, (self.out_side - 1) / 2
        self._forward = _series(self.period, self._half, centre).to(device)
        self._backward = _series(self.period, self._kept, out_centre).transpose(1, 2).contiguous().to(device)
        self._kernel = _products(weight.double().cpu(), self.period).to(device)
        self._bias = bias[:, None].float()

    @property
    def multiplications(self) -> int:
        """Multiplications and additions for one window."""
        rows, half, kept = 2 * self._slots, self._half, self._kept
        forward = self.inputs * 2 * rows * half * (self.side + 2 * rows)
        pointwise = (2 * self._slots) ** 2 * 16 * self.inputs * self.outputs
        backward = self.outputs * 2 * kept * rows * (2 * rows + self.out_side)
        return forward + pointwise + backward

    def frame(self, space: Workspace, name: str, n: int) -> Tensor:
        """Room for the maps of n windows, (inputs, period, period, n), 0 beyond `side`."""
        room = space.take(name, self.inputs, self.period, self.period, n)
        room[:, self.side :].zero_()
        room[:, :, self.side :].zero_()
        return room

    def __call__(self, maps: Tensor, space: Workspace) -> Tensor:
        """Maps (inputs, period, period, n), 0 beyond `side` -> (outputs, out_side, out_side, n) in the workspace."""
        return self._back(self._multiplied(self._transformed(maps, space), space), space)

    def _transformed(self, maps: Tensor, space: Workspace) -> Tensor:
        """Series of maps: (parity of x, parity of y, inputs, slot y, 2, slot x, 2, n); 2 is for cosine and sine."""
        inputs, n, side, half, rows = self.inputs, maps.shape[-1], self.side, self._half, 2 * self._slots
        folded = space.take("a", 2, inputs, half, side, n)
        torch.add(maps[:, :half, :side], maps[:, half:, :side], out=folded[0])
        torch.sub(maps[:, :half, :side], maps[:, half:, :side], out=folded[1])
        tall = space.take("b", 2, inputs, rows, side, n)
        for parity in range(2):
            _product(self._forward[parity], folded[parity].view(inputs, half, -1), tall[parity].view(inputs, rows, -1))
        tall = tall.view(-1, side, n)
        count = tall.shape[0]
        folded = space.take("a", 2, count, half, n)
        rest = side - half
        torch.add(tall[:, :rest], tall[:, half:], out=folded[0, :, :rest])
        torch.sub(tall[:, :rest], tall[:, half:], out=folded[1, :, :rest])
        if rest < half:
            folded[:, :, rest:] = tall[:, rest:half]
        series = space.take("c", 2, count, rows, n)
        for parity in range(2):
            _product(self._forward[parity], folded[parity], series[parity])
        return series.view(2, 2, inputs, self._slots, 2, self._slots, 2, n)

    def _multiplied(self, series: Tensor, space: Workspace) -> Tensor:
        """Series of the maps that come out: (parity of x, parity of y, outputs, slot y, 2, slot x, 2, n)."""
        n, slots, inputs, outputs = series.shape[-1], self._slots, self.inputs, self.outputs
        near = space.take("a", 2, 2, slots, slots, inputs, 2, 2, n)
        near.copy_(series.permute(0, 1, 3, 5, 2, 4, 6, 7))
        product = space.take("b", 2, 2, slots, slots, outputs, 2, 2, n)
        torch.bmm(self._kernel, near.view(-1, 4 * inputs, n), out=product.view(-1, 4 * outputs, n))
        product[0, 0, 0, 0, :, 0, 0] += self._bias
        result = space.take("a", 2, 2, outputs, slots, 2, slots, 2, n)
        return result.copy_(product.permute(0, 1, 4, 2, 5, 3, 6, 7))

    def _back(self, series: Tensor, space: Workspace) -> Tensor:
        """Maps of series, (outputs, out_side, out_side, n)."""
        n, side, kept, rows = series.shape[-1], self.out_side, self._kept, 2 * self._slots
        flat = series.view(2, -1, rows, n)
        parts = space.take("b", 2, flat.shape[1], kept, n)
        for parity in range(2):
            _product(self._backward[parity], flat[parity], parts[parity])
        wide = space.take("a", flat.shape[1], side, n)
        self._unfold(parts, wide)
        by_row = wide.view(2, self.outputs, rows, side * n)
        parts = space.take("b", 2, self.outputs, kept, side * n)
        for parity in range(2):
            _product(self._backward[parity], by_row[parity], parts[parity])
        result = space.take("a", self.outputs, side, side, n)
        self._unfold(parts, result.view(self.outputs, side, side * n))
        return result

    def _unfold(self, parts: Tensor, whole: Tensor) -> None:
        """Even plus odd part, and beyond half a period even minus odd part."""
        half, kept = self._half, self._kept
        torch.add(parts[0], parts[1], out=whole[:, :kept])
        if self.out_side > half:
            rest = self.out_side - half
            torch.sub(parts[0][:, :rest], parts[1][:, :rest], out=whole[:, half:])


def _product(matrix: Tensor, batch: Tensor, out: Tensor) -> None:
    torch.bmm(matrix.expand(batch.shape[0], -1, -1), batch, out=out)


def _series(period: int, count: int, centre: float) -> Tensor:
    """Cosines and sines at positions 0 .. count - 1, shape (parity, 2 * slots, count); 0 for frequencies too many."""
    slots = torch.arange(period // 4 + 1, dtype=torch.float64)
    position = torch.arange(count, dtype=torch.float64) - centre
    out = []
    for parity in range(2):
        frequency = 2 * slots + parity
        phase = 2 * math.pi / period * frequency[:, None] * position
        rows = torch.stack([phase.cos(), phase.sin()], 1) * (frequency <= period // 2)[:, None, None]
        out.append(rows.reshape(-1, count))
    return torch.stack(out).float()


def _products(weight: Tensor, period: int) -> Tensor:
    """Matrices that multiply a series with those of the kernels, shape (frequencies, 4 * outputs, 4 * inputs).

    Frequencies are ordered by parity of x, parity of y, slot y, slot x; rows and columns by map, part along y (cosine
    or sine), part along x. The factors of the inverse transform are in them.
    """
    kernel = weight.shape[-1]
    slots = torch.arange(period // 4 + 1, dtype=torch.float64)
    frequency = torch.stack([2 * slots, 2 * slots + 1])  # (parity, slot)
    position = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    phase = 2 * math.pi / period * frequency[..., None] * position
    factor = torch.where((frequency == 0) | (frequency == period / 2), 1.0, 2.0) / period
    factor = factor * (frequency <= period // 2)
    basis = torch.stack([phase.cos(), phase.sin()]) * factor[..., None]  # (part, parity, slot, k)
    mix = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1], [-1, 0]]], dtype=torch.float64)  # (part, to, from)
    both = torch.einsum("oikl,aysk,bxtl->abyxstoi", weight, basis, basis)
    matrices = torch.einsum("abyxstoi,apc,bqd->xystopqicd", both, mix, mix)
    outputs, inputs = weight.shape[:2]
    return matrices.reshape(-1, 4 * outputs, 4 * inputs).float()
