"""What the tests share: simulated micrographs, imported, and the program without Scipion."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
import pyworkflow as pw
from pwem.protocols import ProtImportMicrographs
from pyworkflow.tests import BaseTest, setupTestProject

from relion_ext_picker.options import MODES
from scipion_plugin import Plugin
from scipion_plugin.constants import LABELS, SCORE
from scipion_plugin.convert import read_table
from scipion_plugin.protocols import RelionExtPickerProtPick

DIAMETER = 130.0  # Å
PIXEL = 4.0  # Å/px
SIZE = (512, 384)  # columns, rows
COUNT = 4


@functools.lru_cache(maxsize=None)
def simulated():
    """Folder with the simulated project, made once; it goes when the tests end."""
    home = tempfile.TemporaryDirectory()
    folder = Path(home.name, "project")
    words = (
        "simulate", "--o", str(folder), "--structure", "shell", "--diameter", f"{DIAMETER:g}",
        "--micrographs", str(COUNT), "--particles", "35", "--size", f"{SIZE[0]}x{SIZE[1]}",
        "--pixel-size", f"{PIXEL:g}", "--contaminants", "0", "--thickness", "200", "--seed", "5",
    )  # fmt: skip
    Plugin.call(words, home.name)
    atexit.register(home.cleanup)
    return folder


def write_noise(folder, count=2):
    """Micrographs without particles."""
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(count):
        image = random.normal(size=SIZE[::-1]).astype(np.float32)
        mrcfile.write(str(folder / f"noise{number}.mrc"), image)


class PickerTest(BaseTest):
    """A project with four simulated micrographs that are not square, in a folder whose name has a blank."""

    @classmethod
    def setUpClass(cls):
        setupTestProject(cls)
        pw.Config.getDomain().getProtocols()  # tells the classes which plugin they belong to
        cls.data = Path(cls.outputPath).absolute() / "simulated data"
        shutil.copytree(simulated(), cls.data)
        cls.imported = cls.imports(str(cls.data / "Micrographs" / "*.mrc"))

    @classmethod
    def imports(cls, pattern, launch=True, **more):
        """Import micrographs."""
        protocol = cls.newProtocol(
            ProtImportMicrographs, filesPath=pattern, samplingRate=PIXEL, voltage=300, sphericalAberration=2.7,
            amplitudeContrast=0.1, magnification=50000, **more,
        )  # fmt: skip
        if launch:
            cls.launchProtocol(protocol)
        return protocol

    def picks(self, source=None, mode="drpnet", **more):
        """A picking protocol, not launched."""
        given = {"diameter": DIAMETER, "streamingBatchSize": 2, "numberOfThreads": 1, "binThreads": 1, **more}
        protocol = self.newProtocol(RelionExtPickerProtPick, mode=MODES.index(mode), **given)
        self.point(protocol.inputMicrographs, source or self.imported, "outputMicrographs")
        return protocol

    @staticmethod
    def point(pointer, protocol, output):
        """Let an input be an output of another protocol."""
        pointer.set(protocol)
        pointer.setExtended(output)

    def finish(self, protocol):
        """Run a protocol that has to succeed."""
        self.proj.launchProtocol(protocol, wait=True)
        told = [protocol.getErrorMessage(), *protocol.getLogsLastLines(9, 1)]
        self.assertTrue(protocol.isFinished(), "\n".join(told))
        return protocol

    def fails(self, protocol):
        """Run a protocol that has to fail; its message."""
        try:
            self.proj.launchProtocol(protocol, wait=True)
        except Exception as error:
            return str(error)
        self.assertTrue(protocol.isFailed())
        return protocol.getErrorMessage()

    @staticmethod
    def places(coordinates):
        """Name of the micrograph -> list of (x, y, score) of its picks."""
        found = {}
        names = {mic.getObjId(): Path(mic.getFileName()).name for mic in coordinates.getMicrographs()}
        for item in coordinates.iterItems():
            score = getattr(item, SCORE, None)
            found.setdefault(names[item.getMicId()], []).append((item.getX(), item.getY(), score and score.get()))
        return {name: sorted(rows) for name, rows in found.items()}

    def headless(self, *words):
        """The picks of the program without Scipion, on the micrographs of the simulation; each command is run once."""
        folder = "picks" + "_".join(words).replace("/", "")
        if not (self.data / folder).exists():
            inputs = ("--o", folder, "--in_mics", "micrographs_ctf.star", "--diameter", f"{DIAMETER:g}")
            Plugin.call([*inputs, "--no-report", "--gpu", "cpu", *words], self.data)
        found = {}
        for file in sorted((self.data / folder / "Micrographs").glob("*_autopick.star")):
            names = ("COORDINATE_X", "COORDINATE_Y", "FIGURE_OF_MERIT")
            rows = [tuple(float(row.get(LABELS[name])) for name in names) for row in read_table(file)]
            if rows:
                found[file.name.replace("_autopick.star", ".mrc")] = sorted(rows)
        return found


class PickedTest(PickerTest):
    """The same with picks, every candidate among them; one project for all classes of tests that need no more."""

    _shared: dict = {}

    @classmethod
    def setUpClass(cls):
        if not cls._shared:
            super().setUpClass()
            cls.picked = cls.picks(cls, streamingBatchSize=0, threshold=0.0)
            cls.proj.launchProtocol(cls.picked, wait=True)
            names = ("proj", "projName", "outputPath", "data", "imported", "picked")
            cls._shared.update({name: getattr(cls, name) for name in names})
        for name, value in cls._shared.items():
            setattr(cls, name, value)
        os.chdir(cls.outputPath)
