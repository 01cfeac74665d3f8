"""Tables in Markdown, aligned so that they can be read as they are."""

from __future__ import annotations

from collections.abc import Sequence

Value = str | float | int | None


def markdown(header: Sequence[str], rows: Sequence[Sequence[Value]], digits: Sequence[int] = ()) -> str:
    """A Markdown table.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences, each as long as `header`
        Text goes to the left and numbers to the right; None is shown as a dash.
    digits : sequence of int
        Decimals of the numbers by column; 2 where it is not given.

    Returns
    -------
    str
        Lines, the last one with its end.

    Raises
    ------
    ValueError
        A row is of another length than the header.
    """
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"every row must have {len(header)} cells")
    places = [*digits, *[2] * len(header)][: len(header)]
    cells = [[_text(value, place) for value, place in zip(row, places, strict=True)] for row in rows]
    numeric = [
        bool(rows) and all(value is None or isinstance(value, (int, float)) for value in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(header)
    widths = [max(len(row[index]) for row in [header, *cells]) for index in range(len(header))]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    lines = [list(header), rule, *cells]
    return "".join(
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        + " |\n"
        for line in lines
    )


def _text(value: Value, digits: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)
