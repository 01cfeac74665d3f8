"""RELION's rules for file names."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from relion_ext_picker.errors import InputError

_JOB = re.compile(r"job[0-9]{3}")


def coordinate_path(micrograph_name: str, suffix: str = "autopick") -> PurePosixPath:
    """Where the coordinates of a micrograph go, relative to the job directory.

    Everything up to and including the first job folder (``jobNNN``) below the first component is dropped; where there
    is none, a first component that is a job folder is dropped itself, as RELION 3.1 does. The extension goes;
    the other folders stay, because RELION looks there and because names may repeat between folders.

    Parameters
    ----------
    micrograph_name : str
        As in the micrographs STAR file.
    suffix : str
        The part of the file name after the underscore.

    Raises
    ------
    InputError
        The name is empty or climbs out of the project.
    """
    parts = PurePosixPath(micrograph_name.lstrip("/")).parts
    if ".." in parts or not parts:
        raise InputError(
            f"micrograph name {micrograph_name!r} has '..' in it or is empty: import the micrographs through a link "
            "inside the project folder, so that results stay in the job folder"
        )
    jobs = [position for position, part in enumerate(parts[:-1]) if _JOB.match(part)]
    below = [position for position in jobs if position > 0]
    if below:
        parts = parts[below[0] + 1 :]
    elif jobs and not micrograph_name.startswith("/"):
        parts = parts[1:]
    path = PurePosixPath(*parts)
    return path.with_name(f"{path.stem}_{suffix}.star")
