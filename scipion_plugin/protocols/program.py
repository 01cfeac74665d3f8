"""How a protocol runs the program; mixed into all that do."""

from __future__ import annotations

import shlex
from pathlib import Path

from pyworkflow.protocol import GPU_LIST, USE_GPU, params

from scipion_plugin import Plugin
from scipion_plugin.constants import ACTIVATION
from scipion_plugin.forms import entered, messages, words

_LAST = 20000  # bytes of the log in which the reason of a failure is looked for


class RunsProgram:
    """A protocol with the form of a command, which runs that command.

    Attributes
    ----------
    _command : str
    _table : type
        Options dataclass of the command.
    _supplied : tuple of str
        Fields of it that are not in the form, because the protocol supplies them from Scipion's objects.
    """

    _command = ""
    _table: type = object
    _supplied: tuple = ()

    def _addGpu(self, form):
        form.addHidden(
            USE_GPU, params.BooleanParam, default=False, label="Use GPU",
            help="Without a GPU the program computes on the processor, about a second for a large micrograph.",
        )  # fmt: skip
        form.addHidden(
            GPU_LIST, params.StringParam, default="0", label="GPU numbers",
            help="Each run of the program takes one GPU. Scipion gives every thread the next of the list, so with "
            "'0 1' and three threads two runs compute at once, on a GPU each. Repeat a number to let two runs share "
            "that GPU.",
        )  # fmt: skip

    def getGpuList(self):
        """GPUs that steps wait for: none if the processor computes, else the base class would hold steps back."""
        return super().getGpuList() if self.usesGpu() else []

    def _values(self):
        """What was entered."""
        return entered(self, self._table, self._supplied)

    def _problems(self):
        """Messages about what was entered."""
        return messages(self._table, self._values())

    def _gpu(self):
        """Value of the option gpu for the step that asks."""
        found = self._stepsExecutor.getGpuList() if self.usesGpu() else []
        return str(found[0]) if found else "cpu"

    def _runProgram(self, job, more, values=None):
        """Run the command in the folder for extra files.

        Parameters
        ----------
        job : str
            Job directory of the program, relative to that folder.
        more : list of str
            Words of the command line besides the options entered.
        values : dict, optional
            Options instead of those entered.

        Raises
        ------
        RuntimeError
            The program failed; the message is the program's own.
        """
        entered_words = words(self._table, self._values() if values is None else values)
        line = ["--o", job, *more, *entered_words, "--j", str(self.getBinThreads())]
        shell = {"executable": "/bin/bash"} if Plugin.getVar(ACTIVATION) else {}
        log = Path(self.getStderrLog())
        before = log.stat().st_size if log.exists() else 0
        try:
            self.runJob(
                Plugin.getProgram(self._command), " ".join(shlex.quote(word) for word in line),
                cwd=self._absolute(self._getExtraPath()), env=Plugin.getEnviron(), numberOfMpi=1, numberOfThreads=1,
                **shell,
            )  # fmt: skip
        except Exception as error:
            raise RuntimeError(_reason(log, before) or str(error)) from error

    def _absolute(self, path):
        """A path of the project that also holds in the folder where the program runs."""
        return str(Path.cwd() / path)


def _reason(log, start):
    """The program's last error message in a log, None where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _LAST))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(("ERROR: ", "--", "unknown option"))]
    return found[-1] if found else None
