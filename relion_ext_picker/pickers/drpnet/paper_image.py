"""The image as the published DRPnet sees it: reduced by whole factors, smoothed, stretched and flattened.

The order and the constants follow the authors' code; the mean grey level of about 0.55 and the smoothing are part of
what the first network learned. Rows and columns stay as they are in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.drpnet.paper_settings import BOX_PER_DIAMETER
from relion_ext_picker.types import Array, Grid, ScoreMap

LONGEST = 1800  # px, longest side of the reduced image
SMOOTHING = 2.0  # px of the reduced image
FLATTENING = 100.0  # px of the reduced image, sigma of the local mean
GREY = 0.55  # mean grey level the image is shifted to ...
GREY_RANGE = (0.5, 0.6)  # ... unless it lies in this range
NOISE_BAND = (1.0, 1.6)  # px, Gaussians between which the noise is measured
NOISE_MARGIN = 1.5
PATCH = 64  # px, side of a patch for the second network


@dataclass(frozen=True)
class Scales:
    """Factors between the micrograph and what the networks see.

    Attributes
    ----------
    scale : int
        Micrograph px per px of the reduced image.
    radius : int
        Half box in px of the reduced image.
    reduction : int
        Further reduction for the first network, 1 or 2.
    sigma : float
        Smoothing before that reduction, px of the reduced image.
    """

    scale: int
    radius: int
    reduction: int
    sigma: float

    @property
    def seen_radius(self) -> float:
        """Half box in px of the image that the first network sees."""
        return self.radius / self.reduction


@dataclass(frozen=True)
class PaperFrame(ScoreMap):
    """A prepared image that knows its scales.

    Attributes
    ----------
    scales : Scales
    signal : ndarray, shape (h / 4, w / 4), float32, or None
        How sure it is that there is more than noise, 0..1, see :func:`signal_share`; None is 1 everywhere.
    """

    scales: Scales = Scales(1, 1, 1, 0.0)
    signal: Array | None = None


def scale_factors(box: float, longest: int) -> Scales:
    """Scale factors of the authors' code.

    Where the first factor leaves more than 1800 px, the authors take the second from the size before it, and reduce
    twice over: an 80 px particle on 5760 px would be 10 px wide. Here the second is what is still needed; wherever the
    first factor is 1, as in their data, the two agree.

    Parameters
    ----------
    box : float
        Side of the box in px of the micrograph.
    longest : int
        Longest side of the micrograph in px. (The authors take the first dimension; the longest bounds the memory.)

    Returns
    -------
    Scales
    """
    half = box / 2
    reference = 48 if half > 144 else 32
    ratio = half / reference
    first = math.ceil(ratio) if ratio > 2 else 2 if ratio > 1 else 1
    second = math.ceil(longest / first / LONGEST)
    radius = max(1, math.floor(half / (first * second)))
    if radius < reference:
        return Scales(first * second, radius, 1, 3.0)
    return Scales(first * second, radius, 2, 4.0)


def box_of(diameter: float, box_per_diameter: float = BOX_PER_DIAMETER) -> int:
    """Even side of the box in px for a particle diameter in px."""
    return 2 * max(1, round(0.5 * box_per_diameter * diameter))


def shrink(image: Array, factor: int) -> Array:
    """Reduce an image by a whole factor, bicubic with anti-aliasing.

    Parameters
    ----------
    image : ndarray, shape (h, w)
    factor : int

    Returns
    -------
    ndarray, shape (ceil(h / factor), ceil(w / factor)), float32
        Sample (r, c) is centred on its block of factor x factor px, see :meth:`Grid.coarser`.
    """
    if factor == 1:
        return np.asarray(image, np.float32)
    h, w = image.shape
    rows, cols = -(-h // factor), -(-w // factor)
    missing = ((0, rows * factor - h), (0, cols * factor - w))
    if missing != ((0, 0), (0, 0)):
        image = np.pad(image, missing, mode="symmetric")
    tensor = _tensor(image)[None, None]
    small = functional.interpolate(tensor, size=(rows, cols), mode="bicubic", antialias=True)
    result: Array = small[0, 0].numpy()
    return result


def enlarge(image: Array, factor: int, shape: tuple[int, int]) -> Array:
    """Undo :func:`shrink` in scale, bicubic, for an image that had `shape`."""
    if factor == 1:
        return image
    tensor = _tensor(image)[None, None]
    large = functional.interpolate(tensor, scale_factor=float(factor), mode="bicubic")
    result: Array = large[0, 0, : shape[0], : shape[1]].numpy()
    return result


def spread(coarse: Array, shape: tuple[int, int]) -> Array:
    """A coarse smooth map at a finer size, bilinear."""
    fine = functional.interpolate(_tensor(coarse)[None, None], size=shape, mode="bilinear")
    result: Array = fine[0, 0].numpy()
    return result


def to_unit(image: Array, low: float, high: float) -> Array:
    """Map grey values to 0..1 as the authors do, by the kind of file the range suggests.

    Parameters
    ----------
    image : ndarray
        Grey values, possibly reduced in size.
    low, high : float
        Smallest and largest value of the micrograph as stored.

    Returns
    -------
    ndarray
        Files with negative values (which the authors' code would cut off at zero) are mapped between their 0.1 and
        99.9 percentiles.
    """
    if low < 0:
        low, high = (float(v) for v in np.percentile(image, (0.1, 99.9)))
        return np.asarray(np.clip((image - low) / max(high - low, 1e-30), 0, 1), np.float32)
    if high > 65025:
        return ((image - low) / (high - low)).astype(np.float32) if high > low else np.full_like(image, GREY)
    return (image / (65025.0 if high > 255 else 255.0)).astype(np.float32)


def stretch(image: Array) -> Array:
    """Stretch between the 1 and 99 percentiles, clipped to 0..1; a constant image becomes plain grey."""
    low, high = (float(v) for v in np.percentile(image, (1, 99)))
    if not high - low > 1e-6 * max(abs(low), abs(high), 1e-30):
        return np.full_like(image, GREY)
    return np.asarray(np.clip((image - low) / (high - low), 0, 1), np.float32)


def flatten(image: Array, sigma: float = FLATTENING) -> Array:
    """Equation 1 of the paper: subtract the local mean, add the mean of the local means.

    The local mean is so smooth that it is computed on blocks of 8 x 8 px.
    """
    h, w = image.shape
    small = (max(1, -(-h // 8)), max(1, -(-w // 8)))
    blocks = functional.interpolate(_tensor(image)[None, None], size=small, mode="area")[0, 0].numpy()
    sigmas = (sigma * small[0] / h, sigma * small[1] / w)
    smooth = ndimage.gaussian_filter(blocks, sigmas, mode="nearest", truncate=3.0)
    local = functional.interpolate(_tensor(smooth)[None, None], size=(h, w), mode="bilinear")[0, 0].numpy()
    return np.asarray(image - local + np.float32(local.mean(dtype=np.float64)), np.float32)


def reduced(image: Array, scale: int) -> Array:
    """Micrograph as stored to grey values 0..1 of the reduced image.

    Raises
    ------
    InputError
        The micrograph has no finite value; single ones that are not finite are replaced.
    """
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = image[np.isfinite(image)]
        if not finite.size:
            raise InputError("the micrograph has no finite value; exclude it from the input")
        low, high = float(finite.min()), float(finite.max())
        image = np.nan_to_num(image, nan=float(np.median(finite)), posinf=high, neginf=low)
    return to_unit(shrink(image, scale), low, high)


def eight_bit(unit: Array, *, complement: bool = False) -> Array:
    """The 8-bit image of the published method.

    Parameters
    ----------
    unit : ndarray, shape (h, w)
        Of :func:`reduced`.
    complement : bool
        Swap dark and bright, for particles that are bright. (The authors do so at the end, which leaves the image
        darker than what the first network learned; here it is done before the grey level is set.)

    Returns
    -------
    ndarray, shape (h, w), float32
        Whole grey levels 0..255 divided by 255.
    """
    stretched = stretch(ndimage.gaussian_filter(unit, SMOOTHING, mode="nearest"))
    grey = np.round(255 * (1 - stretched if complement else stretched))
    mean = float(grey.mean(dtype=np.float64)) / 255
    if not GREY_RANGE[0] <= mean <= GREY_RANGE[1]:
        grey = np.clip(grey + np.round(255 * (GREY - mean)), 0, 255)
    flat = np.clip(np.round(flatten(grey)), 0, 255)
    return np.asarray(flat / 255, np.float32)


def signal_share(unit: Array, scales: Scales) -> Array:
    """How much of what the first network gets to see is not explained by noise.

    Every step of the preparation stretches the contrast to the full range, so that an empty micrograph looks to the
    network like one with particles. What it loses is kept here: the local variance of the smoothed image, over that
    which white noise of the strength found at 6 to 12 px would leave.

    Parameters
    ----------
    unit : ndarray, shape (h, w)
        Before any stretching.
    scales : Scales

    Returns
    -------
    ndarray, shape (ceil(h / 4), ceil(w / 4)), float32
        1 - 1.5 / ratio, at least 0; the 1.5 leaves room for the uncertainty and for the camera.
    """
    band = ndimage.gaussian_filter(unit, NOISE_BAND[0]) - ndimage.gaussian_filter(unit, NOISE_BAND[1])
    noise = (1.4826 * float(np.median(np.abs(band[::3, ::3])))) ** 2 / _gain(*NOISE_BAND)
    sigma = math.hypot(SMOOTHING, scales.sigma)
    smooth = ndimage.gaussian_filter(unit, sigma)[::4, ::4]
    local = ndimage.gaussian_filter(smooth, scales.radius / 4)
    variance = ndimage.gaussian_filter((smooth - local) ** 2, scales.radius / 2)
    expected = NOISE_MARGIN * noise * _gain(sigma)
    share = 1 - np.divide(expected, variance, out=np.ones_like(variance), where=variance > 1e-12)
    return np.asarray(np.maximum(share, 0), np.float32)


def _gain(sigma: float, wider: float = 0.0) -> float:
    """Variance that unit white noise keeps under a Gaussian, or under the difference of two."""
    point = np.zeros((61, 61))
    point[30, 30] = 1
    kernel = ndimage.gaussian_filter(point, sigma)
    if wider:
        kernel = kernel - ndimage.gaussian_filter(point, wider)
    return float(np.sum(kernel**2))


def frame_of(image: Array, diameter: float, box_per_diameter: float, *, complement: bool = False) -> PaperFrame:
    """Prepare a micrograph for a particle `diameter` in px.

    Raises
    ------
    InputError
        The box does not fit into the micrograph, or the micrograph has no finite value.
    """
    box = box_of(diameter, box_per_diameter)
    if box > min(image.shape):
        raise InputError(
            f"--diameter: the box of {box} px ({box_per_diameter:g} diameters) does not fit into the micrograph of "
            f"{image.shape[1]} x {image.shape[0]} px; give a smaller diameter or check the pixel size"
        )
    scales = scale_factors(box, max(image.shape))
    unit = reduced(image, scales.scale)
    values = eight_bit(unit, complement=complement)
    return PaperFrame(values, Grid().coarser(scales.scale), scales, signal_share(unit, scales))


def network_input(frame: PaperFrame) -> Array:
    """The image that the first network sees: the frame smoothed and, for large particles, reduced once more."""
    smooth = ndimage.gaussian_filter(frame.values, frame.scales.sigma, mode="nearest")
    return shrink(smooth, frame.scales.reduction)


def patches_of(frame: PaperFrame, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Array:
    """Boxes around places of a frame, resized for the second network.

    Parameters
    ----------
    frame : PaperFrame
    rows, cols : ndarray, shape (n,)
        Centres, px of the frame.

    Returns
    -------
    ndarray, shape (n, 64, 64), float32
        Grey levels 0..255. Beyond the border the nearest px is repeated.
    """
    h, w = frame.values.shape
    if not len(rows):
        return np.zeros((0, PATCH, PATCH), np.float32)
    steps = ((np.arange(PATCH) + 0.5) / PATCH - 0.5) * 2 * frame.scales.radius
    y = (2 * (np.asarray(rows)[:, None] + steps) + 1) / h - 1
    x = (2 * (np.asarray(cols)[:, None] + steps) + 1) / w - 1
    places = np.empty((len(rows), PATCH, PATCH, 2), np.float32)
    places[..., 0], places[..., 1] = x[:, None, :], y[:, :, None]
    flat = torch.from_numpy(places.reshape(1, len(rows) * PATCH, PATCH, 2))
    image = _tensor(frame.values)[None, None]
    cut = functional.grid_sample(image, flat, mode="bilinear", padding_mode="border", align_corners=False)
    result: Array = 255 * cut.reshape(len(rows), PATCH, PATCH).numpy()
    return result


def _tensor(image: Array) -> torch.Tensor:
    """A float32 tensor that shares the memory of `image` where it may."""
    array = np.ascontiguousarray(image, np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
