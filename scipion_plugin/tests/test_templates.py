"""The workflow templates load in Scipion."""

from __future__ import annotations

import pyworkflow as pw
from pyworkflow.template import LocalTemplate

from relion_ext_picker.options import MODES, STAGES
from scipion_plugin.tests.projects import DIAMETER, PIXEL, PickerTest


class TestRelionExtPickerTemplates(PickerTest):
    def load(self, name):
        """Fill a template in as Scipion's window does, and load it; the protocols by their labels."""
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
        return {protocol.getObjLabel(): protocol for protocol in loaded.values()}

    def test_pick_and_evaluate_runs(self):
        protocols = self.load("pick_and_evaluate")
        self.assertEqual(len(protocols), 4)
        for label in ("import micrographs", "pick with DRPnet", "pick with DeepEM", "evaluate, side by side"):
            self.finish(protocols[label])
        self.assertEqual(protocols["pick with DeepEM"]._values()["mode"], "deepem")
        metrics = protocols["evaluate, side by side"].outputEvaluation.getReport()["metrics"]
        self.assertEqual(len(metrics), 1)

    def test_feedback_loop_loads(self):
        protocols = self.load("feedback_loop")
        self.assertEqual(len(protocols), 5)
        train = protocols["train on the feedback"]
        self.assertEqual((train._values()["mode"], train._values()["stage"]), (MODES[0], STAGES[2]))
        self.assertEqual(STAGES[2], "classifier")
        self.assertEqual(train.addTrue.getExtended(), "outputTrue")
        self.assertEqual(protocols["pick, second round"].inputModel.getExtended(), "outputModel")
        self.assertIsNone(protocols["feedback: give it the 2D classes"].inputClasses.get())
