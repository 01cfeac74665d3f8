"""The plugin in Scipion: what it registers, its forms, its installation, its files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from unittest import mock

import numpy as np
import pwem.protocols
import pyworkflow as pw
import tifffile
from pwem.objects import Acquisition, Micrograph
from pyworkflow.gui.project.viewprotocols_extra import ProtocolTreeConfig
from pyworkflow.protocol import Protocol, params
from pyworkflow.tests import BaseTest

import scipion_plugin
from relion_ext_picker.options import COMMANDS, MODES, PRESETS_OF, PickOptions, default_of, info_of
from scipion_plugin import Plugin, convert, forms
from scipion_plugin.constants import ACTIVATION, LABELS, PYTHON, SCORE
from scipion_plugin.protocols import RelionExtPickerProtPick, RelionExtPickerProtTrain

HERE = Path(scipion_plugin.__file__).parent


class TestRelionExtPickerPlugin(BaseTest):
    def setUp(self):
        self.domain = pw.Config.getDomain()
        self.protocols = self.domain.getProtocols()
        self.folder = Path(tempfile.mkdtemp(dir=os.environ["SCIPION_HOME"]))

    def ours(self):
        return {name: cls for name, cls in self.protocols.items() if cls.__module__.startswith("scipion_plugin.")}

    def test_protocols_are_registered_and_in_the_tree(self):
        self.assertIn("scipion_plugin", self.domain.getPlugins())
        names = set(self.ours())
        self.assertIn("RelionExtPickerProtPick", names)
        self.assertTrue(all(name.startswith("RelionExtPicker") for name in names))
        tree = ProtocolTreeConfig.load(self.domain, pw.Config.SCIPION_PROTOCOLS)["Protocols SPA"]
        places = {}

        def walk(node, above):
            for child in node.childs:
                if str(child.value).startswith("RelionExtPicker"):
                    places[str(child.value)] = [*above, child.visible]
                walk(child, [*above, str(child.text)])

        walk(tree, [])
        self.assertEqual(set(places), names)
        self.assertEqual(places["RelionExtPickerProtPick"], ["Particles", "Picking", True])
        self.assertEqual(places["RelionExtPickerProtImportModel"], ["Tools", "Picker", True])

    def test_scipion_needs_no_torch_and_no_core(self):
        code = (
            "import sys, pyworkflow as pw; d = pw.Config.getDomain(); d.getPlugins(); d.getProtocols(); d.getViewers();"
            "d.getWizards(); print('LOADED', *sorted(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        loaded = set(done.stdout.partition("LOADED")[2].split())
        self.assertIn("scipion_plugin.protocols.protocol_pick", loaded)
        self.assertNotIn("torch", loaded)
        core = {name.partition(".")[2] for name in loaded if name.startswith("relion_ext_picker.")}
        self.assertEqual({name for name in core if "option" not in name} - {"errors", "presets"}, set())

    def test_the_form_is_the_table(self):
        protocol = RelionExtPickerProtPick()
        for item in fields(PickOptions):
            info = info_of(item)
            if info.group in ("RELION", "Headless") or item.name in (*forms._ELSEWHERE, "model", "formats", "box_size"):
                continue
            names = [f"preset_{mode}" for mode in MODES] if item.name == "preset" else [item.name]
            for name in names:
                param = protocol.getParam(name)
                self.assertIsNotNone(param, name)
                self.assertIn(info.help, param.help.get())
                self.assertFalse(hasattr(Protocol, name), name)
                if isinstance(param, params.EnumParam):
                    wanted = PRESETS_OF[name.partition("_")[2]] if item.name == "preset" else info.choices
                    self.assertEqual(param.choices, list(wanted))
                elif default_of(item) is not None:
                    self.assertEqual(getattr(protocol, name).get(), default_of(item))

    def test_what_is_entered_becomes_a_command_line(self):
        protocol = RelionExtPickerProtPick()
        protocol.mode.set(MODES.index("deepem"))
        protocol.preset_deepem.set(PRESETS_OF["deepem"].index("klh"))
        protocol.diameter.set(120.5)
        protocol.verify.set(False)
        protocol.step.set(30.0)
        words = forms.words(PickOptions, protocol._values())
        self.assertEqual(
            words, ["--mode", "deepem", "--diameter", "120.5", "--preset", "klh", "--step", "30.0", "--verify", "No"]
        )
        protocol.mode.set(MODES.index("drpnet"))  # the presets and options of another mode do not count
        self.assertEqual(forms.words(PickOptions, protocol._values()), ["--diameter", "120.5", "--verify", "No"])

    def test_wrong_values_are_told_before_the_run(self):
        protocol = RelionExtPickerProtPick()
        self.assertIn("--diameter is required", " ".join(protocol._problems()))
        protocol.diameter.set(100)
        protocol.min_distance.set(9)
        self.assertEqual(protocol._problems(), ["--min-distance 9: must lie between 0.05 and 5"])

    def test_every_command_can_have_a_form(self):
        protocol = RelionExtPickerProtTrain()
        for table in (COMMANDS["pick"], COMMANDS["train"]):
            form = params.Form(protocol)
            forms.add_options(form, table, "Section", ())
            self.assertTrue(any(True for _ in form.iterAllParams()))

    def test_installation(self):
        with mock.patch.dict(Plugin._vars, {PYTHON: "/nowhere/python", ACTIVATION: ""}):
            (problem,) = Plugin.validateInstallation()
            self.assertIn("/nowhere/python cannot be run", problem)
            self.assertIn(PYTHON, problem)
        with mock.patch.dict(Plugin._vars, {PYTHON: "", ACTIVATION: "false"}):
            self.assertEqual(len(Plugin.validateInstallation()), 1)
        python = Plugin.getPython()
        with mock.patch.dict(Plugin._vars, {PYTHON: python, ACTIVATION: "export PICKER=1"}):
            self.assertEqual(Plugin.validateInstallation(), [])
            self.assertTrue(Plugin.getProgram("pick").startswith("export PICKER=1 && "))
        with mock.patch.object(scipion_plugin, "__version__", "99"), mock.patch.object(scipion_plugin, "_fine", set()):
            self.assertIn("install the same version", Plugin.validateInstallation()[0])
        self.assertEqual(Plugin.validateInstallation(), [])
        with mock.patch.dict(os.environ, {"PYTHONPATH": "/somewhere"}):
            self.assertNotIn("PYTHONPATH", Plugin.getEnviron())

    # ---- files

    def micrograph(self, name, identifier, image):
        path = self.folder / name
        tifffile.imwrite(str(path), image)
        micrograph = Micrograph(location=str(path))
        micrograph.setObjId(identifier)
        micrograph.setMicName(name)
        micrograph.setSamplingRate(1.0643219)
        micrograph.setAcquisition(Acquisition(voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1))
        return micrograph

    def test_odd_names_and_identity(self):
        image = np.zeros((6, 4), np.float32)
        odd = [self.micrograph("it's #1 50% α.tif", 12, image), self.micrograph("it_s #1 50% β.tif", 1234567, image)]
        names = convert.link_micrographs(odd, self.folder)
        self.assertEqual(len(set(names.values())), 2)
        self.assertEqual([convert.id_of(name) for name in names.values()], [12, 1234567])
        for name in names.values():
            self.assertRegex(name, r"^micrographs/\d+_[A-Za-z0-9._-]+\.tif$")
            self.assertTrue((self.folder / name).exists())
        convert.link_micrographs(odd, self.folder)  # once more does no harm
        convert.write_micrographs(self.folder / "input.star", odd, names)
        rows = convert.read_table(self.folder / "input.star", "micrographs")
        self.assertEqual([convert.id_of(row.get(LABELS["MICROGRAPH_NAME"])) for row in rows], [12, 1234567])
        (optics,) = convert.read_table(self.folder / "input.star", "optics")
        self.assertEqual(optics.get(LABELS["MICROGRAPH_PIXEL_SIZE"]), "1.0643219")

    def test_tiff_is_turned_both_ways(self):
        micrograph = self.micrograph("m.tif", 3, np.zeros((100, 40), np.float32))
        names = convert.link_micrographs([micrograph], self.folder)
        convert.write_coordinates(str(self.folder), "picked/node.star", {3: [(10, 20, 0.25)]}, names)
        ((identifier, file),) = convert.read_node(str(self.folder), "picked/node.star").items()
        self.assertEqual(identifier, 3)
        (row,) = convert.read_table(self.folder / file)
        self.assertEqual([row.get(LABELS[name]) for name in ("COORDINATE_X", "COORDINATE_Y")], ["10.0", "79.0"])
        (back,) = convert.read_coordinates(self.folder / file, micrograph)
        self.assertEqual((*back.getPosition(), getattr(back, SCORE).get()), (10, 20, 0.25))

    def test_references_can_be_read(self):
        self.assertEqual(set(self.domain.getPlugins()["scipion_plugin"]._bibtex), set(scipion_plugin._references))
        self.assertTrue(pwem.protocols)
