"""The marker files by which RELION and a job speak to each other; only their presence counts."""

from __future__ import annotations

import logging
from pathlib import Path

EXIT_SUCCESS = "RELION_JOB_EXIT_SUCCESS"
EXIT_FAILURE = "RELION_JOB_EXIT_FAILURE"
EXIT_ABORTED = "RELION_JOB_EXIT_ABORTED"
EXIT_MARKERS = (EXIT_SUCCESS, EXIT_FAILURE, EXIT_ABORTED)
ABORT_NOW = "RELION_JOB_ABORT_NOW"
OUTPUT_NODES = "RELION_OUTPUT_NODES.star"

_log = logging.getLogger(__name__)


def clear(folder: Path) -> None:
    """Remove the markers of an earlier end of the job; a request to abort stays."""
    for name in EXIT_MARKERS:
        (folder / name).unlink(missing_ok=True)


def leave(folder: Path, marker: str) -> None:
    """Say how the job ended: one marker, all others and the request to abort removed.

    Parameters
    ----------
    folder : Path
        Job directory.
    marker : str
        One of `EXIT_MARKERS`.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    clear(folder)  # first: RELION believes SUCCESS before FAILURE
    (folder / marker).touch()
    (folder / ABORT_NOW).unlink(missing_ok=True)


def leave_failure(folder: Path) -> None:
    """Leave FAILURE, making the folder if need be; never raises, because another error is on its way already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        leave(folder, EXIT_FAILURE)
    except OSError as error:
        _log.error("%s: cannot leave %s, so RELION will show the job as running: %s", folder, EXIT_FAILURE, error)
