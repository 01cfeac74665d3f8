"""What became of picks, as labels and a threshold for the next round."""

from __future__ import annotations

import enum
from pathlib import Path

from pwem.objects import SetOfCoordinates
from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.object import Float
from pyworkflow.protocol import params

from relion_ext_picker.options import FeedbackOptions
from scipion_plugin import downstream
from scipion_plugin.convert import (
    diameter_by_box,
    height_if_turned,
    link_micrographs,
    places_of,
    read_coordinates,
    read_node,
    read_table,
    write_coordinates,
    write_micrographs,
)
from scipion_plugin.forms import add_options
from scipion_plugin.protocols.program import RunsProgram

JOB, PICKS, CLASSES, SELECT = "feedback", "in_coords/coordinates.star", "classes", "select"
THRESHOLD = "pickerThreshold"  # column of feedback.star


class RelionExtPickerFeedbackOutputs(enum.Enum):
    """What feedback gives."""

    outputTrue = SetOfCoordinates
    outputFalse = SetOfCoordinates
    outputThreshold = Float


class RelionExtPickerProtFeedback(RunsProgram, EMProtocol):
    """Turns 2D classes into labels: picks whose particles are in good classes, and picks that were none.

    Both sets of coordinates can be given to *train*, as verified particles and verified mistakes. The threshold is the
    one that would have kept most of the good particles without too many of the others (best F2), if no class or view is
    lost by it. Particles of small but well resolved classes may be rare views and count neither way.
    """

    _label = "feedback"
    _devStatus = BETA
    _possibleOutputs = RelionExtPickerFeedbackOutputs

    _command = "feedback"
    _table = FeedbackOptions
    _supplied = ("previous", "symmetry")

    # ---- form

    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates", params.PointerParam, pointerClass="SetOfCoordinates", important=True, label="Picks",
            help="The picks that the particles were extracted from, with their scores. Picks of a low threshold tell "
            "more.",
        )  # fmt: skip
        form.addParam(
            "inputClasses", params.PointerParam, pointerClass="SetOfClasses2D", important=True, label="2D classes",
            help="Classes of these particles.",
        )  # fmt: skip
        form.addParam(
            "chosenClasses", params.PointerParam, pointerClass="SetOfClasses2D", allowsNull=True,
            label="Classes that you chose", help="A subset of the classes, if you have chosen the good ones yourself; "
            "else a rule decides by their resolution and size.",
        )  # fmt: skip
        add_options(form, FeedbackOptions, "Rules", ("diameter",), self._supplied)
        form.addParallelSection(threads=1, mpi=0)

    # ---- steps

    def _insertAllSteps(self):
        self._insertFunctionStep(self.convertStep, needsGPU=False)
        self._insertFunctionStep(self.feedbackStep, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def _micrographs(self):
        return [micrograph.clone() for micrograph in self.inputCoordinates.get().getMicrographs().iterItems()]

    def convertStep(self):
        """Write micrographs, picks and classes as files."""
        extra = Path(self._getExtraPath())
        micrographs, coordinates = self._micrographs(), self.inputCoordinates.get()
        names = link_micrographs(micrographs, extra)
        write_micrographs(extra / "input.star", micrographs, names)
        places = places_of(coordinates)
        by_id = {item.getObjId(): places.get(item.getMicName(), []) for item in micrographs}
        write_coordinates(str(extra), PICKS, by_id, names)
        known = {}
        for item in micrographs:
            found = (names[item.getObjId()], height_if_turned(Path(item.getFileName())))
            known.update({item.getMicName(): found, item.getObjId(): found})
        classes, chosen = self.inputClasses.get(), self.chosenClasses.get()
        downstream.write_classes(extra / CLASSES, classes, known)
        if chosen is not None:
            downstream.write_selection(extra / SELECT, classes, chosen, CLASSES)

    def feedbackStep(self):
        """Run the program."""
        chosen = self.chosenClasses.get() is not None
        result = f"{SELECT}/{downstream.SELECTION}" if chosen else f"{CLASSES}/{downstream.DATA}"
        values = {**self._values(), "diameter": self._diameter()}
        self._runProgram(JOB, ["--in_mics", "input.star", "--in_coords", PICKS, "--in_parts", result], values)

    def createOutputStep(self):
        """The sets and the threshold."""
        extra = Path(self._getExtraPath())
        outputs = {}
        for name in ("true", "false"):
            found = SetOfCoordinates(filename=self._getPath(f"coordinates_{name}.sqlite"))
            found.setMicrographs(self.inputCoordinates.get().getMicrographs(asPointer=True))
            found.setBoxSize(self.inputCoordinates.get().getBoxSize())
            files = read_node(extra, f"{JOB}/{name}.star")
            for micrograph in self._micrographs():
                for coordinate in read_coordinates(extra / files[micrograph.getObjId()], micrograph):
                    found.append(coordinate)
            found.write()
            outputs[f"output{name.capitalize()}"] = found
        (row,) = read_table(extra / JOB / "feedback.star", "feedback")
        threshold = row.get(THRESHOLD)
        if threshold is not None:
            outputs["outputThreshold"] = Float(float(threshold))
        self._defineOutputs(**outputs)
        for found in (outputs["outputTrue"], outputs["outputFalse"]):
            self._defineSourceRelation(self.inputCoordinates, found)
            self._defineSourceRelation(self.inputClasses, found)

    # ---- what others ask

    def _diameter(self):
        """Å: as entered, or by the box of the picks."""
        return self.diameter.get() or diameter_by_box(self.inputCoordinates.get())

    def _validate(self):
        problems = self._problems()
        classes = self.inputClasses.get()
        if self.inputCoordinates.get() is not None and self._diameter() <= 0:
            problems.append("The picks have no box size: enter the diameter of the particles, in Å.")
        if classes is not None and self.chosenClasses.get() is None and not downstream.class_resolutions(classes):
            problems.append("The resolution of these classes is not known: choose the good ones yourself.")
        return problems

    def _summary(self):
        if not hasattr(self, "outputTrue"):
            return ["No labels yet."]
        told = [f"{self.outputTrue.getSize()} verified particles, {self.outputFalse.getSize()} verified mistakes"]
        if hasattr(self, "outputThreshold"):
            told.append(f"Best threshold: {self.outputThreshold.get():.3f}")
        return told
