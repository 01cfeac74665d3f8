"""STAR tables as columns: reading through the starfile library, writing by hand.

Writing needs no library: a table is a few lines of text, RELION has opinions on them (see :func:`table_text`), and a
coordinate file is written per micrograph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.relion import labels

Table = dict[str, list[Any]]

# What starfile 0.5 reads wrongly without a word: an apostrophe within a word or within double quotes becomes a double
# quote, "#" in a word cuts the row, and a row that starts with "data_" starts a new table.
_MISREAD = re.compile(r"""[^\s'"]'[^\s'"]|"[^"]*'[^"]*"|[^\s"']#|^data_\S*[/\s]""")


def read_tables(path: Path, text_columns: Sequence[str]) -> dict[str, Table]:
    """All tables of a STAR file, whether written as loops or as single entries.

    Parameters
    ----------
    path : Path
    text_columns : sequence of str
        Columns that stay text even where they look like numbers ("0001").

    Returns
    -------
    dict of dict of list
        Table name -> column name (without underscore) -> values.

    Raises
    ------
    StarError
        The file is missing, is not text or not a STAR file.
    """
    import starfile  # pandas comes with it, which takes longer to import than most files to read

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise StarError(f"{path}: not a STAR file: it is not text (UTF-8)") from error
    except OSError as error:
        raise StarError(f"{path}: cannot be read: {error.strerror}; give the name of a STAR file") from error
    for number, line in enumerate(lines, 1):
        row = line.strip()
        if row[:1] not in ("_", "#", "") and _MISREAD.search(row):
            raise StarError(
                f"{path}: line {number}: a name with an apostrophe, '#' or a leading 'data_' cannot be read safely; "
                "link the folder or file under a plainer name and import that"
            )
    try:
        blocks = starfile.read(path, always_dict=True, parse_as_string=list(text_columns))
    except (ValueError, TypeError, IndexError) as error:
        raise StarError(f"{path}: damaged STAR file: {' '.join(str(error).split())}") from error
    return {name: _columns(block) for name, block in blocks.items()}


def _columns(block: Any) -> Table:
    if isinstance(block, dict):
        return {name: [value] for name, value in block.items()}
    return {str(name): block[name].tolist() for name in block.columns}


def table_text(name: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """One table as RELION reads it: no comments or blank lines among the rows, text with blanks in quotes.

    Parameters
    ----------
    name : str
        Name of the table without ``data_``; may be empty.
    columns : mapping of sequence
        Column name (without underscore) -> values: numbers or text, the same count in each.

    Raises
    ------
    ValueError
        The columns differ in length.
    InputError
        A text cannot be written in a STAR file.
    """
    head = [f"data_{name}", "", "loop_"]
    head += [f"_{column} #{number}" for number, column in enumerate(columns, 1)]
    cells = [[_cell(value) for value in values] for values in columns.values()]
    rows = [" ".join(row) for row in zip(*cells, strict=True)]
    return "\n".join([*head, *rows, "", ""])


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "0"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return f"{number:.6f}" if number == 0 or abs(number) >= 1e-3 else f"{number:.6e}"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    if "\n" in text or "\r" in text or ('"' in text and "'" in text):
        raise InputError(f"{text!r} cannot be written in a STAR file: it has line ends or both kinds of quotes in it")
    plain = text and not re.search(r"[\s\"']", text) and not text.startswith(("_", "#", "data_", "loop_"))
    if plain:
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'


def write_tables(path: Path, tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
    """Write several tables to one STAR file at once (see :func:`table_text`); the file appears whole or not at all."""
    version = f"\n# version {labels.VERSION}\n\n"
    text = "".join(version + table_text(name, columns) for name, columns in tables.items())
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write one table to a STAR file; parameters and errors as in :func:`table_text`."""
    write_tables(path, {name: columns})
