"""Where a Fourier shell correlation falls below a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GOLD_STANDARD, HALF = 0.143, 0.5


@dataclass(frozen=True)
class Crossing:
    """Resolution at which a curve falls below a limit for the first time.

    Attributes
    ----------
    limit : float
    shell : int
        Last shell before the first that is below, RELION's answer; the last of all where none is below.
    resolution : float
        Å of that shell, as RELION writes it; infinite if shell 0 or 1 is below already.
    interpolated : float
        Å where the straight line between that shell and the next one meets the limit; that of the last shell where
        none is below.
    reached : bool
        False where no shell is below: the resolution is that of the sampling (Nyquist), no property of the map.
    last_above : int
        Last shell that is not below the limit. Beyond `shell` it means that the curve rises again.
    """

    limit: float
    shell: int
    resolution: float
    interpolated: float
    reached: bool
    last_above: int

    @property
    def rises_again(self) -> bool:
        """Whether the curve comes back above the limit beyond the crossing."""
        return self.last_above > self.shell


def crossing(fsc: NDArray[np.float64], resolution: NDArray[np.float64], limit: float) -> Crossing:
    """Find where a curve falls below a limit.

    Parameters
    ----------
    fsc : ndarray, shape (n,)
        From shell 0 on. Shell 0, the mean of the maps, says nothing and is not looked at.
    resolution : ndarray, shape (n,)
        Å of every shell.
    limit : float
        0.143 or 0.5.
    """
    spatial = np.zeros(len(fsc))
    spatial[1:] = 1.0 / resolution[1:]
    above = np.flatnonzero(fsc[1:] >= limit) + 1
    last_above = int(above[-1]) if len(above) else 0
    below = np.flatnonzero(fsc[1:] < limit) + 1
    if not len(below):
        last = len(fsc) - 1
        return Crossing(limit, last, float(resolution[last]), float(resolution[last]), False, last)
    shell = int(below[0]) - 1
    if shell == 0:
        return Crossing(limit, 0, math.inf, math.inf, True, last_above)
    part = (fsc[shell] - limit) / (fsc[shell] - fsc[shell + 1])
    frequency = spatial[shell] + part * (spatial[shell + 1] - spatial[shell])
    return Crossing(limit, shell, float(resolution[shell]), float(1.0 / frequency), True, last_above)
