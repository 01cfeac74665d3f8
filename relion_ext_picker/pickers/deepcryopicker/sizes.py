"""Particles of two sizes in one data set: a circle or rectangle of the other size is another kind of particle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.pickers.deepcryopicker.find import Found

LEAST = 15  # good particles of either size
APART = 1.4  # times as large
DIVIDED = 0.8  # share of the variance that two sizes explain; they explain 0.64 of one normal distribution


def by_size(found: Sequence[Found], diameters: Sequence[float]) -> list[Found]:
    """Micrographs in which each regular kind has one size.

    Grading compares the particles of one micrograph, and so does not see that those of another are twice as large.
    Where the good circles (or rectangles) of a data set are of two sizes, those that are farther from the diameter of
    the particle become irregular.

    Parameters
    ----------
    found : sequence of Found
    diameters : sequence of float
        Particle diameter in px of each micrograph.
    """
    changed = list(found)
    for name in ("top", "side"):
        size = [np.log(2 * each.radius / side) for each, side in zip(found, diameters, strict=True)]
        mine = [each.kind == name for each in found]
        good = [one[which & each.good] for each, one, which in zip(found, size, mine, strict=True)]
        divided = division(np.concatenate([*good, np.zeros(0)]))
        if divided is None:
            continue
        limit, larger = divided
        for index, (each, one, which) in enumerate(zip(changed, size, mine, strict=True)):
            other = which & ((one < limit) if larger else (one >= limit))
            changed[index] = replace(each, kind=np.where(other, "irregular", each.kind))
    return changed


def division(size: NDArray[np.float64]) -> tuple[float, bool] | None:
    """The limit between two sizes, and whether the larger one is nearer to 0; None where there is one size.

    The limit divides them best (Otsu 1979, IEEE Trans. Syst. Man Cybern. 9, 62).

    Parameters
    ----------
    size : ndarray, shape (n,)
        Logarithms of sizes.
    """
    count, ordered = len(size), np.sort(size)
    if count < 2 * LEAST:
        return None
    below = np.arange(LEAST, count - LEAST + 1)
    total = np.cumsum(ordered)
    low, high = total[below - 1] / below, (total[-1] - total[below - 1]) / (count - below)
    between = below * (count - below) / count**2 * (high - low) ** 2
    best = int(between.argmax())
    if high[best] - low[best] < np.log(APART) or between[best] < DIVIDED * ordered.var():
        return None
    limit = 0.5 * (ordered[below[best] - 1] + ordered[below[best]])
    return float(limit), bool(abs(high[best]) < abs(low[best]))
