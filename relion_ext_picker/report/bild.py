"""Views as a .bild file, which UCSF Chimera and ChimeraX draw around a map, in the form that RELION gives it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LENGTH = 0.3  # of the radius: the longest cylinder


def bild_text(directions: NDArray[np.float64], counts: NDArray[np.int64], radius: float) -> str:
    """One cylinder per direction that is seen: longer and redder where more particles show it.

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        Of equal-area cells, unit vectors.
    counts : ndarray, shape (n,)
        Particles per cell.
    radius : float
        Å of the sphere on which cylinders stand: half the box, so that the centre of the map is the centre.
    """
    seen = counts > 0
    share = counts[seen] / counts[seen].max()
    spread = counts.std() or 1.0
    colour = (np.clip((counts[seen] - counts.mean()) / spread, -1, 5) + 1) / 6
    start = radius + radius * directions[seen]
    end = radius + radius * (1 + LENGTH * share)[:, None] * directions[seen]
    width = 0.5 * np.pi * radius * np.sqrt(4 * np.pi / len(directions)) / np.pi
    lines = []
    for tint, low, high in zip(colour, start, end, strict=True):
        lines.append(f".color {tint:.3f} 0 {1 - tint:.3f}")
        lines.append(".cylinder " + " ".join(f"{value:.3f}" for value in (*low, *high)) + f" {width:.3f}")
    return "\n".join(lines) + "\n"
