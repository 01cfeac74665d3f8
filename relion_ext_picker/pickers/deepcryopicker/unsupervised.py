"""What clustering finds, as a picker: the first stage of the DeepCryoPicker alone (preset "clustering")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.pickers.deepcryopicker.find import Found, find_particles
from relion_ext_picker.pickers.deepcryopicker.picker import ONE_NETWORK
from relion_ext_picker.pickers.deepcryopicker.settings import UnsupervisedSettings
from relion_ext_picker.pickers.views import side_of
from relion_ext_picker.types import Array, ModelCard, ScoreMap

GOOD = 0.5  # from this score on a particle is good enough to learn from


@dataclass(frozen=True)
class FoundMap(ScoreMap):
    """A micrograph whose particles have been found; `values` are the mask on the working image."""

    found: Found | None = None


class ClusteringPicker:
    """Clustering, shapes and grading, without a network.

    Parameters
    ----------
    settings : UnsupervisedSettings
    device : torch.device
        Not used.
    """

    def __init__(self, settings: UnsupervisedSettings, device: torch.device) -> None:
        self.card = ModelCard("deepcryopicker", "clustering", 0.0, {}, threshold=0.0)
        self.settings, self.device = settings, device

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> FoundMap:
        """See :class:`~relion_ext_picker.pickers.base.Picker`. All the work is done here, since it is not a network's.

        Raises
        ------
        InputError
            When the particle is larger than the micrograph.
        """
        side = side_of(diameter, pixel_size, image)
        found = find_particles(image, self.settings, side)
        return FoundMap(found.mask.astype(np.float32), found.grid, found)

    def propose(self, frame: ScoreMap) -> ScoreMap:
        """The map as it is."""
        return frame

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """See :class:`~relion_ext_picker.pickers.base.Picker`; the score is the quality, above `GOOD` for the good."""
        found = _found_in(score_map)
        rows, cols = score_map.grid.from_original(found.xy)
        score = np.where(found.good, GOOD + (1 - GOOD) * found.quality, GOOD * found.quality).astype(np.float32)
        order = np.argsort(-score, kind="stable")
        return rows[order], cols[order], score[order]

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """None: there is no second network."""
        return None

    def classes(self, frame: ScoreMap, xy: Array) -> NDArray[np.int64]:
        """See :class:`~relion_ext_picker.pickers.base.Sorting`: 1 top view, 2 side view, 3 irregular."""
        found = _found_in(frame)
        if not len(xy):
            return np.zeros(0, np.int64)
        distance = np.hypot(*(found.xy[None, :, :].astype(np.float64) - xy[:, None, :]).transpose(2, 0, 1))
        return np.asarray([KINDS.index(str(found.kind[index])) + 1 for index in distance.argmin(axis=1)], np.int64)

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> ClusteringPicker:
        """Not of this mode: raises InputError."""
        raise InputError(ONE_NETWORK)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Nothing: there is no network."""
        return {}


def _found_in(frame: ScoreMap) -> Found:
    if not isinstance(frame, FoundMap) or frame.found is None:
        raise TypeError("clustering finds particles only in the map that its own prepare() returned")
    return frame.found
