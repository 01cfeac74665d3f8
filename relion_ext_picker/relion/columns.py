"""Chosen columns of large STAR files, quickly: particle files have a row per particle and models a table per class.

Only the tables and columns asked for are taken apart: 500,000 particles take about two seconds of one core. Rows that
are cut short are an error, because a file that lost its end must not pass for a smaller data set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import StarError

_TABLE = re.compile(rb"^data_(\S*)[ \t\r]*$", re.MULTILINE)
_END = re.compile(rb"\n[ \t\r]*(?:\n|\Z)")  # RELION ends a table at the first blank line
_VALUE = re.compile(rb'"[^"]*"|\S+')
_COPY_IT = "the file seems to be cut off; copy it again, or wait until the job that writes it has finished"
_NOT_A_NUMBER = ["", "nan", "-nan", "NaN", "inf", "-inf"]


@dataclass(frozen=True)
class Texts:
    """A column of text in which values repeat.

    Attributes
    ----------
    values : tuple of str
        The different values, and an empty one at the end.
    index : ndarray, shape (n,), int
        Which of them each row has.
    """

    values: tuple[str, ...]
    index: NDArray[np.int64]


@dataclass(frozen=True)
class _Block:
    """Where a table lies in its file: its labels, and the bytes of its rows; `rows` is None for single entries."""

    labels: tuple[str, ...]
    rows: bytes | None
    entries: dict[str, str]


class StarColumns:
    """A STAR file of which single columns are read.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    tables : tuple of str
        Names of the tables, without ``data_``, in the order of the file.

    Raises
    ------
    StarError
        The file cannot be read, has no table, or does not end with a line end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._text = path.read_bytes()
        except OSError as error:
            raise StarError(f"{path}: cannot be read: {error.strerror}; give the name of a STAR file") from error
        found = list(_TABLE.finditer(self._text))
        if not found:
            raise StarError(f"{path}: not a STAR file: there is no line that starts with data_")
        if not self._text.endswith(b"\n"):
            raise StarError(f"{path}: the last line has no end: {_COPY_IT}")
        ends = [match.start() for match in found[1:]] + [len(self._text)]
        self._spans = {match[1].decode(): (match.end(), end) for match, end in zip(found, ends, strict=True)}
        self._blocks: dict[str, _Block] = {}
        self.tables = tuple(self._spans)

    def labels(self, table: str) -> tuple[str, ...]:
        """Column names of a table, without the leading underscore; none where there is no such table."""
        return self._block(table).labels if table in self._spans else ()

    def entry(self, table: str, label: str) -> str | None:
        """A value of a table of single entries, or of the first row of a loop; None where it is not there."""
        if label not in self.labels(table):
            return None
        block = self._block(table)
        if block.rows is None:
            return block.entries[label]
        texts = self.texts(table, label)
        return texts.values[texts.index[0]] if len(texts.index) else None

    def number(self, table: str, label: str) -> float | None:
        """The same as a number; None also where the text is no finite number."""
        text = self.entry(table, label)
        try:
            value = float(text) if text is not None else np.nan
        except ValueError:
            return None
        return value if np.isfinite(value) else None

    def numbers(self, table: str, labels: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Those of the columns that are there, as numbers; what is not finite is NaN.

        Raises
        ------
        StarError
            A value is not a number, or a row has too few or too many values.
        """
        return self.read(table, labels, ())[0]

    def texts(self, table: str, label: str) -> Texts:
        """A column as text; errors as of :meth:`numbers`, and also where the column is missing."""
        if label not in self.labels(table):
            raise StarError(f"{self.path}: table data_{table} has no column _{label}; give another file")
        return self.read(table, (), (label,))[1][label]

    def read(
        self, table: str, numbers: Sequence[str], texts: Sequence[str]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, Texts]]:
        """Columns of numbers and of text in one go, of those that are there; errors as of :meth:`numbers`."""
        there = self.labels(table)
        kinds = {label: "float64" for label in numbers if label in there}
        kinds |= {label: "category" for label in texts if label in there}
        frame = self._parse(table, kinds)
        found: dict[str, Texts] = {}
        for label in texts:
            if label in kinds:
                column = frame[label].cat
                values, index = tuple(map(str, column.categories)), np.asarray(column.codes, np.int64)
                found[label] = Texts((*values, ""), np.where(index < 0, len(values), index))
        return {n: np.asarray(frame[n], np.float64) for n, kind in kinds.items() if kind == "float64"}, found

    def count(self, table: str) -> int:
        """Number of rows; 1 for a table of single entries."""
        rows = self._block(table).rows
        return 1 if rows is None else rows.count(b"\n")

    def with_rows(self, table: str, rows: NDArray[np.int64]) -> bytes:
        """The file, byte for byte, but with only some rows of a loop, in rising order."""
        block = self._block(table)
        if not block.rows:
            raise StarError(f"{self.path}: table data_{table} has no rows; give another file")
        lines = block.rows.splitlines(keepends=True)
        start = self._text.index(block.rows, self._spans[table][0])
        chosen = b"".join(lines[row] for row in np.sort(rows))
        return self._text[:start] + chosen + self._text[start + len(block.rows) :]

    def _block(self, table: str) -> _Block:
        if table not in self._blocks:
            self._blocks[table] = self._located(table)
        return self._blocks[table]

    def _located(self, table: str) -> _Block:
        start, stop = self._spans[table]
        labels: list[str] = []
        entries: dict[str, str] = {}
        loop, place = False, start
        while place < stop:
            end = self._text.find(b"\n", place, stop)
            end = stop if end < 0 else end
            words = self._text[place:end].split()
            if words and words[0] == b"loop_":
                loop = True
            elif words and words[0].startswith(b"_"):
                labels.append(words[0][1:].decode())
                entries[labels[-1]] = words[1].decode() if len(words) > 1 else ""
            elif words and not words[0].startswith(b"#") and loop:
                over = _END.search(self._text, place, stop)
                return _Block(tuple(labels), self._text[place : over.start() + 1 if over else stop], {})
            place = end + 1
        return _Block(tuple(labels), b"" if loop else None, {} if loop else entries)

    def _parse(self, table: str, kinds: dict[str, str]) -> Any:
        """The columns wanted, as a pandas data frame; the last column is always read, to notice short rows."""
        import pandas  # slow to import

        block = self._block(table)
        if block.rows is None:
            return pandas.DataFrame({label: [block.entries[label]] for label in kinds}).astype(kinds)
        last = block.labels[-1] if block.labels else ""
        wanted = {**kinds, last: "category"}
        missing = {label: _NOT_A_NUMBER for label, kind in wanted.items() if kind == "float64"} | {last: [""]}
        try:
            frame = pandas.read_csv(
                BytesIO(block.rows), sep=r"\s+", header=None, names=list(block.labels), usecols=list(wanted),
                dtype=wanted, keep_default_na=False, na_values=missing, index_col=False,
            )  # fmt: skip
        except (ValueError, UnicodeDecodeError) as error:
            text = " ".join(str(error).split())
            raise StarError(f"{self.path}: table data_{table} is damaged: {text}; write it again") from error
        short = _short(block, np.flatnonzero(np.asarray(frame[last].isna())))
        if len(short):
            raise StarError(
                f"{self.path}: row {short[0] + 1} of table data_{table} has fewer than {len(block.labels)} values: "
                f"{_COPY_IT}"
            )
        if kinds.get(last) == "float64":
            try:
                frame[last] = np.array(frame[last].cat.categories, np.float64)[np.asarray(frame[last].cat.codes)]
            except ValueError as error:
                raise StarError(f"{self.path}: table data_{table}: _{last}: {error}; write it again") from error
        return frame


def _short(block: _Block, suspects: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those rows that have too few values, of those whose last value is missing or an empty text."""
    if not len(suspects) or block.rows is None:
        return suspects
    lines = block.rows.split(b"\n")
    return np.array([row for row in suspects if len(_VALUE.findall(lines[row])) < len(block.labels)], np.int64)
