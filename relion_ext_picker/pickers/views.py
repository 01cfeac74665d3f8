"""What the default pickers do alike: bring a micrograph to the particle's size, and look at it in several rotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from relion_ext_picker.errors import InputError
from relion_ext_picker.image.fourier import rescale
from relion_ext_picker.types import Array, ScoreMap

HIGHPASS = 1.5  # background is what varies over more than this many diameters
TURNS = {1: (0,), 2: (0, 2), 3: (0, 1, 2), 4: (0, 1, 2, 3)}  # quarter turns for each number of views


def side_of(diameter: float, pixel_size: float, image: Array) -> float:
    """Particle diameter, given in Å, in px of a micrograph of so many Å/px.

    Raises
    ------
    InputError
        When the particle is larger than the micrograph.
    """
    side = diameter / pixel_size
    if side > min(image.shape):
        raise InputError(
            f"the particle diameter of {diameter:g} Å is {side:.0f} px at {pixel_size:g} Å/px, more than the "
            f"micrograph of {image.shape[1]} x {image.shape[0]} px: check --diameter and the pixel size"
        )
    return side


def scaled(image: Array, pixel_size: float, diameter: float, reference: float, multiple: int) -> ScoreMap:
    """Resample a micrograph so that the particle has the size that a network knows, and remove its background.

    Parameters
    ----------
    image : ndarray, shape (h, w), float32
        Micrograph as stored.
    pixel_size : float
        Å/px.
    diameter : float
        Of the particle, Å.
    reference : float
        Particle diameter in px of the result.
    multiple : int
        The sides of the result are multiples of this.

    Raises
    ------
    InputError
        When the particle is larger than the micrograph.
    """
    side = side_of(diameter, pixel_size, image)
    return rescale(image, reference / side, HIGHPASS * reference, multiple)


def averaged(tile: Tensor, turns: Sequence[int], judge: Callable[[Tensor], Tensor]) -> Tensor:
    """What a network says of an image, averaged over rotations of it.

    Parameters
    ----------
    tile : Tensor, shape (h, w)
    turns : sequence of int
        Quarter turns, see `TURNS`.
    judge : callable
        Image (1, 1, h, w) -> map (..., rows, columns), whose samples must fall on each other when it is turned: the
        sides of the image are multiples of the distance of two samples.

    Returns
    -------
    Tensor
        Map of the image as given.
    """
    total: Tensor | None = None
    for turn in turns:
        seen = torch.rot90(tile, turn)[None, None].contiguous(memory_format=torch.channels_last)
        answer = torch.rot90(judge(seen), -turn, (-2, -1))
        total = answer if total is None else total + answer
    assert total is not None
    return total / len(turns)


def cut_windows(frame: ScoreMap, xy: Array, side: int) -> Array:
    """Windows of a prepared image, 0 beyond its edge.

    Parameters
    ----------
    frame : ScoreMap
    xy : ndarray, shape (n, 2)
        Centres, micrograph coordinates; the window's is the nearest that a whole pixel allows.
    side : int
        Of a window, px; even.

    Returns
    -------
    ndarray, shape (n, side, side), float32
    """
    rows, cols = frame.grid.from_original(xy)
    padded = np.pad(frame.values, side // 2)
    last = padded.shape[0] - side, padded.shape[1] - side
    # The middle of a window of even side lies between two pixels.
    top = np.clip(np.floor(rows + 1), 0, last[0]).astype(np.int64)
    left = np.clip(np.floor(cols + 1), 0, last[1]).astype(np.int64)
    view = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return np.ascontiguousarray(view[top, left], np.float32)
