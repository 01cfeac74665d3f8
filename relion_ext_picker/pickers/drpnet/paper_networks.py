"""The two networks of the published DRPnet."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from relion_ext_picker.pickers.drpnet.paper_image import PATCH

HALO = 10  # rows of input that a row of the response depends on, on the farther side
STRIP = 256  # rows of the response computed at once: bounds the memory whatever the image


class Fcrn(nn.Module):
    """First network: image to a response that peaks at particle centres, of the same size.

    Five convolutions (9 x 9, 3 x 3, 1 x 7, 7 x 1 with 32 maps each, then 3 x 3 to one map) and one 2 x 2 maximum of
    stride 1 before the last; 26 561 parameters. The maximum looks one px down and to the right, so that a response
    lies half a px up and to the left of its cause.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 9, padding=4)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, (1, 7), padding=(0, 3))
        self.conv4 = nn.Conv2d(32, 32, (7, 1), padding=(3, 0))
        self.conv5 = nn.Conv2d(32, 1, 3, padding=1)

    def reset(self, generator: torch.Generator, *, literal: bool = False) -> None:
        """Draw new weights: He's, or N(0, 0.01) as the authors' software; biases 0."""
        _draw(self, generator)
        if not literal:
            for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """(b, 1, h, w) image 0..1 -> (b, 1, h, w) response."""
        x = torch.relu(self.conv1(image))
        x = torch.relu(self.conv2(x))
        x = torch.relu(self.conv3(x))
        x = torch.relu(self.conv4(x))
        # All values are at least 0, so that padding with 0 is padding with nothing.
        x = nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1)), 2, stride=1)
        return cast(Tensor, self.conv5(x))

    @torch.inference_mode()
    def respond(self, image: Tensor) -> Tensor:
        """Response to one image (h, w), computed in strips of rows with the same result as at once."""
        height = image.shape[0]
        parts = []
        for start in range(0, height, STRIP):
            stop = min(height, start + STRIP)
            top, bottom = max(0, start - HALO), min(height, stop + HALO)
            response = self(image[None, None, top:bottom])[0, 0]
            parts.append(response[start - top : stop - top])
        return torch.cat(parts)


class ParticleClassifier(nn.Module):
    """Second network: patch to the logits of (no particle, particle).

    Four times convolution, batch normalisation, ReLU and maximum of stride 1, then dropout and two full layers. The
    mean patch of the training is subtracted first and is part of the state.

    Parameters
    ----------
    kernel, width : int
        Side (odd) and number of the filters of the first layer.
    """

    mean: Tensor

    def __init__(self, kernel: int = 11, width: int = 16) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(PATCH, PATCH))
        layers: list[nn.Module] = []
        maps, side = 1, PATCH
        for size, wider, pool in ((kernel, width, 4), (7, 16, 4), (5, 32, 2), (3, 64, 2)):
            layers += [nn.Conv2d(maps, wider, size, padding=size // 2), nn.BatchNorm2d(wider), nn.ReLU()]
            layers.append(nn.MaxPool2d(pool, stride=1))
            maps, side = wider, side - pool + 1
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.5)
        self.full1 = nn.Linear(maps * side * side, 128)
        self.full2 = nn.Linear(128, 2)

    def reset(self, generator: torch.Generator) -> None:
        """Draw new weights: N(0, 0.01), biases 0."""
        _draw(self, generator)

    def forward(self, patches: Tensor) -> Tensor:
        """(b, 64, 64) grey levels 0..255 -> (b, 2) logits."""
        x = self.features((patches - self.mean)[:, None]).flatten(1)
        return cast(Tensor, self.full2(torch.relu(self.full1(self.dropout(x)))))

    @torch.inference_mode()
    def probability(self, patches: Tensor, batch: int = 32) -> Tensor:
        """Probability of being a particle, shape (b,), of patches (b, 64, 64); in evaluation mode."""
        parts = [torch.softmax(self(part), 1)[:, 1] for part in torch.split(patches, batch)]
        return torch.cat(parts) if parts else torch.zeros(0)


def parameters(module: nn.Module) -> int:
    """Number of trained values of a network."""
    return sum(p.numel() for p in module.parameters())


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
