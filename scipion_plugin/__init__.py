"""Scipion plugin: the protocols run the program ``relion_ext_picker`` as RELION's External job does.

The plugin runs in Scipion's own Python (3.8 or later) and needs no PyTorch. The program runs by the interpreter that
RELION_EXT_PICKER_PYTHON names, which is usually that of another environment.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pwem
from pyworkflow import VarTypes
from pyworkflow.utils import Environ

from relion_ext_picker import __version__
from scipion_plugin.constants import ACTIVATION, NAME, PYTHON

__all__ = ["Plugin", "__version__"]

_logo = "icon.png"
_references = ["Nguyen2021", "Zhu2017", "AlAzzawi2020"]

_FIND = (
    "import importlib.util as u, relion_ext_picker as p; "
    "print(p.__version__, 'complete' if u.find_spec('torch') else 'without PyTorch')"
)
_REMEDY = f"Set {PYTHON} in scipion.conf to the Python of the environment in which relion_ext_picker is installed."
_fine: set = set()  # interpreters that can run the program


class Plugin(pwem.Plugin):
    """What Scipion asks about the plugin: its variables, its environment, how the program is started."""

    _url = "docs/tutorial_scipion.md"
    _supportedVersions = [__version__]
    _pathVars: list = []

    @classmethod
    def _defineVariables(cls):
        cls._defineVar(
            PYTHON, "", description="Python interpreter of the environment with relion_ext_picker; empty: the one of "
            "the activated environment, or Scipion's own.", var_type=VarTypes.PATH,
        )  # fmt: skip
        cls._defineVar(
            ACTIVATION, "", description="Command that activates the environment of relion_ext_picker, if it needs one.",
            var_type=VarTypes.STRING,
        )  # fmt: skip

    def getName(self):
        """The name that Scipion shows, which is that of the program."""
        return NAME

    @classmethod
    def getActiveVersion(cls, home=None, versions=None):
        """Version of the plugin, which the program must have as well."""
        return __version__

    @classmethod
    def getEnviron(cls):
        """Environment of the program: Scipion's without the search paths of its Python."""
        environ = Environ(os.environ)
        for name in ("PYTHONPATH", "PYTHONHOME"):
            environ.pop(name, None)
        return environ

    @classmethod
    def getPython(cls) -> str:
        """The interpreter that runs the program."""
        given = cls.getVar(PYTHON)
        if given:
            return str(Path(given).expanduser())
        return "python" if cls.getVar(ACTIVATION) else sys.executable

    @classmethod
    def getProgram(cls, command: str) -> str:
        """Beginning of the shell's command line that runs a command of the program, such as ``pick``."""
        program = f"{shlex.quote(cls.getPython())} -m relion_ext_picker.cli {command}"
        activation = cls.getVar(ACTIVATION)
        return f"{activation} && {program}" if activation else program

    @classmethod
    def call(cls, words, cwd) -> str:
        """Run a command of the program and wait for it, outside of a protocol.

        Parameters
        ----------
        words : list of str
            The command line, without the name of the program.
        cwd : str or Path
            Working directory.

        Returns
        -------
        str
            What the program printed.

        Raises
        ------
        RuntimeError
            It failed; the message is what it said.
        """
        done = cls._run(["-m", "relion_ext_picker.cli", *words], cwd)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"the program failed with exit code {done.returncode}")
        return done.stdout

    @classmethod
    def _run(cls, words, cwd=None, timeout=None):
        """Run the interpreter, in the activated environment if there is one."""
        command, activation = [cls.getPython(), *words], cls.getVar(ACTIVATION)
        if activation:
            command = ["bash", "-c", f"{activation} && exec {' '.join(shlex.quote(word) for word in command)}"]
        return subprocess.run(
            command, cwd=cwd and str(cwd), env=cls.getEnviron(), capture_output=True, text=True, timeout=timeout
        )

    @classmethod
    def validateInstallation(cls):
        """Problems of the installation, found by asking the interpreter; none if it can run the program."""
        asked = (cls.getPython(), cls.getVar(ACTIVATION))
        if asked not in _fine:  # asked once; problems are looked for again
            problem = cls._problem()
            if problem:
                return [problem]
            _fine.add(asked)
        return []

    @classmethod
    def _problem(cls):
        python = cls.getPython()
        try:
            done = cls._run(["-c", _FIND], timeout=120)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{python} cannot be run: {error}. {_REMEDY}"
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return f"{python} has no relion_ext_picker: {last}. {_REMEDY}"
        version, _, state = done.stdout.strip().splitlines()[-1].partition(" ")
        if version != __version__:
            return (
                f"{python} has relion_ext_picker {version}, the plugin is of version {__version__}: install the same "
                "version in both."
            )
        return "" if state == "complete" else f"{python} has relion_ext_picker {state}. {_REMEDY}"

    @classmethod
    def defineBinaries(cls, env):
        """Nothing to build: the program is a Python package, see docs/install.md."""
