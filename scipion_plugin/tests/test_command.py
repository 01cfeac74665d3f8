"""Scipion's own way to run tests, and to look at a plugin."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import unittest


@unittest.skipIf(importlib.util.find_spec("scipion") is None, "scipion-app is not installed")
class TestRelionExtPickerCommand(unittest.TestCase):
    def scipion(self, *words):
        command = [sys.executable, "-m", "scipion", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_tests_run(self):
        self.assertRegex(self.scipion("tests", "scipion_plugin.tests.test_plugin"), r"PASSED.*\d+ tests")

    def test_all_tests_are_found(self):
        told = self.scipion("tests", "--show", "--grep", "RelionExtPicker")
        for name in ("Pick", "Train", "Evaluate", "Feedback", "Windows", "Templates", "Plugin"):
            self.assertIn(f"TestRelionExtPicker{name}", told)

    def test_inspect(self):
        told = self.scipion("inspect", "scipion_plugin")
        for name in ("protocols", "viewers", "wizards", "convert", "constants", "tests"):
            self.assertIn(f"{name}:  loaded", told)
