"""Convolution by small matrices against the plain one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from relion_ext_picker.pickers.deepem import spectral
from relion_ext_picker.pickers.deepem.presets import PRESETS
from relion_ext_picker.pickers.deepem.spectral import SpectralConvolution, Workspace

CPU = torch.device("cpu")
LAYERS = sorted(
    {
        (maps[layer - 1], maps[layer], preset.architecture.pooled[layer - 1], preset.architecture.kernels[layer])
        for preset in PRESETS.values()
        for maps in [preset.architecture.maps]
        for layer in (1, 2)
    }
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operations shared out to threads cost more than they are worth, on a busy machine far more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.conv2d(maps.permute(3, 0, 1, 2), weight, bias).permute(1, 2, 3, 0)


def convolved(
    layer: SpectralConvolution, maps: torch.Tensor, space: Workspace, unit: int = 1, ranges: list[slice] | None = None
) -> torch.Tensor:
    """Maps (inputs, side, side, n) -> (outputs, out_side, out_side, n)."""
    out = torch.full((layer.out_side, layer.out_side, layer.outputs, maps.shape[-1]), float("nan"))

    def use(columns: slice, values: torch.Tensor) -> list[spectral.Step]:
        if ranges is not None:
            ranges.append(columns)
        return [lambda: out[:, columns].copy_(values), lambda: values.fill_(float("nan"))]

    for step in layer.steps(maps.permute(1, 2, 0, 3).contiguous(), use, space, unit):
        step()
    return out.permute(2, 0, 1, 3)


@pytest.mark.parametrize(
    ("inputs", "outputs", "side", "kernel"),
    [*LAYERS, (2, 3, 9, 9), (1, 1, 8, 8), (2, 2, 10, 1), (3, 2, 7, 6), (1, 2, 1, 1), (1, 2, 2, 1), (2, 1, 3, 2)],
)
def test_equals_the_direct_convolution(inputs: int, outputs: int, side: int, kernel: int) -> None:
    draw = torch.Generator().manual_seed(side)
    weight = torch.randn(outputs, inputs, kernel, kernel, generator=draw, dtype=torch.float64)
    bias = torch.randn(outputs, generator=draw, dtype=torch.float64)
    maps = torch.rand(inputs, side, side, 3, generator=draw, dtype=torch.float64)
    layer, space = SpectralConvolution(weight, bias, side), Workspace(CPU)
    expected = plain(maps, weight, bias)
    found = convolved(layer, maps.float(), space)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 2e-6 * float(expected.abs().max()) * kernel
    again = convolved(layer, maps.float(), space)  # what was in the workspace before is no matter
    torch.testing.assert_close(again, found, rtol=0, atol=0)


@pytest.mark.parametrize("cache", [1, 300, 1_000_000])
@pytest.mark.parametrize("unit", [1, 3])
def test_columns_come_in_any_ranges(cache: int, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "CACHE", cache)
    weight, bias, maps = torch.randn(3, 2, 4, 4), torch.randn(3), torch.rand(2, 15, 15, 5)
    ranges: list[slice] = []
    found = convolved(SpectralConvolution(weight, bias, 15), maps, Workspace(CPU), unit, ranges)
    torch.testing.assert_close(found, plain(maps, weight, bias), rtol=0, atol=1e-4)
    assert [(part.start % unit, part.stop % unit) for part in ranges] == [(0, 0)] * len(ranges)
    assert len(ranges) == {1: 12 // unit, 300: 12 // unit, 1_000_000: 1}[cache]


def test_windows_do_not_touch_each_other() -> None:
    weight, bias = torch.randn(2, 1, 4, 4), torch.zeros(2)
    layer, space = SpectralConvolution(weight, bias, 12), Workspace(CPU)
    maps = torch.rand(1, 12, 12, 3)
    before = convolved(layer, maps, space)
    maps[..., 1] = 1e6
    after = convolved(layer, maps, space)
    torch.testing.assert_close(after[..., [0, 2]], before[..., [0, 2]], rtol=0, atol=0)


def test_work_is_less_than_that_of_the_direct_convolution() -> None:
    architecture = PRESETS["klh"].architecture
    layer = SpectralConvolution(torch.zeros(12, 6, 21, 21), torch.zeros(12), architecture.pooled[0])
    assert layer.multiplications < 6 * 12 * 21**2 * 54**2 / 10


def test_workspace_gives_the_same_memory_again() -> None:
    space = Workspace(CPU)
    first = space.take("a", 4, 5)
    assert space.take("a", 2, 3).data_ptr() == first.data_ptr() != space.take("b", 2, 3).data_ptr()
    assert space.take("a", 100).shape == (100,)
