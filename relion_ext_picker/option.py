"""What an option is: a field of a dataclass with a help text, a unit and what is allowed. Standard library only."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from relion_ext_picker.errors import InputError


@dataclass(frozen=True)
class Info:
    """What the table says of one option besides its name, type and default.

    With `span` the text is a number or a rising range such as 0.8-2.5, within `low` and `high`; with `many` it is one
    or several of the `choices`, separated by commas.
    """

    help: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    group: str = "Picking"
    metavar: str = ""
    aliases: tuple[str, ...] = ()
    required: bool = False
    unless: str = ""  # the mode in which a required option may be left out
    relion: str = ""  # the RELION job option that supplies it, where there is one
    mode: str = ""  # the only mode that has it, where it is not for all
    span: bool = False
    many: bool = False
    auto: float | None = None  # the number that the word "auto" stands for, where it does
    several: bool = False  # file names, separated by blanks or commas


def opt(default: Any, help: str, **info: Any) -> Any:
    """A dataclass field that is an option."""
    metadata = {"info": Info(help, **info)}
    return field(default=default, metadata=metadata)


def info_of(item: Field[Any]) -> Info:
    """The :class:`Info` of a field of an options dataclass."""
    info: Info = item.metadata["info"]
    return info


def flag_of(item: Field[Any]) -> str:
    """The long option of a field, as documented."""
    return "--" + (item.name if info_of(item).group == "RELION" else item.name.replace("_", "-"))


def default_of(item: Field[Any]) -> Any:
    """Default value of a field, None where it has none."""
    return None if item.default is MISSING else item.default


def parse_range(item: Field[Any], text: str) -> tuple[float, float]:
    """Lowest and highest value of "A-B" or "A", the text of an option that is a range.

    Raises
    ------
    InputError
        Not of that form, falling, or outside of what is allowed.
    """
    info = info_of(item)
    number = r"(\d+\.?\d*|\.\d+)"
    match = re.fullmatch(rf"\s*{number}\s*(?:-\s*{number}\s*)?", text)
    low, high = (float(match[1]), float(match[2] or match[1])) if match else (math.inf, -math.inf)
    if not info.low <= low <= high <= info.high:
        example = default_of(item) if "-" in str(default_of(item)) else f"{info.low:g}-{info.high:g}"
        unit = f" {info.unit}" if info.unit else ""
        raise InputError(
            f"{flag_of(item)} {text}: must be one number or a rising range such as {example}, from {info.low:g} to "
            f"{info.high:g}{unit}"
        )
    return low, high


def range_of(options: Any, name: str) -> tuple[float, float]:
    """Lowest and highest value of the range that a field of an options object holds. See :func:`parse_range`."""
    return next(parse_range(item, getattr(options, name)) for item in fields(options) if item.name == name)


def split_list(text: str) -> list[str]:
    """The parts of a comma-separated text, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message that proposes what is most like `word`, empty where nothing is."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
