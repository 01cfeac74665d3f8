"""Micrographs drawn for the tests of the unsupervised stage: dark shapes in white noise, with known places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Scene:
    """Image (h, w) and what is in it: centres (n, 2) as x, y and kind "top" or "side" (n,)."""

    image: np.ndarray
    xy: np.ndarray
    kind: np.ndarray


def disc(shape: tuple[int, int], row: float, col: float, radius: float) -> np.ndarray:
    down, right = np.ogrid[: shape[0], : shape[1]]
    return (down - row) ** 2 + (right - col) ** 2 <= radius**2


def rectangle(shape: tuple[int, int], row: float, col: float, size: tuple[float, float], angle: float) -> np.ndarray:
    """Rectangle of `size` (length, width) whose length points along `angle`, degrees from the column axis."""
    down, right = np.indices(shape, np.float64)
    turn = np.radians(angle)
    along = (right - col) * np.cos(turn) + (down - row) * np.sin(turn)
    across = (down - row) * np.cos(turn) - (right - col) * np.sin(turn)
    return (np.abs(along) <= size[0] / 2) & (np.abs(across) <= size[1] / 2)


def shape_scene(
    kinds: tuple[str, ...], side: int = 640, diameter: float = 80.0, depth: float = 0.6, seed: int = 0
) -> Scene:
    """Particles on a jittered grid, the kinds in turn; noise has standard deviation 1 per pixel.

    A "top" is a disc, a "side" a rectangle 0.6 times as wide as long, both soft at the edge like a defocused image.
    """
    rng = np.random.default_rng(seed)
    pitch = 1.6 * diameter
    places = np.arange(0.5 * pitch, side - 0.4 * pitch, pitch)
    dark = np.zeros((side, side))
    xy, kind = [], []
    for row in places:
        for col in places:
            row_at, col_at = np.array([row, col]) + rng.uniform(-0.1, 0.1, 2) * diameter
            name = kinds[len(kind) % len(kinds)]
            if name == "top":
                dark += disc(dark.shape, row_at, col_at, 0.5 * diameter)
            else:
                dark += rectangle(dark.shape, row_at, col_at, (diameter, 0.6 * diameter), rng.uniform(0, 180))
            xy.append((col_at, row_at))
            kind.append(name)
    dark = ndimage.gaussian_filter(np.minimum(dark, 1), 0.02 * diameter)
    image = rng.normal(size=dark.shape) - depth * dark
    return Scene(image.astype(np.float32), np.array(xy), np.array(kind))
