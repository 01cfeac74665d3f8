"""The command line: argv -> options -> workflow -> exit code.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 aborted on request, 128 + n stopped by signal n.
Nothing heavy is imported before the command line is understood, so that ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import gc
import importlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relion_ext_picker import __version__
from relion_ext_picker.arguments import CommandLine, help_text, job_directory, parse, split_command
from relion_ext_picker.errors import JobAborted, PickerError, UsageError
from relion_ext_picker.options import COMMANDS, JobOptions
from relion_ext_picker.relion.markers import leave_failure
from relion_ext_picker.relion.signals import Terminated, raise_on_signals

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ABORTED = 3

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Without the program's name; by default that of the process.

    Returns
    -------
    int
        Exit code, see the module.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an Å must not stop a job on a terminal that has none
    # Threads that wait must not spin: beside other jobs that made a pick take three to four times the processor time.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    words = sys.argv[1:] if argv is None else list(argv)
    if words == ["--version"]:
        print(f"relion_ext_picker {__version__}")
        return 0
    with _log_to_streams():
        try:
            with raise_on_signals():
                line = parse(words)
                if line.options is None:
                    print(help_text(line.command), end="")
                else:
                    _workflow(line)(line.options)
        except BaseException as error:
            return _failed(error, words)
    return 0


def _workflow(line: CommandLine) -> Callable[[Any], None]:
    """The function that does the work of a command; imported here, because it takes a second or more."""
    name = f"relion_ext_picker.workflows.{line.command}"
    if name not in sys.modules:
        _import_without_collecting(name)
    module = importlib.import_module(name)
    run: Callable[[Any], None] = module.run
    return run


def _import_without_collecting(name: str) -> None:
    """Import a module and exempt what it makes from garbage collection.

    All of it stays to the end. Looking through it for garbage, again and again while libraries load and once more when
    the program ends, would take two thirds as long again as loading it.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(name)
        gc.freeze()
    finally:
        if collecting:
            gc.enable()


def _failed(error: BaseException, words: Sequence[str]) -> int:
    """Say what went wrong, see to it that RELION knows, and choose the exit code."""
    if isinstance(error, JobAborted):
        print(error, file=sys.stderr, flush=True)
        return EXIT_ABORTED
    # A job that failed before it entered its directory has left no marker, and RELION would wait for ever.
    if folder := _watched(words):
        leave_failure(Path(folder))
    if isinstance(error, UsageError):
        print(f"{error}\nsee relion_ext_picker {_command_for_help(words)}--help", file=sys.stderr, flush=True)
        return EXIT_USAGE
    if isinstance(error, (PickerError, Terminated)):
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        return error.status if isinstance(error, Terminated) else EXIT_FAILED
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f" ({error.filename})" if error.filename else ""
        print(f"ERROR: {error.strerror}{where}: make room or check the disk, then continue the job", file=sys.stderr)
        return EXIT_FAILED
    traceback.print_exception(error)
    return EXIT_FAILED


def _watched(words: Sequence[str]) -> str | None:
    """The job directory, if this is a command that runs as a job, or RELION says that it watches."""
    command = COMMANDS.get(split_command(words)[0], JobOptions)
    is_job = issubclass(command, JobOptions) or any(word.startswith("--pipeline_control") for word in words)
    return job_directory(words) if is_job else None


def _command_for_help(words: Sequence[str]) -> str:
    command, _ = split_command(words)
    return f"{command} " if words and words[0] == command and command in COMMANDS else ""


@contextmanager
def _log_to_streams() -> Iterator[None]:
    """Progress to stdout (run.out) and warnings to stderr (run.err), each line at once; undone at the end."""
    progress = logging.StreamHandler(sys.stdout)
    progress.addFilter(lambda record: record.levelno < logging.WARNING)
    trouble = logging.StreamHandler(sys.stderr)
    trouble.setLevel(logging.WARNING)
    trouble.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root, ours = logging.getLogger(), logging.getLogger("relion_ext_picker")
    level = ours.level
    ours.setLevel(logging.INFO)
    for handler in (progress, trouble):
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in (progress, trouble):
            root.removeHandler(handler)
        ours.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
