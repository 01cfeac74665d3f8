"""The particle diameter where the user gives none: the size at which particles are most alike."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.pickers.deepcryopicker.find import Found, find_particles
from relion_ext_picker.pickers.deepcryopicker.grading import spread_of
from relion_ext_picker.pickers.deepcryopicker.settings import WORKING_DIAMETER, UnsupervisedSettings
from relion_ext_picker.types import Array

_log = logging.getLogger(__name__)

DISTINCT = 0.2  # share of the commonest kind from which another kind counts for the particle's size
FIELD = 720  # px of the working image: more is not needed to see what fits
SMALLEST = 40.0  # px of the micrograph
STEP = 2**0.5  # from one size to the next; each sees circles from half to 1.25 times its own
LARGEST = 0.25  # of the shorter side of a micrograph
SURE_COUNT, SURE_SPREAD = 30, 0.1  # particles, and share of the diameter
CERTAIN = 10.0  # contrast from which a particle counts no more: dirt is darker than particles


@dataclass(frozen=True)
class Estimate:
    """A particle diameter that was measured.

    Attributes
    ----------
    diameter, spread : float
        Median and robust standard deviation, px of the micrographs; both 0 where nothing was found.
    count : int
        Particles it is from.
    """

    diameter: float = 0.0
    spread: float = 0.0
    count: int = 0

    @property
    def sure(self) -> bool:
        """Many particles of about one size."""
        return self.count >= SURE_COUNT and self.spread <= SURE_SPREAD * self.diameter


def search_diameter(images: Sequence[Array], settings: UnsupervisedSettings | None = None) -> Estimate:
    """Particle diameter in px, from a few micrographs of one data set and nothing else.

    Particles are looked for at one size after the other. The size is right at which the good ones explain most: the sum
    of their squared contrasts, times their consistency.

    Parameters
    ----------
    images : sequence of ndarray, shape (h, w)
        As stored, of one pixel size; two or three are enough.
    settings : UnsupervisedSettings, optional

    Returns
    -------
    Estimate
        See :func:`estimate_diameter`.
    """
    use = settings or UnsupervisedSettings()
    best, chosen = 0.0, None
    for size in _sizes(images):
        found = [find_particles(_middle(image, size), use, size) for image in images]
        gain = sum(each.consistency * _explained(each) for each in found)
        _log.debug("diameter %.0f px: %d particles, %.0f", size, sum(len(each) for each in found), gain)
        if gain > best:
            best, chosen = gain, found
    if chosen is None:
        return Estimate()
    first = estimate_diameter(chosen).diameter
    return estimate_diameter([find_particles(_middle(image, first), use, first) for image in images])


def _explained(found: Found) -> float:
    """Sum of the squared contrasts of the good particles."""
    return float(np.square(np.minimum(found.contrast[found.good], CERTAIN)).sum())


def _sizes(images: Sequence[Array]) -> Iterator[float]:
    """Diameters to try, px."""
    size = SMALLEST
    while images and size <= LARGEST * min(min(image.shape) for image in images):
        yield size
        size *= STEP


def _middle(image: Array, diameter_px: float) -> Array:
    """The middle of a micrograph, as much as is looked at at this size."""
    side = int(FIELD * diameter_px / WORKING_DIAMETER)
    top, left = (max(0, (length - side) // 2) for length in image.shape)
    return image[top : top + side, left : left + side]


def estimate_diameter(found: Sequence[Found]) -> Estimate:
    """Particle diameter from the good particles of several micrographs.

    Where kinds differ in size the largest of those that are not rare decides, as in the paper.

    Parameters
    ----------
    found : sequence of Found

    Returns
    -------
    Estimate
    """
    kind = np.concatenate([each.kind[each.good] for each in found]) if found else np.zeros(0, "<U9")
    radius = np.concatenate([each.radius[each.good] for each in found]) if found else np.zeros(0)
    if not len(kind):
        return Estimate()
    sizes = {name: 2 * radius[kind == name] for name in KINDS}
    most = max(len(each) for each in sizes.values())
    common = [each for each in sizes.values() if len(each) >= DISTINCT * most]
    decisive = max(common, key=lambda each: float(np.median(each)))
    return Estimate(float(np.median(decisive)), spread_of(decisive), len(decisive))
