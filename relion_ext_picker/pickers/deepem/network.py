"""The network of the paper: eight layers, sigmoids throughout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.pickers.deepem.presets import Architecture

NAME = "deepem"  # of the architecture, in the card of a model
NETWORK = "net"  # of the one network of a model
ONE_NETWORK = (
    "the DeepEM mode has no second network to retrain while picking: train on the picks instead, with "
    "relion_ext_picker train --mode deepem --from MODEL"
)


class DeepEM(nn.Module):
    """Input, three times convolution, sigmoid and mean over blocks, then one neuron that sees all the last maps.

    Convolutions have a bias and no padding, and every map sees all maps before it.

    Parameters
    ----------
    architecture : Architecture
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        first, second, third = architecture.maps
        kernels = architecture.kernels
        self.conv1 = nn.Conv2d(1, first, kernels[0])
        self.conv2 = nn.Conv2d(first, second, kernels[1])
        self.conv3 = nn.Conv2d(second, third, kernels[2])
        self.output = nn.Linear(architecture.features, 1)

    def reset(self, generator: torch.Generator | None = None, *, literal: bool = False) -> None:
        """Draw new weights.

        Parameters
        ----------
        generator : torch.Generator, optional
        literal : bool
            All weights and biases between 0 and 1, as the paper words it. The sums are then so large that every
            sigmoid is 1 and every gradient 0: such a network never learns. Otherwise, as the authors' program does,
            uniform between ±sqrt(6 / (inputs + outputs)), counted with the area of the kernels, and no bias.
        """
        for layer in (self.conv1, self.conv2, self.conv3, self.output):
            if literal:
                nn.init.uniform_(layer.weight, 0, 1, generator=generator)
                nn.init.uniform_(cast(Tensor, layer.bias), 0, 1, generator=generator)
            else:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, windows: Tensor) -> Tensor:
        """Normalised windows (b, 1, box, box) -> score (b,), 0..1."""
        return torch.sigmoid(self.logits(windows))

    def logits(self, windows: Tensor) -> Tensor:
        """What goes into the last sigmoid, shape (b,)."""
        x = windows
        for layer, pool in zip((self.conv1, self.conv2, self.conv3), self.architecture.pools, strict=True):
            x = nn.functional.avg_pool2d(torch.sigmoid(layer(x)), pool)
        return cast(Tensor, self.output(x.flatten(1))[:, 0])


def normalised(windows: Tensor) -> Tensor:
    """Windows (..., box, box) with mean 0 and sample standard deviation (n - 1) 1 each; constant ones become 0."""
    centred = windows - windows.mean((-2, -1), keepdim=True)
    spread = centred.std((-2, -1), keepdim=True)
    return centred / torch.where(spread > 0, spread, 1)


def parameters(module: nn.Module) -> int:
    """Number of trained values of a network."""
    return sum(p.numel() for p in module.parameters())


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Read what :meth:`Architecture.config` wrote.

    Raises
    ------
    WeightsError
        It describes no such network.
    """
    try:
        lists = {key: cast(Any, tuple(int(v) for v in config[key])) for key in ("kernels", "pools", "maps")}
        return Architecture(int(config["box"]), **lists)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise WeightsError(f"the card describes no network of the published DeepEM: {dict(config)}") from error


def load(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> DeepEM:
    """A network from what a model file holds, in evaluation mode.

    Raises
    ------
    WeightsError
        The tensors are not those of the network that `config` describes.
    """
    network = DeepEM(architecture_of(config))
    try:
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        raise WeightsError(
            "the tensors of the model do not fit its card; use a model file that was made with train --mode deepem "
            f"({str(error).splitlines()[-1].strip()})"
        ) from error
    return network.eval()
