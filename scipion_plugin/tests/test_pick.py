"""Picking in Scipion is picking in a shell: also in batches, of streams, after failures."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

from relion_ext_picker.options import MODES, PRESETS_OF
from scipion_plugin.tests.projects import COUNT, DIAMETER, PickerTest, write_noise

QUICK = {"deepcryopicker": "clustering"}  # its default trains a network in every job, which takes a minute
BOX = 48  # 1.5 diameters of 130 Å at 4 Å/px, made even


class TestRelionExtPickerPick(PickerTest):
    def test_every_mode_equals_the_program(self):
        for mode in MODES:
            with self.subTest(mode):
                preset = QUICK.get(mode, "default")
                chosen = {f"preset_{mode}": PRESETS_OF[mode].index(preset)}
                protocol = self.finish(self.picks(mode=mode, streamingBatchSize=0, **chosen))
                alone = self.headless("--mode", mode, *(("--preset", preset) if mode in QUICK else ()))
                found = self.places(protocol.outputCoordinates)
                self.assertEqual(found, alone)
                self.assertEqual(len(found), COUNT)
                self.assertGreater(sum(map(len, found.values())), 10 * COUNT)
                self.assertTrue(any(x > 400 for rows in found.values() for x, _, _ in rows))  # wider than high
                self.assertTrue(protocol.outputCoordinates.isStreamClosed())
                self.assertEqual((protocol.outputCoordinates.getBoxSize(), protocol.boxsize.get()), (BOX, BOX))
                self.assertIn(mode, protocol.outputCoordinates.getObjComment())

    def test_micrographs_that_arrive_later_by_several_threads(self):
        folder = self.data / "stream"
        folder.mkdir()
        files = sorted((self.data / "Micrographs").glob("*.mrc"))
        shutil.copy(files[0], folder / files[0].name)
        imported = self.imports(
            str(folder / "*.mrc"), launch=False, dataStreaming=True, timeout=12, fileTimeout=2, copyFiles=False,
        )  # fmt: skip
        self.proj.launchProtocol(imported, wait=False)
        feeder = threading.Thread(target=self._feed, args=(files[1:], folder))
        feeder.start()
        self._wait_for_output(imported, "outputMicrographs")
        protocol = self.picks(imported, streamingBatchSize=1, numberOfThreads=3)
        self.proj.launchProtocol(protocol, wait=False)
        sizes = set()
        end = time.time() + 120
        while protocol.isActive() and time.time() < end:
            time.sleep(1)
            self.proj._updateProtocol(protocol)
            if protocol.hasAttribute("outputCoordinates"):
                sizes.add(protocol.outputCoordinates.getSize())
        feeder.join()
        self.assertTrue(protocol.isFinished(), protocol.getErrorMessage())
        alone = self.headless("--mode", "drpnet")
        self.assertEqual(self.places(protocol.outputCoordinates), alone)
        self.assertTrue(protocol.outputCoordinates.isStreamClosed())
        self.assertGreater(len(sizes), 1, "the output never grew")

    @staticmethod
    def _feed(files, folder):
        for file in files:
            time.sleep(3)
            shutil.copy(file, folder / f"part {file.name}.tmp")
            (folder / f"part {file.name}.tmp").rename(folder / file.name)

    def _wait_for_output(self, protocol, name):
        for _ in range(60):
            self.proj._updateProtocol(protocol)
            if protocol.hasAttribute(name):
                return
            time.sleep(0.5)
        raise AssertionError(f"no {name}")

    def test_resume_after_a_failure(self):
        folder = self.data / "broken"
        shutil.copytree(self.data / "Micrographs", folder)
        whole = folder / "mic0003.mrc"
        content = whole.read_bytes()
        imported = self.imports(str(folder / "*.mrc"))
        whole.write_bytes(content[:5000])
        protocol = self.picks(imported, streamingBatchSize=1)
        message = self.fails(protocol)
        self.assertIn("truncated", message)
        finished = sorted(Path(protocol.getCoordsDir()).iterdir())
        before = {file: file.resolve().stat().st_mtime_ns for file in finished}
        self.assertEqual([file.name for file in finished], ["000001.star", "000002.star"])
        whole.write_bytes(content)
        protocol.runMode.set(0)  # resume
        self.finish(protocol)
        self.assertEqual({file: file.resolve().stat().st_mtime_ns for file in finished}, before)
        alone = self.headless("--mode", "drpnet")
        self.assertEqual(self.places(protocol.outputCoordinates), alone)

    def test_a_batch_that_was_stopped_goes_on_where_it_was(self):
        protocol = self.picks(streamingBatchSize=0, views=4)
        self.proj.launchProtocol(protocol, wait=False)
        job = Path(protocol._getExtraPath("batch_000001"))
        end = time.time() + 120
        while not list(job.glob("micrographs/*_autopick.star")) and time.time() < end:
            time.sleep(0.02)
        self.proj._updateProtocol(protocol)
        self.proj.stopProtocol(protocol)
        finished = {file: file.stat().st_mtime_ns for file in job.glob("micrographs/*_autopick.star")}
        self.assertGreater(len(finished), 0)
        protocol.runMode.set(0)  # resume
        self.finish(protocol)
        self.assertEqual({file: file.stat().st_mtime_ns for file in finished}, finished)
        self.assertEqual(self.places(protocol.outputCoordinates), self.headless("--views", "4"))

    def test_one_broken_micrograph_of_a_batch_is_left_out(self):
        folder = self.data / "partly"
        shutil.copytree(self.data / "Micrographs", folder)
        imported = self.imports(str(folder / "*.mrc"))
        (folder / "mic0002.mrc").write_bytes(b"")
        protocol = self.finish(self.picks(imported, streamingBatchSize=4))
        self.assertEqual(set(self.places(protocol.outputCoordinates)), {"mic0001.mrc", "mic0003.mrc", "mic0004.mrc"})
        self.assertIn("1 micrographs could not be picked; the log says why.", protocol._summary())

    def test_nothing_to_pick(self):
        write_noise(self.data / "noise")
        imported = self.imports(str(self.data / "noise" / "*.mrc"))
        protocol = self.finish(self.picks(imported))
        self.assertEqual(protocol.outputCoordinates.getSize(), 0)
        self.assertTrue(protocol.outputCoordinates.isStreamClosed())

    def test_the_box_by_the_diameter_that_the_model_knows(self):
        protocol = self.picks(diameter=0)
        self.assertEqual(protocol._boxSize(), 0)
        extra = Path(protocol._getExtraPath())
        extra.mkdir(parents=True)
        card = {"mode": "deepcryopicker", "preset": "default", "threshold": 0.5, "provenance": {"diameter": DIAMETER}}
        head = json.dumps({"__metadata__": {"card": json.dumps(card)}}).encode()
        (extra / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
        self.assertEqual(protocol._boxSize(), BOX)
        protocol.boxSize.set(64)
        self.assertEqual(protocol._boxSize(), 64)

    def test_gpus_are_those_of_the_list(self):
        protocol = self.picks(useGpu=True, gpuList="7 8", numberOfThreads=3)
        self.assertRegex(self.fails(protocol), "--gpu [78]: this machine has . CUDA")
