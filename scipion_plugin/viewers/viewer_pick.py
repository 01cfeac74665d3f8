"""What a picking protocol has found."""

from __future__ import annotations

import numpy as np
from pwem.viewers import EmPlotter
from pwem.viewers.viewer_coordinates import CoordinateViewer
from pyworkflow.protocol import params
from pyworkflow.viewer import DESKTOP_TKINTER, ProtocolViewer

from scipion_plugin.constants import SCORE
from scipion_plugin.protocols import RelionExtPickerProtPick

BINS = 50
WIDE = (10, 4.5)  # inches, of two plots side by side


class RelionExtPickerPickViewer(ProtocolViewer):
    """Picks over the micrograph, their scores, and how many there are on each micrograph."""

    _label = "viewer of picks"
    _targets = [RelionExtPickerProtPick]
    _environments = [DESKTOP_TKINTER]

    def _defineParams(self, form):
        form.addSection(label="Picks")
        for name, label, text in (
            (
                "showPicks",
                "Picks over the micrographs",
                "In Scipion's own viewer, where picks can be changed.",
            ),
            ("showScores", "Scores", "How many picks have which score, and how many a higher threshold would leave."),
            ("showCounts", "Picks per micrograph", "In the order of the micrographs, and as a histogram."),
        ):
            form.addParam(name, params.LabelParam, label=label, help=text)

    def _getVisualizeDict(self):
        return {"showPicks": self._showPicks, "showScores": self._showScores, "showCounts": self._showCounts}

    def _coordinates(self):
        return getattr(self.protocol, "outputCoordinates", None)

    def _validate(self):
        return [] if self._coordinates() is not None else ["There are no coordinates yet."]

    def _showPicks(self, param=None):
        viewer = CoordinateViewer(project=self.getProject(), protocol=self.protocol, parent=self.formWindow)
        return viewer._visualize(self._coordinates())

    def _showScores(self, param=None):
        return [plot_scores(self._coordinates())]

    def _showCounts(self, param=None):
        return [plot_counts(self._coordinates())]


def plot_scores(coordinates):
    """Histogram of the scores, and the number of picks from each score on.

    Parameters
    ----------
    coordinates : SetOfCoordinates

    Returns
    -------
    EmPlotter
    """
    rows = coordinates.aggregate(["COUNT"], SCORE, [SCORE]) if coordinates.getSize() else []
    scores = np.array([row[SCORE] for row in rows], float)
    counts = np.array([row["COUNT"] for row in rows], int)
    plotter = EmPlotter(x=1, y=2, figsize=WIDE, windowTitle="Scores")
    plotter.createSubPlot("Scores", "score", "picks").hist(scores, bins=BINS, range=(0, 1), weights=counts)
    axes = plotter.createSubPlot("Picks that each threshold leaves", "threshold", "picks")
    order = np.argsort(scores)
    left = np.cumsum(counts[order][::-1])[::-1]
    axes.step([0, *scores[order], 1], [left[0] if len(left) else 0, *left, 0], where="pre")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    plotter.tightLayout()
    return plotter


def plot_counts(coordinates):
    """Picks per micrograph: in their order, and how often there are how many; micrographs without picks count.

    Parameters
    ----------
    coordinates : SetOfCoordinates

    Returns
    -------
    EmPlotter
    """
    rows = coordinates.aggregate(["COUNT"], "_micId", ["_micId"]) if coordinates.getSize() else []
    found = {row["_micId"]: row["COUNT"] for row in rows}
    counts = [found.get(identifier, 0) for identifier in sorted(coordinates.getMicrographs().getIdSet())]
    plotter = EmPlotter(x=1, y=2, figsize=WIDE, windowTitle="Picks per micrograph")
    axes = plotter.createSubPlot(f"{sum(counts)} picks on {len(counts)} micrographs", "micrograph", "picks")
    axes.plot(range(1, len(counts) + 1), counts, ".-" if len(counts) < 200 else ",")
    axes.set_ylim(bottom=0)
    plotter.createSubPlot("Micrographs by picks", "picks", "micrographs").hist(counts, bins=min(BINS, 10 + len(counts)))
    plotter.tightLayout()
    return plotter
