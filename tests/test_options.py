from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from relion_ext_picker.options import (
    COMMANDS,
    PRESETS_OF,
    RECIPES,
    PickOptions,
    SimulateOptions,
    TrainOptions,
    check,
    flag_of,
    info_of,
    parse_range,
    range_of,
    with_recipe,
)

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


SIMULATE = SimulateOptions(o="p")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "trvp1"}, "--preset trvp1: must be one of none, apoferritin, .*; did you mean trpv1\\?"),
        ({"camera": "counter"}, "--camera counter: must be one of counting, .*; did you mean counting\\?"),
        ({"orientations": "top"}, "--orientations top: must be one of uniform, cap, belt, both, mixed"),
        (
            {"contaminant_kinds": "gold,dust"},
            "--contaminant-kinds gold,dust: must be one or several, separated by comm",
        ),
        ({"contaminant_kinds": ""}, "--contaminant-kinds : must be one or several"),
        (
            {"defocus": "2.5-0.8"},
            "--defocus 2.5-0.8: must be one number or a rising range such as 0.8-2.5, from 0.05 to",
        ),
        ({"defocus": "0.8-"}, "--defocus 0.8-: must be one number"),
        ({"defocus": "-1"}, "--defocus -1: must be one number"),
        ({"defocus": "1-20"}, "--defocus 1-20: .* from 0.05 to 10 µm"),
        ({"defocus": "nan"}, "--defocus nan: must be"),
        (
            {"thickness": "1e9"},
            "--thickness 1e9: must be one number or a rising range such as 0-5000, from 0 to 5000 Å",
        ),
        ({"dose": "0"}, "--dose 0: .* from 0.01 to 1000 e/Å²"),
        ({"snr": "-0.1"}, "--snr -0.1: "),
        ({"frames": 0}, "--frames 0: must lie between 1 and 10000"),
        ({"overlaps": 1.5}, "--overlaps 1.5: must lie between 0 and 1"),
    ],
)
def test_problems_of_a_simulation_are_named(change: dict[str, object], message: str) -> None:
    (problem,) = check(replace(SIMULATE, **change))  # type: ignore[arg-type]
    assert re.search(message, problem)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.8-2.5", (0.8, 2.5)), ("1", (1, 1)), (" .5 - 2. ", (0.5, 2)), ("3-3", (3, 3))],
)
def test_ranges_are_numbers_or_from_to(text: str, expected: tuple[float, float]) -> None:
    assert range_of(replace(SIMULATE, defocus=text), "defocus") == expected


def test_every_range_has_limits_and_a_default_within_them() -> None:
    spans = [item for item in fields(SimulateOptions) if info_of(item).span]
    assert {item.name for item in spans} == {"thickness", "defocus", "astigmatism", "bfactor", "dose", "snr"}
    for item in spans:
        low, high = parse_range(item, item.default)
        assert info_of(item).low <= low <= high <= info_of(item).high < 1e6


def test_every_mode_has_its_presets() -> None:
    for mode, presets in PRESETS_OF.items():
        for preset in presets:
            assert check(replace(GOOD, mode=mode, preset=preset)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(GOOD, preset="klh"), "--preset klh: --mode drpnet has the presets default, paper, paper-10005"),
        (replace(GOOD, mode="deepem", preset="paper-10017"), "--mode deepem has the presets default, paper, klh"),
        (TrainOptions(o="j/", preset="26s"), "--preset 26s: --mode drpnet has the presets"),
        (TrainOptions(o="j/", preset="paper-10017"), "--preset paper-10017: must be one of default, paper, klh"),
        (TrainOptions(o="j/", tune=True), "--tune: an option of --mode deepem only, not of drpnet"),
        (TrainOptions(o="j/", until_error=0.1), "--until-error: an option of --mode deepem only"),
        (replace(GOOD, step=20.0), "--step: an option of --mode deepem only"),
        (TrainOptions(o="j/", mode="deepem", rounds=1000), "--rounds 1000: must lie between 1 and 100"),
    ],
)
def test_what_does_not_go_with_a_mode(options: object, message: str) -> None:
    (problem,) = check(options)
    assert message in problem


def test_recipes_fill_in_what_is_not_given() -> None:
    drpnet = with_recipe(TrainOptions(o="j/"))
    assert (drpnet.steps, drpnet.batch, drpnet.learning_rate) == (600, 16, 1e-3)
    published = with_recipe(TrainOptions(o="j/", mode="deepem", preset="klh"))
    assert (published.epochs, published.batch, published.learning_rate) == (20, 50, 1.0)
    given = with_recipe(TrainOptions(o="j/", mode="deepem", preset="klh", batch=7, learning_rate=0.5))
    assert (given.batch, given.learning_rate) == (7, 0.5)
    default = with_recipe(TrainOptions(o="j/", mode="deepem", steps=9))
    assert default.steps == 9 and default.batch == RECIPES["DeepEM"]["batch"]
