"""The feedback loop in Scipion: picks, 2D classes, labels, training on them, picking again."""

from __future__ import annotations

import numpy as np

from relion_ext_picker.options import MODES, STAGES
from scipion_plugin.protocols import RelionExtPickerProtFeedback, RelionExtPickerProtTrain
from scipion_plugin.tests import made
from scipion_plugin.tests.projects import DIAMETER, PIXEL, PickedTest


class TestRelionExtPickerFeedback(PickedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        true = {}
        known = made.known(cls.imported, cls.data)
        for coordinate in known.iterItems():
            true.setdefault(coordinate.getMicId(), []).append(coordinate.getPosition())

        def group(pick):
            """Classification as it would be at best: particles of two views, and one class of what is none."""
            near = np.hypot(*(np.array(true[pick.getMicId()]) - pick.getPosition()).T).min() * PIXEL
            return 3 if near > 0.3 * DIAMETER else 1 + pick.getX() % 2

        cls.classes = made.classes_of(cls.imported, cls.picked, group, [9.0, 10.0, 40.0])

    def feedback(self, **more):
        protocol = self.newProtocol(RelionExtPickerProtFeedback, **more)
        self.point(protocol.inputCoordinates, self.picked, "outputCoordinates")
        self.point(protocol.inputClasses, self.imported, "outputClasses")
        return protocol

    def test_labels_train_and_the_next_picks(self):
        told = self.finish(self.feedback())
        sizes = [item.getSize() for item in self.classes.iterItems()]
        self.assertEqual(told.outputFalse.getSize(), sizes[2])
        self.assertGreater(told.outputTrue.getSize(), 0.9 * sum(sizes[:2]))  # two picks on one particle count once
        self.assertTrue(0 < told.outputThreshold.get() < 1)
        picked = {name: {row[:2] for row in rows} for name, rows in self.places(self.picked.outputCoordinates).items()}
        for name, rows in self.places(told.outputFalse).items():
            self.assertLessEqual({row[:2] for row in rows}, picked[name])
        # Re-centring is undone: every second particle was shifted by (2, -1) px.
        moved = sum(
            len({row[:2] for row in rows} - picked[name]) for name, rows in self.places(told.outputTrue).items()
        )
        self.assertTrue(0.3 < moved / told.outputTrue.getSize() < 0.7)

        train = self.newProtocol(
            RelionExtPickerProtTrain, mode=MODES.index("drpnet"), stage=STAGES.index("classifier"), numberOfThreads=2,
            classifier_steps=20, batch=4,
        )  # fmt: skip
        self.point(train.inputMicrographs, self.imported, "outputMicrographs")
        self.point(train.addTrue, told, "outputTrue")
        self.point(train.addFalse, told, "outputFalse")
        self.finish(train)
        again = self.picks(streamingBatchSize=0)
        self.point(again.inputModel, train, "outputModel")
        self.finish(again)
        self.assertGreater(again.outputCoordinates.getSize(), 0)

    def test_classes_that_a_person_chose(self):
        made.subset(self.imported, self.classes, {1})
        protocol = self.feedback()
        self.point(protocol.chosenClasses, self.imported, "chosenClasses")
        told = self.finish(protocol)
        sizes = [item.getSize() for item in self.classes.iterItems()]
        self.assertLessEqual(told.outputTrue.getSize(), sizes[0])
        self.assertGreater(told.outputTrue.getSize(), 0.9 * sizes[0])

    def test_other_picks_are_refused(self):
        protocol = self.feedback()
        made.publish(self.imported, far=self._far())
        self.point(protocol.inputCoordinates, self.imported, "far")
        self.assertIn("they come from other picks", self.fails(protocol))

    def _far(self):
        from pwem.objects import SetOfCoordinates

        far = SetOfCoordinates(filename=str(self.data / "far.sqlite"))
        far.copyInfo(self.picked.outputCoordinates)
        far.setMicrographs(made.pointer(self.imported, "outputMicrographs"))
        for coordinate in self.picked.outputCoordinates.iterItems():
            coordinate.setPosition(coordinate.getX() % 7, coordinate.getY() % 7)
            far.append(coordinate)
        far.write()
        return far
