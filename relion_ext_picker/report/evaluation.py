"""What an evaluation found, and how it is written: evaluation.star, report.json, logfile.pdf, a table of text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relion_ext_picker.relion.tables import write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = Mapping[str, Sequence[Any]]
Page = Callable[[str], "Figure"]
PREFIX = "picker"  # of the column names in evaluation.star
_WIDE = 44  # letters of a label in the table of text


@dataclass(frozen=True)
class Measure:
    """One number.

    Attributes
    ----------
    key : str
        Name in files, in lower case with underscores.
    label : str
        Name for people.
    value : float, int or str
        NaN where it is not defined.
    unit : str
    digits : int
        Decimals to show.
    note : str
        A remark on this value.
    """

    key: str
    label: str
    value: float | int | str
    unit: str = ""
    digits: int = 3
    note: str = ""

    @property
    def text(self) -> str:
        """Value and unit as people read them."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, (int, np.integer)):
            number = f"{self.value:,}"
        elif math.isfinite(self.value):
            number = f"{self.value:,.{self.digits}f}"
        else:
            return "–"
        return f"{number} {self.unit}".rstrip()


@dataclass(frozen=True)
class Section:
    """What one metric found.

    Attributes
    ----------
    name : str
        Of its table in evaluation.star: lower case with underscores.
    title : str
    measures : sequence of Measure
    tables : mapping of columns
        Curves and lists; each becomes a table NAME_KEY.
    notes : sequence of str
        What the reader must know to believe the numbers.
    pages : sequence of callables
        From a footer to a figure.
    files : mapping of str
        Further files to write, name -> text.
    grid : sequence of rows of str
        A table to print and to draw, its first row the head; may be empty.
    """

    name: str
    title: str
    measures: Sequence[Measure]
    tables: Mapping[str, Columns] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pages: Sequence[Page] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    grid: Sequence[Sequence[str]] = ()

    def value(self, key: str) -> float | int | str | None:
        """Value of a measure, None where there is none."""
        return next((measure.value for measure in self.measures if measure.key == key), None)


@dataclass(frozen=True)
class Evaluation:
    """All sections of an evaluation, and what could not be evaluated: (what, why)."""

    title: str
    sections: Sequence[Section]
    missing: Sequence[tuple[str, str]]


def column_name(key: str) -> str:
    """``best_f1`` -> ``pickerBestF1``."""
    return PREFIX + "".join(part[:1].upper() + part[1:] for part in key.split("_"))


def write_star(path: Path, evaluation: Evaluation) -> None:
    """One table with a single row for each metric, then its curves; columns are named ``picker...``."""
    tables: dict[str, Columns] = {}
    for section in evaluation.sections:
        tables[section.name] = {column_name(item.key): [item.value] for item in section.measures}
        for name, columns in section.tables.items():
            tables[f"{section.name}_{name}"] = {column_name(key): list(values) for key, values in columns.items()}
    write_tables(path, {name: columns for name, columns in tables.items() if columns})


def write_json(path: Path, evaluation: Evaluation, settings: Mapping[str, Any]) -> None:
    """The same as JSON; values that are not finite are null."""
    content = {
        "title": evaluation.title,
        "settings": dict(settings),
        "metrics": {
            section.name: {
                "title": section.title,
                **{item.key: _plain(item.value) for item in section.measures},
                "units": {item.key: item.unit for item in section.measures if item.unit},
                "notes": list(section.notes),
                "tables": {
                    name: {key: [_plain(value) for value in values] for key, values in columns.items()}
                    for name, columns in section.tables.items()
                },
            }
            for section in evaluation.sections
        },
        "missing": [{"what": what, "why": why} for what, why in evaluation.missing],
    }
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_pdf(path: Path, evaluation: Evaluation) -> None:
    """The report: all numbers, then the pages of every metric. Equal input gives equal bytes."""
    from relion_ext_picker.report import plots  # matplotlib takes half a second to import; only reports need it

    pages: list[Page] = [*plots.number_pages(evaluation)]
    for section in evaluation.sections:
        pages += section.pages
    count = len(pages)
    footer = f"relion_ext_picker  ·  {evaluation.title}  ·  page {{}} of {count}"
    plots.save_pdf(
        path, [partial(draw, footer.format(number)) for number, draw in enumerate(pages, 1)], evaluation.title
    )


def table_lines(evaluation: Evaluation) -> Iterable[str]:
    """The numbers as lines of text, for a terminal and run.out."""
    for section in evaluation.sections:
        yield ""
        yield section.title
        for item in section.measures:
            note = f"   {item.note}" if item.note else ""
            yield f"  {item.label:{_WIDE}} {item.text}{note}"
        yield from grid_lines(section.grid)
        for note in section.notes:
            yield f"  * {note}"
    if evaluation.missing:
        yield ""
        yield "Not evaluated"
        for what, why in evaluation.missing:
            yield f"  {what}: {why}"


def grid_lines(grid: Sequence[Sequence[str]]) -> Iterable[str]:
    """A table as lines of text: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))] if grid else []
    for row in grid:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  " + "   ".join([f"{row[0]:{widths[0]}}", *cells])


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return str(value)
