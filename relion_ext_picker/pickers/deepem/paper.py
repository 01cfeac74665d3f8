"""DeepEM as published, as a picker."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.deepem.exact import Scan, scan_windows
from relion_ext_picker.pickers.deepem.maxima import two_pass_maxima
from relion_ext_picker.pickers.deepem.network import NAME, NETWORK, ONE_NETWORK, DeepEM, load
from relion_ext_picker.pickers.deepem.presets import preset_of
from relion_ext_picker.types import Array, Grid, ModelCard, ScoreMap


class PaperDeepEM:
    """Every window of a grid is normalised and scored by itself, as the mean of its four rotations.

    Presets with a reference diameter rescale the micrograph until the particle has it, the others take it as it is
    stored. Windows whose standard deviation is out of bounds are not looked at and have score 0.

    Parameters
    ----------
    card : ModelCard
        Its preset names the reach of the local maximum, its network "net" the sizes of the layers.
    networks : mapping of mapping of Tensor
        State dictionary of "net".
    device : torch.device
    scan : Scan
    greedy : bool
        Leave it to greedy suppression of the picks to find the best windows, instead of the authors' local maximum.

    Raises
    ------
    WeightsError
        The tensors do not fit the card.
    InputError
        The preset of the card is unknown.
    """

    def __init__(
        self,
        card: ModelCard,
        networks: Mapping[str, Mapping[str, Tensor]],
        device: torch.device,
        scan: Scan = Scan(),  # noqa: B008 - frozen
        *,
        greedy: bool = False,
    ) -> None:
        self.card, self.device, self.scan, self.greedy = card, device, scan, greedy
        preset = preset_of(card.preset)
        if NETWORK not in networks or card.networks.get(NETWORK, {}).get("architecture") != NAME:
            raise WeightsError("the model is not one of the published DeepEM: use one made with train --mode deepem")
        self._network = load(card.networks[NETWORK].get("config", {}), networks[NETWORK]).to(device)
        self.box = self._network.architecture.box
        scale = self.box / preset.architecture.box
        self.ranges = (preset.range1 * scale, preset.range2 * scale)

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Raises
        ------
        InputError
            The particle does not fit into the window, or the window not into the micrograph.
        """
        side, reference = diameter / pixel_size, self.card.reference_diameter
        if not reference and side > self.box:
            raise InputError(
                f"the particle diameter of {diameter:g} Å is {side:.0f} px at {pixel_size:g} Å/px, but the windows of "
                f"preset {self.card.preset} are of {self.box} px: use --preset paper, which rescales the micrograph, "
                "or bin it"
            )
        if min(image.shape) * (reference / side if reference else 1) < self.box:
            raise InputError(
                f"the micrograph of {image.shape[1]} x {image.shape[0]} px is smaller than the window of "
                f"{self.box * (side / reference if reference else 1):.0f} px: check --diameter and the pixel size"
            )
        frame = rescale(image, reference / side) if reference else ScoreMap(np.asarray(image, np.float32))
        return ScoreMap(-frame.values, frame.grid) if bright else frame

    def propose(self, frame: ScoreMap) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; one sample per window, at its middle."""
        found = scan_windows(self._network, frame.values, self.scan)
        step, middle, grid = self.scan.step, (self.box - 1) / 2, frame.grid
        scale = (grid.scale[0] * step, grid.scale[1] * step)
        offset = (grid.offset[0] + middle * grid.scale[0], grid.offset[1] + middle * grid.scale[1])
        return ScoreMap(found.score, Grid(scale, offset))

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Only windows with a score above `floor` take part. The reach of the maximum is that of the preset; `distance`
        is not used.
        """
        score = score_map.values
        candidates = score > max(floor, 0.0)
        if self.greedy:
            rows, cols = np.nonzero(candidates)
        else:
            rows, cols = two_pass_maxima(score, candidates, self.scan.step, self.ranges)
        return rows.astype(np.float64), cols.astype(np.float64), score[rows, cols]

    def cut(self, frame: ScoreMap, xy: Array) -> Array:
        """Windows of a prepared micrograph as the network sees them.

        Parameters
        ----------
        frame : ScoreMap
        xy : ndarray, shape (n, 2)
            Centres, micrograph coordinates. Windows that would reach beyond the edge are moved inward.

        Returns
        -------
        ndarray, shape (n, box, box), float32
            Mean 0 and sample standard deviation 1 each; 0 where all values are the same.
        """
        corners = np.stack(frame.grid.from_original(xy), 1) - (self.box - 1) / 2
        last = np.array(frame.values.shape) - self.box
        rows, cols = np.clip(np.floor(corners + 0.5), 0, last).astype(np.int64).T
        view = np.lib.stride_tricks.sliding_window_view(frame.values, (self.box, self.box))
        windows = np.array(view[rows, cols], np.float32)
        windows -= windows.mean((1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
        spread = np.sqrt(np.square(windows).sum((1, 2), keepdims=True, dtype=np.float64) / (self.box**2 - 1))
        windows /= np.where(spread > 0, spread, 1).astype(np.float32)
        return windows

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """None: there is no second network."""
        return None

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> PaperDeepEM:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def network(self) -> DeepEM:
        """A copy of the network to train."""
        return copy.deepcopy(self._network)

    def with_network(self, state: Mapping[str, Tensor]) -> PaperDeepEM:
        """A picker like this one with other weights."""
        return PaperDeepEM(self.card, {NETWORK: state}, self.device, self.scan, greedy=self.greedy)

    def with_scan(self, scan: Scan, *, greedy: bool = False) -> PaperDeepEM:
        """A picker like this one that scans otherwise."""
        return PaperDeepEM(self.card, self.state(), self.device, scan, greedy=greedy)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """State dictionary of the network, for a model file."""
        return {NETWORK: {key: value.cpu() for key, value in self._network.state_dict().items()}}


def published_card(preset: str, threshold: float = 0.5) -> ModelCard:
    """Card of a model of the published network, for a preset.

    Raises
    ------
    InputError
        There is no such preset.
    """
    chosen = preset_of(preset)
    networks = {NETWORK: {"architecture": NAME, "config": chosen.architecture.config()}}
    return ModelCard("deepem", preset, chosen.diameter, networks, threshold)
