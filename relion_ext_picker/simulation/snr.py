"""The signal-to-noise ratio of a micrograph: measured, and asked for.

It is the variance of the noise-free signal of the particles within discs of the particle diameter, over the variance
of the noise of ice, electrons and camera in the same place, both at the full resolution of the micrograph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.damage import ice_spectrum
from relion_ext_picker.types import Array

DOSES = np.geomspace(1e-3, 1e4, 701)  # e/Å²: where a solution is looked for
FIRST_DOSE = 30.0  # e/Å²: where the search begins
CLOSE = 0.01  # relative change of the dose at which the search ends
ROUNDS = 12


@dataclass(frozen=True)
class Budget:
    """What the signal-to-noise ratio of a micrograph depends on, relative to the square of its mean.

    Attributes
    ----------
    frequency : ndarray, shape (k,)
        1/Å.
    envelope : callable
        Amplitude of the particles over `frequency` at a dose.
    signal : ndarray, shape (k,)
        Share of each frequency in the variance of the signal over the whole field, before that envelope.
    ice : ndarray, shape (k,)
        Share in the variance of the noise per unit of :func:`~.damage.ice_spectrum`.
    shot : float
        Variance of the noise of the electrons times the dose, Å² per e.
    thickness : float
        Of the ice, Å; for messages.
    """

    frequency: Array
    envelope: Callable[[float], Array]
    signal: Array
    ice: Array
    shot: float
    thickness: float

    def signal_variance(self, dose: float) -> float:
        """Of the whole field."""
        return float(np.dot(self.signal, np.square(self.envelope(dose))))

    def noise_variance(self, dose: float) -> float:
        """Of ice and electrons together."""
        return float(np.dot(self.ice, ice_spectrum(self.frequency, dose))) + self.shot / dose


def solve_dose(wanted: float, budget: Budget, in_discs: Callable[[float], float]) -> float:
    """Smallest dose in e/Å² that gives a signal-to-noise ratio.

    Parameters
    ----------
    wanted : float
        Above 0.
    budget : Budget
    in_discs : callable
        Variance of the signal within the discs at a dose, relative to the square of the mean. It is called few times:
        its ratio to the variance over the whole field is interpolated between the doses tried.

    Raises
    ------
    InputError
        No dose gives it: the ice alone is too noisy, or too few electrons would be needed.
    """
    noise = np.array([budget.noise_variance(dose) for dose in DOSES])
    field = np.array([budget.signal_variance(dose) for dose in DOSES])
    gains: dict[float, float] = {}  # from the variance over the field to that in the discs, at the doses tried
    guess = FIRST_DOSE
    for _ in range(ROUNDS):
        gains[guess] = in_discs(guess) / budget.signal_variance(guess)
        tried = np.array(sorted(gains))
        ratio = np.interp(np.log(DOSES), np.log(tried), [gains[dose] for dose in tried]) * field / noise
        best = int(ratio.argmax())
        crossing = _first_crossing(ratio, wanted) if ratio[best] >= wanted else float(DOSES[best])
        nearest = float(tried[np.abs(np.log(tried / crossing)).argmin()])
        if abs(crossing / nearest - 1) < CLOSE:
            if ratio[best] < wanted:
                break
            return nearest
        guess = crossing
    raise InputError(
        f"a signal-to-noise ratio of {wanted:g} cannot be reached by any dose: the noise of {budget.thickness:.0f} Å "
        f"of ice limits it to {ratio[best]:.2g} (at {DOSES[best]:.0f} e/Å²); ask for less, make the ice thinner, raise "
        "the defocus or take a larger structure"
    )


def _first_crossing(ratio: NDArray[np.float64], wanted: float) -> float:
    """Dose at which the ratio, given for DOSES, first becomes `wanted`."""
    first = int(np.flatnonzero(ratio >= wanted)[0])
    if first == 0:
        raise InputError(
            f"a signal-to-noise ratio of {wanted:g} is too low: {DOSES[0]:g} e/Å² already give {ratio[0]:.2g}; ask for "
            "more"
        )
    low, high = np.log(ratio[first - 1 : first + 1])
    between = (np.log(wanted) - low) / (high - low)
    return float(np.exp((1 - between) * np.log(DOSES[first - 1]) + between * np.log(DOSES[first])))
