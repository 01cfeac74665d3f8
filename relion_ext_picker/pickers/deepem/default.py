"""The default preset of the DeepEM mode: its network, everywhere at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.image.normalise import standardise, standardise_locally
from relion_ext_picker.image.peaks import local_maxima
from relion_ext_picker.image.tiles import tiles
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.comparer import COMPARER, loaded, settled, with_entry, without_comparer
from relion_ext_picker.pickers.deepem.default_network import STRIDE, Shape, WindowNetwork
from relion_ext_picker.pickers.deepem.network import NETWORK, ONE_NETWORK
from relion_ext_picker.pickers.inference import Inference
from relion_ext_picker.pickers.views import TURNS, averaged, cut_windows, scaled
from relion_ext_picker.types import Array, ModelCard, ScoreMap

REFERENCE_DIAMETER = 32.0  # px; the window of 64 px shows the particle and what is around it
COMPARED = 48  # px, side of what is compared: 1.5 diameters
CORE = 1024  # side of a tile, px of the prepared image
FLOOR = 0.002  # candidates below this are never particles and would only cost time
SLOPE, INTERCEPT = "slope", "intercept"  # names of the card's constants that turn log odds into a probability


class DefaultDeepEM:
    """One network on one device.

    Parameters
    ----------
    card : ModelCard
    networks : mapping
        State dictionary of "net" and, optionally, "comparer".
    device : torch.device
    views : int
        Rotations of the micrograph that the network sees and averages, 1 to 4.

    Raises
    ------
    WeightsError
        When the tensors do not fit the architecture that the card names.
    """

    def __init__(
        self, card: ModelCard, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device, views: int = 4
    ) -> None:
        self.card, self.device = card if COMPARER in networks else without_comparer(card), device
        self.turns = TURNS[views]
        self._network = _load(card, networks, device)
        self._comparer = loaded(card, networks, device)
        self._quick = Inference(self._network)
        self.shape = Shape.of_config(card.networks[NETWORK]["config"])

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Raises
        ------
        InputError
            When the particle is larger than the micrograph.
        """
        frame = scaled(image, pixel_size, diameter, self.card.reference_diameter, STRIDE)
        return self.normalised(replace(frame, values=-frame.values if bright else frame.values))

    def normalised(self, frame: ScoreMap) -> ScoreMap:
        """A rescaled image as the network sees it, with the mean and spread of every place's surroundings taken out."""
        return replace(frame, values=standardise_locally(standardise(frame.values), self.shape.window))

    @torch.inference_mode()
    def propose(self, frame: ScoreMap) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; one sample per step x step px of the frame.

        Windows may reach beyond the edge of the image, where they are 0, so that particles cut by it are found.
        """
        step = self.shape.step
        shape = (frame.values.shape[0], frame.values.shape[1])
        beyond = self.shape.window - step
        image = torch.from_numpy(np.pad(frame.values, margins(shape, self.shape)))
        score = torch.zeros(-(-shape[0] // step), -(-shape[1] // step))
        for _, _, (rows, cols) in tiles((score.shape[0] * step, score.shape[1] * step), CORE, 0):
            tile = image[rows.start : rows.stop + beyond, cols.start : cols.stop + beyond].to(self.device)
            answer = averaged(tile, self.turns, lambda seen: torch.sigmoid(self._quick(seen, step))[0])
            score[rows.start // step : rows.stop // step, cols.start // step : cols.stop // step] = answer.cpu()
        return ScoreMap(self._calibrated(score).numpy(), frame.grid.coarser(step))

    def _calibrated(self, score: Tensor) -> Tensor:
        constants = self.card.calibration
        if SLOPE not in constants:
            return score
        return torch.sigmoid(constants[SLOPE] * torch.logit(score, eps=1e-7) + constants[INTERCEPT])

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """See :class:`~relion_ext_picker.pickers.base.Picker`."""
        scale = 0.5 * (score_map.grid.scale[0] + score_map.grid.scale[1])
        return local_maxima(score_map.values, distance / scale, max(floor, FLOOR))

    def cut(self, frame: ScoreMap, xy: Array) -> Array:
        """Windows (n, window, window) as the network sees them; see :func:`~..views.cut_windows`."""
        return cut_windows(frame, xy, self.shape.window)

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """Scores that take account of the other candidates, see :mod:`~relion_ext_picker.pickers.comparer`; None for
        models without that network. All candidates of a micrograph have to be given at once."""
        if self._comparer is None:
            return None
        return settled(self._comparer, cut_windows(frame, xy, COMPARED), score, score)

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> DefaultDeepEM:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def network(self) -> WindowNetwork:
        """A copy of the network to train: windows (b, 1, window, window) -> logits (b,)."""
        return copy.deepcopy(self._network)

    def with_network(self, state: Mapping[str, Tensor]) -> DefaultDeepEM:
        """A picker like this one with other weights."""
        return DefaultDeepEM(self.card, {NETWORK: state}, self.device, len(self.turns))

    def with_comparer(self, entry: dict[str, Any], state: Mapping[str, Tensor]) -> DefaultDeepEM:
        """A picker like this one whose candidates are compared by a network; `entry` is for the card."""
        networks = {**self.state(), COMPARER: state}
        return DefaultDeepEM(with_entry(self.card, entry), networks, self.device, len(self.turns))

    def state(self) -> dict[str, dict[str, Tensor]]:
        """State dictionaries of the networks, for a model file; kernels are rounded to 16 bits."""
        networks: dict[str, nn.Module] = {NETWORK: self._network}
        if self._comparer is not None:
            networks[COMPARER] = self._comparer
        return {
            name: {key: (value.half() if value.ndim > 1 else value).cpu() for key, value in part.state_dict().items()}
            for name, part in networks.items()
        }


def untrained(device: torch.device, shape: Shape | None = None, views: int = 4) -> DefaultDeepEM:
    """A picker with random weights; see torch.manual_seed."""
    shape = shape or Shape()
    networks = {NETWORK: {"architecture": "window", "config": shape.config()}}
    card = ModelCard("deepem", "default", REFERENCE_DIAMETER, networks, threshold=0.5)
    return DefaultDeepEM(card, {NETWORK: WindowNetwork(shape).state_dict()}, device, views)


def margins(shape: tuple[int, int], sizes: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is added around an image of `shape`, so that each step x step px of it are the middle of one window."""
    before = (sizes.window - sizes.step) // 2
    after = sizes.window - sizes.step - before
    rows, cols = (-side % sizes.step for side in shape)
    return (before, after + rows), (before, after + cols)


def _load(card: ModelCard, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> WindowNetwork:
    try:
        config: dict[str, Any] = card.networks[NETWORK]["config"]
        network = WindowNetwork(Shape.of_config(config))
        tensors = networks[NETWORK].items()
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in tensors}
        )  # fmt: skip
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"the network of this model does not fit its card: {str(error).splitlines()[-1].strip()}"
        ) from error
    return network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
