"""What an evaluation found, as plots."""

from __future__ import annotations

import numpy as np
from pwem.viewers import EmPlotter
from pyworkflow.gui.text import openTextFileEditor
from pyworkflow.protocol import params
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer

from scipion_plugin.protocols import RelionExtPickerProtEvaluate
from scipion_plugin.viewers.viewer_pick import WIDE

_CURVES = ("fsc", "postprocess")


class RelionExtPickerEvaluateViewer(ProtocolViewer):
    """Precision and recall, classes, correlations and views; each where the evaluation had the input for it."""

    _label = "viewer of an evaluation"
    _targets = [RelionExtPickerProtEvaluate]
    _environments = [DESKTOP_TKINTER]

    def _defineParams(self, form):
        form.addSection(label="Evaluation")
        for name, label, text in (
            ("showPicks", "Picks against known particles", "Precision against recall, and F1 and F2 by threshold."),
            ("showClasses", "2D classes", "Resolution and size of each class; good particles per micrograph."),
            ("showCurves", "Fourier shell correlation", "All curves, with 0.143 and 0.5."),
            ("showViews", "Views", "What tilting the specimen would gain."),
            ("showReport", "Report", "All numbers and plots, in the program that opens PDF files."),
        ):
            form.addParam(name, params.LabelParam, label=label, help=text)

    def _getVisualizeDict(self):
        return {
            "showPicks": lambda param=None: self._show(plot_picks, "picks"),
            "showClasses": lambda param=None: self._show(plot_classes, "classes"),
            "showCurves": lambda param=None: self._show(plot_curves, *_CURVES),
            "showViews": lambda param=None: self._show(plot_views, "angular"),
            "showReport": lambda param=None: openTextFileEditor(self.protocol.getPdf(), self.getTkRoot()),
        }

    def _show(self, plot, *sections):
        """The plot of the first of the sections that is there, or a message."""
        metrics = self.protocol.outputEvaluation.getReport()["metrics"]
        found = next((metrics[name] for name in sections if name in metrics), None)
        if found is None:
            self.showInfo("The evaluation had no input for this.")
            return []
        return [plot(found)]


def plot_picks(section):
    """Precision against recall, F1 and F2 against the threshold; `section` is that of the report, as below."""
    plotter = EmPlotter(x=1, y=2, figsize=WIDE, windowTitle="Picks against known particles")
    title = f"precision {section['precision']:.3f}, recall {section['recall']:.3f}, F1 {section['f1']:.3f}"
    axes = plotter.createSubPlot(title, "recall", "precision")
    axes.plot([section["recall"]], [section["precision"]], "o")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    other = plotter.createSubPlot("Choice of a threshold", "threshold", "F1, F2")
    curve = section["tables"].get("curve")
    if curve:
        axes.plot(curve["recall"], curve["precision"])
        other.plot(curve["threshold"], curve["f1"], label="F1")
        other.plot(curve["threshold"], curve["f2"], label="F2")
        other.legend()
    other.set(xlim=(0, 1), ylim=(0, 1.02))
    plotter.tightLayout()
    return plotter


def plot_classes(section):
    """Share and resolution of the classes, good ones filled; good and other particles of each micrograph."""
    classes, micrographs = section["tables"]["list"], section["tables"]["micrographs"]
    plotter = EmPlotter(x=1, y=2, figsize=WIDE, windowTitle="2D classes")
    title = f"{section['good_classes']} of {section['classes']} classes are good"
    axes = plotter.createSubPlot(title, "share of the particles", "resolution (Å)")
    good = np.array(classes["good"], bool)
    share, resolution = np.array(classes["share"], float), np.array(classes["resolution"], float)
    for which, marker, label in ((good, "o", "good"), (~good, "x", "other")):
        axes.plot(share[which], resolution[which], marker, label=label)
    axes.legend()
    axes = plotter.createSubPlot("Particles by micrograph", "micrograph", "particles")
    number, fine = np.arange(1, len(micrographs["good"]) + 1), np.array(micrographs["good"])
    axes.bar(number, fine, label="in good classes")
    axes.bar(number, np.array(micrographs["particles"]) - fine, bottom=fine, label="in others")
    axes.legend()
    plotter.tightLayout()
    return plotter


def plot_curves(section):
    """Correlations against the spatial frequency."""
    table = section["tables"]["curves"]
    plotter = EmPlotter(windowTitle="Fourier shell correlation")
    title = f"{section['resolution_143']:.2f} Å at 0.143, {section['resolution_500']:.2f} Å at 0.5"
    axes = plotter.createSubPlot(title, "spatial frequency (1/Å)", "correlation")
    frequency = 1 / np.array(table["resolution"], float)
    for name, values in table.items():
        if name.startswith("fsc_"):
            axes.plot(frequency, values, label=name[4:].replace("_", " "))
    for limit in (0.143, 0.5):
        axes.axhline(limit, color="grey", linewidth=0.8)
    axes.set_ylim(top=1.02)
    axes.legend()
    return plotter


def plot_views(section):
    """Efficiency of the views if the specimen were tilted."""
    table = section["tables"]["tilts"]
    plotter = EmPlotter(windowTitle="Views")
    title = f"E_od {section['e_od']:.3f}, {section['views']} views of 12,288"
    axes = plotter.createSubPlot(title, "tilt of the specimen (°)", "E_od")
    axes.plot(table["tilt"], table["efficiency"], ".-")
    axes.set_ylim(0, 1.02)
    return plotter
