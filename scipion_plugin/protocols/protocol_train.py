"""Training on coordinates."""

from __future__ import annotations

import enum
from pathlib import Path

from pwem.protocols import ProtParticlePicking
from pyworkflow import BETA
from pyworkflow.protocol import params

from relion_ext_picker.options import TrainOptions
from scipion_plugin.convert import diameter_by_box, link_micrographs, places_of, write_coordinates, write_micrographs
from scipion_plugin.forms import add_options
from scipion_plugin.objects import RelionExtPickerModel
from scipion_plugin.protocols.program import RunsProgram

JOB = "training"
MODEL = "model.safetensors"


class RelionExtPickerTrainOutputs(enum.Enum):
    """What training gives."""

    outputModel = RelionExtPickerModel


class RelionExtPickerProtTrain(RunsProgram, ProtParticlePicking):
    """Trains a model on coordinates, to be used for picking.

    The micrographs must be picked completely, because what is not marked counts as background; those without any
    coordinates are left out. A share of the micrographs is kept for validation and for finding the threshold. DeepEM
    can learn from verified particles and verified mistakes besides.
    """

    _label = "train"
    _devStatus = BETA
    _possibleOutputs = RelionExtPickerTrainOutputs

    _command = "train"
    _table = TrainOptions
    _supplied = ("model", "simulated", "add_true", "add_false")

    def _defineParams(self, form):
        ProtParticlePicking._defineParams(self, form)
        form.addParam(
            "inputCoordinates", params.PointerParam, pointerClass="SetOfCoordinates", allowsNull=True,
            important=True, label="Input coordinates",
            help="Particles to learn from. May be empty if there are verified picks.",
        )  # fmt: skip
        for name, kind in (("True", "particles"), ("False", "picks that are no particles")):
            form.addParam(
                f"add{name}", params.PointerParam, pointerClass="SetOfCoordinates", allowsNull=True,
                label=f"Verified {kind}",
                help=f"Verified {kind} on the same micrographs, as *feedback* finds them or a person has sorted them. "
                "DeepEM adds them to what it has learned from; DRPnet takes them instead of "
                "coordinates, for its second network (stage classifier).",
            )  # fmt: skip
        form.addParam(
            "inputModel", params.PointerParam, pointerClass="RelionExtPickerModel", allowsNull=True,
            label="Start from model", help="Empty: the model that comes with the program.",
        )  # fmt: skip
        self._addGpu(form)
        add_options(form, TrainOptions, "Training", ("mode", "preset", "diameter", "contrast"), self._supplied)
        form.addParallelSection(threads=2, mpi=0)

    def _insertAllSteps(self):
        self._insertFunctionStep(self.convertStep, needsGPU=False)
        self._insertFunctionStep(self.trainStep)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def _sets(self):
        """Sets of coordinates by the option that takes them."""
        sets = {
            "--in_coords": self.inputCoordinates.get(), "--add-true": self.addTrue.get(),
            "--add-false": self.addFalse.get(),
        }  # fmt: skip
        return {option: found for option, found in sets.items() if found is not None}

    def convertStep(self):
        """Write the micrographs that have coordinates, and the coordinates."""
        extra = self._getExtraPath()
        micrographs = [micrograph.clone() for micrograph in self.getInputMicrographs()]
        places = {option: places_of(found) for option, found in self._sets().items()}
        used = [mic for mic in micrographs if any(mic.getMicName() in part for part in places.values())]
        if not used:
            raise RuntimeError(
                "The coordinates belong to none of the input micrographs: give the micrographs that were picked, or "
                "others of the same names."
            )
        names = link_micrographs(used, extra)
        write_micrographs(Path(extra, "input.star"), used, names)
        for option, part in places.items():
            by_id = {mic.getObjId(): part[mic.getMicName()] for mic in used if mic.getMicName() in part}
            pixel = self._sets()[option].getMicrographs().getSamplingRate()
            scale = pixel / self.getInputMicrographs().getSamplingRate()
            write_coordinates(extra, self._node(option), by_id, names, scale)

    def _node(self, option):
        return "{}/coordinates.star".format(option.lstrip("-"))

    def trainStep(self):
        """Run the training."""
        more = ["--in_mics", "input.star", "--gpu", self._gpu()]
        for option in self._sets():
            more += [option, self._node(option)]
        if self.inputModel.get() is not None:
            more += ["--model", self._absolute(self.inputModel.get().getPath())]
        self._runProgram(JOB, more, {**self._values(), "diameter": self._diameter()})

    def _diameter(self):
        """Å: as entered, or by the box of the coordinates."""
        return self.diameter.get() or max(diameter_by_box(found) for found in self._sets().values())

    def createOutputStep(self):
        """The model."""
        model = RelionExtPickerModel.fromFile(self._getExtraPath(JOB, MODEL))
        self._defineOutputs(outputModel=model)
        self._defineSourceRelation(self.inputMicrographs, model)
        for pointer in (self.inputCoordinates, self.addTrue, self.addFalse):
            if pointer.get() is not None:
                self._defineSourceRelation(pointer, model)

    def _validate(self):
        problems = self._problems()
        if not self._sets():
            problems.append("Give coordinates to learn from, or verified picks.")
        elif self._diameter() <= 0:
            problems.append("The coordinates have no box size: enter the diameter of the particles, in Å.")
        model, mode = self.inputModel.get(), self._values()["mode"]
        if model is not None and model.getMode() != mode:
            problems.append(f"The model is one of {model.getMode()}, the mode is {mode}: choose the same.")
        return problems

    def _summary(self):
        if not hasattr(self, "outputModel"):
            return ["No model yet."]
        return [f"Model: {self.outputModel}"]

    def _methods(self):
        return self._summary()
