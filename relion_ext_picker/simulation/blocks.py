"""Work on large fields in blocks of rows, by several threads.

What a block holds and which random numbers it gets depend on its place alone, so that the result is the same, to the
last bit, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from relion_ext_picker.types import Array

ROWS = 128  # per block: a block of a 4096 px field stays in a processor's cache

T = TypeVar("T")


def in_blocks(work: Callable[[slice], T], rows: int, workers: int = 1) -> list[T]:
    """Call `work` with every block of `rows` rows and return its results in order.

    Parameters
    ----------
    work : callable
        Takes a slice of rows; must touch no other rows of what it writes.
    rows : int
    workers : int
        Threads.
    """
    blocks = [slice(first, min(rows, first + ROWS)) for first in range(0, rows, ROWS)]
    if workers == 1 or len(blocks) == 1:
        return [work(block) for block in blocks]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, blocks))


def white_noise(shape: tuple[int, int], rng: np.random.Generator, workers: int = 1) -> Array:
    """Independent normal numbers of variance 1, float32."""
    out = np.empty(shape, np.float32)
    children = _children(shape[0], rng)

    def fill(block: slice) -> None:
        children[block.start // ROWS].standard_normal(dtype=np.float32, out=out[block])

    in_blocks(fill, shape[0], workers)
    return out


def poisson_counts(mean: Array, rng: np.random.Generator, workers: int = 1) -> None:
    """Replace expected counts, shape (h, w), by counts drawn from Poisson distributions."""
    children = _children(len(mean), rng)

    def draw(block: slice) -> None:
        mean[block] = children[block.start // ROWS].poisson(mean[block])

    in_blocks(draw, len(mean), workers)


def _children(rows: int, rng: np.random.Generator) -> list[np.random.Generator]:
    """One independent generator per block."""
    return rng.spawn(-(-rows // ROWS))
