"""The pages of an evaluation that hold its numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from relion_ext_picker.report.plots.canvas import LINE, MARGIN, MUTED, VERMILLION, page, rule, write

if TYPE_CHECKING:
    from relion_ext_picker.report.evaluation import Evaluation, Page

TOP, BOTTOM = 0.865, 0.075
LINE_HEIGHT = 0.0235  # of the page
GAP = 0.04  # between the two columns
_COLUMN = (1 - 2 * MARGIN - GAP) / 2
_NAMES, _VALUES = 0.56, 0.44  # of a column
_LETTERS = 88  # of a note that fit into a column

Row = tuple[str, str, str]  # kind ("title", "measure", "note", "missing"), text, value


def number_pages(evaluation: Evaluation) -> list[Page]:
    """One or more pages with all measures, notes, and what could not be evaluated."""
    columns = _columns(_blocks(evaluation))
    return [
        partial(_numbers_page, evaluation.title if not first else f"{evaluation.title}, continued", columns[first:][:2])
        for first in range(0, max(1, len(columns)), 2)
    ]


def _numbers_page(title: str, columns: Sequence[Sequence[Row]], footer: str) -> Figure:
    figure = page(title, footer)
    for index, rows in enumerate(columns):
        left, y = MARGIN + index * (_COLUMN + GAP), TOP
        for kind, text, value in rows:
            if kind == "title":
                figure.text(left, y, text, weight="bold", fontsize=10.5)
            elif kind == "measure":
                write(figure, (left, y), text, _COLUMN * _NAMES - 0.01, color=MUTED)
                write(figure, (left + _COLUMN * _NAMES, y), value, _COLUMN * _VALUES, cut=1.0)
            elif text:
                colour = VERMILLION if kind == "missing" else MUTED
                write(figure, (left, y), text, _COLUMN, cut=1.0, color=colour, fontsize=7.5)
            y -= LINE_HEIGHT if kind in ("title", "measure") else 0.75 * LINE_HEIGHT
    if not columns:
        rule(figure, TOP, LINE)
    return figure


def _blocks(evaluation: Evaluation) -> list[list[Row]]:
    blocks = []
    for section in evaluation.sections:
        rows: list[Row] = [("title", section.title, "")]
        for item in section.measures:
            rows.append(("measure", item.label, f"{item.text}   ({item.note})" if item.note else item.text))
        for note in section.notes:
            rows += [("note", line, "") for line in textwrap.wrap(note, _LETTERS)]
        blocks.append(rows)
    if evaluation.missing:
        rows = [("title", "Not evaluated", "")]
        for what, why in evaluation.missing:
            rows += [("missing", line, "") for line in textwrap.wrap(f"{what}: {why}", _LETTERS)]
        blocks.append(rows)
    return blocks


def _columns(blocks: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Blocks one below the other; one that does not fit goes into the next column, and is broken if it must be."""
    most = int((TOP - BOTTOM) / LINE_HEIGHT)
    columns: list[list[Row]] = []
    for block in blocks:
        rest = list(block)
        if columns and len(columns[-1]) + 1 + len(rest) <= most:
            columns[-1] += [("gap", "", ""), *rest]
            continue
        while rest:
            columns.append(rest[:most])
            rest = rest[most:]
    return columns
