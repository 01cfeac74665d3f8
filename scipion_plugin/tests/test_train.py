"""Training in Scipion, and picking with what it gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import relion_ext_picker
from relion_ext_picker.options import MODES
from scipion_plugin import Plugin
from scipion_plugin.objects import read_card
from scipion_plugin.protocols import RelionExtPickerProtImportModel, RelionExtPickerProtTrain
from scipion_plugin.tests.projects import DIAMETER, PickerTest


def tensors(path):
    """The numbers of a model file, without its card."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


class TestRelionExtPickerTrain(PickerTest):
    """One chain: pick, train on the picks, pick with the model; imported models; wrong ones."""

    def training(self, picked, mode="drpnet", **more):
        given = {"diameter": DIAMETER, "numberOfThreads": 2, "validation": 0.5, **more}
        protocol = self.newProtocol(RelionExtPickerProtTrain, mode=MODES.index(mode), **given)
        self.point(protocol.inputMicrographs, self.imported, "outputMicrographs")
        self.point(protocol.inputCoordinates, picked, "outputCoordinates")
        return protocol

    def test_pick_train_and_pick_with_the_model(self):
        picked = self.finish(self.picks(streamingBatchSize=0))
        trained = self.finish(self.training(picked, steps=3, classifier_steps=2, batch=4))
        model = Path(trained.outputModel.getPath())
        self.assertEqual(trained.outputModel.getMode(), "drpnet")
        self.assertEqual(trained.outputModel.getThreshold(), read_card(model)["threshold"])
        told = (model.parent / "training.json").read_text()
        self.assertIn("000001_mic0001.mrc", told)
        # In a shell the same coordinates give the same networks; only the names in the card differ.
        self.headless("--mode", "drpnet")
        words = (
            "train", "--o", "trained", "--in_mics", "micrographs_ctf.star",
            "--in_coords", "picks--mode_drpnet/autopick.star",
            "--diameter", f"{DIAMETER:g}", "--gpu", "cpu", "--j", "2", "--validation", "0.5", "--steps", "3",
            "--classifier-steps", "2", "--batch", "4",
        )  # fmt: skip
        Plugin.call(words, self.data)
        self.assertEqual(tensors(model), tensors(self.data / "trained" / "model.safetensors"))

        again = self.picks(streamingBatchSize=0, threshold=0.2)
        self.point(again.inputModel, trained, "outputModel")
        self.finish(again)
        alone = self.headless("--model", str(model.absolute()), "--threshold", "0.2")
        self.assertEqual(self.places(again.outputCoordinates), alone)

        wrong = self.picks(mode="deepem")
        self.point(wrong.inputModel, trained, "outputModel")
        self.assertIn("The model is one of drpnet, the mode is deepem", self.fails(wrong))

    def test_import_a_model(self):
        shipped = Path(relion_ext_picker.__file__).parent / "weights" / "deepem.safetensors"
        source = self.data / "a model.safetensors"
        shutil.copy(shipped, source)
        imported = self.finish(self.newProtocol(RelionExtPickerProtImportModel, modelFile=str(source)))
        self.assertEqual((imported.outputModel.getMode(), imported.outputModel.getPreset()), ("deepem", "default"))
        self.assertEqual(Path(imported.outputModel.getPath()).read_bytes(), shipped.read_bytes())
        source.write_bytes(b"not a model")
        broken = self.newProtocol(RelionExtPickerProtImportModel, modelFile=str(source))
        self.assertIn("is not a model file of this program", self.fails(broken))
