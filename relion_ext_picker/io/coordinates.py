"""Particle coordinates in and out: STAR, .box, .cbox, .csv and .txt files, for one micrograph or a whole set.

All coordinates are centres in px of the micrograph as stored, x = column, y = row, first pixel 0.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import ArrayLike

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.errors import InputError
from relion_ext_picker.io.coordinate_files import (
    SUFFIXES,
    Coordinates,
    read_coordinates,
    read_table,
    star_coordinates,
    star_tables,
)
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.types import Micrograph

__all__ = ["Coordinates", "pair_names", "read_coordinate_set", "read_coordinates", "write_box", "write_csv"]

log = logging.getLogger(__name__)

_NODE = "coords_suffix"
# What pickers put behind the name of the micrograph.
_ADDED = re.compile(
    r"(\.mrcs?|\.tiff?|_(autopick|manualpick|picks?|picked|coords?|coordinates|particles|truth|box|topaz|"
    r"patch_aligned|rigid_aligned|doseweighted))+$"
)
_UID = re.compile(r"^\d{12,}_")  # cryoSPARC puts it before the name of the movie


def read_coordinate_set(
    path: Path, micrographs: Sequence[Micrograph], project: Path = Path()
) -> dict[str, Coordinates]:
    """Read the coordinates of many micrographs.

    Parameters
    ----------
    path : Path
        Relative to `project` or absolute. One of: a coordinate node of RELION 4 or 5 (autopick.star, manualpick.star)
        or of RELION 3.1 (coords_suffix_NAME.star), a particles STAR file, a folder with a file per micrograph (found by
        the micrograph's name with or without _autopick, _manualpick, _picks ...), a .csv or .txt file with a micrograph
        column, or the file of a single micrograph.
    micrographs : sequence of Micrograph
    project : Path
        Folder to which names in STAR files are relative.

    Returns
    -------
    dict of Coordinates
        By name of the micrograph, in the order of `micrographs`; those without coordinates are left out. A micrograph
        whose file lists no particle is there, with none.

    Raises
    ------
    InputError
        Nothing fits the micrographs, or a file is damaged or its micrograph ambiguous.
    """
    where = project / path
    if where.is_dir():
        found, looked = (
            _from_folder(where, micrographs),
            "files NAME.star, .box, .cbox, .csv or .txt, also NAME_autopick.star",
        )
    elif where.name.startswith(_NODE):
        found, looked = _from_node_31(where, micrographs), f"files PATH{where.name[len(_NODE) :]} beside it"
    else:
        found, looked = _from_file(where, micrographs, project), "their names in it, and its own name"
    if not found:
        names = ", ".join(micrograph.name for micrograph in micrographs[:3]) + (" ..." if len(micrographs) > 3 else "")
        raise InputError(
            f"{where} has no coordinates for any of the {len(micrographs)} micrographs ({names}; looked for: "
            f"{looked}): give the coordinates that belong to these micrographs"
        )
    log.info("%s: coordinates of %d of %d micrographs", where, len(found), len(micrographs))
    return {micrograph.name: found[micrograph.name] for micrograph in micrographs if micrograph.name in found}


def pair_names(names: Iterable[str], micrographs: Sequence[Micrograph]) -> dict[str, str]:
    """Names of micrographs as another job gives them -> names of `micrographs`; those that fit none are left out.

    Path prefixes change between jobs: a name fits as it is, without its job folder, or by its last part where that is
    the last part of one micrograph only.
    """
    known = _Names(micrographs)
    return {name: found for name in names if (found := known.find(name)) is not None}


def write_box(path: Path, xy: ArrayLike, box_px: int) -> None:
    """Write an EMAN .box file: corner x, corner y, width, height in whole px; the file appears whole or not at all."""
    corner = np.floor(np.asarray(xy, np.float64).reshape(-1, 2) - box_px / 2 + 0.5).astype(np.int64)
    _write(path, "".join(f"{x}\t{y}\t{box_px}\t{box_px}\n" for x, y in corner.tolist()))


def write_csv(path: Path, micrograph_name: str, xy: ArrayLike, score: ArrayLike | None = None) -> None:
    """Write a .csv file with the columns micrograph, x, y and score; the file appears whole or not at all."""
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    places = np.asarray(xy, np.float64).reshape(-1, 2).tolist()
    values = [()] * len(places) if score is None else [(f"{v:.6f}",) for v in np.asarray(score, np.float64).tolist()]
    writer.writerow(("micrograph", "x", "y") if score is None else ("micrograph", "x", "y", "score"))
    for (x, y), value in zip(places, values, strict=True):
        writer.writerow((micrograph_name, f"{x:.2f}", f"{y:.2f}", *value))
    _write(path, table.getvalue())


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


# ---- sets of micrographs


class _Names:
    """Finds the micrograph that a name in a coordinate file means: as it is, without its job folder, by its stem."""

    def __init__(self, micrographs: Sequence[Micrograph]) -> None:
        self.exact = {micrograph.name for micrograph in micrographs}
        self.forms: dict[str, set[str]] = {}
        for name in self.exact:
            for form in self._forms(name):
                self.forms.setdefault(form, set()).add(name)

    @staticmethod
    def _forms(name: str) -> tuple[str, str]:
        path = PurePosixPath(name)
        trimmed = "" if ".." in path.parts or not path.name else str(coordinate_path(name, ""))
        return trimmed, path.stem

    def find(self, name: str) -> str | None:
        """Name of the micrograph as in the micrographs file, None if there is none or it is not certain which."""
        if name in self.exact:
            return name
        last = PurePosixPath(name).name
        bare = _ADDED.sub("", _UID.sub("", last))
        for form in (last, _ADDED.sub("", last), bare, *self._forms(name)):
            fits = self.forms.get(form, set())
            if form and len(fits) == 1:
                return next(iter(fits))
        return None

    def pair(self, path: Path, names: Iterable[str]) -> dict[str, str]:
        """Micrograph -> the one of `names` (as in the file `path`) that means it."""
        pairs: dict[str, str] = {}
        unknown = []
        for name in names:
            micrograph = self.find(name)
            if micrograph is None:
                unknown.append(name)
            elif micrograph not in pairs or name == micrograph:
                pairs[micrograph] = name
            elif pairs[micrograph] != micrograph:
                raise InputError(
                    f"{path}: {pairs[micrograph]} and {name} in it both could mean micrograph {micrograph}: "
                    "give coordinates with the names of the micrographs STAR file"
                )
        if unknown and pairs:
            log.warning("%s: %d micrographs in it are not among those given: %s ...", path, len(unknown), unknown[0])
        return pairs


def _from_folder(folder: Path, micrographs: Sequence[Micrograph]) -> dict[str, Coordinates]:
    """One file per micrograph, at any depth."""
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
            for stem in {path.stem, _ADDED.sub("", path.stem)}:
                files[stem].append(path)
    chosen: dict[Path, tuple[int, str]] = {}
    for micrograph in micrographs:
        name = PurePosixPath(micrograph.name)
        # Names may repeat between folders: the file and the micrograph whose folders agree best belong together.
        fits = [
            (_common_end(path.relative_to(folder).parent.parts, name.parent.parts), path) for path in files[name.stem]
        ]
        fits = [fit for fit in fits if fit[0] == max(fits)[0]]
        kind = min((SUFFIXES.index(path.suffix.lower()) for _, path in fits), default=0)
        fits = [fit for fit in fits if fit[1].suffix.lower() == SUFFIXES[kind]]
        if len(fits) > 1:
            both = " and ".join(str(path.relative_to(folder)) for _, path in fits[:2])
            raise InputError(f"{folder}: {both} both fit micrograph {micrograph.name}: remove one")
        for agreed, path in fits:
            other = chosen.get(path, (-1, ""))
            if other[0] == agreed:
                raise InputError(
                    f"{path} fits both {other[1]} and {micrograph.name}: put it into a folder named as the micrograph's"
                )
            chosen[path] = max(other, (agreed, micrograph.name))
    return {name: read_coordinates(path) for path, (_, name) in chosen.items()}


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count


def _from_node_31(node: Path, micrographs: Sequence[Micrograph]) -> dict[str, Coordinates]:
    """RELION 3.1: the node's name tells the ending of the files beside it."""
    if not node.exists():
        raise InputError(f"{node}: no such file: give the coordinates of a picking job")
    ending = node.name[len(_NODE) :]
    found = {}
    for micrograph in micrographs:
        plain = coordinate_path(micrograph.name, "")  # ends in "_.star"
        path = node.parent / plain.with_name(plain.name[: -len("_.star")] + ending)
        if path.is_file():
            found[micrograph.name] = read_coordinates(path)
    return found


def _from_file(path: Path, micrographs: Sequence[Micrograph], project: Path) -> dict[str, Coordinates]:
    """A node of RELION 4 or 5, a file with a micrograph column, or the file of a single micrograph."""
    names = _Names(micrographs)
    if path.suffix.lower() == ".star":
        tables = star_tables(path)
        for star in tables:
            if labels.MICROGRAPH_NAME in star and labels.MICROGRAPH_COORDINATES in star:
                files = dict(zip(star[labels.MICROGRAPH_NAME], star[labels.MICROGRAPH_COORDINATES], strict=True))
                return _from_node(path, names.pair(path, files), files, project)
        table = star_coordinates(path, tables)
    else:
        table = read_table(path)
    if table.names is not None:
        parts = table.by_name()
        return {micrograph: parts[name] for micrograph, name in names.pair(path, parts).items()}
    if len(micrographs) == 1:
        return {micrographs[0].name: table.rows}
    return dict.fromkeys(names.pair(path, [path.stem]), table.rows)


def _from_node(node: Path, pairs: Mapping[str, str], files: Mapping[str, str], project: Path) -> dict[str, Coordinates]:
    """The coordinate files that a node lists for the paired micrographs."""
    found = {}
    for micrograph, name in pairs.items():
        if (project / files[name]).is_file():
            found[micrograph] = read_coordinates(project / files[name])
        else:
            log.warning("%s: coordinate file %s of micrograph %s does not exist", node, files[name], name)
    return found
