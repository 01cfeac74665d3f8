"""What the protocols hand on besides pwem's own objects."""

from __future__ import annotations

import json
from pathlib import Path

from pwem.objects import EMObject
from pyworkflow.object import Float, String

__all__ = ["RelionExtPickerModel", "read_card"]

_LARGEST_HEADER = 10**8  # bytes; what the format allows


def read_card(path):
    """The card in the header of a model file, which says what the model is.

    Parameters
    ----------
    path : str
        A ``.safetensors`` file, see docs/reference/model_file.md.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        The file is not a model of this program; the message names it.
    """
    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, Path(path).stat().st_size):
                raise ValueError("its header is damaged")
            card = json.loads(json.loads(file.read(length))["__metadata__"]["card"])
        if not {"mode", "preset", "threshold"} <= set(card):
            raise ValueError("its card is incomplete")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a model file of this program ({error}): give the model.safetensors of a training"
        ) from error
    return card


class RelionExtPickerModel(EMObject):
    """A trained model: where it is, and of which mode and preset."""

    def __init__(self, path=None, mode=None, preset=None, threshold=None, **kwargs):
        EMObject.__init__(self, **kwargs)
        self._path = String(path)
        self._mode = String(mode)
        self._preset = String(preset)
        self._threshold = Float(threshold)

    @classmethod
    def fromFile(cls, path):
        """The model in a file; errors as :func:`read_card`."""
        card = read_card(path)
        return cls(path, card["mode"], card["preset"], float(card["threshold"]))

    def getPath(self):
        """Model file, relative to the project."""
        return self._path.get()

    def getMode(self):
        """Picking mode that the model belongs to."""
        return self._mode.get()

    def getPreset(self):
        """Preset that the model belongs to."""
        return self._preset.get()

    def getThreshold(self):
        """Score from which the model takes a candidate for a particle."""
        return self._threshold.get()

    def __str__(self):
        return f"{self.getMode()}, {self.getPreset()} (threshold {self.getThreshold() or 0.0:.3f})"
