"""Cameras: how well they transfer contrast and how much noise they add, from published measurements.

A camera does three things to the electrons. It misses some, or weighs them unequally, which costs the same: of every
electron only the share DQE(0) counts. It misplaces them before they are counted, which takes contrast away but leaves
the noise white. And it spreads the signal of each over its neighbours, which filters contrast and noise alike. With
the second as a factor ``scatter`` and the third as ``spread`` over the frequencies, the modulation transfer is
``MTF = scatter * spread`` and the detective quantum efficiency ``DQE = DQE(0) * scatter²`` (the noise power goes with
``spread²``), so that measured curves of MTF and DQE give both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from relion_ext_picker.types import Array

KNOTS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the Nyquist frequency


@dataclass(frozen=True)
class Camera:
    """Measured curves of a camera.

    Attributes
    ----------
    transfer : tuple of float
        Modulation transfer function at `KNOTS`, 1 at the first.
    efficiency : tuple of float
        Detective quantum efficiency at `KNOTS`; nowhere larger than at the first.
    """

    transfer: tuple[float, ...]
    efficiency: tuple[float, ...]

    @property
    def counted(self) -> float:
        """Share of the electrons that carries information, DQE(0)."""
        return self.efficiency[0]

    @property
    def is_ideal(self) -> bool:
        """Whether every electron counts in the pixel that it hits."""
        return set(self.transfer) == set(self.efficiency) == {1.0}

    def mtf(self, frequency: NDArray[np.floating]) -> Array:
        """Modulation transfer at frequencies in 1/px."""
        return _interpolate(self.transfer, frequency)

    def dqe(self, frequency: NDArray[np.floating]) -> Array:
        """Detective quantum efficiency at frequencies in 1/px."""
        return _interpolate(self.efficiency, frequency)

    def scatter(self, frequency: NDArray[np.floating]) -> Array:
        """Contrast left by the misplacement of electrons, at frequencies in 1/px."""
        return np.asarray(np.sqrt(self.dqe(frequency) / np.float32(self.counted)))

    def spread(self, frequency: NDArray[np.floating]) -> Array:
        """What filters contrast and noise alike, at frequencies in 1/px."""
        return self.mtf(frequency) / self.scatter(frequency)


def _interpolate(values: tuple[float, ...], frequency: NDArray[np.floating]) -> Array:
    """Curve through `values` at `KNOTS`, monotone between them; its logarithm goes on straight beyond the last."""
    logarithm = np.log(values)
    x = np.asarray(frequency, np.float64) / 0.5
    curve = PchipInterpolator(KNOTS, logarithm)
    slope = (logarithm[-1] - logarithm[-2]) / (KNOTS[-1] - KNOTS[-2])
    inside = curve(np.minimum(x, 1.0))
    return np.asarray(np.exp(inside + slope * np.maximum(x - 1, 0)), np.float32)


def _white(*efficiency: float) -> Camera:
    """A camera whose noise is white, from its detective quantum efficiency at `KNOTS`."""
    return Camera(tuple((value / efficiency[0]) ** 0.5 for value in efficiency), efficiency)


CAMERAS: dict[str, Camera] = {
    # Gatan K2 Summit at 300 kV. DQE: McMullan, Faruqi, Clare & Henderson (2014), Ultramicroscopy 147, 156-163. Every
    # electron is counted in one pixel, so noise is white, as it is in micrographs, and the MTF follows from the DQE.
    # (The curve mtf_k2_300kV.star that RELION distributes falls lower, to 0.39; noise that followed it would not be.)
    "counting": _white(0.80, 0.795, 0.79, 0.73, 0.56, 0.38, 0.23),
    # FEI Falcon II at 300 kV. DQE: the same paper, its slight maximum of 0.55 at 0.4 of the Nyquist frequency levelled;
    # MTF: the curve mtf_falcon2_300kV.star that RELION distributes.
    "integrating": Camera((1.0, 0.907, 0.799, 0.505, 0.219, 0.101, 0.052), (0.51, 0.51, 0.51, 0.51, 0.51, 0.42, 0.27)),
    # A scintillator coupled by fibres. Not one model: of the size that McMullan, Chen, Henderson & Faruqi (2009),
    # Ultramicroscopy 109, 1126-1143, and Ruskin, Yu & Grigorieff (2013), J. Struct. Biol. 184, 385-393, treat.
    "ccd": Camera((1.0, 0.93, 0.87, 0.62, 0.30, 0.16, 0.09), (0.45, 0.44, 0.43, 0.36, 0.19, 0.10, 0.06)),
    "ideal": Camera((1.0,) * 7, (1.0,) * 7),
}
