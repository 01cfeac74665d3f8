"""The default preset of the DRPnet mode."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relion_ext_picker.errors import WeightsError
from relion_ext_picker.image.normalise import standardise
from relion_ext_picker.image.peaks import local_maxima
from relion_ext_picker.image.tiles import tiles
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.comparer import COMPARER, loaded, settled, to_logit, with_entry, without_comparer
from relion_ext_picker.pickers.drpnet.network import MULTIPLE, STRIDE, WINDOW, build
from relion_ext_picker.pickers.drpnet.retrain import adapt_verifier
from relion_ext_picker.pickers.inference import Inference
from relion_ext_picker.pickers.likeness import informed
from relion_ext_picker.pickers.views import TURNS, averaged, scaled
from relion_ext_picker.types import Array, ModelCard, ScoreMap

CORE = 1024  # side of a tile, px of the prepared image
HALO = 96  # more than half the receptive field of the proposer
FLOOR = 0.01  # candidates below this are never particles and would only cost time
BATCH = 128  # windows at a time
# The second network that a model without one gets.
NEW_CLASSIFIER: dict[str, Any] = {"architecture": "verifier", "config": {"widths": [24, 32, 64, 96]}}
SURE, UNSURE = 0.75, 0.15  # scores from which and up to which the proposer is trusted when it teaches the verifier


class DefaultPicker:
    """Proposer and verifier on one device.

    Parameters
    ----------
    card : ModelCard
    networks : mapping
        State dictionaries of "proposer" and, optionally, "classifier" and "comparer".
    device : torch.device
    views : int
        Rotations of the micrograph that the proposer sees and averages, 1 to 4.

    Raises
    ------
    WeightsError
        When the tensors do not fit the architecture that the card names.
    """

    def __init__(
        self, card: ModelCard, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device, views: int = 2
    ) -> None:
        self.card = card if COMPARER in networks else without_comparer(card)
        self.device = device
        self.turns = TURNS[views]
        names = ("proposer", "classifier") if "classifier" in networks else ("proposer",)
        self._networks = {name: _load(card, name, networks, device) for name in names}
        self._proposer = Inference(self._networks["proposer"])
        self._verifier = Inference(self._networks["classifier"]) if "classifier" in networks else None
        self._comparer = loaded(card, networks, device)

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Raises
        ------
        InputError
            When the particle is larger than the micrograph.
        """
        frame = scaled(image, pixel_size, diameter, self.card.reference_diameter, MULTIPLE)
        values = standardise(frame.values)
        return ScoreMap(-values if bright else values, frame.grid)

    @torch.inference_mode()
    def propose(self, frame: ScoreMap) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; one sample per 2 x 2 px of the frame."""
        image = torch.from_numpy(frame.values)
        score = torch.zeros(image.shape[0] // STRIDE, image.shape[1] // STRIDE)
        shape = (image.shape[0], image.shape[1])
        for outer, inner, target in tiles(shape, CORE, HALO):
            tile = image[outer].to(self.device)
            answer = averaged(tile, self.turns, lambda seen: torch.sigmoid(self._proposer(seen))[0, 0])
            score[_strided(target)] = answer[_strided(inner)].cpu()
        return ScoreMap(score.numpy(), frame.grid.coarser(STRIDE))

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """See :class:`~relion_ext_picker.pickers.base.Picker`."""
        scale = 0.5 * (score_map.grid.scale[0] + score_map.grid.scale[1])
        return local_maxima(score_map.values, distance / scale, max(floor, FLOOR))

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """See :class:`~relion_ext_picker.pickers.base.Picker`. All candidates of a micrograph have to be given at once:
        they are compared with each other, see :mod:`~relion_ext_picker.pickers.comparer`, or
        :mod:`~relion_ext_picker.pickers.likeness` for models without that network."""
        windows = cut_windows(frame, xy)
        judged = self.judge(windows, score)
        if judged is None:
            return None
        if self._comparer is not None:
            return settled(self._comparer, windows, score, judged)
        return informed(windows, judged)

    @torch.inference_mode()
    def judge(self, windows: Array, score: Array) -> Array | None:
        """The second network's opinion of single candidates (n, 48, 48) with their first score; None without one."""
        if self._verifier is None:
            return None
        logits = to_logit(score)
        out = []
        for start in range(0, len(windows), BATCH):
            part = slice(start, start + BATCH)
            known = torch.from_numpy(logits[part]).to(self.device)
            answer = self._verifier(_image_batch(windows[part], self.device), known)
            out.append(torch.sigmoid(answer.float()).cpu())
        return torch.cat(out).numpy() if out else np.zeros(0, np.float32)

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Particles: candidates the proposer is sure of whose window varies as much as those of most of them (the paper's
        standard deviation rule). Not particles: candidates it hardly believes in, away from any particle.
        """
        windows = cut_windows(frame, xy)
        spread = windows.std(axis=(1, 2)) if len(windows) else np.zeros(0)
        sure = score >= SURE
        if sure.any():
            low, high = np.percentile(spread[sure], [2, 98])
            sure &= (spread >= low) & (spread <= high)
        unsure = score <= UNSURE
        if sure.any() and unsure.any():
            places = np.stack(frame.grid.from_original(xy), axis=1)
            gap = np.sqrt(((places[unsure][:, None] - places[sure][None]) ** 2).sum(-1)).min(axis=1)
            unsure[np.flatnonzero(unsure)[gap < 0.5 * self.card.reference_diameter]] = False
        return Examples(windows[sure], windows[unsure])

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> DefaultPicker:
        """See :class:`~relion_ext_picker.pickers.base.Picker`. Raises InputError when there are too few examples."""
        card = replace(self.card, networks={"classifier": NEW_CLASSIFIER, **self.card.networks})
        adapted = adapt_verifier(self.network("classifier"), examples, seed, self.device, progress)
        networks = {"proposer": self._networks["proposer"].state_dict(), "classifier": adapted.state_dict()}
        return DefaultPicker(card, networks, self.device, len(self.turns))

    def with_comparer(self, entry: dict[str, Any], state: Mapping[str, Tensor]) -> DefaultPicker:
        """A picker like this one whose candidates are compared by a network; `entry` is for the card."""
        networks = {**self.state(), COMPARER: state}
        return DefaultPicker(with_entry(self.card, entry), networks, self.device, len(self.turns))

    def network(self, name: str) -> nn.Module:
        """A copy of "proposer" or "classifier" to train; a classifier that is missing begins at random."""
        if name in self._networks:
            return copy.deepcopy(self._networks[name])
        return build(NEW_CLASSIFIER["architecture"], NEW_CLASSIFIER["config"]).to(self.device)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """State dictionaries of the networks, for a model file.

        Kernels and matrices are rounded to 16 bits: half the size, and scores change in the third decimal at most.
        """
        networks = {**self._networks, **({COMPARER: self._comparer} if self._comparer is not None else {})}
        return {
            name: {
                key: (value.half() if value.ndim > 1 else value).cpu() for key, value in network.state_dict().items()
            }
            for name, network in networks.items()
        }


def cut_windows(frame: ScoreMap, xy: Array) -> Array:
    """Windows of the prepared image around candidates, zero beyond its edge: (n, 48, 48) float32."""
    rows, cols = frame.grid.from_original(xy)
    half = WINDOW // 2
    padded = np.pad(frame.values, half)
    top, left = np.rint(rows).astype(np.int64), np.rint(cols).astype(np.int64)
    top, left = np.clip(top, 0, frame.values.shape[0]), np.clip(left, 0, frame.values.shape[1])
    view = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW))
    return np.ascontiguousarray(view[top, left], np.float32)


def _strided(part: tuple[slice, slice]) -> tuple[slice, slice]:
    rows, cols = part
    return slice(rows.start // STRIDE, rows.stop // STRIDE), slice(cols.start // STRIDE, cols.stop // STRIDE)


def _image_batch(windows: Array, device: torch.device) -> Tensor:
    return torch.from_numpy(windows)[:, None].to(device).contiguous(memory_format=torch.channels_last)


def _load(card: ModelCard, name: str, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> nn.Module:
    try:
        entry = card.networks[name]
        network = build(entry["architecture"], entry["config"])
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in networks[name].items()}
        )
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"the {name} of this model does not fit its card: {str(error).splitlines()[-1].strip()}"
        ) from error
    return network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
