"""Importing a model file."""

from __future__ import annotations

import enum
import shutil
from pathlib import Path

from pwem.protocols import ProtImport
from pyworkflow import BETA
from pyworkflow.protocol import params

from scipion_plugin.objects import RelionExtPickerModel, read_card


class RelionExtPickerImportOutputs(enum.Enum):
    """What importing gives."""

    outputModel = RelionExtPickerModel


class RelionExtPickerProtImportModel(ProtImport):
    """Brings a model file into the project, such as the model.safetensors of a training in RELION or in a shell."""

    _label = "import model"
    _devStatus = BETA
    _possibleOutputs = RelionExtPickerImportOutputs

    def _defineParams(self, form):
        form.addSection(label="Import")
        form.addParam(
            "modelFile", params.FileParam, label="Model file", important=True,
            help="A .safetensors file of this program. It is copied into the project.",
        )  # fmt: skip

    def _insertAllSteps(self):
        self._insertFunctionStep(self.importStep)

    def importStep(self):
        """Copy the file and make an object of it."""
        source = self.modelFile.get()
        target = self._getExtraPath(Path(source).name)
        shutil.copy(source, target)
        self._defineOutputs(outputModel=RelionExtPickerModel.fromFile(target))

    def _validate(self):
        try:
            read_card(self.modelFile.get() or "")
        except ValueError as error:
            return [str(error)]
        return []

    def _summary(self):
        return [f"Model: {self.outputModel}"] if hasattr(self, "outputModel") else ["No model yet."]
