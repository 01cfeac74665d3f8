"""Which micrographs a job is about."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any

from relion_ext_picker.errors import InputError
from relion_ext_picker.relion.job import SETTINGS
from relion_ext_picker.relion.results import job_options
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.types import Micrograph

SUFFIXES = (".mrc", ".mrcs", ".tif", ".tiff")
_INPUTS = ("in_mic", "fn_input_autopick", "fn_in")  # options of External, AutoPick and ManualPick


def find_micrographs(in_mics: str, mics: str, pixel_size: float) -> list[Micrograph]:
    """Micrographs of a STAR file, or of a folder or pattern.

    Parameters
    ----------
    in_mics : str
        Micrographs STAR file; its names and pixel sizes count.
    mics : str
        Folder or pattern, used where there is no STAR file.
    pixel_size : float
        Å/px for `mics`.

    Raises
    ------
    InputError
        Neither or both are given, nothing matches, or the pixel size is missing.
    """
    if in_mics and mics:
        raise InputError("--in_mics and --mics were both given: use one of them")
    if in_mics:
        return read_micrographs(Path(in_mics))
    if not mics:
        raise InputError("no micrographs were given: use --in_mics with a STAR file or --mics with a folder or pattern")
    if pixel_size <= 0:
        raise InputError("--mics needs --pixel-size, in Å/px: the headers of micrographs are not to be trusted")
    pattern = f"{glob.escape(mics.rstrip('/'))}/*" if Path(mics).is_dir() else mics
    # Not Path.glob: that refuses absolute patterns.
    names = sorted(name for name in glob.glob(pattern, recursive=True) if name.lower().endswith(SUFFIXES))  # noqa: PTH207
    if not names:
        raise InputError(f"--mics {mics}: no {', '.join(SUFFIXES)} files there; quote the pattern, or check the folder")
    return [Micrograph(_plain(name), pixel_size) for name in names]


def _plain(name: str) -> str:
    """A name without leading "./"; absolute where it climbs, for results are filed under the folders of the name."""
    return str(Path(name).resolve()) if ".." in Path(name).parts else name.removeprefix("./")


def micrographs_of_job(folder: Path) -> str:
    """The micrographs STAR file that a picking job was given: from its node for RELION 3.1, or its job.star.

    Raises
    ------
    InputError
        Neither tells.
    """
    for node in sorted(folder.glob("coords_suffix_*.star")):
        name = node.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
        if name and Path(name).is_file():
            return name
    given = job_options(folder)
    for option in _INPUTS:
        if given.get(option) and Path(given[option]).is_file():
            return given[option]
    raise InputError(f"{folder}: it is not known which micrographs these picks are on: give their STAR file, --in_mics")


def settings_of_job(folder: Path) -> dict[str, Any]:
    """Settings of a picking job of this program by the names of its options; none for jobs of others."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
