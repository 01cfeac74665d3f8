"""How far do particles picked here refine, and how far do all true ones?

    python benchmarks/chain.py

Simulates micrographs with carbon, ice, ethane and gold, picks them with a shipped model as it is, and lets RELION do
what it does with picks: Extract, Class2D and Refine3D as jobs of the project, and postprocessing. The particles of good
2D classes (rule of evaluate) are refined from the true structure at 40 Å. The same from the true coordinates. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import starfile
from pandas import DataFrame
from programs import ROOT, our_program
from simulation_relion import ALONE, Project, compare, truth_map
from tables import Value, markdown

from relion_ext_picker.evaluation.classes2d import judge_classes
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.relion.downstream import read_classes
from relion_ext_picker.relion.star import read_micrographs

REACH = 0.4  # of the diameter: a pick within it of a free true centre is right
ITERATIONS = 20  # of Class2D
HEADER = [
    "particles", "extracted", "P", "R", "in good classes", "P there", "R there", "Refine3D, Å", "shell",
    "FSC of the last",
]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, pick, run RELION twice, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--simulate", metavar="'--OPTION VALUE ...'", help="options of simulate (default: %(default)s)",
                        default="--preset trpv1 --micrographs 18 --contaminants 1.5 --contaminant-kinds "
                        "carbon,hole,crystal,ethane,gold --snr 0.02 --seed 301")  # fmt: skip
    parser.add_argument("--symmetry", default="C4", help="of the particle (default: %(default)s)")
    parser.add_argument("--mode", default="drpnet", help="that picks (default: %(default)s)")
    parser.add_argument("--bin", type=float, default=3.0, metavar="F", help="reduce particles by this (default: 3)")
    parser.add_argument("--classes", type=int, default=12, metavar="K", help="2D classes (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=3, metavar="N", help="of Refine3D, at least 3 (default: 3)")
    parser.add_argument("--work", type=Path, default=ROOT / "build/chain", metavar="DIR")
    parser.add_argument("--picker", default="", metavar="PROGRAM", help="the relion_ext_picker to run")
    options = parser.parse_args(argv)
    if not shutil.which("relion_pipeliner"):
        raise SystemExit("RELION was not found: on Debian and Ubuntu, apt-get install relion")
    program, folder = str(our_program(options.picker)), options.work.absolute()
    if not (folder / "micrographs_ctf.star").is_file():
        command = [program, "simulate", "--o", str(folder), *options.simulate.split()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    project = described(folder, options.bin, options.symmetry)
    os.environ.update(ALONE)
    pick = run_job(
        folder, "External", fn_exe=program, in_mic="micrographs_ctf.star", param1_label="mode",
        param1_value=options.mode, param2_label="diameter", param2_value=f"{project.diameter:g}",
    )  # fmt: skip
    starts = {"true": "Truth/coords_suffix_truth.star", options.mode: f"{pick}/coords_suffix_autopick.star"}
    rows = [chain(project, name, coordinates, options) for name, coordinates in starts.items()]
    extent = project.box * project.pixel_size
    print(
        f"{options.simulate}: {count_true(folder)} particles of {project.diameter:.0f} Å, box {project.box} px at "
        f"{project.pixel_size:.2f} Å/px, symmetry {project.symmetry}\n"
    )
    print(markdown(HEADER, rows, (0, 0, 3, 3, 0, 3, 3, 2, 0, 2)))
    print(f"\nShell: {extent:.0f} Å over the resolution; {project.box // 2} is the last one, two px.")
    return 0


def described(folder: Path, factor: float, symmetry: str) -> Project:
    """The project, and the box of its particles: 1.5 diameters."""
    text = (folder / "README.txt").read_text(encoding="utf-8")
    diameter = float(re.search(r"([\d.]+) Å in diameter", text)[1])  # type: ignore[index]
    pixel_size = float(re.search(r"([\d.]+) Å/px", text)[1])  # type: ignore[index]
    box = 2 * round(0.75 * diameter / pixel_size / factor)
    full = 2 * round(0.5 * box * factor)
    return Project(folder, diameter, full, box, pixel_size * full / box, symmetry)


def run_job(folder: Path, kind: str, **options: object) -> str:
    """Run a job of RELION's in the project; its name. Raises SystemExit with the end of what it said."""
    text = ";".join(f"{name} == {value}" for name, value in options.items())
    before = set(folder.glob(f"{kind}/job*"))
    for command in (["--addJob", kind, "--addJobOptions", text], ["--RunJobs", "", "--sec_wait_after", "1"]):
        if command[0] == "--RunJobs":
            (job,) = set(folder.glob(f"{kind}/job*")) - before
            command[1] = f"{kind}/{job.name}/"
        subprocess.run(["relion_pipeliner", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    if not (job / "RELION_JOB_EXIT_SUCCESS").exists():
        raise SystemExit(f"{job} failed:\n{(job / 'run.err').read_text()[-2000:]}")
    return f"{kind}/{job.name}"


def chain(project: Project, name: str, coordinates: str, options: argparse.Namespace) -> list[Value]:
    """From coordinates to a resolution; a row of the table."""
    every, good, selected = classified(project, coordinates, options.classes)
    resolution, last = refined(project, selected, options.processes)
    extent = project.box * project.pixel_size
    return [
        name, len(every), *found(project, every), len(good), *found(project, good), resolution,
        round(extent / resolution), last,
    ]  # fmt: skip


def classified(project: Project, coordinates: str, classes: int) -> tuple[DataFrame, DataFrame, str]:
    """Extract and Class2D: all particles, those of good classes, and the STAR file of these, with nothing aligned."""
    folder, scale = project.folder, project.full / project.box / project.pixel_size  # px of the micrograph per Å
    extract = run_job(
        folder, "Extract", star_mics="micrographs_ctf.star", coords_suffix=coordinates, extract_size=project.full,
        bg_diameter=round(1.12 * project.diameter * scale), do_rescale="Yes", rescale=project.box, do_invert="Yes",
        do_norm="Yes", nr_mpi=1,
    )  # fmt: skip
    job = run_job(
        folder, "Class2D", fn_img=f"{extract}/particles.star", nr_classes=classes, nr_iter=ITERATIONS,
        particle_diameter=round(1.12 * project.diameter), psi_sampling=12, offset_range=3, offset_step=2,
        highres_limit=round(6 * project.pixel_size), nr_pool=30, nr_mpi=1, nr_threads=2, do_preread_images="Yes",
    )  # fmt: skip
    verdict = judge_classes(read_classes(folder / job / f"run_it{ITERATIONS:03d}_model.star"))
    tables = starfile.read(folder / job / f"run_it{ITERATIONS:03d}_data.star", always_dict=True)
    every = tables["particles"]
    good = every[verdict.good[every["rlnClassNumber"].to_numpy(int) - 1]]
    known = [label for label in good if label.startswith(("rlnAngle", "rlnOrigin", "rlnClassNumber"))]
    starfile.write({**tables, "particles": good.drop(columns=known)}, folder / job / "good.star", overwrite=True)
    return every, good, f"{job}/good.star"


def refined(project: Project, particles: str, processes: int) -> tuple[float, float]:
    """Refine3D and postprocessing: resolution, Å, and the correlation of the last shell.

    Finer than 7.5 degrees only near the best angles, for speed.
    """
    job = run_job(
        project.folder, "Refine3D", fn_img=particles, fn_ref=truth_map(project, "reference.mrc", 40),
        ref_correct_greyscale="No", ini_high=40, sym_name=project.symmetry, sampling="15 degrees",
        auto_local_sampling="7.5 degrees", offset_range=4, offset_step=2, nr_pool=30, do_preread_images="Yes",
        particle_diameter=round(1.12 * project.diameter), do_combine_thru_disc="No", nr_mpi=processes, nr_threads=1,
    )  # fmt: skip
    resolution = compare(project, f"{job}/run_half1_class001_unfil.mrc", f"{job}/postprocess")
    shells = starfile.read(project.folder / job / "postprocess.star", always_dict=True)["fsc"]
    return resolution, float(shells["rlnFourierShellCorrelationCorrected"].iloc[-1])


def count_true(folder: Path) -> int:
    """Particles that were simulated."""
    return len(starfile.read(folder / "particles_truth.star", always_dict=True)["particles"])


def found(project: Project, particles: DataFrame) -> tuple[float, float]:
    """Precision and recall of extracted particles, at the places where they were cut."""
    micrographs = read_micrographs(Path("micrographs_ctf.star"), project.folder)
    truth = read_coordinate_set(Path("Truth/truth.star"), micrographs, project.folder)
    reach = REACH * project.diameter / project.pixel_size * project.full / project.box
    names = particles["rlnMicrographName"].to_numpy(str)
    xy = particles[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(np.float32)
    hits = sum(
        int(match(truth[name].xy, xy[names == name], np.ones(int((names == name).sum())), reach)[0].sum())
        for name in np.unique(names)
    )
    return hits / max(1, len(xy)), hits / sum(len(item.xy) for item in truth.values())


if __name__ == "__main__":
    sys.exit(main())
