"""What a mode has to provide, and the one way in which a micrograph is picked with it.

``prepare -> propose -> peaks -> verify -> to_original -> thin``: the modes differ in the first four steps only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from relion_ext_picker.image.peaks import share_inside, thin
from relion_ext_picker.pickers.comparer import COMPARER
from relion_ext_picker.pickers.density import conditioned, share_of_usual
from relion_ext_picker.types import Array, ModelCard, ScoreMap

Progress = Callable[[str], None]

APART = 0.5  # of the diameter: candidates closer than this count as one where particles are counted


@dataclass(frozen=True)
class Request:
    """What the user asks of a picker.

    Attributes
    ----------
    diameter : float
        Particle diameter in Å.
    threshold : float
        Score from which a candidate is kept, 0..1; negative takes the model's own.
    min_distance : float
        Smallest distance between two picks as a fraction of the diameter.
    max_picks : int
        At most this many, best first; 0 is no limit.
    border : float
        Distance from the edge within which nothing is picked, as a fraction of the diameter.
    bright : bool
        Particles are brighter than their surroundings.
    verify : bool
        Use the second network.
    corrected : bool
        Scores take account of how many particles a micrograph has, see :mod:`~relion_ext_picker.pickers.density`.
    """

    diameter: float
    threshold: float = -1.0
    min_distance: float = 0.5
    max_picks: int = 0
    border: float = 0.0
    bright: bool = False
    verify: bool = True
    corrected: bool = True


@dataclass(frozen=True)
class Examples:
    """Patches that a first network is sure of, for training a second one without labels.

    Attributes
    ----------
    positives, negatives : ndarray, shape (n, side, side), float32
        As the second network sees them.
    """

    positives: Array
    negatives: Array


class Picker(Protocol):
    """A loaded model of one mode on one device."""

    card: ModelCard
    device: torch.device

    def prepare(self, image: Array, pixel_size: float, diameter: float, *, bright: bool = False) -> ScoreMap:
        """Image (h, w) as stored -> rescaled and normalised image with its grid. `diameter` in Å."""
        ...

    def propose(self, frame: ScoreMap) -> ScoreMap:
        """Prepared image -> score of every place, on a grid of its own."""
        ...

    def peaks(
        self, score_map: ScoreMap, distance: float, floor: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Array]:
        """Rows, columns (fractional, of the map) and scores of the candidates.

        `distance` is the smallest allowed distance of two peaks in px of the micrograph as stored, `floor` the
        score below which candidates need not be returned (0 returns all).
        """
        ...

    def verify(self, frame: ScoreMap, xy: Array, score: Array) -> Array | None:
        """Candidates in micrograph coordinates (n, 2) with their first score -> final scores, None without a second
        network."""
        ...

    def examples(self, frame: ScoreMap, xy: Array, score: Array) -> Examples:
        """The candidates that the first network is most and least sure of, as patches for the second network."""
        ...

    def retrained(self, examples: Sequence[Examples], seed: int, progress: Progress) -> Picker:
        """A copy of this picker whose second network is trained on `examples` (one entry per micrograph)."""
        ...

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """State dictionaries of the networks, for a model file."""
        ...


@runtime_checkable
class Sorting(Protocol):
    """What a picker that tells kinds of particles apart has in addition."""

    def classes(self, frame: ScoreMap, xy: Array) -> NDArray[np.int64]:
        """Prepared image, micrograph coordinates (n, 2) -> class numbers (n,), from 1."""
        ...


def class_numbers(picker: Picker, frame: ScoreMap, xy: Array) -> NDArray[np.int64]:
    """Class number of each pick of a prepared micrograph, shape (n,); 0 where the picker knows no classes."""
    return picker.classes(frame, xy) if isinstance(picker, Sorting) else np.zeros(len(xy), np.int64)


def candidates(picker: Picker, frame: ScoreMap, pixel_size: float, request: Request) -> tuple[Array, Array]:
    """Candidates of a prepared micrograph: (n, 2) micrograph coordinates and first-stage scores (n,)."""
    diameter = request.diameter / pixel_size
    score_map = picker.propose(frame)
    rows, cols, score = picker.peaks(score_map, request.min_distance * diameter, 0.0)
    return score_map.to_original(rows, cols), score


def pick_prepared(
    picker: Picker, frame: ScoreMap, shape: tuple[int, int], pixel_size: float, request: Request
) -> tuple[Array, Array]:
    """Pick a micrograph of `shape` (rows, columns) that the picker has prepared; see :func:`pick_micrograph`."""
    xy, score = candidates(picker, frame, pixel_size, request)
    if request.verify and len(xy):
        verified = picker.verify(frame, xy, score)
        score = score if verified is None else verified
    diameter = request.diameter / pixel_size
    # A particle cut by the edge is worth the less, the more of it is missing: Extract would fill the box with grey.
    score = score * share_inside(xy, shape, diameter)
    known = request.verify and COMPARER in picker.card.networks  # which has seen how many particles there are
    usual = picker.card.calibration.get("density", 0.0) if request.corrected and not known else 0.0
    if usual:  # of the whole micrograph: what a score means must not depend on what else is asked for
        area = shape[0] * shape[1] / diameter**2
        score = conditioned(score, share_of_usual(score[thin(xy, score, APART * diameter)], area, usual))
    last = np.array([shape[1] - 1, shape[0] - 1], np.float32)
    margin = request.border * diameter
    threshold = request.threshold if request.threshold >= 0 else picker.card.threshold
    keep = (score >= threshold) & np.all((xy >= margin - 0.5) & (xy <= last - margin + 0.5), axis=1)
    xy, score = np.clip(xy[keep], 0, last), score[keep]
    order = thin(xy, score, request.min_distance * diameter)
    if request.max_picks:
        order = order[: request.max_picks]
    return xy[order].astype(np.float32), score[order].astype(np.float32)


def pick_micrograph(picker: Picker, image: Array, pixel_size: float, request: Request) -> tuple[Array, Array]:
    """Pick one micrograph.

    Parameters
    ----------
    picker : Picker
    image : ndarray, shape (h, w), float32
        Micrograph as stored.
    pixel_size : float
        Å/px.
    request : Request

    Returns
    -------
    xy : ndarray, shape (n, 2), float32
        Centres in px of the micrograph, x = column, inside 0..w-1 and 0..h-1; best first.
    score : ndarray, shape (n,), float32
        0..1, falling.
    """
    frame = picker.prepare(image, pixel_size, request.diameter, bright=request.bright)
    return pick_prepared(picker, frame, (image.shape[0], image.shape[1]), pixel_size, request)
