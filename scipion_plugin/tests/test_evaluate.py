"""Evaluation in Scipion is that of a shell, on what Scipion knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pwem.objects import SetOfCoordinates

from scipion_plugin import Plugin, downstream
from scipion_plugin.constants import LABELS
from scipion_plugin.protocols import RelionExtPickerProtEvaluate
from scipion_plugin.tests import made
from scipion_plugin.tests.projects import DIAMETER, PIXEL, PickedTest
from scipion_plugin.viewers.viewer_evaluate import plot_classes, plot_curves, plot_picks, plot_views


class TestRelionExtPickerEvaluate(PickedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        made.publish(cls.imported, known=made.known(cls.imported, cls.data))

    def evaluation(self, **more):
        given = {"numberOfThreads": 1, "diameter": DIAMETER, **more}
        return self.newProtocol(RelionExtPickerProtEvaluate, **given)

    def test_picks_against_known_particles_as_in_a_shell(self):
        protocol = self.evaluation(threshold=0.5)
        self.point(protocol.inputCoordinates, self.picked, "outputCoordinates")
        self.point(protocol.truthCoordinates, self.imported, "known")
        found = self.finish(protocol).outputEvaluation.getReport()["metrics"]["picks"]
        self.headless("--threshold", "0")
        words = (
            "evaluate", "--o", "evaluated", "--in_mics", "micrographs_ctf.star", "--in_coords",
            "picks--threshold_0/autopick.star", "--truth", "Truth/truth.star", "--diameter", f"{DIAMETER:g}",
            "--threshold", "0.5",
        )  # fmt: skip
        Plugin.call(words, self.data)
        alone = json.loads((self.data / "evaluated" / "report.json").read_text())["metrics"]["picks"]
        self.assertGreater(alone["f1"], 0.8)
        for key in ("known", "picks", "found", "precision", "recall", "f1", "centring", "ap"):
            self.assertEqual(found[key], alone[key], key)
        curve, threshold = plot_picks(found).getFigure().axes
        self.assertEqual(tuple(curve.lines[0].get_xydata()[0]), (found["recall"], found["precision"]))
        self.assertEqual(len(threshold.lines), 2)
        self.assertIn(f"F1: {found['f1']:.3f}", protocol._summary())

    def test_classes_views_curves_and_maps(self):
        resolutions = [9.0, 10.0, 30.0]
        classes = made.classes_of(self.imported, self.picked, lambda place: 1 + place.getX() % 3, resolutions)
        made.refined(self.imported, self.data / "refined.sqlite")
        made.half_maps(self.imported, self.data)
        made.curve(self.imported)
        protocol = self.evaluation()
        outputs = {
            "inputClasses": "outputClasses", "inputParticles": "refinedParticles", "inputVolume": "outputVolume",
            "inputFSC": "outputFSC",
        }  # fmt: skip
        for name, output in outputs.items():
            self.point(getattr(protocol, name), self.imported, output)
        evaluation = self.finish(protocol).outputEvaluation
        metrics = evaluation.getReport()["metrics"]
        sizes = [item.getSize() for item in classes.iterItems()]
        self.assertEqual(metrics["classes"]["tables"]["list"]["particles"], sizes)
        self.assertEqual(metrics["classes"]["tables"]["list"]["good"], [1, 1, 0])
        self.assertEqual(metrics["classes"]["good_particles"], sum(sizes[:2]))
        self.assertEqual(metrics["angular"]["particles"], 400)
        self.assertLess(metrics["angular"]["e_od"], 0.8)
        self.assertAlmostEqual(metrics["postprocess"]["resolution_500"], 1 / 0.1, delta=0.6)
        self.assertTrue(15 < metrics["fsc"]["resolution_143"] < 25, metrics["fsc"]["resolution_143"])  # 4 Å / 0.2
        self.assertAlmostEqual(evaluation._goodShare.get(), sum(sizes[:2]) / sum(sizes))
        self.assertIn("good 2D classes: 2", evaluation.lines())
        self.assertEqual(len(plot_classes(metrics["classes"]).getFigure().axes), 2)
        for plot, name in ((plot_curves, "fsc"), (plot_curves, "postprocess"), (plot_views, "angular")):
            self.assertEqual(len(plot(metrics[name]).getFigure().axes), 1)

        made.subset(self.imported, classes, {3})
        again = self.evaluation()
        self.point(again.inputClasses, self.imported, "outputClasses")
        self.point(again.chosenClasses, self.imported, "chosenClasses")
        metrics = self.finish(again).outputEvaluation.getReport()["metrics"]
        self.assertEqual(metrics["classes"]["good_particles"], sizes[2])

    def test_other_picks_side_by_side_with_a_micrograph_that_has_none(self):
        sparse = SetOfCoordinates(filename=str(self.data / "sparse.sqlite"))
        sparse.setMicrographs(made.pointer(self.imported, "outputMicrographs"))
        for coordinate in self.imported.known.iterItems():
            if coordinate.getMicId() != 2:
                sparse.append(coordinate)
        sparse.write()
        made.publish(self.imported, sparse=sparse)
        protocol = self.evaluation()
        self.point(protocol.inputCoordinates, self.picked, "outputCoordinates")
        self.point(protocol.truthCoordinates, self.imported, "known")
        protocol.otherCoordinates.append(made.pointer(self.imported, "sparse"))
        report = self.finish(protocol).outputEvaluation.getReport()
        self.assertEqual(report["missing"], [])
        (compared,) = [section for name, section in report["metrics"].items() if "compar" in name]
        recalls = [row for table in compared["tables"].values() for row in table.get("recall", [])]
        self.assertIn(round(sparse.getSize() / self.imported.known.getSize(), 6), [round(r, 6) for r in recalls])

    def test_coordinates_are_exported_to_relion_unchanged(self):
        protocols = pytest.importorskip("relion.protocols", reason="scipion-em-relion is not installed")
        protocol = self.newProtocol(protocols.ProtRelionExportCoordinates)
        self.point(protocol.inputCoordinates, self.picked, "outputCoordinates")
        self.finish(protocol)
        alone = self.headless("--threshold", "0")
        exported = {}
        for file in Path(protocol._getPath("Export")).glob("*_coords.star"):
            rows = downstream.read_table(file)
            places = [tuple(float(row.get(LABELS[name])) for name in ("COORDINATE_X", "COORDINATE_Y")) for row in rows]
            exported[file.name.replace("_coords.star", ".mrc")] = sorted(places)
        self.assertEqual(exported, {name: sorted(row[:2] for row in rows) for name, rows in alone.items()})

    def test_what_is_missing_is_told_before(self):
        self.assertIn("Give something to judge", " ".join(self.evaluation()._validate()))
        protocol = self.evaluation()
        self.point(protocol.truthCoordinates, self.imported, "known")
        self.assertIn("give picks as well", " ".join(protocol._validate()))

    def test_shifts_and_angles_are_those_of_the_alignment(self):
        particles = made.particles_of(self.picked, self.imported._getPath("shifted.sqlite"))
        first, second = (particle.clone() for particle in particles.iterItems(limit=2))
        place = downstream._place(second, PIXEL, None)
        self.assertEqual(place[3:5], (2 * PIXEL, -1 * PIXEL))
        self.assertEqual(downstream._place(first, PIXEL, None)[3:5], (0.0, 0.0))
        name = second.getCoordinate().getMicName()
        turned = downstream._place(second, PIXEL, {name: ("m.tif", 384)})
        self.assertEqual(turned[2], 383 - place[2])
        self.assertEqual(turned[4], PIXEL)
        self.assertIsNone(downstream._place(second, PIXEL, {}))
        path = self.data / "views.star"
        downstream.write_views(path, made.refined(self.imported, self.data / "few.sqlite", 5))
        rows = downstream.read_table(path, "particles")
        angles = [[float(row.get(LABELS[f"ANGLE_{name}"])) for name in ("ROT", "TILT", "PSI")] for row in rows]
        np.testing.assert_allclose(angles, [[20.0, 60.0 + 0.01 * number, 5.0] for number in range(1, 6)], atol=1e-6)
