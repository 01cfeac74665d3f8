"""Presets of the simulate command: what they hold, and that what is given explicitly wins."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace

import numpy as np
import pytest

from relion_ext_picker import simulation_options
from relion_ext_picker.arguments import parse
from relion_ext_picker.errors import InputError, UsageError
from relion_ext_picker.options import SimulateOptions, check, flag_of
from relion_ext_picker.presets import PRESETS, changes_of, simulate_options, with_preset
from relion_ext_picker.simulation.camera import CAMERAS
from relion_ext_picker.simulation.contaminants import KINDS
from relion_ext_picker.simulation.handmade import HANDMADE
from relion_ext_picker.simulation.orientations import KINDS as ORIENTATIONS
from relion_ext_picker.simulation.procedural import SHAPES
from relion_ext_picker.simulation.structures import load_structure
from relion_ext_picker.workflows.simulate import settings_of, write_project

NAMES = [name for name in PRESETS if name != "none"]


def test_the_table_of_options_names_what_the_simulation_has() -> None:
    assert tuple(HANDMADE) == simulation_options.HANDMADE
    assert tuple(SHAPES) == simulation_options.SHAPES
    assert tuple(KINDS) == simulation_options.CONTAMINANTS
    assert tuple(ORIENTATIONS) == simulation_options.ORIENTATIONS
    assert tuple(CAMERAS) == simulation_options.CAMERAS
    assert tuple(PRESETS) == simulation_options.SIMULATION_PRESETS


@pytest.mark.parametrize("name", NAMES)
def test_values_are_allowed(name: str) -> None:
    options = simulate_options(name, o="p")
    assert options.preset == name and check(options) == []
    settings_of(options)
    types = {item.name: item.type for item in fields(SimulateOptions)}
    assert {key: type(value).__name__ for key, value in PRESETS[name].items()} == {k: types[k] for k in PRESETS[name]}
    assert not {"o", "seed", "j", "micrographs", "preset"} & set(PRESETS[name])  # these are not conditions


@pytest.mark.parametrize("name", ["apoferritin", "trpv1", "bgal", "klh", "small", "ribosome"])
def test_the_particles_fit_into_the_micrograph(name: str) -> None:
    """Only the fit is looked at: a file that cannot be written stops the work before a micrograph is made."""
    options = simulate_options(name, o="/dev/null/p", j=1)
    with pytest.raises(InputError, match="--o /dev/null/p: cannot be written"):
        write_project(options)


def test_published_conditions() -> None:
    trpv1, bgal, klh = (simulate_options(name) for name in ("trpv1", "bgal", "klh"))
    assert (trpv1.voltage, trpv1.camera, trpv1.pixel_size, trpv1.size) == (300, "counting", 1.2156, "3710x3710")
    assert (bgal.voltage, bgal.camera, bgal.pixel_size, bgal.size) == (300, "integrating", 1.77, "4096x4096")
    assert (klh.voltage, klh.camera, klh.pixel_size, klh.size, klh.dose) == (120, "ccd", 2.2, "2048x2048", "10")
    series = [name for name in PRESETS if name.startswith("ribosome-snr")]
    assert {float(name.removeprefix("ribosome-snr")) for name in series} >= {0.01, 0.005, 0.001}
    for name in series:
        assert simulate_options(name).snr == name.removeprefix("ribosome-snr")


def line(text: str) -> SimulateOptions:
    options = parse(["simulate", *shlex.split(text)]).options
    assert isinstance(options, SimulateOptions)
    return options


def test_the_command_line_takes_a_preset_for_what_is_not_given() -> None:
    assert line("--o p --preset klh") == simulate_options("klh", o="p")
    options = line("--defocus 1-2 --preset klh --o p --voltage 300 --camera=counting")
    assert (options.defocus, options.voltage, options.camera) == ("1-2", 300.0, "counting")  # the last two are defaults
    assert options.pixel_size == 2.2 and options.structure == "klh"
    assert line("--o p") == SimulateOptions(o="p") == simulate_options(o="p")


def test_a_structure_replaces_the_one_of_the_preset() -> None:
    options = line("--o p --preset trpv1 --structure barrel --diameter 200")
    assert (options.structure, options.diameter, options.pixel_size) == ("barrel", 200.0, 1.2156)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--preset ribosom", r"--preset ribosom: must be one of none, .*; did you mean ribosome\?"),
        ("--preset KLH", r"did you mean klh\?"),
        ("--preset klh --camera film", r"--camera film: must be one of counting, integrating, ccd, ideal"),
        ("--preset klh --defocus 3-2", r"--defocus 3-2: must be one number or a rising range"),
        ("--preset klh --frames x", r"--frames x: must be a whole number"),
        ("--preset", r"--preset: its value is missing"),
    ],
)
def test_mistakes_on_the_command_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        line(f"--o p {text}")
    assert len(str(caught.value).splitlines()) == 1


def test_unknown_presets_in_python() -> None:
    with pytest.raises(InputError, match=r"--preset trvp1: must be one of .*; did you mean trpv1\?"):
        simulate_options("trvp1")
    with pytest.raises(TypeError):
        simulate_options("trpv1", pixelsize=1.0)
    assert with_preset({"preset": "nothing", "dose": "3"}) == {"preset": "nothing", "dose": "3"}


def test_what_has_to_be_said_gives_the_same_options_again() -> None:
    options = simulate_options("klh", o="p", voltage=300.0, seed=4, damage=False)
    told = changes_of(options)
    assert told == {"preset": "klh", "o": "p", "voltage": 300.0, "seed": 4, "damage": False}
    flags = {item.name: flag_of(item) for item in fields(options)}
    assert line(" ".join(f"{flags[name]} {value}" for name, value in told.items())) == options
    assert changes_of(SimulateOptions(o="p", dose="12")) == {"o": "p", "dose": "12"}
    assert changes_of(replace(options, preset="none"))["structure"] == "klh"


@pytest.mark.parametrize("name", NAMES)
def test_structures_of_presets_exist(name: str) -> None:
    structure = str(PRESETS[name]["structure"])
    assert structure in HANDMADE
    assert load_structure(structure, 12.0, 0, np.random.default_rng(0)).potential.sum() > 0
