"""Training patches from micrographs with known particles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from relion_ext_picker.types import Array, ScoreMap


@dataclass(frozen=True)
class Labelled:
    """A prepared micrograph and its particles.

    Attributes
    ----------
    name : str
        Micrograph name.
    frame : ScoreMap
        Prepared image.
    xy : ndarray, shape (n, 2), float32
        Centres in px of the micrograph.
    """

    name: str
    frame: ScoreMap
    xy: Array


@dataclass(frozen=True)
class MicrographSource:
    """Random patches of prepared micrographs; can be sent to a worker process.

    Attributes
    ----------
    micrographs : sequence of Labelled
    side : int
        Side of a patch, px of the prepared image; smaller where a micrograph is.
    """

    micrographs: Sequence[Labelled]
    side: int = 128

    def draws(self, seed: int) -> Callable[[], tuple[Array, Array]]:
        """An endless supply of (image (side, side), centres (n, 2))."""
        rng = np.random.default_rng(seed)
        smallest = min(min(item.frame.values.shape) for item in self.micrographs)
        side = min(self.side, smallest // 16 * 16)
        places = [np.stack(item.frame.grid.from_original(item.xy), axis=1) for item in self.micrographs]

        def draw() -> tuple[Array, Array]:
            index = int(rng.integers(len(self.micrographs)))
            image = self.micrographs[index].frame.values
            top = int(rng.integers(image.shape[0] - side + 1))
            left = int(rng.integers(image.shape[1] - side + 1))
            patch = image[top : top + side, left : left + side] * np.float32(rng.uniform(0.85, 1.2))
            inner = places[index] - (top, left)
            inside = np.all((inner >= -0.5) & (inner < side - 0.5), axis=1)
            return patch, np.ascontiguousarray(inner[inside][:, ::-1], np.float32)

        return draw
