"""Viewers and wizards, as far as they need no display."""

from __future__ import annotations

import json
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pyworkflow as pw
from pyworkflow.viewer import DESKTOP_TKINTER

from relion_ext_picker.options import MODES
from scipion_plugin.objects import RelionExtPickerModel
from scipion_plugin.protocols import RelionExtPickerProtTrain
from scipion_plugin.tests.projects import COUNT, DIAMETER, PIXEL, SIZE, PickedTest
from scipion_plugin.viewers import RelionExtPickerModelViewer, RelionExtPickerPickViewer
from scipion_plugin.viewers.viewer_pick import plot_counts, plot_scores
from scipion_plugin.wizards import RelionExtPickerBoxWizard, RelionExtPickerDiameterWizard, wizard_box
from scipion_plugin.wizards.preview import find_candidates, picture


class Form(SimpleNamespace):
    """What a wizard asks of a form."""

    def __init__(self, protocol):
        super().__init__(protocol=protocol, root=None, values={})

    def setVar(self, name, value):
        self.values[name] = value


class TestRelionExtPickerWindows(PickedTest):
    def test_scipion_finds_them(self):
        domain = pw.Config.getDomain()
        viewers = domain.findViewers("RelionExtPickerProtPick", DESKTOP_TKINTER)
        self.assertIn(RelionExtPickerPickViewer, viewers)
        self.assertIn(RelionExtPickerModelViewer, domain.findViewers("RelionExtPickerModel", DESKTOP_TKINTER))
        found = domain.findWizards(self.picked, DESKTOP_TKINTER)
        self.assertLessEqual({"boxSize", "threshold", "diameter"}, set(found))

    def test_scores_and_counts_are_those_of_the_set(self):
        places = self.places(self.picked.outputCoordinates)
        scores = np.array([score for rows in places.values() for _, _, score in rows])
        histogram, kept = plot_scores(self.picked.outputCoordinates).getFigure().axes
        heights = [bar.get_height() for bar in histogram.patches]
        np.testing.assert_array_equal(heights, np.histogram(scores, bins=len(heights), range=(0, 1))[0])
        thresholds, left = kept.lines[0].get_data()
        for threshold, count in zip(thresholds[1:-1], left[1:-1]):
            self.assertEqual(count, np.count_nonzero(scores >= threshold))
        order, _ = plot_counts(self.picked.outputCoordinates).getFigure().axes
        np.testing.assert_array_equal(order.lines[0].get_ydata(), [len(places[name]) for name in sorted(places)])

    def test_an_empty_set_can_be_plotted(self):
        from pwem.objects import SetOfCoordinates

        empty = SetOfCoordinates(filename=str(self.data / "empty.sqlite"))
        empty.setMicrographs(self.imported.outputMicrographs)
        empty.write()
        self.assertEqual(len(plot_scores(empty).getFigure().axes), 2)
        order, _ = plot_counts(empty).getFigure().axes
        np.testing.assert_array_equal(order.lines[0].get_ydata(), [0] * COUNT)

    def test_card_of_a_model(self):
        import relion_ext_picker

        path = f"{relion_ext_picker.__path__[0]}/weights/drpnet.safetensors"
        model = RelionExtPickerModel.fromFile(path)
        viewer = RelionExtPickerModelViewer(project=self.proj)
        self.assertEqual(json.loads(viewer.write_card(model).read_text())["mode"], "drpnet")

    def test_boxes(self):
        self.assertEqual([wizard_box.good_box(130, 4), wizard_box.good_box(100, 1.1)], [50, 144])
        form = Form(self.picks())
        RelionExtPickerBoxWizard().show(form)
        self.assertEqual(form.values, {"boxSize": 50})
        training = self.newProtocol(RelionExtPickerProtTrain, mode=MODES.index("drpnet"))
        self.point(training.inputCoordinates, self.picked, "outputCoordinates")
        form = Form(training)
        RelionExtPickerDiameterWizard().show(form)
        self.assertEqual(form.values, {"diameter": 128.0})  # 48 px, that is 130 Å with an even box
        with mock.patch.object(wizard_box, "showError") as told:
            RelionExtPickerBoxWizard().show(Form(self.newProtocol(type(self.picked))))
            RelionExtPickerDiameterWizard().show(Form(self.newProtocol(RelionExtPickerProtTrain)))
        self.assertEqual(told.call_count, 2)

    def test_preview_is_what_the_protocol_would_pick(self):
        protocol = self.picks(diameter=0)
        micrograph = self.imported.outputMicrographs.getFirstItem()
        protocol.setProject(self.proj)
        with self.assertRaisesRegex(RuntimeError, "--diameter is required"):
            find_candidates(protocol, micrograph, {})
        every = find_candidates(protocol, micrograph, {"diameter": DIAMETER, "threshold": 0.0})
        self.assertEqual(sorted(map(tuple, every)), self.places(self.picked.outputCoordinates)["mic0001.mrc"])
        some = find_candidates(protocol, micrograph, {"diameter": DIAMETER, "threshold": 0.5})
        # What the dialogue relies on: a higher threshold only takes candidates away.
        self.assertEqual(sorted(map(tuple, some)), sorted(map(tuple, every[every[:, 2] >= 0.5])))
        self.assertLess(len(some), len(every))

    def test_picture(self):
        micrograph = self.imported.outputMicrographs.getFirstItem()
        image, factor = picture(micrograph.getFileName(), 300)
        self.assertEqual((image.shape, factor), ((SIZE[1] // 2, SIZE[0] // 2), 2))
        self.assertGreater(image.std(), 0.1)
        self.assertEqual(PIXEL, micrograph.getSamplingRate())
