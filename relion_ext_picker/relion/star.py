"""RELION's STAR files in and out: micrographs of RELION 3.0, 3.1, 4 and 5, coordinates, coordinate nodes."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.errors import StarError
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.tables import Table, read_tables, write_table, write_tables
from relion_ext_picker.types import Ctf, Micrograph, Picks

__all__ = [
    "coordinate_path",
    "read_micrographs",
    "write_coordinate_nodes",
    "write_micrographs",
    "write_picks",
    "write_table",
    "write_tables",
]

_log = logging.getLogger(__name__)

_TEXT = (labels.MICROGRAPH_NAME, labels.MOVIE_NAME, labels.IMAGE_NAME, labels.OPTICS_GROUP_NAME)
_PIXEL_SIZES = (labels.MICROGRAPH_PIXEL_SIZE, labels.PIXEL_SIZE, labels.MICROGRAPH_ORIGINAL_PIXEL_SIZE)
_USE_MICROGRAPHS = "give a micrographs STAR file, such as corrected_micrographs.star or micrographs_ctf.star"


def read_micrographs(path: Path, project: Path = Path()) -> list[Micrograph]:
    """The micrographs of a STAR file of RELION 3.0 to 5.

    The pixel size comes from the optics table, or from the row itself in files of RELION 3.0. The size of the
    micrograph is preferred over that of the movie it was made from.

    Parameters
    ----------
    path : Path
        The STAR file, relative to `project` or absolute.
    project : Path
        The RELION project.

    Returns
    -------
    list of Micrograph
        In the order of the file, never empty. Of a micrograph listed twice the first row counts, with a warning.

    Raises
    ------
    StarError
        The file cannot be read, is of another kind, lists nothing, or lacks a name, a pixel size or an optics group.
    """
    file = project / path
    tables = read_tables(file, _TEXT)
    table = _micrographs_table(file, tables)
    optics = _optics(file, tables)
    found: dict[str, Micrograph] = {}
    repeated = []
    for number, values in enumerate(zip(*table.values(), strict=True), 1):
        micrograph = _micrograph(_Row(file, number, dict(zip(table, values, strict=True))), optics)
        if micrograph.name in found:
            repeated.append(micrograph.name)
        else:
            found[micrograph.name] = micrograph
    if repeated:
        _log.warning(
            "%s: %d rows repeat a micrograph and are left out, the first being %s", file, len(repeated), repeated[0]
        )
    return list(found.values())


def _micrographs_table(file: Path, tables: Mapping[str, Table]) -> Table:
    """The table that lists micrographs, or an error that says what the file is instead."""
    names = [name for name, table in tables.items() if labels.MICROGRAPH_NAME in table]
    if labels.MICROGRAPHS_TABLE in names:
        names = [labels.MICROGRAPHS_TABLE]
    kinds = {
        labels.COORDINATE_X: "particles or coordinates",
        labels.IMAGE_NAME: "particles",
        labels.MICROGRAPH_COORDINATES: "the coordinate files of a picking job",
    }
    if not names:
        kinds[labels.MOVIE_NAME] = "movies"
    for label, kind in kinds.items():
        if any(label in tables[name] for name in names or tables):
            raise StarError(f"{file}: lists {kind}, not micrographs; {_USE_MICROGRAPHS}")
    if not names:
        raise StarError(f"{file}: no table has a column _{labels.MICROGRAPH_NAME}; {_USE_MICROGRAPHS}")
    table = tables[names[0]]
    if not table[labels.MICROGRAPH_NAME]:
        raise StarError(f"{file}: lists no micrographs; check the job that wrote it")
    return table


class _Row:
    """One row of a table, with errors that say where it stands."""

    def __init__(self, file: Path, number: int, values: Mapping[str, Any]) -> None:
        self.where = f"{file}: row {number}"
        self.values = values

    def number(self, label: str) -> float | None:
        """Value of a column as a number, None where there is no such column or no value in it."""
        value = self.values.get(label)
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise StarError(f"{self.where}: _{label} is {value!r}, which is not a number; correct the file") from None
        return number if math.isfinite(number) else None


def _optics(file: Path, tables: Mapping[str, Table]) -> dict[int, _Row]:
    """Rows of the optics table by group number; empty for RELION 3.0."""
    table = tables.get(labels.OPTICS_TABLE)
    if not table:
        return {}
    groups = {}
    for number, values in enumerate(zip(*table.values(), strict=True), 1):
        row = _Row(file, number, dict(zip(table, values, strict=True)))
        row.where = f"{file}: optics row {number}"
        group = row.number(labels.OPTICS_GROUP)
        groups[number if group is None else int(group)] = row
    return groups


def _micrograph(row: _Row, optics: Mapping[int, _Row]) -> Micrograph:
    name = row.values[labels.MICROGRAPH_NAME]
    if not isinstance(name, str) or not name:
        raise StarError(f"{row.where}: _{labels.MICROGRAPH_NAME} is empty or 'nan'; correct or remove the row")
    number = row.number(labels.OPTICS_GROUP)
    if number is None and len(optics) > 1:
        raise StarError(f"{row.where}: several optics groups, but no _{labels.OPTICS_GROUP} that says which; add it")
    group = int(number) if number is not None else next(iter(optics), 1)
    if optics and group not in optics:
        raise StarError(f"{row.where}: optics group {group} of {name} is not in the optics table; add it")
    sources = [optics[group], row] if optics else [row]
    return Micrograph(name, _pixel_size(row, sources), group, _ctf(sources))


def _first(sources: Sequence[_Row], label: str) -> float | None:
    return next((value for row in sources if (value := row.number(label)) is not None), None)


def _pixel_size(row: _Row, sources: Sequence[_Row]) -> float:
    size = next((value for label in _PIXEL_SIZES if (value := _first(sources, label)) is not None), None)
    if size is None:
        detector, magnification = _first(sources, labels.DETECTOR_PIXEL_SIZE), _first(sources, labels.MAGNIFICATION)
        if detector is not None and magnification:
            size = detector * 1e4 / magnification
    if size is None:
        raise StarError(
            f"{row.where}: no pixel size: there is neither _{labels.MICROGRAPH_PIXEL_SIZE} in the optics table nor "
            f"_{labels.DETECTOR_PIXEL_SIZE} with _{labels.MAGNIFICATION}; import the micrographs again with their "
            "pixel size"
        )
    if size <= 0:
        raise StarError(f"{row.where}: the pixel size is {size:g} Å; import the micrographs with the right one")
    return size


def _ctf(sources: Sequence[_Row]) -> Ctf | None:
    defocus_u, defocus_v = _first(sources, labels.DEFOCUS_U), _first(sources, labels.DEFOCUS_V)
    if defocus_u is None:
        return None
    given = {
        "defocus_angle": _first(sources, labels.DEFOCUS_ANGLE),
        "voltage": _first(sources, labels.VOLTAGE),
        "spherical_aberration": _first(sources, labels.SPHERICAL_ABERRATION),
        "amplitude_contrast": _first(sources, labels.AMPLITUDE_CONTRAST),
    }
    known = {name: value for name, value in given.items() if value is not None}
    return Ctf(defocus_u, defocus_u if defocus_v is None else defocus_v, **known)


def write_micrographs(path: Path, micrographs: Sequence[Micrograph]) -> None:
    """Write a micrographs STAR file in the form of RELION 3.1, which 4 and 5 read as well.

    Optics groups are numbered anew from 1, one for each pixel size, voltage, spherical aberration and amplitude
    contrast. Where a micrograph has no `ctf`, the defaults of :class:`~relion_ext_picker.types.Ctf` stand in the optics
    table; the defocus columns are written only if every micrograph has one.

    Parameters
    ----------
    path : Path
        Written under a temporary name and renamed; its folder must exist.
    micrographs : sequence of Micrograph
    """
    keys = []
    for micrograph in micrographs:
        ctf = micrograph.ctf or Ctf(0.0, 0.0)
        keys.append((micrograph.pixel_size, ctf.voltage, ctf.spherical_aberration, ctf.amplitude_contrast))
    groups = {key: number for number, key in enumerate(dict.fromkeys(keys), 1)}
    optics: Table = {
        labels.OPTICS_GROUP_NAME: [f"opticsGroup{number}" for number in groups.values()],
        labels.OPTICS_GROUP: list(groups.values()),
        labels.MICROGRAPH_ORIGINAL_PIXEL_SIZE: [key[0] for key in groups],
        labels.VOLTAGE: [float(key[1]) for key in groups],
        labels.SPHERICAL_ABERRATION: [float(key[2]) for key in groups],
        labels.AMPLITUDE_CONTRAST: [float(key[3]) for key in groups],
        labels.MICROGRAPH_PIXEL_SIZE: [key[0] for key in groups],
    }
    rows: Table = {
        labels.MICROGRAPH_NAME: [micrograph.name for micrograph in micrographs],
        labels.OPTICS_GROUP: [groups[key] for key in keys],
    }
    ctfs = [micrograph.ctf for micrograph in micrographs if micrograph.ctf is not None]
    if len(ctfs) == len(micrographs):
        rows[labels.DEFOCUS_U] = [float(ctf.defocus_u) for ctf in ctfs]
        rows[labels.DEFOCUS_V] = [float(ctf.defocus_v) for ctf in ctfs]
        rows[labels.CTF_ASTIGMATISM] = [float(abs(ctf.defocus_u - ctf.defocus_v)) for ctf in ctfs]
        rows[labels.DEFOCUS_ANGLE] = [float(ctf.defocus_angle) for ctf in ctfs]
    write_tables(path, {labels.OPTICS_TABLE: optics, labels.MICROGRAPHS_TABLE: rows})


def write_picks(path: Path, picks: Picks) -> None:
    """Write the coordinate file of one micrograph, as RELION's Extract and viewer expect it.

    The coordinates are the only table, always with the same columns; whole px inside the micrograph, because Extract
    cuts decimals off and stops at boxes that lie outside; highest score first; a score that is not finite is 0; no
    picks give a table without rows. Picks whose position is not finite are left out.

    Parameters
    ----------
    path : Path
        Written under a temporary name and renamed; its folder must exist.
    picks : Picks
    """
    xy = np.asarray(picks.xy, np.float64).reshape(-1, 2)
    usable = np.isfinite(xy).all(axis=1)
    xy, classes = xy[usable], np.asarray(picks.class_number)[usable]
    score = np.nan_to_num(np.asarray(picks.score, np.float64)[usable], nan=0.0, posinf=0.0, neginf=0.0)
    order = np.argsort(-score, kind="stable")
    rows = zip(_whole(xy[order], picks.shape).tolist(), classes[order].tolist(), score[order].tolist(), strict=True)
    head = [f"\n# version {labels.VERSION}\n\ndata_\n\nloop_\n"]
    head += [f"_{label} #{number}\n" for number, label in enumerate(labels.COORDINATE_COLUMNS, 1)]
    body = ["%12.6f %12.6f %6d %12.6f %12.6f\n" % (x, y, kind, 0.0, value) for (x, y), kind, value in rows]  # noqa: UP031
    with atomic_path(path) as temporary:
        temporary.write_text("".join([*head, *body, "\n"]), encoding="utf-8")


def _whole(xy: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Positions (n, 2) rounded to whole px, halves upwards, inside a micrograph of `shape` (rows, columns)."""
    last = np.array([shape[1] - 1, shape[0] - 1], np.float64)
    return np.clip(np.floor(xy + 0.5), 0, last)


def write_coordinate_nodes(
    job_dir: Path, pairs: Sequence[tuple[str, str]], micrographs_star: str, suffix: str = "autopick"
) -> None:
    """Write both files by which RELION finds a job's coordinates.

    Parameters
    ----------
    job_dir : Path
    pairs : sequence of (str, str)
        Micrograph name, verbatim from the STAR file, and its coordinate file relative to the project.
    micrographs_star : str
        Micrographs STAR file relative to the project: all that RELION 3.1 needs (``coords_suffix_autopick.star``).
    suffix : str
        ``autopick.star``, the table for RELION 4 and 5, is called after it.
    """
    with atomic_path(job_dir / f"coords_suffix_{suffix}.star") as temporary:
        temporary.write_text(f"{micrographs_star}\n", encoding="utf-8")
    columns = {
        labels.MICROGRAPH_NAME: [name for name, _ in pairs],
        labels.MICROGRAPH_COORDINATES: [coordinates for _, coordinates in pairs],
    }
    write_table(job_dir / f"{suffix}.star", labels.COORDINATE_FILES_TABLE, columns)
