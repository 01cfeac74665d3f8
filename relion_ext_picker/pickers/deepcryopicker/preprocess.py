"""Preprocessing: from a noisy micrograph to an image in which particles are dark, even areas.

Every step takes and returns an image of grey levels 0..1; :func:`chain` names them in their order. Parameters are px of
the working image, see :mod:`.settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal
from skimage import exposure

from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.pickers.deepcryopicker.settings import HALF, WORKING_DIAMETER, ChainSettings
from relion_ext_picker.types import Array, ScoreMap

Step = Callable[[Array], Array]

ROUNDING = 1e-5  # of the grey level: what varies less is constant


def working_image(image: Array, diameter_px: float | None = None, bright: bool = False) -> ScoreMap:
    """The micrograph at the size at which everything else works, with particles dark.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        As stored.
    diameter_px : float, optional
        Particle diameter in px of `image`; the result shows it `WORKING_DIAMETER` px across. None halves the image.
    bright : bool
        Particles are brighter than their surroundings: grey levels are turned round.
    """
    factor = HALF if diameter_px is None else WORKING_DIAMETER / diameter_px
    frame = rescale(np.asarray(image, np.float32), factor)
    if np.ptp(frame.values) <= ROUNDING * np.abs(image).max(initial=0):
        return ScoreMap(np.zeros_like(frame.values), frame.grid)  # the chain would blow rounding errors up
    return ScoreMap(-frame.values, frame.grid) if bright else frame


def normalise(image: Array) -> Array:
    """Least grey level to 0, greatest to 1; a constant image becomes 0."""
    low, high = float(image.min()), float(image.max())
    return np.asarray((image - low) / ((high - low) or 1.0), np.float32)


def stretch(image: Array, tails: float = 1.0) -> Array:
    """Linear stretch to 0..1 that clips `tails` percent of the pixels at each end."""
    low, high = np.percentile(image, [tails, 100 - tails])
    return np.asarray(np.clip((image - low) / ((high - low) or 1.0), 0, 1), np.float32)


def disc(radius: int) -> NDArray[np.bool_]:
    """Pixels within `radius` of the middle of a square of side ``2 * radius + 1``; radius 1 is a cross."""
    down, right = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(down**2 + right**2 <= radius**2)


def equalise(image: Array, bins: int = 64) -> Array:
    """Global histogram equalisation."""
    library: Callable[..., Any] = exposure.equalize_hist
    return np.asarray(library(image, bins), np.float32)


def wiener(image: Array, side: int = 5) -> Array:
    """Adaptive local Wiener filter; the noise is the mean of the local variances."""
    # The published filter pads with zeros, which makes dark frames that look like particles; mirrored here.
    half = side // 2
    padded = np.pad(np.asarray(image, np.float64), half + 1, mode="reflect")
    with np.errstate(divide="ignore", invalid="ignore"):
        filtered = signal.wiener(padded, side)
    inner = filtered[half + 1 : -half - 1, half + 1 : -half - 1]
    return np.asarray(np.where(np.isfinite(inner), inner, image), np.float32)


def equalise_adaptively(image: Array, clip: float, settings: ChainSettings | None = None) -> Array:
    """Contrast-limited adaptive histogram equalisation towards a Rayleigh distribution.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        Grey levels 0..1.
    clip : float
        0 leaves the contrast as it is, 1 does not limit it.
    settings : ChainSettings, optional
        Tiles, levels and the Rayleigh parameter.
    """
    settings = settings or ChainSettings()
    kernel = [min(side, max(settings.least_tile, -(-side // settings.tiles))) for side in image.shape]
    even = 1 / settings.tile_bins  # no bin of an even histogram is fuller than this
    flat = exposure.equalize_adapthist(
        np.clip(image, 0, 1), kernel_size=kernel, clip_limit=even + clip * (1 - even), nbins=settings.tile_bins
    )
    # The library aims at a uniform distribution; its quantiles are those of the Rayleigh distribution cut off at 1.
    twice = 2 * settings.rayleigh**2
    top = -np.expm1(-1 / twice)
    return normalise(np.sqrt(-twice * np.log1p(-top * np.clip(flat, 0, 1))).astype(np.float32))


def guided(image: Array, radius: int = 2, epsilon: float = 0.01) -> Array:
    """Guided filter with the image as its own guide: smooths where the local variance is below `epsilon`.

    The filter of He, Sun and Tang (IEEE TPAMI 35, 1397), by box means.
    """
    side = 2 * radius + 1
    mean = ndimage.uniform_filter(image, side, mode="reflect")
    variance = np.maximum(ndimage.uniform_filter(image * image, side, mode="reflect") - mean * mean, 0)
    slope = variance / (variance + np.float32(epsilon))
    offset = mean - slope * mean
    smooth = [ndimage.uniform_filter(each, side, mode="reflect") for each in (slope, offset)]
    return np.asarray(smooth[0] * image + smooth[1], np.float32)


def opening(image: Array, radius: int = 1) -> Array:
    """Grey opening with a disc: bright specks smaller than it vanish. A second opening would change nothing."""
    return np.asarray(ndimage.grey_opening(image, footprint=disc(radius)), np.float32)


def chain(settings: ChainSettings | None = None) -> list[tuple[str, Step]]:
    """The steps by name, in their order."""
    use = settings or ChainSettings()

    def smooth(image: Array) -> Array:
        for _ in range(use.guide_times):
            image = guided(image, use.guide_radius, use.guide_epsilon)
        return stretch(image, use.tails)

    def adapt(image: Array) -> Array:
        for clip in use.clips:
            image = equalise_adaptively(image, clip, use)
        return image

    return [
        ("normalisation", normalise),
        ("contrast stretch", lambda image: stretch(image, use.tails)),
        ("equalisation", lambda image: equalise(image, use.bins)),
        ("Wiener filter", lambda image: wiener(image, use.wiener)),
        ("second equalisation", lambda image: equalise(image, use.bins)),
        ("adaptive equalisation", adapt),
        ("guided filter", smooth),
        ("opening", lambda image: opening(image, use.opening)),
    ]


def trace(image: Array, settings: ChainSettings | None = None) -> Iterator[tuple[str, Array]]:
    """The image after each step, by the name of the step; the first is the working image itself."""
    yield "working image", image
    for name, step in chain(settings):
        image = step(image)
        yield name, image


def enhance(image: Array, settings: ChainSettings | None = None) -> Array:
    """The working image after the whole chain, shape (h, w), 0..1; particles dark."""
    for _, step in chain(settings):
        image = step(image)
    return image
