"""The particle diameter where the user gives none: the size at which a picker is surest of what it finds.

The networks of the default presets expect particles of one width. Seen at half their width, parts of particles and
noise look a little like particles; at twice their width they are specks or clumps. So a micrograph is picked at one
size after the other. With scores p of the first network, which sees the least in noise, the measure of a size is
``sum p²`` times the square of ``sum p² / sum p``: how many particles there are, and how sure the picker is of one. Its
maximum is the diameter, and how fast it falls says how well that is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.pickers.base import Picker, Request, pick_micrograph
from relion_ext_picker.types import Array

Floats = NDArray[np.float64]

SMALLEST, NARROWEST = 50.0, 20.0  # Å, px of the micrograph
LARGEST = 0.3  # of the shorter side of a micrograph
STEP, FINER = 2**0.5, 2**0.25  # from one size to the next: first everywhere, then beside the best
FIELD = 48.0  # diameters: the middle of a micrograph, as much as is looked at at one size
AS_GOOD = 0.9  # of the highest measure: sizes that reach it cannot be told from the best
SURE_COUNT, SURE_RANGE = 20.0, 1.8  # expected particles, and ratio of the largest to the smallest size as good


@dataclass(frozen=True)
class Size:
    """A particle diameter that was estimated; Å.

    Attributes
    ----------
    diameter : float
        0 where nothing looked like a particle.
    low, high : float
        Sizes between which it lies: at these the measure is `AS_GOOD` of the highest.
    particles : float
        Expected number among those that were looked at.
    inside : bool
        Smaller and larger sizes were tried and were worse.
    """

    diameter: float = 0.0
    low: float = 0.0
    high: float = 0.0
    particles: float = 0.0
    inside: bool = True

    @property
    def sure(self) -> bool:
        """Many particles, and a narrow range."""
        return self.inside and self.particles >= SURE_COUNT and self.high <= SURE_RANGE * self.low


def estimate_size(
    picker: Picker,
    images: Sequence[Array],
    pixel_size: float,
    bright: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Size:
    """Estimate the particle diameter from a few micrographs.

    Parameters
    ----------
    picker : Picker
        One whose scores are probabilities.
    images : sequence of ndarray, shape (h, w)
        As stored, of one pixel size; two or three are enough.
    pixel_size : float
        Å/px.
    bright : bool
        Particles are brighter than their surroundings.
    progress : callable
        Called before every size; may raise to stop.
    """
    shortest = min((min(image.shape) for image in images), default=0) * pixel_size
    size, largest = max(SMALLEST, NARROWEST * pixel_size), LARGEST * shortest
    measured: dict[float, tuple[float, float]] = {}

    def measure(diameter: float) -> None:
        progress()
        request = Request(diameter, threshold=0.0, bright=bright, verify=False, corrected=False)
        found = [pick_micrograph(picker, _middle(image, diameter / pixel_size), pixel_size, request)[1]
                 for image in images]  # fmt: skip
        # Every image at every size stands for the same area: what is looked at is less at small sizes.
        seen = [min(1.0, FIELD * diameter / pixel_size / side) for image in images for side in image.shape]
        share = float(np.mean([a * b for a, b in zip(seen[::2], seen[1::2], strict=True)]))
        score = np.concatenate(found).astype(np.float64)
        total, squares = float(score.sum()), float(np.square(score).sum())
        measured[diameter] = (squares**3 / total**2 / share if total else 0.0, squares)

    while size <= largest:
        measure(size)
        size *= STEP
    if not measured:
        return Size()
    first = max(measured, key=lambda each: measured[each][0])
    for turn in (1 / FINER, FINER):
        measure(first * turn)
    sizes = sorted(measured)
    gain = np.array([measured[each][0] for each in sizes])
    best = int(np.argmax(gain))
    if not gain[best] > 0:
        return Size()
    low, high = _range(np.log(sizes), gain, best)
    inside = 0 < best < len(sizes) - 1
    return Size(_summit(np.log(sizes), gain, best), low, high, measured[sizes[best]][1], inside)


def _middle(image: Array, diameter_px: float) -> Array:
    """The middle of a micrograph, as much as is looked at at this size."""
    side = math.ceil(FIELD * diameter_px)
    top, left = (max(0, (length - side) // 2) for length in image.shape)
    return image[top : top + side, left : left + side]


def _summit(place: Floats, gain: Floats, best: int) -> float:
    """Diameter at the top of the parabola through the best size and its neighbours."""
    if not 0 < best < len(place) - 1:
        return float(np.exp(place[best]))
    a, b, _ = np.polyfit(place[best - 1 : best + 2] - place[best], gain[best - 1 : best + 2], 2)
    shift = np.clip(-0.5 * b / a, place[best - 1] - place[best], place[best + 1] - place[best]) if a < 0 else 0.0
    return float(np.exp(place[best] + shift))


def _range(place: Floats, gain: Floats, best: int) -> tuple[float, float]:
    """Diameters on both sides at which the measure has fallen to `AS_GOOD` of the highest."""
    limit = AS_GOOD * gain[best]
    ends: list[float] = []
    for step in (-1, 1):
        at = best
        while 0 <= at + step < len(place) and gain[at + step] >= limit:
            at += step
        beyond = at + step
        if 0 <= beyond < len(place):
            part = (gain[at] - limit) / (gain[at] - gain[beyond])
            ends.append(float(np.exp(place[at] + part * (place[beyond] - place[at]))))
        else:
            ends.append(float(np.exp(place[at])))
    return ends[0], ends[1]
