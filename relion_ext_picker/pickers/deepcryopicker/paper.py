"""The DeepCryoPicker as published, as a picker: 227 px windows in steps, one after the other."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.deepcryopicker.classes import KINDS, class_numbers_of, kinds_among
from relion_ext_picker.pickers.deepcryopicker.cleaning import WINDOW, best_boxes, scale_factor, without_large_areas
from relion_ext_picker.pickers.deepcryopicker.paper_network import PaperNetwork, window_scores
from relion_ext_picker.pickers.deepcryopicker.picker import NETWORK, ONE_NETWORK, ClassMap
from relion_ext_picker.pickers.deepcryopicker.preprocess import enhance, working_image
from relion_ext_picker.pickers.inference import Inference, has_half
from relion_ext_picker.pickers.views import side_of
from relion_ext_picker.types import Array, ModelCard, ScoreMap

STEP = 28  # px between windows, an eighth of a window
THRESHOLD = 0.9  # score of a particle
LARGEST = 1.5  # particle areas; a larger connected area above the threshold is no particle
CLOSENESS = 0.5  # neighbours whose scores differ by more are not connected
OVERLAP = 0.3  # intersection over union from which the lesser of two boxes is dropped
BATCH = 64  # windows at a time
TIES = 0.01  # weight of the neighbours' mean score


@dataclass(frozen=True)
class Scan:
    """How the window is moved and what becomes of the scores. The paper gives none of these; they are our choice.

    Attributes
    ----------
    step : int
        Px between windows, a multiple of 4.
    overlap : float
        Intersection over union from which the lesser of two boxes is dropped.
    largest : float
        Connected areas above the threshold of more than so many particle areas are removed.
    batch : int
        Windows at a time.
    """

    step: int = STEP
    overlap: float = OVERLAP
    largest: float = LARGEST
    batch: int = BATCH


class PaperDeepCryoPicker:
    """DeepCryoPicker with the network of the paper (preset "paper").

    Parameters
    ----------
    card : ModelCard
        The config of its network "net" holds "classes", the names in the order of the outputs.
    networks : mapping
        State dictionary of "net".
    device : torch.device
    scan : Scan, optional

    Raises
    ------
    WeightsError
        When the tensors do not fit the network.
    """

    def __init__(
        self,
        card: ModelCard,
        networks: Mapping[str, Mapping[str, Tensor]],
        device: torch.device,
        scan: Scan | None = None,
    ) -> None:
        self.card, self.device, self.scan = card, device, scan or Scan()
        self._network, self.class_names = _load(card, networks, device)
        quick = Inference(self._network).network
        assert isinstance(quick, PaperNetwork)
        self._quick = quick
        self._dtype = torch.bfloat16 if has_half(device) else torch.float32

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> ScoreMap:
        """Micrograph (h, w) as stored -> cleaned of noise (0..1, particles dark) and scaled to fill the window.

        The scale is the multiple of 0.125 of the paper's Table 4; sides are even.

        Raises
        ------
        InputError
            When the particle is larger than the micrograph.
        """
        side = side_of(diameter, pixel_size, image)
        working = working_image(image, side, bright)
        clean = enhance(working.values)
        factor = scale_factor(side) * 0.5 * (working.grid.scale[0] + working.grid.scale[1])
        frame = rescale(clean, factor, multiple=2)
        offset = tuple(
            first + (part + 0.5) * scale - 0.5 * scale
            for first, part, scale in zip(working.grid.offset, frame.grid.offset, working.grid.scale, strict=True)
        )
        scale = tuple(a * b for a, b in zip(working.grid.scale, frame.grid.scale, strict=True))
        values = np.clip(frame.values + np.float32(clean.mean()), 0, 1)
        return ScoreMap(values, replace(frame.grid, scale=(scale[0], scale[1]), offset=(offset[0], offset[1])))

    @torch.inference_mode()
    def probabilities(self, frame: ScoreMap) -> Array:
        """Probability of every class (classes, rows, columns), one sample per window."""
        height, width = frame.values.shape
        step = self.scan.step
        margin = self._margin
        rows, cols = (math.ceil(max(0, side + 2 * margin - WINDOW) / step) + 1 for side in (height, width))
        level = np.float32(np.median(frame.values))
        image = np.full((WINDOW + (rows - 1) * step, WINDOW + (cols - 1) * step), level, np.float32)
        image[margin : margin + height, margin : margin + width] = frame.values
        seen = torch.from_numpy(image).to(self.device, self._dtype)
        found = torch.cat([part.cpu() for part in window_scores(self._quick, seen, step, self.scan.batch)])
        return np.ascontiguousarray(found.numpy().T.reshape(len(self.class_names), rows, cols), np.float32)

    def propose(self, frame: ScoreMap) -> ClassMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; one sample per window.

        The score is the probability of the likeliest particle class. Areas too large for one particle are 0.
        """
        parts = self.probabilities(frame)[kinds_among(self.class_names)]
        step = self.scan.step
        diameter = WINDOW / step  # the particle fills the window
        largest = self.scan.largest * math.pi / 4 * diameter**2
        score = without_large_areas(parts.max(0), self.card.threshold, largest, CLOSENESS)
        shift = (WINDOW - 1) / 2 - self._margin  # of the middle of the first window
        grid = replace(
            frame.grid,
            scale=(frame.grid.scale[0] * step, frame.grid.scale[1] * step),
            offset=(
                frame.grid.offset[0] + shift * frame.grid.scale[0], frame.grid.offset[1] + shift * frame.grid.scale[1]
            ),
        )  # fmt: skip
        return ClassMap(score, grid, parts, diameter)

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; every window is a box, the best of a heap are kept.

        `distance` is not used: boxes are compared by their overlap.
        """
        if not isinstance(score_map, ClassMap) or score_map.parts is None:
            raise TypeError("the DeepCryoPicker finds peaks only in the map that its own propose() returned")
        kind = score_map.parts.argmax(0)
        rows, cols = np.nonzero(score_map.values > floor)
        score, kind = score_map.values[rows, cols], kind[rows, cols]
        # Many windows around a clear particle score 1 alike; the one with the best neighbours is at its middle.
        rank = score + np.float32(TIES) * ndimage.uniform_filter(score_map.values, 5, mode="constant")[rows, cols]
        places = np.stack([rows, cols], axis=1).astype(np.float64)
        kept = [
            mine[best_boxes(places[mine], rank[mine], score_map.diameter, self.scan.overlap)]
            for mine in (np.flatnonzero(kind == number) for number in range(len(score_map.parts)))
        ]
        order = np.concatenate(kept)
        order = order[np.argsort(-score[order], kind="stable")]
        return places[order, 0], places[order, 1], score[order]

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """None: there is no second network."""
        return None

    def classes(self, frame: ScoreMap, xy: Array) -> NDArray[np.int64]:
        """See :class:`~relion_ext_picker.pickers.base.Sorting`: 1 top view, 2 side view, 3 irregular."""
        return class_numbers_of(self.class_names, self.judge(self.cut(frame, xy)))

    @torch.inference_mode()
    def judge(self, windows: Array) -> Array:
        """Windows (n, 227, 227) -> probability of every class (n, classes)."""
        out = [np.zeros((0, len(self.class_names)), np.float32)]
        for start in range(0, len(windows), self.scan.batch):
            batch = torch.from_numpy(windows[start : start + self.scan.batch])[:, None].to(self.device, self._dtype)
            out.append(torch.softmax(self._quick(batch).float(), 1).cpu().numpy())
        return np.concatenate(out)

    def cut(self, frame: ScoreMap, xy: Array) -> Array:
        """Windows (n, 227, 227) around micrograph coordinates (n, 2); the image's median beyond its edge."""
        rows, cols = frame.grid.from_original(xy)
        half = WINDOW // 2
        padded = np.pad(frame.values, half, constant_values=np.float32(np.median(frame.values)))
        top = np.clip(np.rint(rows), 0, frame.values.shape[0] - 1).astype(np.int64)
        left = np.clip(np.rint(cols), 0, frame.values.shape[1] - 1).astype(np.int64)
        view = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW))
        return np.ascontiguousarray(view[top, left], np.float32)

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> PaperDeepCryoPicker:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def network(self) -> PaperNetwork:
        """A copy of the network to train."""
        return copy.deepcopy(self._network)

    def with_network(self, state: Mapping[str, Tensor], card: ModelCard | None = None) -> PaperDeepCryoPicker:
        """A picker like this one with other weights, and another card where one is given."""
        return PaperDeepCryoPicker(card or self.card, {NETWORK: state}, self.device, self.scan)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """State dictionary of the network, for a model file; kernels are rounded to 16 bits (117 MB)."""
        tensors = self._network.state_dict().items()
        return {NETWORK: {key: (value.half() if value.ndim > 1 else value).cpu() for key, value in tensors}}

    @property
    def _margin(self) -> int:
        """Px added around the image, so that the first window's middle is at its edge, or nearly so."""
        return WINDOW // 2


def untrained_paper(classes: Sequence[str], device: torch.device, scan: Scan | None = None) -> PaperDeepCryoPicker:
    """A picker with random weights; see torch.manual_seed."""
    networks = {NETWORK: {"architecture": "table9", "config": {"classes": list(classes)}}}
    card = ModelCard("deepcryopicker", "paper", float(WINDOW), networks, threshold=THRESHOLD)
    return PaperDeepCryoPicker(card, {NETWORK: PaperNetwork(len(classes)).state_dict()}, device, scan)


def _load(
    card: ModelCard, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device
) -> tuple[PaperNetwork, tuple[str, ...]]:
    try:
        names = tuple(str(name) for name in card.networks[NETWORK]["config"]["classes"])
        network = PaperNetwork(len(names))
        network.load_state_dict({key: value.float() for key, value in networks[NETWORK].items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"the network of this model does not fit its card: {str(error).splitlines()[-1].strip()}"
        ) from error
    if not set(names) & set(KINDS):
        raise WeightsError(f"the card of this model names no class of particles: {', '.join(names)}")
    network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, names
