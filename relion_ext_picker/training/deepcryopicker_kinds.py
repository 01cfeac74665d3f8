"""What kind each particle of a training set is: top or side view by its outline, of another particle by its size.

A particle that is seen along its axis is a circle, and all its circles have one size. A side view of the same particle
may be larger or smaller than a top view; so size alone does not tell it from another particle, but circles of two sizes
tell that there are two particles. Then what has the size of the other one is taken for irregular, whatever its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.pickers.deepcryopicker.classes import KINDS
from relion_ext_picker.pickers.deepcryopicker.grading import spread_of
from relion_ext_picker.pickers.deepcryopicker.outlines import kinds_at
from relion_ext_picker.pickers.deepcryopicker.settings import WORKING_DIAMETER
from relion_ext_picker.training.deepcryopicker_examples import Marked

TOP, IRREGULAR = KINDS.index("top"), KINDS.index("irregular")
RARE = 0.1  # of the commonest kind: what is rarer is a mistake of the outlines
ALIKE = 0.25  # share by which the size of an outline may differ from the usual one of its kind
FEWEST = 10  # circles of either size
APART = 4.0  # robust standard deviations of the wider heap between the middles of two sizes of circles


@dataclass(frozen=True)
class Seen:
    """What the outlines of the candidates of some micrographs show, one micrograph after the other.

    Attributes
    ----------
    kind : ndarray, shape (n,), int64
        Which of KINDS, -1 where an outline does not tell.
    size : ndarray, shape (n,)
        Radius of the circle of its area, px of the working image; 0 without an outline.
    good : ndarray, shape (n,), bool
    said : ndarray, shape (n,), int64
        Kind as it was known before.
    """

    kind: NDArray[np.int64]
    size: NDArray[np.float64]
    good: NDArray[np.bool_]
    said: NDArray[np.int64]


def resorted(marked: Sequence[Marked], always: bool = True) -> list[Marked]:
    """The same micrographs, in which the outline of each candidate says whether it is a top or a side view.

    The clustering sees few views of the kind that stands out less, and a network knows only the kinds it was taught; it
    finds the others all the same. A kind that is rare among the good ones is taken for a mistake. What an outline does
    not tell, or one that is not as large as those of its kind are, keeps the network's word.

    Where there are two particles, what has the size of the other one is irregular, and what an outline does not tell
    teaches nothing.

    Parameters
    ----------
    marked : sequence of Marked
    always : bool
        Otherwise a set with one particle is left as it is.
    """
    seen = _seen(marked)
    other = _of_another_particle(seen)
    if not always and not other.any():
        return list(marked)
    regular = seen.good & (seen.said != IRREGULAR) & ~other
    counts = [np.count_nonzero(regular & (seen.kind == index)) for index in range(len(KINDS))]
    usual = np.ones(len(KINDS))
    for index in np.flatnonzero(counts).tolist():
        mine = regular & (seen.kind == index)
        agreed = mine & (seen.said == index)
        usual[index] = np.median(seen.size[agreed if agreed.any() else mine])
    common = np.array([count >= RARE * max(counts) for count in counts])
    told = (seen.kind >= 0) & common[seen.kind] & (np.abs(seen.size / usual[seen.kind] - 1) <= ALIKE)
    kind = np.where(other, IRREGULAR, np.where(told, seen.kind, seen.said))
    good = seen.good & (other | told) if other.any() else seen.good
    cuts = np.cumsum([len(item.xy) for item in marked])[:-1]
    parts = zip(marked, np.split(kind, cuts), np.split(good, cuts), strict=True)
    return [replace(item, kind=mine, good=fine) for item, mine, fine in parts]


def two_sizes(size: NDArray[np.float64]) -> tuple[float, float] | None:
    """The two usual sizes of particles of two sizes, the lesser first; None where they are of one.

    They are divided where the variance between the parts is greatest, on a logarithmic scale. Values of one heap, also
    of one that is flat, have then middles that are less than 3 standard deviations of a part from each other.

    Parameters
    ----------
    size : ndarray, shape (n,)
        Above 0.
    """
    least = max(FEWEST, int(np.ceil(RARE * len(size))))
    if len(size) < 2 * least:
        return None
    order = np.sort(np.log(size))
    total, below = order.sum(), np.cumsum(order)[:-1]
    count = np.arange(1, len(order))
    between = (below / count - (total - below) / (len(order) - count)) ** 2 * count * (len(order) - count)
    cut = least + int(between[least - 1 : len(order) - least].argmax())
    parts = order[:cut], order[cut:]
    low, high = (float(np.median(part)) for part in parts)
    if high - low < APART * max(spread_of(part) for part in parts) or high - low < np.log1p(ALIKE):
        return None
    return float(np.exp(low)), float(np.exp(high))


def _of_another_particle(seen: Seen) -> NDArray[np.bool_]:
    """Which candidates have the size of another particle than the one whose circles are nearest to the diameter."""
    sizes = two_sizes(seen.size[seen.good & (seen.kind == TOP) & (seen.size > 0)])
    if sizes is None:
        return np.zeros(len(seen.size), bool)
    limit = float(np.sqrt(sizes[0] * sizes[1]))
    larger = limit < WORKING_DIAMETER / 2
    return (seen.size > 0) & ((seen.size < limit) if larger else (seen.size > limit))


def _seen(marked: Sequence[Marked]) -> Seen:
    found = [_outlines(item) for item in marked]
    kind, size = (np.concatenate(each) for each in zip(*found, strict=True))
    good, said = (np.concatenate([getattr(item, name) for item in marked]) for name in ("good", "kind"))
    return Seen(kind, size, good, said)


def _outlines(item: Marked) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the kind that the outline of each candidate shows, and how large it is."""
    if item.shapes is None:
        return np.full(len(item.xy), -1, np.int64), np.zeros(len(item.xy))
    places = np.stack(item.shapes.grid.from_original(item.xy), axis=1)
    kinds, sizes = kinds_at(item.shapes.values, places, WORKING_DIAMETER / 2)
    return np.array([KINDS.index(str(kind)) if kind else -1 for kind in kinds], np.int64), sizes
