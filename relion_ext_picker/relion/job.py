"""The job directory: markers, abort, resume, output nodes, whole files."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from relion_ext_picker.atomic import TEMPORARY, atomic_path, remove_unfinished
from relion_ext_picker.errors import InputError, JobAborted
from relion_ext_picker.relion import labels, markers
from relion_ext_picker.relion.signals import ignore_signals, raise_on_signals

SETTINGS = "settings.json"
DEFAULT_GENERATION = "5.0"  # run by hand: nobody reads the node, and new projects are of RELION 5

_log = logging.getLogger(__name__)


def detect_generation(job_star: Path) -> str:
    """The RELION generation that wrote a job's job.star: "3.1", "4.0" or "5.0" (also where there is no such file)."""
    try:
        text = job_star.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return DEFAULT_GENERATION
    if not re.search(rf"^\s*_{labels.JOB_TYPE_LABEL}\b", text, re.MULTILINE):
        return "3.1"
    version = re.search(r"^\s*#\s*version\s+(\d+)", text, re.MULTILINE)
    return "5.0" if version and int(version[1]) >= 50001 else "4.0"


class JobDirectory:
    """A job folder while the job runs; a context manager.

    On entry the folder is made, markers and unfinished files of an earlier run are removed, and signals begin to raise.
    On exit the output nodes are written and then SUCCESS, last of all; after :class:`JobAborted` ABORTED is left, after
    any other exception or a signal FAILURE. The exception goes on in every case. A request to abort that is there on
    entry is honoured by the first :meth:`check_abort` and removed at the end.

    Parameters
    ----------
    path : str or Path
        As RELION gives it (``External/job001/``); output nodes begin with it verbatim.
    generation : str
        "3.1", "4.0", "5.0", or "auto" to read it from the folder's job.star.

    Attributes
    ----------
    prefix : str
        `path` verbatim, with a slash at the end.
    path : Path

    Raises
    ------
    InputError
        On entry: the folder cannot be made or written.
    """

    def __init__(self, path: str | Path, generation: str = "auto") -> None:
        text = str(path)
        self.prefix = text if text.endswith("/") else f"{text}/"
        self.path = Path(self.prefix)
        self._generation = generation
        self._nodes: list[tuple[str, str]] = []
        self._signals = ExitStack()

    @property
    def generation(self) -> str:
        """The RELION generation to write for: "3.1", "4.0" or "5.0"."""
        if self._generation == "auto":
            self._generation = detect_generation(self.path / "job.star")
        return self._generation

    def __enter__(self) -> JobDirectory:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            markers.clear(self.path)
            remove_unfinished(self.path)
            probe = self.path / f"{TEMPORARY}probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"{self.prefix}: the job directory cannot be written: {error.strerror}; check --o, the permissions and "
                "the free space"
            ) from error
        self._signals.enter_context(raise_on_signals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._signals, ignore_signals():
            if error is None:
                try:
                    self._write_nodes()
                    markers.leave(self.path, markers.EXIT_SUCCESS)
                except BaseException:
                    markers.leave_failure(self.path)
                    raise
            elif isinstance(error, JobAborted):
                try:
                    markers.leave(self.path, markers.EXIT_ABORTED)
                except OSError as problem:
                    _log.error("%s: cannot leave %s: %s", self.path, markers.EXIT_ABORTED, problem)
            else:
                markers.leave_failure(self.path)

    def check_abort(self) -> None:
        """Stop if RELION asks for it; costs one look into the folder.

        Raises
        ------
        JobAborted
            The abort marker is in the job directory.
        """
        if (self.path / markers.ABORT_NOW).exists():
            raise JobAborted(f"{self.prefix}: stopped, because {markers.ABORT_NOW} is there")

    def path_for(self, relative: str | PurePosixPath) -> Path:
        """Path of a file of this job; its folder is made.

        Parameters
        ----------
        relative : str or PurePosixPath
            Name below the job directory.

        Raises
        ------
        InputError
            The name, or a link within the job directory, leads out of it; or the folder cannot be made.
        """
        name = PurePosixPath(relative)
        path = self.path / name
        home = self.path.resolve()
        if name.is_absolute() or ".." in name.parts or not path.parent.resolve().is_relative_to(home):
            raise InputError(f"{relative}: leads out of the job directory {self.prefix}; rename it or remove the link")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{path.parent}: the folder cannot be made: {error.strerror}; remove what is there"
            ) from error
        return path

    def write(self, relative: str | PurePosixPath, writer: Callable[[Path], object]) -> Path:
        """Write a file of this job that appears whole or not at all.

        Parameters
        ----------
        relative : str or PurePosixPath
            Name below the job directory; folders are made.
        writer : callable
            Given the path to write to, which has the right extension but another name.

        Returns
        -------
        Path
            The file.
        """
        path = self.path_for(relative)
        with atomic_path(path) as temporary:
            writer(temporary)
        return path

    def is_finished(self, relative: str | PurePosixPath) -> bool:
        """Whether a result is there from this or an earlier run with the same settings."""
        return (self.path / relative).is_file()

    def settings_changed(self, settings: Mapping[str, Any], stale: Iterable[str] = ("*_autopick.star",)) -> bool:
        """Compare with the settings of the last run in this folder, and keep these for the next.

        When they differ, the results of the last run are removed before the new settings are written: a run killed in
        between cannot leave old results that pass for new ones. A folder without settings is not known to be ours, so
        nothing is removed from it.

        Parameters
        ----------
        settings : mapping
            What the results depend on; JSON values.
        stale : iterable of str
            Patterns of the names of results, in all folders of the job.

        Returns
        -------
        bool
            True if results found in the folder must not be used.
        """
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        file = self.path / SETTINGS
        try:
            before = file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            before = None
        if before == text:
            return False
        if before is not None:
            for pattern in stale:
                for path in list(self.path.rglob(pattern)):
                    if not path.is_dir():
                        path.unlink(missing_ok=True)
        self.write(SETTINGS, lambda path: path.write_text(text, encoding="utf-8"))
        return True

    def declare(self, name: str, kind: str) -> None:
        """Name a result that RELION is to list as an output of the job.

        Parameters
        ----------
        name : str
            File below the job directory. Coordinates may be named as for RELION 4 and 5 (``autopick.star``) or 3.1
            (``coords_suffix_autopick.star``): the one that fits the generation is declared.
        kind : str
            "coordinates", "logfile" or "model". Where the generation has no type for it, nothing is declared.
        """
        if all(kind not in types for types in labels.NODE_TYPES.values()):
            raise ValueError(f"unknown kind of node: {kind}")
        node_type = labels.NODE_TYPES[self.generation].get(kind)
        name = name.removeprefix(self.prefix)
        if kind == "coordinates":
            name = name.removeprefix("coords_suffix_")
            name = f"coords_suffix_{name}" if self.generation == "3.1" else name
        if node_type is not None and (name, node_type) not in self._nodes:
            self._nodes.append((name, node_type))

    def _write_nodes(self) -> None:
        """Write the table of output nodes; a file that is not there is left out, or RELION complains at every look."""
        from relion_ext_picker.relion.tables import write_table  # numpy, which the command line need not wait for

        for name, _ in self._nodes:
            if not (self.path / name).is_file():
                _log.warning("%s%s was not written, so it is not declared", self.prefix, name)
        nodes = [(name, node_type) for name, node_type in self._nodes if (self.path / name).is_file()]
        file = self.path / markers.OUTPUT_NODES
        if not nodes:
            file.unlink(missing_ok=True)
            return
        column = labels.NODE_TYPE if self.generation == "3.1" else labels.NODE_TYPE_LABEL
        columns = {
            labels.NODE_NAME: [self.prefix + name for name, _ in nodes],
            column: [node_type for _, node_type in nodes],
        }
        write_table(file, labels.OUTPUT_NODES_TABLE, columns)
