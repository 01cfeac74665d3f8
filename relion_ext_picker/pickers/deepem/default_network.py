"""The network of the default preset: the eight layers of DeepEM, so built that a whole micrograph is one pass.

Input, three convolutions each followed by mean pooling, one output neuron, as in the paper (its Table 1 and Fig. 1).
What differs: every map is normalised over the batch and rectified, which needs fewer and gentler steps than sigmoids,
and the last pooling and the output may be computed at every place, which turns windows into a map of any step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from relion_ext_picker.errors import WeightsError

POOL = 2
STRIDE = POOL**3  # px between the windows that the network judges when nothing is computed twice


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes
    ----------
    window : int
        Side of what it judges, px of the prepared image; even.
    maps : (int, int, int)
        Feature maps of the three convolutions.
    kernels : (int, int, int)
        Their sides, px.
    step : int
        Px between two scores of a map: 8, 4, 2 or 1.
    """

    window: int = 64
    maps: tuple[int, int, int] = (24, 48, 64)
    kernels: tuple[int, int, int] = (9, 5, 5)
    step: int = 4

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> Shape:
        """From a model card. Raises WeightsError where it says something else."""
        try:
            return cls(
                int(config["window"]), _three(config["maps"]), _three(config["kernels"]), int(config["step"])
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the card describes no network of this kind: {config}") from error

    def config(self) -> dict[str, Any]:
        """For a model card."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def last_side(self) -> int:
        """Side of the maps that the output neuron sees. Raises WeightsError where the sizes do not go together."""
        side = self.window
        for kernel in self.kernels:
            side -= kernel - 1
            if side < POOL or side % POOL:
                raise WeightsError(f"a window of {self.window} px leaves {side} px after a kernel of {kernel}")
            side //= POOL
        return side


class WindowNetwork(nn.Module):
    """Judges windows, or every place of an image.

    Parameters
    ----------
    shape : Shape
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        first, second, third = shape.maps
        self.first = _convolution(1, first, shape.kernels[0])
        self.second = _convolution(first, second, shape.kernels[1])
        self.third = _convolution(second, third, shape.kernels[2])
        self.output = nn.Conv2d(third, 1, shape.last_side())

    def forward(self, image: Tensor, step: int = 0) -> Tensor:
        """Windows (b, 1, window, window) -> logits (b,).

        With a step of 8, 4, 2 or 1: images (b, 1, h, w) -> logits (b, rows, columns), one for every window that begins
        at a multiple of `step` and lies in the image.
        """
        out, spread = image, 1  # distance, in samples, of what neighbours for the windows
        stride = 1  # px per sample
        for layer in (self.first, self.second, self.third):
            out = _spread(layer, out, spread)
            dense = bool(step) and 2 * stride > step
            out = _mean(out, spread, 1 if dense else POOL)
            if dense:
                spread *= POOL
            else:
                stride *= POOL
        logits = _conv(self.output, out.to(self.output.weight.dtype), spread)[:, 0]
        return logits if step else logits[:, 0, 0]


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )  # fmt: skip


def _spread(layer: nn.Sequential, image: Tensor, spread: int) -> Tensor:
    convolution, *rest = layer
    assert isinstance(convolution, nn.Conv2d)
    out = _conv(convolution, image, spread)
    for part in rest:
        out = part(out)
    return out


def _conv(layer: nn.Conv2d, image: Tensor, spread: int) -> Tensor:
    """A layer whose weights are `spread` samples apart."""
    return nn.functional.conv2d(image, layer.weight, layer.bias, dilation=spread)


def _mean(image: Tensor, spread: int, stride: int) -> Tensor:
    """Mean of 2 x 2 samples that are `spread` apart."""
    if spread == 1:
        return nn.functional.avg_pool2d(image, POOL, stride)
    rows = image[:, :, spread:] + image[:, :, :-spread]
    return 0.25 * (rows[..., spread:] + rows[..., :-spread])


def _three(values: Any) -> tuple[int, int, int]:
    one, two, three = (int(value) for value in values)
    return one, two, three
