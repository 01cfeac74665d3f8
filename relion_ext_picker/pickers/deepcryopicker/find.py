"""Particles of one micrograph without labels: preprocess, cluster, find shapes, grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepcryopicker import clustering, grading, shapes
from relion_ext_picker.pickers.deepcryopicker.circles import find_circles
from relion_ext_picker.pickers.deepcryopicker.foreign import foreign_areas
from relion_ext_picker.pickers.deepcryopicker.outlines import outlined
from relion_ext_picker.pickers.deepcryopicker.preprocess import enhance, working_image
from relion_ext_picker.pickers.deepcryopicker.settings import WORKING_DIAMETER, UnsupervisedSettings
from relion_ext_picker.pickers.deepcryopicker.shapes import Shape
from relion_ext_picker.types import Array, Grid, ScoreMap

METHODS = ("intensity", "superpixel")
CLEARLY = 1.3  # times as consistent: a micrograph goes its own way


@dataclass(frozen=True)
class Found:
    """Particles found in one micrograph, best first.

    Attributes
    ----------
    xy : ndarray, shape (n, 2), float32
        Centres, px of the micrograph as stored.
    kind : ndarray, shape (n,), str
        "top", "side" or "irregular".
    radius : ndarray, shape (n,), float64
        px of the micrograph: of the circle, half the length of the rectangle, half the greatest Feret diameter.
    good : ndarray, shape (n,), bool
        Fit to learn from.
    quality : ndarray, shape (n,), float64
        0..1.
    contrast : ndarray, shape (n,), float64
        See :func:`.grading.contrast`.
    method : str
        The clustering: "intensity" or "superpixel".
    consistency : float
        How alike the particles are, 0..1; compares the two clusterings.
    mask : ndarray, shape (h, w), bool
        Particles and whatever else is dark, on the working image.
    grid : Grid
        Where the mask lies in the micrograph.
    """

    xy: Array
    kind: NDArray[np.str_]
    radius: NDArray[np.float64]
    good: NDArray[np.bool_]
    quality: NDArray[np.float64]
    contrast: NDArray[np.float64]
    method: str
    consistency: float
    mask: NDArray[np.bool_]
    grid: Grid

    def __len__(self) -> int:
        return len(self.xy)


def find_particles(
    image: Array, settings: UnsupervisedSettings | None = None, diameter_px: float | None = None
) -> Found:
    """Find the particles of one micrograph and grade them, by the clustering whose particles are more alike.

    See :func:`trials` for the parameters.
    """
    use = settings or UnsupervisedSettings()
    return preferred(trials(image, use, diameter_px), use.cluster.favour)


def trials(image: Array, settings: UnsupervisedSettings | None = None, diameter_px: float | None = None) -> list[Found]:
    """Find the particles of one micrograph and grade them, by each of the clusterings that are asked for.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        As stored.
    settings : UnsupervisedSettings, optional
    diameter_px : float, optional
        Particle diameter in px of `image`, which scales everything; None works on the image at half size, as the
        published code does, and looks for circles over a wide range of radii.

    Returns
    -------
    list of Found
        One per clustering; empty ones where nothing looks like a particle.

    Raises
    ------
    InputError
        The settings name no clustering.
    """
    use = settings or UnsupervisedSettings()
    if use.cluster.method not in (*METHODS, "auto"):
        raise InputError(f"clustering {use.cluster.method!r}: must be one of auto, {', '.join(METHODS)}")
    frame = working_image(image, diameter_px, use.bright)
    enhanced = enhance(frame.values, use.chain)
    radii = use.circle.radii
    if diameter_px is not None:
        radii = (use.circle.share[0] * WORKING_DIAMETER / 2, use.circle.share[1] * WORKING_DIAMETER / 2)
    prepared = _Prepared(
        frame, enhanced, foreign_areas(frame.values, float(np.sqrt(radii[0] * radii[1])), use.foreign), radii
    )
    methods = METHODS if use.cluster.method == "auto" else (use.cluster.method,)
    return [_with_method(method, prepared, use) for method in methods]


@dataclass(frozen=True)
class _Prepared:
    """What both clusterings start from."""

    frame: ScoreMap
    enhanced: Array
    foreign: NDArray[np.bool_]
    radii: tuple[float, float]


def _with_method(method: str, prepared: _Prepared, use: UnsupervisedSettings) -> Found:
    """Cluster, find shapes and grade with one of the two clusterings."""
    radii = prepared.radii
    cluster = clustering.intensity_mask if method == "intensity" else clustering.superpixel_mask
    mask = clustering.clean(
        cluster(prepared.enhanced, use.cluster) & ~prepared.foreign,
        use.cluster.smallest,
        use.cluster.hole * np.pi * radii[1] ** 2,
    )
    if method == "intensity":
        found = shapes.regular_shapes(mask, find_circles(mask, radii, use.circle), use.cluster.smallest, use.shape)
    else:
        found = shapes.irregular_shapes(mask, use.cluster.smallest, use.shape)
    frame = prepared.frame
    largest = use.shape.largest * np.pi * radii[1] ** 2
    found = [shape for shape in found if shape.radius <= 1.2 * radii[1] and shape.area <= largest]
    # What does not stand out is noise of the mask, and must not count as a neighbour either.
    found = _present(frame.values, found, use)[0]
    found, strength = _present(frame.values, outlined(frame.values, found, method == "intensity", use.outline), use)
    good, quality = grading.grade(found, strength, use.grade)
    regular = np.array([shape.kind != "irregular" for shape in found], bool) | (method == "superpixel")
    consistency = grading.consistency(found, good & regular)
    if not use.shape.leftovers:
        found = [shape for shape, kept in zip(found, regular, strict=True) if kept]
        good, quality, strength = good[regular], quality[regular], strength[regular]
    order = np.argsort(-quality, kind="stable")
    scale = float(np.sqrt(frame.grid.scale[0] * frame.grid.scale[1]))
    return Found(
        xy=frame.to_original(grading.column(found, "row")[order], grading.column(found, "col")[order]),
        kind=np.array([shape.kind for shape in found], dtype="<U9")[order],
        radius=grading.column(found, "radius")[order] * scale,
        good=good[order],
        quality=quality[order],
        contrast=strength[order],
        method=method,
        consistency=consistency,
        mask=mask,
        grid=frame.grid,
    )


def _present(
    image: Array, shapes: Sequence[Shape], use: UnsupervisedSettings
) -> tuple[list[Shape], NDArray[np.float64]]:
    """What stands out of the image, and its contrast."""
    strength = grading.contrast(image, shapes)
    seen = strength >= use.grade.presence
    return [shape for shape, kept in zip(shapes, seen, strict=True) if kept], strength[seen]


def preferred(tried: Sequence[Found], favour: float = 1.0) -> Found:
    """Of the same micrograph with both clusterings the one whose particles are more alike.

    Parameters
    ----------
    tried : sequence of Found
    favour : float
        Regular shapes are taken while their consistency times this is not less than that of irregular ones.
    """
    return max(tried, key=lambda found: found.consistency * (favour if found.method == "intensity" else 1))


def preferred_for_all(tried: Sequence[Sequence[Found]], favour: float = 1.0) -> list[Found]:
    """Of several micrographs of one data set with both clusterings, one each.

    The clustering that is better on the whole is taken for every micrograph but those for which the other one is
    `CLEARLY` better: a data set may have micrographs of two kinds, but one poor micrograph is no other kind.

    Parameters
    ----------
    tried : sequence of sequence of Found
        For each micrograph, as :func:`trials` gives them.
    favour : float
        See :func:`preferred`.
    """
    weight = {"intensity": favour, "superpixel": 1.0}
    total = {method: sum(weight[method] * each.consistency for found in tried for each in found
                         if each.method == method) for method in METHODS}  # fmt: skip
    usual = max(METHODS, key=lambda method: total[method])
    lead = {method: 1.0 if method == usual else 1 / CLEARLY for method in METHODS}
    return [max(found, key=lambda each: lead[each.method] * weight[each.method] * each.consistency) for found in tried]
