"""Picking, also of micrographs that are still arriving."""

from __future__ import annotations

import enum
import shutil
import threading
from pathlib import Path

from pwem.objects import SetOfCoordinates
from pwem.protocols import ProtParticlePickingAuto
from pyworkflow import BETA
from pyworkflow.object import Integer
from pyworkflow.protocol import STEPS_PARALLEL, params

from relion_ext_picker.options import PickOptions
from scipion_plugin.constants import BATCH, BOX
from scipion_plugin.convert import link_micrographs, read_coordinates, read_node, replace_link, write_micrographs
from scipion_plugin.forms import add_options
from scipion_plugin.objects import RelionExtPickerModel, read_card
from scipion_plugin.protocols.program import RunsProgram

INPUT = "input.star"
NODE = "autopick.star"
MODEL = "model.safetensors"  # what the first batch has trained
FIRST = "first_batch_done"


class RelionExtPickerPickOutputs(enum.Enum):
    """What picking can give."""

    outputCoordinates = SetOfCoordinates
    boxsize = Integer
    outputModel = RelionExtPickerModel


class RelionExtPickerProtPick(RunsProgram, ProtParticlePickingAuto):
    """Picks particles with one of the methods of relion_ext_picker.

    The only thing to enter is the diameter of the particle: its longest extent, in Å. Each pick has a score from 0 to
    1, `_pickerScore`; a lower threshold gives more picks. Micrographs are picked in batches, each by one run of the
    program, the same as RELION's External job starts; micrographs that arrive later are picked as they come.

    A mode or an option that trains on the micrographs themselves (retrain classifier, the published presets of DRPnet,
    a mode that teaches itself) does so on the first batch; the other batches use its model. Set the batch size to 0 to
    train on all micrographs that are there.
    """

    _label = "pick"
    _devStatus = BETA
    _possibleOutputs = RelionExtPickerPickOutputs
    stepsExecutionMode = STEPS_PARALLEL

    _command = "pick"
    _table = PickOptions
    _supplied = ("model", "formats", "box_size")

    # ---- form

    def _defineParams(self, form):
        ProtParticlePickingAuto._defineParams(self, form)
        form.addParam(
            "inputModel", params.PointerParam, pointerClass="RelionExtPickerModel", allowsNull=True, label="Model",
            help="Model of a training, or an imported one, of the mode chosen below. Empty: the model that comes with "
            "the program.",
        )  # fmt: skip
        form.addParam(
            "boxSize", params.IntParam, default=0, allowsPointers=True, label="Box size (px)",
            help="Side of the boxes of the output. 0: 1.5 diameters, made even.",
        )  # fmt: skip
        self._addGpu(form)
        basic = ("mode", "preset", "diameter", "threshold", "contrast")
        add_options(form, PickOptions, "Picking", basic, self._supplied)
        self._defineStreamingParams(form)
        form.getParam("streamingBatchSize").setDefault(BATCH)
        form.addParallelSection(threads=2, mpi=0, binThreads=2)

    # ---- steps

    def _insertInitialSteps(self):
        self._first = threading.Lock()
        return [self._insertFunctionStep(self.prepareStep, needsGPU=False)]

    def prepareStep(self):
        """Make the folders, and tell the box size to protocols that wait for it."""
        Path(self.getCoordsDir()).mkdir(exist_ok=True)
        self._tellBox()

    def _tellBox(self):
        if self._boxSize() and not hasattr(self, "boxsize"):
            self._defineOutputs(boxsize=Integer(self._boxSize()))

    def _pickMicrograph(self, mic, *args):
        self._pickMicrographList([mic], *args)

    def _pickMicrographList(self, micList, *args):
        """Pick a batch in one run of the program; a run that was stopped goes on with what it has not picked."""
        if not micList:
            return
        with self._first:  # a model trained by the first batch serves the others
            first = Path(self._getExtraPath(FIRST))
            if not first.exists():
                self._pickBatch(micList)
                first.touch()
                return
        self._pickBatch(micList)

    def _pickBatch(self, micList):
        extra = Path(self._getExtraPath())
        job = f"batch_{micList[0].getObjId():06d}"
        (extra / job).mkdir(exist_ok=True)
        names = link_micrographs(micList, extra)
        write_micrographs(extra / job / INPUT, micList, names)
        values, more = self._values(), []
        trained = extra / MODEL
        if trained.exists():
            more = ["--model", MODEL]
            values["retrain_classifier"] = False
        elif self.inputModel.get() is not None:
            more = ["--model", self._absolute(self.inputModel.get().getPath())]
        self._runProgram(job, ["--in_mics", f"{job}/{INPUT}", *more, "--gpu", self._gpu(), "--no-report"], values)
        files = read_node(extra, f"{job}/{NODE}")
        for identifier, file in files.items():
            replace_link(self._coordinateFile(identifier), extra / file)
        unread = [mic.getFileName() for mic in micList if mic.getObjId() not in files]
        if unread:
            self.warning(f"{len(unread)} micrographs could not be picked, see above: {', '.join(unread)}")
        own = extra / job / MODEL
        if own.exists() and not trained.exists():
            shutil.copy(own, trained)

    def readCoordsFromMics(self, outputDir, micDoneList, outputCoords):
        outputCoords.setBoxSize(self._boxSize())
        for micrograph in micDoneList:
            file = self._coordinateFile(micrograph.getObjId())
            if file.exists():
                for coordinate in read_coordinates(file, micrograph):
                    outputCoords.append(coordinate)

    def createOutputStep(self):
        path = self._getExtraPath(MODEL)
        if Path(path).exists():
            self._defineOutputs(outputModel=RelionExtPickerModel.fromFile(path))
            self._defineSourceRelation(self.getInputMicrographsPointer(), self.outputModel)
        self._tellBox()

    # ---- what others ask

    def getCoordsDir(self):
        """Folder with one coordinate file for each picked micrograph, named by its object identifier."""
        return self._getExtraPath("coordinates")

    def _coordinateFile(self, identifier):
        return Path(self.getCoordsDir(), f"{identifier:06d}.star")

    def _boxSize(self):
        """Side of the boxes in px; 0 as long as the diameter is not known."""
        given = self.boxSize.get()
        if given and given > 0:
            return int(given)
        side = BOX * self._diameter() / self.getInputMicrographs().getSamplingRate()
        return side and max(2, 2 * int(round(side / 2)))

    def _diameter(self):
        """Å: as entered, or as the model knows it that was given or that the first batch has trained."""
        known = [self.diameter.get()]
        paths = [self._getExtraPath(MODEL), self.inputModel.get() and self.inputModel.get().getPath()]
        known += [
            read_card(path).get("provenance", {}).get("diameter") for path in paths if path and Path(path).exists()
        ]
        return next((float(diameter) for diameter in known if diameter), 0.0)

    def _validate(self):
        problems = self._problems()
        model = self.inputModel.get()
        values = self._values()
        mode = values["mode"]
        if values.get("preset") == "clustering" and not (self.diameter.get() or self.boxSize.get()):
            problems.append("Clustering leaves no model that would tell the box size: enter diameter or box size.")
        if model is not None and model.getMode() != mode:
            problems.append(f"The model is one of {model.getMode()}, the mode is {mode}: choose the same for both.")
        return problems

    def getSummary(self, coordSet):
        """Text that goes with the set: how many, and how they were picked."""
        values = self._values()
        model = f"model {self.inputModel.get()}" if self.inputModel.get() is not None else "built-in model"
        return "{}\nMode: {}, preset {}, {}\nScores: _pickerScore, 0 to 1".format(
            ProtParticlePickingAuto.getSummary(self, coordSet), values["mode"], values.get("preset", "default"), model,
        )  # fmt: skip

    def _summary(self):
        if not hasattr(self, "outputCoordinates"):
            return ["No coordinates yet."]
        summary = [str(self.outputCoordinates.getObjComment())]
        done = len(self._readDoneList())
        picked = len(list(Path(self.getCoordsDir()).glob("*.star")))
        if done > picked:
            summary.append(f"{done - picked} micrographs could not be picked; the log says why.")
        return summary

    def _citations(self):
        return [{"drpnet": "Nguyen2021", "deepem": "Zhu2017", "deepcryopicker": "AlAzzawi2020"}[self._values()["mode"]]]
