"""One file of particle coordinates in: RELION STAR, EMAN .box, crYOLO .cbox, .csv, or Topaz .txt."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.relion import labels
from relion_ext_picker.types import Array

StarTable = dict[str, list[Any]]

SUFFIXES = (".star", ".cbox", ".box", ".csv", ".txt")  # in the order of preference where a micrograph has several files

_X = ("x", "xcoord", "xcoordinate", "coordinatex", "centerx", "rlncoordinatex")
_Y = ("y", "ycoord", "ycoordinate", "coordinatey", "centery", "rlncoordinatey")
_CBOX = ("CoordinateX", "CoordinateY", "Width", "Height")
_SCORE = ("score", "confidence", "fom", "figureofmerit", "rlnautopickfigureofmerit")
_MICROGRAPH = ("micrograph", "micrographname", "imagename", "rlnmicrographname")


@dataclass(frozen=True)
class Coordinates:
    """Particles of one micrograph.

    Attributes
    ----------
    xy : ndarray, shape (n, 2), float32
        Centres in px.
    score : ndarray, shape (n,), float32, or None
        None where the file has no scores.
    """

    xy: Array
    score: Array | None = None

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True)
class CoordinateTable:
    """Coordinates of a file, with the micrograph of each row where the file names it."""

    rows: Coordinates
    names: NDArray[np.str_] | None = None

    def by_name(self) -> dict[str, Coordinates]:
        """The rows of each micrograph, in file order."""
        assert self.names is not None
        found, which = np.unique(self.names, return_inverse=True)
        order = np.argsort(which, kind="stable")
        parts = np.split(order, np.cumsum(np.bincount(which, minlength=len(found)))[:-1]) if len(found) else []
        xy, score = self.rows.xy, self.rows.score
        return {
            str(n): Coordinates(xy[p], None if score is None else score[p]) for n, p in zip(found, parts, strict=True)
        }


def read_coordinates(path: Path) -> Coordinates:
    """Read the coordinates of one micrograph.

    Parameters
    ----------
    path : Path
        ``.star``: the first table with coordinates; ``.box`` (EMAN): corner x, y, width, height; ``.cbox`` (crYOLO):
        the same with a confidence; ``.csv`` and ``.txt`` (Topaz): columns x and y (also x_coord, rlnCoordinateX ...)
        and perhaps score and micrograph, or without a header x, y[, score].

    Raises
    ------
    InputError
        The file is missing, of another kind, has no coordinates, or holds those of several micrographs.
    """
    table = read_table(path)
    if table.names is not None and len(np.unique(table.names)) > 1:
        raise InputError(f"{path} holds the particles of several micrographs; one file per micrograph is needed here")
    return table.rows


def read_table(path: Path) -> CoordinateTable:
    """Read a file of any of the kinds; errors as :func:`read_coordinates`."""
    kind = path.suffix.lower()
    if kind == ".star":
        return star_coordinates(path, star_tables(path))
    if kind not in SUFFIXES:
        raise InputError(f"{path}: coordinates are read from {', '.join(SUFFIXES)} files: convert it to one of them")
    lines = _text(path).splitlines()
    if kind == ".cbox":
        return _read_cbox(path, lines)
    return _read_box(path, lines) if kind == ".box" else _read_csv(path, lines)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"coordinate file {path} does not exist: check the name") from error
    except UnicodeDecodeError as error:
        raise InputError(f"coordinate file {path} is not a text file: give a .star, .box or .csv file") from error
    except OSError as error:
        raise InputError(f"coordinate file {path} cannot be read ({error.strerror}): check its permissions") from error


def _table(path: Path, xy: Any, score: Any = None, names: Any = None) -> CoordinateTable:
    """Checked arrays; scores that are not finite count as 0, as they do in RELION."""
    values = None
    try:
        places = np.asarray(xy, np.float64).reshape(-1, 2)
        if score is not None:
            values = np.nan_to_num(np.asarray(score, np.float64), nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: a coordinate or score is not a number ({error}): correct the file") from error
    if not np.isfinite(places).all():
        row = int(np.flatnonzero(~np.isfinite(places).all(axis=1))[0])
        raise InputError(f"{path}: the coordinates of particle {row + 1} are missing or not finite: correct the file")
    rows = Coordinates(places.astype(np.float32), values)
    return CoordinateTable(rows, None if names is None else np.asarray(names, np.str_))


def star_tables(path: Path) -> list[StarTable]:
    """Every table of a STAR file: column -> values; names stay text."""
    import starfile  # brings pandas, which takes long to import

    if not _text(path).strip():
        raise StarError(f"{path} is empty: give a STAR file with coordinates")
    try:
        text = [labels.MICROGRAPH_NAME, labels.MICROGRAPH_COORDINATES]
        blocks = starfile.read(path, always_dict=True, parse_as_string=text)
    except (ValueError, TypeError, IndexError) as error:
        raise StarError(f"{path} is not a STAR file that can be read ({error}): correct or replace it") from error
    tables = []
    for block in blocks.values():
        single = isinstance(block, dict)
        tables.append({str(k): [v] if single else v.tolist() for k, v in block.items()})
    return tables


def star_coordinates(path: Path, tables: Sequence[StarTable]) -> CoordinateTable:
    """The coordinates in the first of the tables of a STAR file that has any."""
    for table in tables:
        if labels.COORDINATE_X in table and labels.COORDINATE_Y in table:
            xy = list(zip(table[labels.COORDINATE_X], table[labels.COORDINATE_Y], strict=True))
            return _table(path, xy, table.get(labels.FIGURE_OF_MERIT), table.get(labels.MICROGRAPH_NAME))
    raise StarError(
        f"{path} has no table with {labels.COORDINATE_X} and {labels.COORDINATE_Y}: give coordinates or particles"
    )


def _read_box(path: Path, lines: Sequence[str]) -> CoordinateTable:
    xy = []
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            x, y, width, height = (float(word) for word in words[:4])
        except ValueError as error:
            raise InputError(f"{path}, line {number}: expected corner x, corner y, width, height: {line!r}") from error
        xy.append((x + width / 2, y + height / 2))
    return _table(path, xy)


def _read_cbox(path: Path, lines: Sequence[str]) -> CoordinateTable:
    """crYOLO's boxes: a STAR table of corners, sizes and confidences, or, before its version 1.8, bare columns."""
    if any(line.startswith("data_") for line in lines):
        for table in star_tables(path):
            if all(label in table for label in _CBOX):
                x, y, width, height = (np.asarray(table[label], np.float64) for label in _CBOX)
                return _table(path, np.stack([x + width / 2, y + height / 2], axis=1), table.get("Confidence"))
        raise StarError(f"{path} has no table with {', '.join(_CBOX)}: give a .cbox file of crYOLO")
    confidence = [line.replace(",", " ").split()[4:5] for line in lines if line.split() and line.strip()[0] != "#"]
    scored = bool(confidence) and all(confidence)
    return _table(path, _read_box(path, lines).rows.xy, [word[0] for word in confidence] if scored else None)


def _read_csv(path: Path, lines: Sequence[str]) -> CoordinateTable:
    separator = next((mark for mark in ",;\t" if lines and mark in lines[0]), ",")
    rows = [(number, row) for number, row in enumerate(csv.reader(lines, delimiter=separator), 1) if any(row)]
    columns: dict[str, int | None] = {"x": 0, "y": 1, "score": None, "micrograph": None}
    if rows and _is_number(rows[0][1][0]):
        columns["score"] = 2 if len(rows[0][1]) > 2 else None
    elif rows:
        head = [re.sub(r"[-_ ]", "", word.strip().lower()).lstrip("_") for word in rows.pop(0)[1]]
        for name, words in (("x", _X), ("y", _Y), ("score", _SCORE), ("micrograph", _MICROGRAPH)):
            columns[name] = next((head.index(word) for word in words if word in head), None)
        if columns["x"] is None or columns["y"] is None:
            raise InputError(
                f"{path}: the first line names no columns x and y: correct it to x,y or micrograph,x,y,score"
            )
    picked: dict[str, list[str]] = {}
    for name, column in columns.items():
        if column is not None:
            short = next((number for number, row in rows if len(row) <= column), None)
            if short is not None:
                raise InputError(f"{path}, line {short}: no value for {name}: correct the file")
            picked[name] = [row[column].strip() for _, row in rows]
    xy = list(zip(picked["x"], picked["y"], strict=True))
    return _table(path, xy, picked.get("score"), picked.get("micrograph"))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
