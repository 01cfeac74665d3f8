"""What the protocols hand on besides pwem's own objects."""

from __future__ import annotations

import json
from pathlib import Path

from pwem.objects import EMObject
from pyworkflow.object import Float, String

__all__ = ["RelionExtPickerEvaluation", "RelionExtPickerModel", "read_card"]

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


# Numbers of an evaluation that become attributes: name, section and key in its report, label, decimals.
_HEADLINES = (
    ("_precision", "picks", "precision", "precision", 3),
    ("_recall", "picks", "recall", "recall", 3),
    ("_f1", "picks", "f1", "F1", 3),
    ("_averagePrecision", "picks", "ap", "average precision", 3),
    ("_goodClasses", "classes", "good_classes", "good 2D classes", 0),
    ("_goodShare", "classes", "good_particles_share", "particles in good classes", 3),
    ("_resolutionHalves", "fsc", "resolution_143", "resolution of the half maps (Å)", 2),
    ("_resolution", "postprocess", "resolution_143", "resolution (Å)", 2),
    ("_eod", "angular", "e_od", "evenness of views, E_od", 3),
)


class RelionExtPickerEvaluation(EMObject):
    """The numbers of an evaluation, as far as its inputs gave them, and the report that has the rest."""

    def __init__(self, path=None, **kwargs):
        EMObject.__init__(self, **kwargs)
        self._path = String(path)
        for name, *_ in _HEADLINES:
            setattr(self, name, Float())

    @classmethod
    def fromFile(cls, path):
        """The evaluation in a report.json."""
        evaluation = cls(path)
        metrics = evaluation.getReport()["metrics"]
        for name, section, key, *_ in _HEADLINES:
            getattr(evaluation, name).set(metrics.get(section, {}).get(key))
        return evaluation

    def getPath(self):
        """The report, relative to the project."""
        return self._path.get()

    def getReport(self):
        """The whole report, see docs/reference/metrics.md."""
        return json.loads(Path(self.getPath()).read_text(encoding="utf-8"))

    def lines(self):
        """The numbers, one a line."""
        found = [(label, getattr(self, name).get(), digits) for name, _, _, label, digits in _HEADLINES]
        return [f"{label}: {value:.{digits}f}" for label, value, digits in found if value is not None]

    def __str__(self):
        return ", ".join(self.lines()[:3]) or "evaluation"
