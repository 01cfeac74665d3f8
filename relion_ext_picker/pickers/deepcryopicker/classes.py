"""The classes that the networks tell apart, and their numbers in a coordinate file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.types import Array

KINDS = ("top", "side", "irregular")  # the particle classes; number 1, 2, 3 in _rlnClassNumber
BACKGROUND = "background"
NEGATIVE = "negative"  # bad examples, where they are a class of their own


def kinds_among(classes: Sequence[str]) -> NDArray[np.int64]:
    """Outputs of a network that stand for particles, in its order."""
    return np.asarray([index for index, name in enumerate(classes) if name in KINDS], np.int64)


def class_numbers_of(classes: Sequence[str], probability: Array) -> NDArray[np.int64]:
    """Number of the likeliest particle class, whatever the background's share.

    Parameters
    ----------
    classes : sequence of str
        Names of the network's outputs.
    probability : ndarray, shape (n, classes)

    Returns
    -------
    ndarray, shape (n,), int64
        1 top, 2 side, 3 irregular.
    """
    mine = kinds_among(classes)
    numbers = np.asarray([KINDS.index(classes[index]) + 1 for index in mine], np.int64)
    return numbers[probability[:, mine].argmax(1)] if len(probability) else np.zeros(0, np.int64)
