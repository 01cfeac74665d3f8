from __future__ import annotations

from dataclasses import fields, replace

import pytest

from relion_ext_picker.options import COMMANDS, PickOptions, SimulateOptions, check, flag_of, info_of

ALL = [(command, item) for command, table in COMMANDS.items() for item in fields(table)]
IDS = [f"{command} {item.name}" for command, item in ALL]


@pytest.mark.parametrize(("command", "item"), ALL, ids=IDS)
def test_every_option_is_documented(command: str, item) -> None:
    info = info_of(item)
    assert len(info.help) > 5 and info.help.endswith(".")
    assert flag_of(item).startswith("--")


@pytest.mark.parametrize(("command", "item"), ALL, ids=IDS)
def test_defaults_are_of_the_declared_type_and_among_the_choices(command: str, item) -> None:
    info = info_of(item)
    assert type(item.default).__name__ == item.type
    assert not info.choices or item.default in info.choices
    if item.type == "str":
        assert info.metavar or info.choices or info.unit


def test_names_are_unique_within_a_command() -> None:
    for table in COMMANDS.values():
        flags = [flag.replace("_", "-") for item in fields(table) for flag in (flag_of(item), *info_of(item).aliases)]
        assert len(flags) == len(set(flags))


def test_lengths_have_units() -> None:
    for _, item in ALL:
        if item.name in ("diameter", "thickness", "box_size"):
            assert info_of(item).unit == "Å"


GOOD = PickOptions(o="j/", diameter=120.0)


def test_good_options_have_no_problems() -> None:
    assert check(GOOD) == []
    assert check(SimulateOptions(o="p")) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"diameter": 0.0}, "--diameter is required: particle diameter"),
        ({"o": ""}, "--o is required"),
        ({"diameter": 0.5}, "--diameter 0.5: must lie between 1 and 5000 Å"),
        ({"diameter": float("nan")}, "--diameter nan: must lie between"),
        ({"threshold": 1.5}, "--threshold 1.5: must lie between -1 and 1"),
        ({"mode": "topaz"}, "--mode topaz: must be one of drpnet"),
        ({"j": 0}, "--j 0: must lie between 1"),
        ({"relion_version": "3.0"}, "--relion-version 3.0: must be one of auto, 3.1"),
    ],
)
def test_problems_name_option_value_and_what_is_allowed(change: dict[str, object], message: str) -> None:
    (problem,) = check(replace(GOOD, **change))
    assert message in problem


def test_all_problems_are_found_at_once() -> None:
    assert len(check(PickOptions(mode="x", views=9))) == 4
