"""DRPnet as published, as a picker: two small networks, peaks by prominence, a second network trained in the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from relion_ext_picker.errors import WeightsError
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.drpnet.paper_image import (
    PaperFrame,
    enlarge,
    frame_of,
    network_input,
    patches_of,
    spread,
)
from relion_ext_picker.pickers.drpnet.paper_networks import Fcrn, ParticleClassifier
from relion_ext_picker.pickers.drpnet.paper_peaks import Peaks, prominent
from relion_ext_picker.pickers.drpnet.paper_settings import ClassifierTraining, Detection, settings_of
from relion_ext_picker.pickers.drpnet.paper_training import train_classifier
from relion_ext_picker.types import Array, Grid, ModelCard, ScoreMap

FEWEST = 10  # with fewer candidates than this in a micrograph percentiles say nothing and no screen is applied
Networks = dict[str, dict[str, Tensor]]

# The authors' network answers a smooth dark disc with 0.14 to 0.19, half a px up and to the left.
CNET1_CALIBRATION = {"response": 0.15, "shift_rows": 0.5, "shift_cols": 0.5}


@dataclass(frozen=True)
class PaperMap(ScoreMap):
    """Score of every place, with the response it was made from.

    Attributes
    ----------
    response : ndarray, shape (h, w), float32
        What the first network says, at least 0, on the same grid.
    radius : int
        Half box in px of the map.
    """

    response: Array | None = None
    radius: int = 1


class PaperPicker:
    """DRPnet as published (the presets whose names begin with "paper").

    The first-stage score is r / (r + 1), where r is the response, smoothed over a quarter of the half box and weighted
    by how sure it is that there is more than noise (:func:`.paper_image.signal_share`), over that of a typical
    particle (``card.calibration["response"]``): 0.5 is a typical particle. The second-stage
    score is the probability of being a particle; candidates that the percentile screen discards get 0.

    Parameters
    ----------
    card : ModelCard
        Its preset names the parameters, its calibration holds "response" and the shift of the response that is
        corrected, "shift_rows" and "shift_cols", px as the first network sees them.
    networks : dict of dict of Tensor
        "proposer" and, once trained, "classifier".
    device : torch.device

    Raises
    ------
    WeightsError
        The tensors do not fit the networks.
    InputError
        The preset of the card is unknown.
    """

    def __init__(self, card: ModelCard, networks: Networks, device: torch.device) -> None:
        self.card = card
        self.settings = settings_of(card.preset)
        self._state = networks
        self.device = device
        self._proposer = Fcrn()
        _load(self._proposer, networks, "proposer")
        self._proposer.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._classifier: ParticleClassifier | None = None
        if "classifier" in networks:
            config = card.networks.get("classifier", {}).get("config", {})
            self._classifier = ParticleClassifier(**config)
            _load(self._classifier, networks, "classifier")
            self._classifier.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @classmethod
    def from_cnet1(
        cls, state: Mapping[str, Tensor], device: torch.device | None = None, preset: str = "paper"
    ) -> PaperPicker:
        """A picker with the authors' own first network.

        The authors trained it on less smoothed images, and on larger particles, than they show it; the preparation of
        this picker is what they show it.

        Parameters
        ----------
        state : mapping of Tensor
            ``conv1.weight`` ... ``conv5.bias`` in PyTorch's order of axes.
        device : torch.device, optional
            The CPU by default.
        preset : str
        """
        provenance = {"data": "EMPIAR-10005", "source": "cnet_1.mat of the authors"}
        card = paper_card(preset, CNET1_CALIBRATION, provenance)
        return cls(card, {"proposer": dict(state)}, device or torch.device("cpu"))

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> PaperFrame:
        """Micrograph (h, w) as stored -> reduced and flattened image with its grid and scales. `diameter` in Å.

        Raises
        ------
        InputError
            The box does not fit into the micrograph.
        """
        complement = bright or self.settings.negative_stain
        return frame_of(image, diameter / pixel_size, self.settings.box_per_diameter, complement=complement)

    def propose(self, frame: ScoreMap) -> PaperMap:
        """Prepared image -> score of every place."""
        frame = _paper_frame(frame)
        scales = frame.scales
        seen = torch.from_numpy(np.ascontiguousarray(network_input(frame))).to(self.device)
        response = enlarge(self._proposer.respond(seen).cpu().numpy(), scales.reduction, _shape(frame.values))
        response = np.maximum(response, 0)
        typical = self.card.calibration.get("response", 1.0)
        strength = ndimage.gaussian_filter(response, scales.radius / 4) / np.float32(typical)
        if frame.signal is not None:
            strength = strength * spread(frame.signal, _shape(strength))
        return PaperMap(strength / (strength + 1), self._shifted(frame), response, scales.radius)

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """Rows, columns and scores of the candidates; `distance` is not used, since the peaks stand out by prominence.

        Candidates below the floor of the settings are never returned: prominence is relative to the micrograph's
        strongest response, which would make particles of the noise of an empty one.
        """
        found = self._detect(score_map, self.settings.detect)
        found = found.subset(found.strength >= floor)
        order = np.argsort(-found.strength, kind="stable")
        return found.rows[order], found.cols[order], found.strength[order]

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """Probabilities of being a particle, shape (n,), or None without a second network."""
        if self._classifier is None:
            return None
        frame = _paper_frame(frame)
        if not len(xy):
            return np.zeros(0, np.float32)
        patches = patches_of(frame, *frame.grid.from_original(xy))
        probability = self._classifier.probability(torch.from_numpy(patches).to(self.device)).cpu().numpy()
        if self.settings.filter_candidates:
            probability = np.where(screen(patches, self.settings.predict_percentiles), probability, 0)
        return np.asarray(probability, np.float32)

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """Candidates of high and of low confidence, found with the parameters of the preset for either.

        Positives pass the percentile screen and, at level 1, lie within a quarter of the half box of a level-2
        candidate. Negatives are farther than a third of the half box from every positive. `xy` and `score` are not
        used, because either kind has a smoothing and a prominence of its own.
        """
        frame = _paper_frame(frame)
        score_map = self.propose(frame)
        radius = frame.scales.radius
        chosen = self.settings.positives
        high = self._detect(score_map, chosen)
        if chosen.level == 1:
            sure = self._detect(score_map, replace(chosen, level=2))
            high = high.subset(_distance(high, sure) <= radius / 4)
        positives = self._patches(frame, score_map, high)
        keep = screen(positives, self.settings.train_percentiles)
        high, positives = high.subset(keep), positives[keep]
        low = self._detect(score_map, self.settings.negatives, extra=0.25)
        low = low.subset(_distance(low, high) > radius / 3)
        return Examples(positives, self._patches(frame, score_map, low))

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> PaperPicker:
        """A copy whose second network is trained on `examples`, one entry per micrograph.

        Raises
        ------
        InputError
            There are too few examples of either kind.
        """
        training = ClassifierTraining()
        positives = np.concatenate([e.positives for e in examples]) if examples else np.zeros((0, 64, 64), np.float32)
        negatives = np.concatenate([e.negatives for e in examples]) if examples else positives
        state = train_classifier(positives, negatives, training, self.device, seed, progress)
        described = {
            **self.card.networks,
            "classifier": {
                "architecture": "drpnet_paper_classifier",
                "config": {"kernel": training.kernel, "width": training.width},
            },
        }
        card = replace(self.card, networks=described, threshold=self.settings.threshold)
        return PaperPicker(card, {**self._state, "classifier": state}, self.device)

    def state(self) -> Networks:
        """State dictionaries of the networks, for a model file."""
        return self._state

    def _detect(self, score_map: ScoreMap, detection: Detection, extra: float = 0.0) -> Peaks:
        """Candidates above the floor and off the border; their strength is the score."""
        if not isinstance(score_map, PaperMap) or score_map.response is None:
            raise TypeError("the published DRPnet finds peaks only in the map that its own propose() returned")
        found = prominent(score_map.response, score_map.values, detection.sigma, detection.height)
        floor, margin = self.settings.floor, (self.settings.edge + extra) * score_map.radius
        height, width = score_map.values.shape
        inside = (found.rows >= margin) & (found.rows <= height - 1 - margin)
        inside &= (found.cols >= margin) & (found.cols <= width - 1 - margin)
        return found.subset(inside & (found.strength >= floor / (floor + 1)))

    def _patches(self, frame: PaperFrame, score_map: PaperMap, peaks: Peaks) -> Array:
        xy = score_map.to_original(peaks.rows, peaks.cols)
        return patches_of(frame, *frame.grid.from_original(xy))

    def _shifted(self, frame: PaperFrame) -> Grid:
        """Grid of the response: that of the frame, with the shift of the network's response taken out."""
        grid, reduction = frame.grid, frame.scales.reduction
        if self.settings.literal_shifts:
            rows = cols = -0.5  # of the even smoothing kernel
        else:
            rows = self.card.calibration.get("shift_rows", 0.5) * reduction
            cols = self.card.calibration.get("shift_cols", 0.5) * reduction
        return Grid(grid.scale, (grid.offset[0] + rows * grid.scale[0], grid.offset[1] + cols * grid.scale[1]))


def paper_card(preset: str, calibration: Mapping[str, float], provenance: Mapping[str, object]) -> ModelCard:
    """Card of a model that has a first network only: every candidate counts, as in the paper."""
    return ModelCard(
        mode="drpnet",
        preset=preset,
        reference_diameter=0.0,  # the scale rule decides, micrograph by micrograph
        networks={"proposer": {"architecture": "drpnet_paper_fcrn", "config": {}}},
        threshold=0.0,
        calibration=dict(calibration),
        provenance=dict(provenance),
    )


def screen(patches: Array, percentiles: tuple[float, float]) -> NDArray[np.bool_]:
    """Candidates of one micrograph whose grey values are those of a particle.

    Parameters
    ----------
    patches : ndarray, shape (n, side, side)
    percentiles : (float, float)
        Share, in %, of the lowest means and of the lowest standard deviations to discard.

    Returns
    -------
    ndarray of bool, shape (n,)
        The candidate with the largest mean, and that with the largest deviation, are discarded as well.
    """
    keep = np.ones(len(patches), bool)
    if len(patches) < FEWEST:
        return keep
    for values, percent in zip((patches.mean((1, 2)), patches.std((1, 2))), percentiles, strict=True):
        keep &= (values > np.percentile(values, percent, method="hazen")) & (values < values.max())
    return keep


def _distance(peaks: Peaks, others: Peaks) -> NDArray[np.float64]:
    """Distance of every peak to the nearest of the others, infinite without others."""
    if not len(peaks) or not len(others):
        return np.full(len(peaks), np.inf)
    tree = cKDTree(np.stack([others.rows, others.cols], 1))
    return np.asarray(tree.query(np.stack([peaks.rows, peaks.cols], 1))[0], np.float64)


def _paper_frame(frame: ScoreMap) -> PaperFrame:
    if not isinstance(frame, PaperFrame):
        raise TypeError("the published DRPnet works only on the frame that its own prepare() returned")
    return frame


def _shape(values: Array) -> tuple[int, int]:
    return int(values.shape[0]), int(values.shape[1])


def _load(network: torch.nn.Module, networks: Networks, name: str) -> None:
    if name not in networks:
        raise WeightsError(f"the model has no network {name!r}; it is not a model of the published DRPnet: use another")
    try:
        network.load_state_dict(networks[name])
    except RuntimeError as error:
        raise WeightsError(
            f"the tensors of network {name!r} are not those of the published DRPnet; use a model file that was made "
            f"with --preset paper ({str(error).splitlines()[-1].strip()})"
        ) from error
