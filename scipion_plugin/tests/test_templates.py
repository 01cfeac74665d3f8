"""The workflow templates load in Scipion."""

from __future__ import annotations

import pyworkflow as pw
from pyworkflow.template import LocalTemplate

from relion_ext_picker.options import MODES
from scipion_plugin.tests.projects import DIAMETER, PIXEL, PickedTest


class TestRelionExtPickerTemplates(PickedTest):
    def load(self, name):
        """Fill a template in as Scipion's window does, and load it; the protocols in their order."""
        plugin = pw.Config.getDomain().getPlugins()["scipion_plugin"]._pluginInstance
        (template,) = [found for found in plugin.getTemplates() if found.name == name]
        self.assertIsInstance(template, LocalTemplate)
        template.replaceEnvVariables()
        template.parseContent()
        for alias, value in {"micrographs": str(self.data / "Micrographs"), "pixel": f"{PIXEL:g}"}.items():
            template.setParamValue(alias, value)
        for title, param in template.getParams().items():
            if "Diameter" in title:
                param.setValue(f"{DIAMETER:g}")
            self.assertIsNone(param.validate(), title)
        loaded = self.proj.loadProtocols(filename=template.createTemplateFile())
        return list(loaded.values())

    def test_pick_and_evaluate(self):
        imported, first, second, evaluation = self.load("pick_and_evaluate")
        self.assertEqual([first._values()["mode"], second._values()["mode"]], list(MODES[:2]))
        for protocol in (first, second):
            self.assertEqual(protocol.inputMicrographs.getObjValue(), imported)
            self.assertEqual(protocol._validate(), [])
        self.assertEqual(evaluation.inputCoordinates.getObjValue(), first)
        (other,) = evaluation.otherCoordinates
        self.assertEqual((other.getObjValue(), other.getExtended()), (second, "outputCoordinates"))
        self.assertEqual(evaluation.inputCoordinates.getExtended(), "outputCoordinates")
        self.assertTrue(imported.filesPath.get().endswith("Micrographs"))

    def test_feedback_loop(self):
        _, first, feedback, train, second = self.load("feedback_loop")
        self.assertEqual((train._values()["mode"], train._values()["stage"]), (MODES[0], "classifier"))
        self.assertEqual((train.addTrue.getObjValue(), train.addTrue.getExtended()), (feedback, "outputTrue"))
        self.assertEqual((second.inputModel.getObjValue(), second.inputModel.getExtended()), (train, "outputModel"))
        self.assertEqual(feedback.inputCoordinates.getObjValue(), first)
        self.assertIsNone(feedback.inputClasses.get())
