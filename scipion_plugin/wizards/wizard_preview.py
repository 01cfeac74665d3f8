"""A wizard that shows on one micrograph what a threshold and a diameter do."""

from __future__ import annotations

import tkinter as tk

import numpy as np
from matplotlib.backends.backend_tkagg import FigureCanvasTkAgg
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from pwem.wizards import ListTreeProvider
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import BoundTree
from pyworkflow.wizard import Wizard

from scipion_plugin.protocols import RelionExtPickerProtPick
from scipion_plugin.wizards.preview import find_candidates, picture

SIDE = 700  # px, of the picture
MOST = 50  # micrographs to choose from


class RelionExtPickerPreviewWizard(Wizard):
    """Lets the user choose threshold and diameter with the picks of a micrograph before the eyes."""

    _targets = [(RelionExtPickerProtPick, ["threshold", "diameter"])]

    def show(self, form, *params):
        micrographs = form.protocol.getInputMicrographs()
        if micrographs is None:
            dialog.showError("Preview", "Choose the input micrographs first.", form.root)
            return
        some = [micrograph.clone() for micrograph in micrographs.iterItems(limit=MOST)]
        window = PreviewDialog(form.root, form.protocol, some)
        if window.resultYes():
            form.setVar("diameter", window.diameter)
            form.setVar("threshold", window.threshold)


class PreviewDialog(dialog.Dialog):
    """Micrographs on the left, the chosen one with its picks on the right, diameter and threshold below.

    The program is run once for a micrograph and a diameter, with every candidate written; moving the threshold only
    changes which of them are drawn, because a candidate never hides a better one. How many pass the threshold of the
    model, where that is not known, is asked of the program as well.
    """

    def __init__(self, parent, protocol, micrographs):
        self._protocol, self._micrographs = protocol, micrographs
        self._micrograph = micrographs[0]
        self._found = {}  # (micrograph, diameter) -> candidates, best first, and how many the model lets pass
        self._circles = None
        self.diameter, self.threshold = float(protocol.diameter.get() or 0), float(protocol.threshold.get())
        buttons = [("Select", dialog.RESULT_YES), ("Cancel", dialog.RESULT_CANCEL)]
        dialog.Dialog.__init__(self, parent, "Preview of picks", buttons=buttons, default="Select")

    def body(self, bodyFrame):
        """Called by Scipion's dialog to fill it."""
        tree = BoundTree(bodyFrame, ListTreeProvider(self._micrographs), height=20)
        tree.itemClick = self._choose
        tree.grid(row=0, column=0, rowspan=2, padx=5, pady=5, sticky="ns")
        self._figure = Figure(figsize=(7, 7), dpi=100)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._canvas = FigureCanvasTkAgg(self._figure, bodyFrame)
        self._canvas.get_tk_widget().grid(row=0, column=1, padx=5, pady=5)
        self._controls(bodyFrame).grid(row=1, column=1, sticky="ew")
        self._choose(self._micrograph)

    def _controls(self, parent):
        frame = tk.Frame(parent)
        tk.Label(frame, text="Diameter (Å)").grid(row=0, column=0, sticky="w")
        self._entry = tk.Entry(frame, width=8)
        self._entry.insert(0, f"{self.diameter:g}" if self.diameter > 0 else "")
        self._entry.bind("<Return>", self._pick)
        self._entry.bind("<KeyRelease>", self._changed)
        self._entry.grid(row=0, column=1, padx=5)
        tk.Button(frame, text="Pick", command=self._pick).grid(row=0, column=2, padx=5)
        tk.Label(frame, text="Threshold").grid(row=0, column=3, padx=(20, 5))
        self._slider = tk.Scale(frame, from_=0.0, to=1.0, resolution=0.01, orient="horizontal", length=200)
        self._slider.set(self.threshold if self.threshold >= 0 else 0.5)
        self._slider.config(command=self._changed)
        self._slider.grid(row=0, column=4)
        self._own = tk.BooleanVar(value=self.threshold < 0)
        tk.Checkbutton(frame, text="the model's own", variable=self._own, command=self._changed).grid(row=0, column=5)
        self._told = tk.StringVar()
        tk.Label(frame, textvariable=self._told, anchor="w").grid(row=1, column=0, columnspan=6, sticky="ew", pady=5)
        return frame

    def _choose(self, micrograph):
        """Show a micrograph, with picks if they are known."""
        self._micrograph = micrograph
        image, self._factor = picture(micrograph.getFileName(), SIDE)
        self._axes.clear()
        self._axes.set_axis_off()
        self._axes.imshow(image, cmap="gray", vmin=0, vmax=1)  # the first row of the file at the top
        self._circles = None
        self._draw()

    def _changed(self, event=None):
        """Something was entered or moved: what is drawn follows, a new diameter only with the button."""
        try:
            self.diameter = float(self._entry.get())
        except ValueError:
            self.diameter = 0.0
        self.threshold = -1.0 if self._own.get() else float(self._slider.get())
        self._draw()

    def _key(self):
        return self._micrograph.getObjId(), self.diameter

    def _pick(self, event=None):
        """Run the program on the micrograph that is shown."""
        self._changed()
        if self._key() not in self._found:
            dialog.FlashMessage(self, "Picking ...", func=self._run)
            if self._failed:
                dialog.showError("Preview", self._failed, self)
        self._draw()

    def _run(self):
        self._failed = ""
        model = self._protocol.inputModel.get()
        try:
            found = self._candidates(0.0)
            own = (found[:, 2] >= model.getThreshold()).sum() if model is not None else len(self._candidates(-1.0))
        except RuntimeError as error:
            self._failed = str(error)
            return
        self._found[self._key()] = found[np.argsort(-found[:, 2], kind="stable")], int(own)

    def _candidates(self, threshold):
        changes = {"diameter": self.diameter, "threshold": threshold}
        return find_candidates(self._protocol, self._micrograph, changes)

    def _draw(self):
        """Draw what passes the threshold, coloured by score."""
        if self._circles is not None:
            self._circles.remove()
            self._circles = None
        if self._key() not in self._found:
            self._told.set("Enter the diameter and press Pick.")
        else:
            found, own = self._found[self._key()]
            count = own if self.threshold < 0 else int((found[:, 2] >= self.threshold).sum())
            self._circles = self._circles_of(found[:count])
            self._axes.add_collection(self._circles)
            kind = "by the model's own threshold" if self.threshold < 0 else f"by the threshold {self.threshold:.2f}"
            self._told.set(f"{count} of {len(found)} candidates pass {kind}. Yellow is a high score, blue a low one.")
        self._canvas.draw_idle()

    def _circles_of(self, shown):
        width = np.full(len(shown), self.diameter / self._micrograph.getSamplingRate() / self._factor)
        circles = EllipseCollection(
            width, width, np.zeros(len(shown)), units="xy", offsets=shown[:, :2] / self._factor,
            transOffset=self._axes.transData, cmap="viridis", linewidths=1.5, facecolors="none",
        )  # fmt: skip
        circles.set_array(shown[:, 2])
        circles.set_facecolor("none")
        circles.set_clim(0, 1)
        return circles
