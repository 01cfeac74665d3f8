"""What a model is."""

from __future__ import annotations

import json
from pathlib import Path

from pyworkflow.viewer import DESKTOP_TKINTER, TextView, Viewer

from scipion_plugin.objects import RelionExtPickerModel, read_card


class RelionExtPickerModelViewer(Viewer):
    """The card of a model: what it is, what it was trained on and how well it did on what was held out."""

    _name = "card of the model"
    _targets = [RelionExtPickerModel]
    _environments = [DESKTOP_TKINTER]

    def _visualize(self, obj, **kwargs):
        return [TextView([str(self.write_card(obj))], title=str(obj), tkParent=self.getTkRoot())]

    def write_card(self, model):
        """Write the card as text, for the viewer; the file."""
        path = Path(self.getProject().getTmpPath(f"model_{model.getObjId()}.json"))
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(read_card(model.getPath()), indent=1), encoding="utf-8")
        return path
