"""Wizards that work a number out of others."""

from __future__ import annotations

import math

from pyworkflow.gui.dialog import showError
from pyworkflow.wizard import Wizard

from scipion_plugin.constants import BOX
from scipion_plugin.convert import diameter_by_box
from scipion_plugin.protocols import RelionExtPickerProtPick, RelionExtPickerProtTrain


def good_box(diameter, pixel_size):
    """Side of a box for a particle: even, at least 1.5 diameters, and quick to transform (no prime factor above 5).

    Parameters
    ----------
    diameter : float
        Å.
    pixel_size : float
        Å/px.

    Returns
    -------
    int
        px.
    """
    side = 2 * max(1, math.ceil(BOX * diameter / pixel_size / 2))
    while not _is_smooth(side):
        side += 2
    return side


def _is_smooth(number):
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


class RelionExtPickerBoxWizard(Wizard):
    """Sets the box size by the diameter and the pixel size of the micrographs."""

    _targets = [(RelionExtPickerProtPick, ["boxSize"])]

    def show(self, form, *params):
        protocol = form.protocol
        micrographs, diameter = protocol.getInputMicrographs(), protocol.diameter.get()
        if micrographs is None or not diameter or diameter <= 0:
            showError("Box size", "Choose the input micrographs and enter the diameter first.", form.root)
            return
        form.setVar("boxSize", good_box(diameter, micrographs.getSamplingRate()))


class RelionExtPickerDiameterWizard(Wizard):
    """Sets the diameter by the box size of the coordinates to train on, which is usually 1.5 times as wide."""

    _targets = [(RelionExtPickerProtTrain, ["diameter"])]

    def show(self, form, *params):
        coordinates = form.protocol.inputCoordinates.get()
        if coordinates is None or not coordinates.getBoxSize():
            showError("Diameter", "Choose input coordinates that have a box size first.", form.root)
            return
        form.setVar("diameter", round(diameter_by_box(coordinates), 1))
