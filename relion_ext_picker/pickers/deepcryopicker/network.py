"""The compact network of the default preset: a whole micrograph is one pass.

No layer pads and none but the first has a stride, so that a score does not depend on whether its window was cut out or
lies in a micrograph: the two agree to rounding. Holes in the kernels (dilation) take the place of pooling; they let the
window span nearly two particles at the full resolution of the score map.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from relion_ext_picker.errors import WeightsError

REFERENCE_DIAMETER = 32.0  # px
STRIDE = 2  # px of the prepared image per sample of the score map
FIRST = 4  # side of the first kernel, px
KERNEL = 3  # side of the others


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes
    ----------
    widths : tuple of int
        Feature maps of the convolutions.
    holes : tuple of int
        Distance of the kernel elements of the second and later convolutions, samples; one fewer than `widths`.
    hidden : int
        Feature maps of the layer before the output.
    """

    widths: tuple[int, ...] = (16, 24, 32, 48, 64, 64)
    holes: tuple[int, ...] = (1, 2, 4, 4, 2)
    hidden: int = 64

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.holes) + 1:
            raise WeightsError(f"{len(self.widths)} convolutions do not go with the spacings {self.holes}")

    @property
    def window(self) -> int:
        """Side of what one score sees, px of the prepared image; even."""
        return FIRST + STRIDE * (KERNEL - 1) * sum(self.holes)

    @classmethod
    def of_config(cls, config: dict[str, Any]) -> Shape:
        """From a model card. Raises WeightsError where it says something else."""
        try:
            return cls(tuple(map(int, config["widths"])), tuple(map(int, config["holes"])), int(config["hidden"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the card describes no network of this kind: {config}") from error

    def config(self) -> dict[str, Any]:
        """For a model card."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


class CompactNetwork(nn.Module):
    """Tells what is in the middle of a window, for every window of an image.

    Parameters
    ----------
    classes : int
    shape : Shape, optional
    """

    def __init__(self, classes: int, shape: Shape | None = None) -> None:
        super().__init__()
        shape = shape or Shape()
        layers = [_convolution(1, shape.widths[0], FIRST, STRIDE, 1)]
        for inputs, outputs, hole in zip(shape.widths, shape.widths[1:], shape.holes, strict=False):
            layers.append(_convolution(inputs, outputs, KERNEL, 1, hole))
        layers.append(_convolution(shape.widths[-1], shape.hidden, 1, 1, 1))
        self.features = nn.Sequential(*layers)
        self.output = nn.Conv2d(shape.hidden, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Images (b, 1, h, w) -> logits (b, classes, (h - window) / 2 + 1, (w - window) / 2 + 1).

        Sample (r, c) judges the window whose first px is (2 r, 2 c).
        """
        logits: Tensor = self.output(self.features(image).to(self.output.weight.dtype))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, hole: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, dilation=hole, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
