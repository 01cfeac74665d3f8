"""The network of the paper (its Table 9): thirteen layers, windows of 227 x 227 px.

Strides and margins are not printed; those used here are the only ones that give the printed sizes of the maps
(55, 27, 27, 13, 13, 6). The convolutions with margins see zeros where a window ends, so a score depends on where its
window was cut and the network has to judge window by window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

WINDOW = 227  # side of what the network judges, px
CHANNELS = 3  # of its input; all three are the same grey image
FIRST_STRIDE = 4  # px between the samples of the first maps
FIRST_SIDE = 55  # of the first maps of a window, samples
MACS = 1_130_000_000  # multiplications for one window, roughly


class PaperNetwork(nn.Module):
    """Table 9.

    Parameters
    ----------
    classes : int
    sigmoid : bool
        Sigmoids and weights drawn from 0..1, as printed. Such a network does not learn: every sigmoid is
        saturated. The default is rectifiers with the initial weights of He et al. (2015).
    """

    def __init__(self, classes: int, sigmoid: bool = False) -> None:
        super().__init__()

        def active() -> nn.Module:
            return nn.Sigmoid() if sigmoid else nn.ReLU(inplace=True)

        self.first = nn.Conv2d(CHANNELS, 96, 11, FIRST_STRIDE)
        self.features = nn.Sequential(
            active(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2), active(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), active(),
            nn.Conv2d(384, 384, 3, padding=1), active(),
            nn.Conv2d(384, 256, 3, padding=1), active(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.connected = nn.Sequential(
            nn.Flatten(), nn.Linear(256 * 6 * 6, 4096), active(), nn.Linear(4096, 4096), active()
        )
        self.output = nn.Linear(4096, classes)
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                _start(part, sigmoid)

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (b, 3, 227, 227), or (b, 1, 227, 227) for grey ones -> logits (b, classes)."""
        return self.judge(self.look(windows))

    def look(self, image: Tensor) -> Tensor:
        """The first convolution, which has no margin: (b, 1 or 3, h, w) -> (b, 96, (h - 11) / 4 + 1, (w - 11) / 4 + 1).

        Grey levels 0..1 are centred first, -1..1.
        """
        weight = self.first.weight
        if image.shape[1] == 1:
            # The sum of three equal products is one product with the sum of the weights: a third of the work.
            weight = weight.sum(1, keepdim=True)
        return nn.functional.conv2d(2 * image - 1, weight, self.first.bias, self.first.stride)

    def judge(self, maps: Tensor) -> Tensor:
        """All that follows: first maps of windows (b, 96, 55, 55) -> logits (b, classes)."""
        logits: Tensor = self.output(self.connected(self.features(maps)).to(self.output.weight.dtype))
        return logits


def window_scores(network: PaperNetwork, image: Tensor, step: int, batch: int) -> Iterator[Tensor]:
    """Class probabilities of all windows of an image, a batch at a time.

    The first convolution is computed once for each row of windows, because it has no margin and `step` is a multiple of
    its stride; the rest window by window.

    Parameters
    ----------
    network : PaperNetwork
        In evaluation mode.
    image : Tensor, shape (h, w)
        Sides at least 227 px.
    step : int
        Px between windows, a multiple of 4.
    batch : int
        Windows at a time.

    Yields
    ------
    Tensor, shape (n, classes)
        Of windows in reading order; n is at most `batch`.

    Raises
    ------
    ValueError
        `step` is no multiple of 4.
    """
    if step % FIRST_STRIDE:
        raise ValueError(f"windows {step} px apart do not share the first maps, which are {FIRST_STRIDE} px apart")
    for top in range(0, image.shape[0] - WINDOW + 1, step):
        maps = network.look(image[None, None, top : top + WINDOW])[0]
        windows = maps.unfold(2, FIRST_SIDE, step // FIRST_STRIDE).permute(2, 0, 1, 3)
        for start in range(0, len(windows), batch):
            chosen = windows[start : start + batch].contiguous(memory_format=torch.channels_last)
            yield torch.softmax(network.judge(chosen).float(), 1)


def _start(part: nn.Conv2d | nn.Linear, sigmoid: bool) -> None:
    assert part.bias is not None
    if sigmoid:
        nn.init.uniform_(part.weight)
        nn.init.uniform_(part.bias)
    else:
        nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        nn.init.zeros_(part.bias)
