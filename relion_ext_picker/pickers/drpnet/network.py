"""The two networks of the default preset.

Both see the micrograph rescaled so that the particle is `REFERENCE_DIAMETER` px wide, background removed, noise of
standard deviation 1.

* :class:`Proposer` - fully convolutional regression of a score map, one sample per 2 x 2 px. Four scales with additive
  skips: the receptive field (about 170 px) spans several particles, so that a dark patch inside carbon or ice is seen
  in its surroundings, which the 20 px of the published network do not allow.
* :class:`Verifier` - looks at one candidate in a window of 1.5 diameters and corrects the proposer's score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

REFERENCE_DIAMETER = 32.0  # px
STRIDE = 2  # px of the prepared image per sample of the score map
MULTIPLE = 16  # the prepared image is padded to a multiple of this
WINDOW = 48  # side of a verifier window, px


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; output sides are input sides over stride."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=(size - stride + 1) // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Proposer(nn.Module):
    """Score of every place of a micrograph.

    Parameters
    ----------
    widths : tuple of int
        Channels at 1/2, 1/4, 1/8 and 1/16 of the input.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        first, *rest = widths
        self.stem = nn.Sequential(_conv(1, first, size=4, stride=2), _conv(first, first), _conv(first, first))
        self.down = nn.ModuleList()
        self.merge = nn.ModuleList()
        self.up = nn.ModuleList()
        fine = first
        for coarse in rest:
            self.down.append(nn.Sequential(_conv(fine, coarse, size=4, stride=2), _conv(coarse, coarse)))
            self.merge.append(nn.Conv2d(coarse, fine, 1))
            self.up.append(nn.Sequential(_conv(fine, fine), _conv(fine, fine)))
            fine = coarse
        self.head = nn.Conv2d(first, 1, 3, padding=1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -4.0)  # particles are rare: start near the prior

    def forward(self, image: Tensor) -> Tensor:
        """(b, 1, h, w), h and w multiples of 16 -> logits (b, 1, h/2, w/2)."""
        levels = [self.stem(image)]
        for down in self.down:
            levels.append(down(levels[-1]))
        out = levels.pop()
        for merge, up in zip(reversed(self.merge), reversed(self.up), strict=True):
            # The 1x1 convolution comes before the enlargement: same result, a quarter of the work.
            out = up(levels.pop() + nn.functional.interpolate(merge(out), scale_factor=2, mode="nearest"))
        logits: Tensor = self.head(out.to(self.head.weight.dtype))  # the two differ in `Inference` alone
        return logits


class Verifier(nn.Module):
    """Second opinion on one candidate.

    Parameters
    ----------
    widths : tuple of int
        Channels of the four stages.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 32, 64, 96)) -> None:
        super().__init__()
        one, two, three, four = widths
        self.features = nn.Sequential(
            _conv(1, one, size=4, stride=2),
            _conv(one, two),
            _conv(two, three, size=4, stride=2),
            _conv(three, three),
            _conv(three, four, size=4, stride=2),
            _conv(four, four),
        )
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(four * (WINDOW // 8) ** 2, 64), nn.ReLU(inplace=True), nn.Dropout(0.2)
        )
        self.decide = nn.Linear(64 + 1, 1)
        with torch.no_grad():  # start as the proposer's own opinion
            self.decide.weight.zero_()
            self.decide.weight[0, -1] = 1.0
            self.decide.bias.zero_()

    def forward(self, window: Tensor, logit: Tensor) -> Tensor:
        """Windows (b, 1, 48, 48) and the proposer's logits (b,) -> logits (b,)."""
        hidden = self.hidden(self.features(window)).to(self.decide.weight.dtype)
        decided: Tensor = self.decide(torch.cat([hidden, logit[:, None].to(hidden.dtype)], dim=1))
        return decided[:, 0]


def build(architecture: str, config: dict[str, Any]) -> nn.Module:
    """Network of a :class:`~relion_ext_picker.types.ModelCard` entry, with random weights."""
    kinds: dict[str, type[Proposer] | type[Verifier]] = {"proposer": Proposer, "verifier": Verifier}
    return kinds[architecture](widths=tuple(config["widths"]))
