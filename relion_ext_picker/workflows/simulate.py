"""The simulate command: a RELION project of micrographs whose particles are known."""

from __future__ import annotations

import logging
import re
from dataclasses import fields
from pathlib import Path

import numpy as np

from relion_ext_picker.errors import InputError
from relion_ext_picker.option import flag_of, nearest, range_of, split_list
from relion_ext_picker.options import SimulateOptions
from relion_ext_picker.presets import changes_of
from relion_ext_picker.simulation.contaminants import KINDS
from relion_ext_picker.simulation.handmade import HANDMADE
from relion_ext_picker.simulation.micrograph import MicrographSettings, capacity, simulate_micrograph
from relion_ext_picker.simulation.projection import Projector
from relion_ext_picker.simulation.structures import DEFAULT_DIAMETER, Structure, load_structure, shape_of
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.simulated_truth import (
    EVERYTHING_STAR,
    MICROGRAPHS_DIR,
    MICROGRAPHS_STAR,
    PARTICLES_STAR,
    SUFFIX,
    TRUTH_DIR,
    Truth,
    truth_of,
    write_lists,
    write_micrograph,
    write_mrc,
)

_log = logging.getLogger(__name__)

README = "README.txt"
FIRST_LINE = "Simulated micrographs: not experimental data"

SMALLEST_SIDE, LARGEST_SIDE = 64, 16384  # px


def run(options: SimulateOptions) -> None:
    """Write the project and say where it is. See :func:`write_project` for the errors."""
    truths = write_project(options)
    count = sum(len(truth.xy) for truth in truths)
    _log.info("%s: %d micrographs with %d particles", options.o, len(truths), count)


def write_project(options: SimulateOptions) -> list[Truth]:
    """Simulate micrographs and write them with their truth as a RELION project.

    The same options give the same bytes. Micrograph number n does not depend on how many are asked for. A folder that
    an earlier simulation wrote is overwritten; its pipeline, if RELION has run there, stays.

    Parameters
    ----------
    options : SimulateOptions

    Returns
    -------
    list of Truth
        One per micrograph.

    Raises
    ------
    InputError
        An option has an impossible value, the structure cannot be read or does not fit, or the folder holds
        something else.
    """
    settings = settings_of(options)
    project = Path(options.o)
    if shape_of(options.structure):
        _check_fit(options, settings, options.diameter or DEFAULT_DIAMETER)  # before the work of making it
    structure = load_structure(
        options.structure, options.pixel_size, options.diameter, np.random.default_rng([options.seed, 0])
    )
    _check_fit(options, settings, structure.diameter)
    _make_folders(project)
    projector = Projector(structure.potential)
    truths = []
    for number in range(1, options.micrographs + 1):
        rng = np.random.default_rng([options.seed, number])
        name = f"{MICROGRAPHS_DIR}/mic{number:04d}.mrc"
        try:
            made = simulate_micrograph(structure, settings, rng, projector, options.j)
        except InputError as error:
            raise InputError(f"--snr {options.snr}: {name}: {error}") from error
        truths.append(truth_of(Micrograph(name, options.pixel_size, 1, made.ctf), structure.diameter, made))
        write_micrograph(project, truths[-1], made)
        _log.info(
            "%s: %d particles, signal-to-noise ratio %.3g, dose %.3g e/Å²", name, len(made.xy), made.snr, made.dose
        )
    write_mrc(project / TRUTH_DIR / "structure.mrc", structure.potential, options.pixel_size)
    write_lists(project, truths)
    _write_readme(project, options, structure)
    return truths


def settings_of(options: SimulateOptions) -> MicrographSettings:
    """Conditions of the session in the units of the simulation.

    Raises
    ------
    InputError
        An option cannot be understood, lies outside of what is allowed, or contradicts another one.
    """
    low, high = range_of(options, "defocus")
    snr = range_of(options, "snr")
    if snr[0] == 0 < snr[1]:
        raise InputError(f"--snr {options.snr}: a range must begin above 0, such as {snr[1] / 2:g}-{snr[1]:g}")
    if options.used_frames > options.frames:
        raise InputError(
            f"--used-frames {options.used_frames}: there are only {options.frames} frames; raise --frames or use fewer"
        )
    return MicrographSettings(
        shape=parse_size(options.size),
        pixel_size=options.pixel_size,
        particles=options.particles,
        overlaps=options.overlaps,
        orientations=options.orientations,
        orientation_spread=options.orientation_spread,
        contaminants=options.contaminants,
        kinds=parse_kinds(options.contaminant_kinds),
        thickness=range_of(options, "thickness"),
        defocus=(low * 1e4, high * 1e4),
        astigmatism=range_of(options, "astigmatism"),
        voltage=options.voltage,
        spherical_aberration=options.spherical_aberration,
        amplitude_contrast=options.amplitude_contrast,
        bfactor=range_of(options, "bfactor"),
        dose=range_of(options, "dose"),
        frames=options.frames,
        used_frames=options.used_frames,
        damage=options.damage,
        snr=snr,
        camera=options.camera,
    )


def parse_size(text: str) -> tuple[int, int]:
    """Rows and columns of "COLUMNSxROWS".

    Raises
    ------
    InputError
        Not of that form, or a side is too small or too large.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text)
    sides = (int(match[2]), int(match[1])) if match else (0, 0)
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides):
        raise InputError(
            f"--size {text}: must be columns x rows, such as 1024x1024, each from {SMALLEST_SIDE} to {LARGEST_SIDE} px"
        )
    return sides


def parse_kinds(text: str) -> tuple[str, ...]:
    """Kinds of contaminants in a comma-separated list, in which "all" stands for every one.

    Raises
    ------
    InputError
        A kind is unknown, or none is named.
    """
    kinds = split_list(text)
    wrong = [kind for kind in kinds if kind not in ("all", *KINDS)]
    if wrong or not kinds:
        meant = nearest(wrong[0], KINDS) if wrong else ""
        raise InputError(f"--contaminant-kinds {text}: must be all or some of {', '.join(KINDS)}{meant}")
    return KINDS if "all" in kinds else tuple(kind for kind in KINDS if kind in kinds)


def _check_fit(options: SimulateOptions, settings: MicrographSettings, diameter: float) -> None:
    pixels = diameter / options.pixel_size
    if pixels < 4:
        raise InputError(
            f"--pixel-size {options.pixel_size:g}: a particle of {diameter:.0f} Å would be {pixels:.1f} px "
            "wide; at least 4 px are needed"
        )
    most = capacity(settings.shape, options.pixel_size, diameter)
    if pixels > min(settings.shape) or not most:
        raise InputError(
            f"--structure {options.structure}: its diameter of {diameter:.0f} Å is {pixels:.0f} px, more "
            f"than --size {options.size} holds; use larger micrographs or a larger --pixel-size"
        )
    if options.particles > most:
        raise InputError(
            f"--particles {options.particles}: at most {most} particles of {diameter:.0f} Å fit into "
            f"--size {options.size} at {options.pixel_size:g} Å/px"
        )


def _make_folders(project: Path) -> None:
    """Create the project, or clear what an earlier simulation wrote there."""
    try:
        if project.exists() and any(project.iterdir()):
            readme = project / README
            if not (readme.is_file() and readme.read_text(encoding="utf-8").startswith(FIRST_LINE)):
                raise InputError(f"--o {project}: the folder holds something else; name a new or an empty folder")
            for pattern in (f"{MICROGRAPHS_DIR}/mic*.mrc", f"{TRUTH_DIR}/{MICROGRAPHS_DIR}/mic*"):
                for old in project.glob(pattern):
                    old.unlink()
        (project / MICROGRAPHS_DIR).mkdir(parents=True, exist_ok=True)
        (project / TRUTH_DIR / MICROGRAPHS_DIR).mkdir(parents=True, exist_ok=True)
        # Left by a run that was stopped, a folder without this line could not be written again.
        (project / README).write_text(f"{FIRST_LINE}\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--o {project}: cannot be written ({error.strerror}); name another folder") from error


def _write_readme(project: Path, options: SimulateOptions, structure: Structure) -> None:
    flags = {item.name: flag_of(item) for item in fields(options)}
    given = [f"{flags[name]} {value}" for name, value in changes_of(options).items() if name not in ("o", "j")]
    numbered = "0 none, " + ", ".join(f"{number} {kind}" for number, kind in enumerate(KINDS, 1))
    contents = {
        MICROGRAPHS_STAR: "the micrographs with their true CTF: import it, or give it to a job",
        f"{TRUTH_DIR}/coords_suffix_{SUFFIX}.star": "true coordinates for RELION 3.1",
        f"{TRUTH_DIR}/{SUFFIX}.star": "true coordinates for RELION 4 and 5",
        f"{TRUTH_DIR}/{MICROGRAPHS_DIR}/*_{SUFFIX}.star": "true coordinates and orientations of each micrograph",
        f"{TRUTH_DIR}/{MICROGRAPHS_DIR}/*_contaminants.mrc": f"contaminants: {numbered}",
        f"{TRUTH_DIR}/structure.mrc": "the particle: electrostatic potential above that of ice, V",
        PARTICLES_STAR: "all particles with the defocus at their depth: give it to Extract as a refined particles file",
        EVERYTHING_STAR: "all that was drawn: conditions of each micrograph, particles with overlaps, contaminants",
    }
    listing = "\n".join(f"{name:<42}{text}" for name, text in contents.items())
    built_in = shape_of(options.structure) or options.structure in HANDMADE
    kind = "built in" if built_in else "from file"
    text = f"""{FIRST_LINE}

A RELION project written by
    relion_ext_picker simulate --o FOLDER {" ".join(given)}

Particle: {structure.name} ({kind}), {structure.diameter:.0f} Å in diameter; {options.pixel_size:g} Å/px

{listing}

Coordinates are px of the micrograph, 0-based, x to the right and y in file order; particle centres lie on whole px.
Orientations are RELION's rot, tilt and psi of structure.mrc. Particles are dark.
"""
    (project / README).write_text(text, encoding="utf-8")
