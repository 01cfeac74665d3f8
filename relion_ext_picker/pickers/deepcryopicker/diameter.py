"""The particle diameter where the user gives none: the size at which particles are most alike.

A circle has a diameter and a rectangle a longer side. The diameter of an irregular particle is its longest extent, as
in RELION: the greatest Feret diameter of its outline, drawn nearer to the ice than the outline that shapes are judged
by, in the views that show it longest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.pickers.deepcryopicker.find import Found, find_particles
from relion_ext_picker.pickers.deepcryopicker.grading import spread_of
from relion_ext_picker.pickers.deepcryopicker.outlines import outlines_at
from relion_ext_picker.pickers.deepcryopicker.preprocess import working_image
from relion_ext_picker.pickers.deepcryopicker.settings import WORKING_DIAMETER, UnsupervisedSettings
from relion_ext_picker.pickers.deepcryopicker.shapes import feret
from relion_ext_picker.types import Array

_log = logging.getLogger(__name__)

DISTINCT = 0.2  # share of the commonest kind from which another kind counts for the particle's size
FIELD = 720  # px of the working image: more is not needed to see what fits
SMALLEST = 40.0  # px of the micrograph
STEP = 2**0.5  # from one size to the next; each sees circles from half to 1.25 times its own
LARGEST = 0.25  # of the shorter side of a micrograph
SURE_COUNT, SURE_SPREAD = 30, 0.1  # particles, and share of the diameter
CERTAIN = 10.0  # contrast from which a particle counts no more: dirt is darker than particles
RIM = 0.25  # where the outline of an extent lies between the grey level of the ice (0) and that of the particle (1)
LONGEST = 90.0  # percentile of the extents that is the diameter: most views show a particle shorter than it is
HIDDEN = 1.25  # times the measured extent of irregular particles is the longest that they may have
LOOKS = 3  # at most, each at the size that particles had in the one before
SETTLED = 0.15  # share by which the size at the last look may differ


@dataclass(frozen=True)
class Estimate:
    """A particle diameter that was measured.

    Attributes
    ----------
    diameter, spread : float
        Median of circles and rectangles, longest extent of irregular particles; and robust standard deviation; px of
        the micrographs. Both 0 where nothing was found.
    count : int
        Particles it is from.
    kind : str
        Of these: "top", "side" or "irregular". Thin parts of irregular particles do not show, and so their diameter
        comes out up to a fifth too small; how much depends on the size at which they were looked for.
    settled : bool
        Particles of that size were looked for, and had that size.
    """

    diameter: float = 0.0
    spread: float = 0.0
    count: int = 0
    kind: str = ""
    settled: bool = True

    @property
    def sure(self) -> bool:
        """Many circles or rectangles of about one size, at which they were looked for."""
        alike = self.count >= SURE_COUNT and self.spread <= SURE_SPREAD * self.diameter
        return self.kind != "irregular" and self.settled and alike

    @property
    def longest(self) -> float:
        """What the diameter may be at most, px: thin parts of irregular particles do not show."""
        return self.diameter * (HIDDEN if self.kind == "irregular" else 1.0)


def search_diameter(images: Sequence[Array], settings: UnsupervisedSettings | None = None) -> Estimate:
    """Particle diameter in px, from a few micrographs of one data set and nothing else.

    Particles are looked for at one size after the other. The size is right at which the good ones explain most: the sum
    of their squared contrasts, times their consistency. They are then looked at again at the size that they have, until
    the two agree.

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
    best, chosen, size = 0.0, None, 0.0
    for tried in _sizes(images):
        found = [find_particles(_middle(image, tried), use, tried) for image in images]
        gain = sum(each.consistency * _explained(each) for each in found)
        _log.debug("diameter %.0f px: %d particles, %.0f", tried, sum(len(each) for each in found), gain)
        if gain > best:
            best, chosen, size = gain, found, tried
    if chosen is None:
        return Estimate()
    estimate = _measured(images, chosen, size, use)
    for _ in range(LOOKS):
        size = estimate.diameter
        found = [find_particles(_middle(image, size), use, size) for image in images]
        estimate = _measured(images, found, size, use)
        if abs(estimate.diameter / size - 1) <= SETTLED:
            return estimate
    return replace(estimate, settled=False)


def _measured(images: Sequence[Array], found: Sequence[Found], size: float, use: UnsupervisedSettings) -> Estimate:
    """What particles that were looked for at one size tell of their size."""
    seen = [extents(_middle(image, size), each, size, use) for image, each in zip(images, found, strict=True)]
    return estimate_diameter(found, np.concatenate(seen))


def extents(image: Array, found: Found, diameter_px: float, settings: UnsupervisedSettings) -> NDArray[np.float64]:
    """Greatest Feret diameters, px of the micrograph, of the good irregular particles that touch no other.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        As stored.
    found : Found
        What :func:`.find.find_particles` found in it, with
    diameter_px : float
        this diameter and
    settings : UnsupervisedSettings
        these settings.
    """
    good = found.good & (found.kind == "irregular")
    if not good.any():
        return np.zeros(0)
    frame = working_image(image, diameter_px, settings.bright)
    scale = float(np.mean(frame.grid.scale))
    places = np.stack(frame.grid.from_original(found.xy), axis=1)
    radius = float(np.median(found.radius)) / scale
    outlines = outlines_at(frame.values, places, radius, replace(settings.outline, level=RIM))
    mine = [each for each, fine in zip(outlines, good, strict=True) if fine and each is not None and each.alone]
    return np.array([feret(each.mask).longest * scale for each in mine])


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


def estimate_diameter(found: Sequence[Found], extent: NDArray[np.float64] | None = None) -> Estimate:
    """Particle diameter from the good particles of several micrographs.

    Where kinds differ in size the largest of those that are not rare decides, as in the paper.

    Parameters
    ----------
    found : sequence of Found
    extent : ndarray, shape (n,), optional
        See :func:`extents`; without them irregular particles have the diameter of the circle of their area.

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
    common = {name: each for name, each in sizes.items() if len(each) >= DISTINCT * most}
    decisive = max(common, key=lambda name: float(np.median(common[name])))
    size = common[decisive]
    if decisive != "irregular" or extent is None or not len(extent):
        return Estimate(float(np.median(size)), spread_of(size), len(size), decisive)
    return Estimate(float(np.percentile(extent, LONGEST)), spread_of(extent), len(size), decisive)
