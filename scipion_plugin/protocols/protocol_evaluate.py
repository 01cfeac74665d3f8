"""How good picks are: against known particles, and by what came of them."""

from __future__ import annotations

import enum
import re
from pathlib import Path

from pwem.objects import FSC
from pwem.protocols import EMProtocol
from pyworkflow import BETA
from pyworkflow.protocol import params

from relion_ext_picker.options import EvaluateOptions
from scipion_plugin import downstream
from scipion_plugin.convert import diameter_by_box, link_micrographs, places_of, write_coordinates, write_micrographs
from scipion_plugin.forms import add_options
from scipion_plugin.objects import RelionExtPickerEvaluation
from scipion_plugin.protocols.program import RunsProgram

JOB = "evaluation"
REPORT, PDF = "report.json", "logfile.pdf"

_INPUTS = (  # name, class, label, help
    ("inputCoordinates", "SetOfCoordinates", "Picks", "Picks to judge."),
    ("truthCoordinates", "SetOfCoordinates", "Known particles",
     "Particles that are known: of simulated micrographs, or placed by hand. Picks are matched to them one to one."),
    ("inputClasses", "SetOfClasses2D", "2D classes",
     "How many are good. Their resolution is taken from RELION's model file beside the averages, or from its protocol "
     "that selects classes."),
    ("chosenClasses", "SetOfClasses2D", "Classes that you chose",
     "A subset of the classes, if you have chosen the good ones yourself; else a rule decides."),
    ("inputFSC", "FSC, SetOfFSCs", "Fourier shell correlation", "Resolution at 0.143 and 0.5, and the curves."),
    ("inputParticles", "SetOfParticles", "Particles with angles", "How even the views are."),
    ("inputVolume", "Volume", "Volume with half maps", "Their correlation is calculated as RELION does."),
    ("inputMask", "VolumeMask", "Mask", "For the half maps."),
)  # fmt: skip


class RelionExtPickerEvaluateOutputs(enum.Enum):
    """What evaluating gives."""

    outputEvaluation = RelionExtPickerEvaluation


class RelionExtPickerProtEvaluate(RunsProgram, EMProtocol):
    """Judges picks: against known particles, beside other picks, and by the classes, views and maps that came of them.

    Give whatever you have; each input adds its part to the report. What every number means is in the program's
    docs/reference/metrics.md.
    """

    _label = "evaluate"
    _devStatus = BETA
    _possibleOutputs = RelionExtPickerEvaluateOutputs

    _command = "evaluate"
    _table = EvaluateOptions
    _supplied = (
        "truth", "compare", "class2d", "select", "refine3d", "postprocess", "half1", "half2", "local_resolution",
        "angles", "make_subsets", "smallest_subset",
    )  # fmt: skip

    # ---- form

    def _defineParams(self, form):
        form.addSection(label="Input")
        for name, kind, label, text in _INPUTS:
            form.addParam(name, params.PointerParam, pointerClass=kind, allowsNull=True, label=label, help=text)
        form.addParam(
            "otherCoordinates", params.MultiPointerParam, pointerClass="SetOfCoordinates", allowsNull=True,
            label="Other picks", help="Picks of other protocols on the same micrographs, to set beside the picks.",
        )  # fmt: skip
        add_options(form, EvaluateOptions, "Rules", ("diameter", "radius", "symmetry"), self._supplied)
        form.addParallelSection(threads=2, mpi=0)

    # ---- steps

    def _insertAllSteps(self):
        self._insertFunctionStep(self.convertStep, needsGPU=False)
        self._insertFunctionStep(self.evaluateStep, needsGPU=False)
        self._insertFunctionStep(self.createOutputStep, needsGPU=False)

    def convertStep(self):
        """Write what there is as files, and the words of the command line that name them."""
        extra = Path(self._getExtraPath())
        words = [*self._picks(extra), *self._classes(extra), *self._maps(extra)]
        if self.inputFSC.get() is not None:
            found = self.inputFSC.get()
            curves = [found] if isinstance(found, FSC) else [curve.clone() for curve in found.iterItems()]
            downstream.write_curves(extra / "postprocess.star", curves)
            words += ["--postprocess", "postprocess.star"]
        if self.inputParticles.get() is not None:
            downstream.write_views(extra / "particles.star", self.inputParticles.get())
            words += ["--angles", "particles.star"]
        (extra / "words.txt").write_text("\n".join(words))

    def _picks(self, extra):
        """Coordinates on the micrographs of the first set; the others are joined by the micrographs' names."""
        sets = {"--in_coords": self.inputCoordinates.get(), "--truth": self.truthCoordinates.get()}
        if sets["--in_coords"] is None:
            return []
        micrographs = [micrograph.clone() for micrograph in sets["--in_coords"].getMicrographs().iterItems()]
        names = link_micrographs(micrographs, extra)
        write_micrographs(extra / "input.star", micrographs, names)
        nodes = {option: f"{option.lstrip('-')}/coordinates.star" for option in sets}
        words = ["--in_mics", "input.star"]
        for option, found in sets.items():
            if found is not None:
                self._write_node(extra, nodes[option], found, micrographs, names)
                words += [option, nodes[option]]
        others = []
        for pointer in self.otherCoordinates:
            label = re.sub(r"\W+", "_", pointer.getObjValue().getObjLabel() or f"picks_{len(others) + 2}").strip("_")
            others.append(f"{label}_{len(others) + 2}/coordinates.star")
            self._write_node(extra, others[-1], pointer.get(), micrographs, names)
        if others:
            words += ["--compare", ",".join([nodes["--in_coords"], *others])]
        return words

    @staticmethod
    def _write_node(extra, node, coordinates, micrographs, names):
        places = places_of(coordinates)
        scale = coordinates.getMicrographs().getSamplingRate() / micrographs[0].getSamplingRate()
        by_id = {item.getObjId(): places.get(item.getMicName(), []) for item in micrographs}
        write_coordinates(str(extra), node, by_id, names, scale)

    def _classes(self, extra):
        classes, chosen = self.inputClasses.get(), self.chosenClasses.get()
        if classes is None:
            return []
        downstream.write_classes(extra / "classes", classes)
        words = ["--class2d", "classes"]
        if chosen is not None:
            downstream.write_selection(extra / "select", classes, chosen, "classes")
            words += ["--select", "select"]
        return words

    def _maps(self, extra):
        volume, mask = self.inputVolume.get(), self.inputMask.get()
        if volume is None:
            return []
        words = []
        for number, file in enumerate(str(volume.getHalfMaps()).split(","), 1):
            downstream.copy_map(file.strip(), volume.getSamplingRate(), extra / f"half{number}.mrc")
            words += [f"--half{number}", f"half{number}.mrc"]
        if mask is not None:
            downstream.copy_map(mask.getFileName(), mask.getSamplingRate(), extra / "mask.mrc")
            words += ["--in_mask", "mask.mrc"]
        return words

    def evaluateStep(self):
        """Run the evaluation."""
        words = Path(self._getExtraPath("words.txt")).read_text().splitlines()
        self._runProgram(JOB, words, {**self._values(), "diameter": self._diameter()})

    def _diameter(self):
        """Å: as entered, or by the box of the picks."""
        picks = self.inputCoordinates.get()
        return self.diameter.get() or (0.0 if picks is None else diameter_by_box(picks))

    def createOutputStep(self):
        """The numbers."""
        evaluation = RelionExtPickerEvaluation.fromFile(self._getExtraPath(JOB, REPORT))
        self._defineOutputs(outputEvaluation=evaluation)
        for name, *_ in _INPUTS:
            if getattr(self, name).get() is not None:
                self._defineSourceRelation(getattr(self, name), evaluation)

    # ---- what others ask

    def getPdf(self):
        """The report with all plots."""
        return self._getExtraPath(JOB, PDF)

    def _validate(self):
        problems = self._problems()
        given = {name for name, *_ in _INPUTS if getattr(self, name).get() is not None}
        if not given - {"inputMask", "chosenClasses"} or (given == {"inputCoordinates"} and not self.otherCoordinates):
            problems.append("Give something to judge: picks with known particles or other picks, classes, ...")
        if "truthCoordinates" in given and "inputCoordinates" not in given:
            problems.append("Known particles alone tell nothing: give picks as well.")
        if "truthCoordinates" in given and not (self.radius.get() > 0 or self._diameter() > 0):
            problems.append("Enter the diameter, or how far a pick may lie from a known particle (radius).")
        if "chosenClasses" in given and "inputClasses" not in given:
            problems.append("Give all classes besides those that you chose.")
        by_rule = "inputClasses" in given and "chosenClasses" not in given
        if by_rule and not downstream.class_resolutions(self.inputClasses.get()):
            problems.append("The resolution of these classes is not known: choose the good ones yourself.")
        if "inputParticles" in given and not downstream.is_projected(self.inputParticles.get()):
            problems.append("The particles have no angles of a 3D refinement.")
        if "inputVolume" in given and len(str(self.inputVolume.get().getHalfMaps() or "").split(",")) != 2:
            problems.append("The volume has no half maps.")
        return problems

    def _summary(self):
        if not hasattr(self, "outputEvaluation"):
            return ["Not evaluated yet."]
        return [*self.outputEvaluation.lines(), f"The report with all plots: {self.getPdf()}"]
