"""The default preset of the DeepCryoPicker mode: a compact network, everywhere at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.image.normalise import standardise
from relion_ext_picker.image.peaks import local_maxima
from relion_ext_picker.image.tiles import tiles
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.deepcryopicker.classes import KINDS, class_numbers_of, kinds_among
from relion_ext_picker.pickers.deepcryopicker.cleaning import best_boxes, without_large_areas
from relion_ext_picker.pickers.deepcryopicker.network import REFERENCE_DIAMETER, STRIDE, CompactNetwork, Shape
from relion_ext_picker.pickers.inference import Inference
from relion_ext_picker.pickers.views import TURNS, averaged, cut_windows, scaled
from relion_ext_picker.types import Array, ModelCard, ScoreMap

CORE = 1024  # side of a tile, px of the prepared image
FLOOR = 0.01  # candidates below this are never particles and would only cost time
LARGEST = 1.5  # particle areas; a larger connected area above the threshold is no particle
INNER, OUTER = 0.75, 1.5  # sides of the squares that say how dark a place is, particle diameters
DARKEST = 3.0  # times as dark as the picks of the darkest kind are: a crystal
FEWEST = 5  # picks of a kind that say how dark it is
BATCH = 256  # windows at a time
NETWORK = "net"
ONE_NETWORK = (
    "the DeepCryoPicker mode has no second network to retrain: it teaches itself from the micrographs of the job when "
    "no model is given"
)


@dataclass(frozen=True)
class ClassMap(ScoreMap):
    """Score of every place, with the share of each class.

    Attributes
    ----------
    parts : ndarray, shape (k, h, w), float32
        Probability of each of the network's particle classes; `values` is their sum, where no large area was removed.
    diameter : float
        Of the particle, samples of the map.
    darkness : ndarray, shape (h, w), float32, or None
        How much darker each place is than what is around it.
    """

    parts: Array | None = None
    diameter: float = REFERENCE_DIAMETER / STRIDE
    darkness: Array | None = None


class DefaultDeepCryoPicker:
    """One network on one device.

    Parameters
    ----------
    card : ModelCard
        The config of its network "net" holds the sizes, "classes", the names in the order of the outputs, and "fence",
        what is taken off each output before it becomes a score: where particles of that class begin.
    networks : mapping
        State dictionary of "net".
    device : torch.device
    views : int
        Rotations of the micrograph that the network sees and averages, 1 to 4.
    half : bool, optional
        Compute in bfloat16; by default where that is quick.

    Raises
    ------
    WeightsError
        When the tensors do not fit the architecture that the card names.
    """

    def __init__(
        self,
        card: ModelCard,
        networks: Mapping[str, Mapping[str, Tensor]],
        device: torch.device,
        views: int = 2,
        half: bool | None = None,
    ) -> None:
        self.card, self.device = card, device
        self.turns = TURNS[views]
        self._network, self.shape, self.class_names, fence = _load(card, networks, device)
        self._fence = torch.tensor(fence, device=device)[:, None, None]
        self._quick = Inference(self._network, half)

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> ScoreMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Raises
        ------
        InputError
            When the particle is larger than the micrograph.
        """
        frame = scaled(image, pixel_size, diameter, self.card.reference_diameter, STRIDE)
        values = standardise(frame.values)
        return ScoreMap(-values if bright else values, frame.grid)

    @torch.inference_mode()
    def probabilities(self, frame: ScoreMap) -> Array:
        """Score of every class (classes, h / 2, w / 2) at every place of a prepared image, before any cleaning.

        Windows may reach beyond the edge of the image, where they are 0.
        """
        shape = (frame.values.shape[0], frame.values.shape[1])
        beyond = self.shape.window - STRIDE
        margin = beyond // 2
        image = torch.from_numpy(np.pad(frame.values, margin))
        found = torch.zeros(len(self.class_names), shape[0] // STRIDE, shape[1] // STRIDE)
        for _, _, (rows, cols) in tiles(shape, CORE, 0):
            tile = image[rows.start : rows.stop + beyond, cols.start : cols.stop + beyond].to(self.device)
            answer = averaged(tile, self.turns, lambda seen: torch.softmax(self._quick(seen)[0] - self._fence, 0))
            place = slice(rows.start // STRIDE, rows.stop // STRIDE), slice(cols.start // STRIDE, cols.stop // STRIDE)
            found[:, place[0], place[1]] = answer.cpu()
        return np.asarray(found.numpy(), np.float32)

    def propose(self, frame: ScoreMap) -> ClassMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; one sample per 2 x 2 px of the frame.

        The score is the probability of being a particle of any class. Areas too large for one particle are 0.
        """
        parts = self.probabilities(frame)[kinds_among(self.class_names)]
        diameter = self.card.reference_diameter / STRIDE
        largest = LARGEST * math.pi / 4 * diameter**2
        score = without_large_areas(parts.sum(0), self.card.threshold, largest)
        darkness = darkness_of(frame.values, self.card.reference_diameter)
        return ClassMap(score, frame.grid.coarser(STRIDE), parts, diameter, darkness)

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """See :class:`~relion_ext_picker.pickers.base.Picker`.

        Of boxes of one class that overlap more than two do that are `distance` apart side by side, the best is kept.
        What is far darker than the sure finds of the darkest class is ice.
        """
        if not isinstance(score_map, ClassMap) or score_map.parts is None:
            raise TypeError("the DeepCryoPicker finds peaks only in the map that its own propose() returned")
        scale = 0.5 * (score_map.grid.scale[0] + score_map.grid.scale[1])
        rows, cols, score = local_maxima(score_map.values, distance / scale, max(floor, FLOOR))
        share = min(1.0, distance / scale / score_map.diameter)
        limit = (1 - share) / (1 + share)
        nearest = np.rint(rows).astype(np.int64), np.rint(cols).astype(np.int64)
        weight = self._fence.exp().cpu().numpy()[kinds_among(self.class_names), :, 0]
        kind = (weight * score_map.parts[:, nearest[0], nearest[1]]).argmax(0)
        places = np.stack([rows, cols], axis=1)
        kept = [
            mine[best_boxes(places[mine], score[mine], score_map.diameter, limit)]
            for mine in (np.flatnonzero(kind == number) for number in range(len(score_map.parts)))
        ]
        order = np.concatenate(kept)
        if score_map.darkness is not None:
            dark = score_map.darkness[nearest]
            sure = order[score[order] >= self.card.threshold]
            order = order[dark[order] <= DARKEST * usual_darkness(dark[sure], kind[sure])]
        order = order[np.argsort(-score[order], kind="stable")]
        return rows[order], cols[order], score[order]

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """None: there is no second network."""
        return None

    def classes(self, frame: ScoreMap, xy: Array) -> NDArray[np.int64]:
        """See :class:`~relion_ext_picker.pickers.base.Sorting`: 1 top view, 2 side view, 3 irregular."""
        found = self.judge(self.cut(frame, xy), fenced=False)
        return class_numbers_of(self.class_names, found)

    @torch.inference_mode()
    def judge(self, windows: Array, fenced: bool = True) -> Array:
        """Windows (n, window, window) -> score of every class (n, classes), averaged over the views.

        Without the fence: what the network says is in a window, not whether that is worth a pick.
        """
        fence = self._fence if fenced else torch.zeros_like(self._fence)
        out = [np.zeros((0, len(self.class_names)), np.float32)]
        for start in range(0, len(windows), BATCH):
            batch = torch.from_numpy(windows[start : start + BATCH])[:, None].to(self.device)
            answers = [torch.softmax(self._quick(torch.rot90(batch, turn, (2, 3))) - fence, 1) for turn in self.turns]
            out.append(torch.stack(answers).mean(0)[:, :, 0, 0].cpu().numpy())
        return np.concatenate(out)

    def cut(self, frame: ScoreMap, xy: Array) -> Array:
        """Windows (n, window, window) as the network sees them; see :func:`~..views.cut_windows`."""
        return cut_windows(frame, xy, self.shape.window)

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> DefaultDeepCryoPicker:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def network(self) -> CompactNetwork:
        """A copy of the network to train."""
        return copy.deepcopy(self._network)

    def with_network(self, state: Mapping[str, Tensor], card: ModelCard | None = None) -> DefaultDeepCryoPicker:
        """A picker like this one with other weights, and another card where one is given."""
        return DefaultDeepCryoPicker(card or self.card, {NETWORK: state}, self.device, len(self.turns))

    def state(self) -> dict[str, dict[str, Tensor]]:
        """State dictionary of the network, for a model file; kernels are rounded to 16 bits."""
        tensors = self._network.state_dict().items()
        return {NETWORK: {key: (value.half() if value.ndim > 1 else value).cpu() for key, value in tensors}}


def darkness_of(values: Array, diameter: float) -> Array:
    """How much darker a particle's middle is than what is around it, at every place of a score map.

    Parameters
    ----------
    values : ndarray, shape (h, w)
        A prepared image, particles dark.
    diameter : float
        Of the particle, px.

    Returns
    -------
    ndarray, shape (h / 2, w / 2), float32
    """
    inner, outer = 2 * round(INNER * diameter / 2), 2 * round(OUTER * diameter / 2)
    within, around = (ndimage.uniform_filter(values, side, mode="reflect") for side in (inner, outer))
    # The outer square without the inner one, which it contains.
    dark = (around - within) * outer**2 / (outer**2 - inner**2)
    # An even square's middle is the corner between four pixels, as that of a sample of the map is.
    rows, cols = (length // STRIDE * STRIDE for length in values.shape)
    return np.asarray(dark[1:rows:STRIDE, 1:cols:STRIDE], np.float32)


def usual_darkness(dark: Array, kind: NDArray[np.int64]) -> float:
    """Median of the finds (n,) of the darkest kind; infinite where no kind has `FEWEST` finds, or none is dark."""
    medians = [float(np.median(dark[kind == each])) for each in set(kind.tolist())
               if np.count_nonzero(kind == each) >= FEWEST]  # fmt: skip
    most = max(medians, default=0.0)
    return most if most > 0 else math.inf


def untrained(
    classes: Sequence[str], device: torch.device, shape: Shape | None = None, views: int = 2
) -> DefaultDeepCryoPicker:
    """A picker with random weights; see torch.manual_seed.

    Parameters
    ----------
    classes : sequence of str
        Names in the order of the outputs, see :mod:`.classes`.
    device : torch.device
    shape : Shape, optional
    views : int
    """
    shape = shape or Shape()
    config = {**shape.config(), "classes": list(classes), "fence": [0.0] * len(classes)}
    networks = {NETWORK: {"architecture": "compact", "config": config}}
    card = ModelCard("deepcryopicker", "default", REFERENCE_DIAMETER, networks, threshold=0.5)
    return DefaultDeepCryoPicker(card, {NETWORK: CompactNetwork(len(classes), shape).state_dict()}, device, views)


def _load(
    card: ModelCard, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device
) -> tuple[CompactNetwork, Shape, tuple[str, ...], list[float]]:
    try:
        config = card.networks[NETWORK]["config"]
        shape, names = Shape.of_config(config), tuple(str(name) for name in config["classes"])
        fence = [float(value) for value in config.get("fence", [0.0] * len(names))]
        network = CompactNetwork(len(names), shape)
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in networks[NETWORK].items()}
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"the network of this model does not fit its card: {str(error).splitlines()[-1].strip()}"
        ) from error
    if len(fence) != len(names):
        raise WeightsError(f"the card of this model has {len(names)} classes, but {len(fence)} places where they begin")
    if not set(names) & set(KINDS):
        raise WeightsError(f"the card of this model names no class of particles: {', '.join(names)}")
    network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, shape, names, fence
