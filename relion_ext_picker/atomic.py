"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp-"
"""First letters of unfinished files; such files are left over from a killed run and mean nothing."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A name to write to, renamed to `path` when the block ends well and removed when it does not.

    The temporary file lies in the same folder, because a rename is atomic only within one file system, and keeps the
    extension, because some writers choose the format by it. The folder of `path` must exist.

    Parameters
    ----------
    path : Path
        File to write, replaced if it exists.

    Yields
    ------
    Path
        Where to write. The process number in it keeps two programs apart that write the same file.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed runs left in `folder` and below; links are not followed."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        if not path.is_dir():
            path.unlink(missing_ok=True)
