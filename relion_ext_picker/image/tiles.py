"""Cutting a large image into overlapping tiles, so that memory does not grow with the micrograph."""

from __future__ import annotations

from collections.abc import Iterator


def tiles(
    shape: tuple[int, int], core: int, halo: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """Tiles that cover an image.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    core : int
        Side of the part of a tile that counts.
    halo : int
        Surroundings added on each side where the image has them.

    Yields
    ------
    outer : (slice, slice)
        The tile in the image, halo included.
    inner : (slice, slice)
        The core within the tile.
    target : (slice, slice)
        The core in the image.
    """
    for top in range(0, shape[0], core):
        for left in range(0, shape[1], core):
            bottom, right = min(top + core, shape[0]), min(left + core, shape[1])
            up, west = max(0, top - halo), max(0, left - halo)
            outer = (slice(up, min(bottom + halo, shape[0])), slice(west, min(right + halo, shape[1])))
            inner = (slice(top - up, bottom - up), slice(left - west, right - west))
            yield outer, inner, (slice(top, bottom), slice(left, right))
