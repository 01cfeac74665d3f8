"""Does RELION find in simulated micrographs what was put there?

    python benchmarks/simulation_relion.py --preset apoferritin --symmetry O

Simulates a project, lets RELION extract the particles at their true places, and asks: how well do the true angles
reconstruct (relion_reconstruct of two halves), what do the 2D classes look like (relion_refine), and how far does a
refinement from a blurred map get (relion_refine_mpi --auto_refine). Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import starfile
from programs import our_program
from tables import markdown

STAGES = ("reconstruct", "class2d", "refine3d")
ALONE = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}  # fmt: skip


@dataclass(frozen=True)
class Project:
    """A simulated project and how its particles are cut.

    Attributes
    ----------
    folder : Path
    diameter : float
        Of the particle, Å.
    full : int
        px of the particle as cut.
    box : int
        px of the extracted particle, to which it is then reduced.
    pixel_size : float
        Å/px of the extracted particle.
    symmetry : str
    """

    folder: Path
    diameter: float
    full: int
    box: int
    pixel_size: float
    symmetry: str

    def run(self, *words: object) -> float:
        """Run a program in the project; wall seconds. Raises SystemExit with the end of what it said."""
        command = [str(word) for word in words]
        start = time.perf_counter()
        with (self.folder / "commands.log").open("ab") as log:
            log.write(("$ " + " ".join(command) + "\n").encode())
            log.flush()
            done = subprocess.run(
                command, cwd=self.folder, stdout=log, stderr=log, env={**os.environ, **ALONE}, check=False
            )
        if done.returncode:
            raise SystemExit(f"{command[0]} failed: see {self.folder / 'commands.log'}")
        return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, run RELION, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="apoferritin", help="of simulate (default: %(default)s)")
    parser.add_argument("--simulate", default="", metavar="'--OPTION VALUE ...'", help="further options of simulate")
    parser.add_argument("--symmetry", default="C1", help="of the particle (default: %(default)s)")
    parser.add_argument("--bin", type=float, default=2.0, metavar="F", help="reduce particles by this (default: 2)")
    parser.add_argument("--classes", type=int, default=10, metavar="K", help="2D classes (default: 10)")
    parser.add_argument("--stages", default=",".join(STAGES), help="of %(default)s")
    parser.add_argument("--work", type=Path, default=Path("build/simulation"), metavar="DIR")
    parser.add_argument("--picker", default="", metavar="PROGRAM", help="the relion_ext_picker to run")
    options = parser.parse_args(argv)
    if not shutil.which("relion_refine"):
        raise SystemExit("RELION was not found: on Debian and Ubuntu, apt-get install relion")
    folder = options.work.absolute() / options.preset
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [our_program(options.picker), "simulate", "--preset", options.preset, "--o", folder, *options.simulate.split()],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    project, count = extract(folder, options.bin, options.symmetry)
    print(
        f"### {options.preset} {options.simulate}: {count} particles of {project.diameter:.0f} Å, "
        f"box {project.box} px at {project.pixel_size:.2f} Å/px, symmetry {project.symmetry}\n"
    )
    rows: list[list[str | float]] = []
    if "reconstruct" in options.stages:
        rows.append(reconstruct(project))
    if "class2d" in options.stages:
        seconds = classify(project, options.classes)
        rows.append(["Class2D", "", "", seconds])
    if "refine3d" in options.stages:
        rows.append(refine(project))
    limit = 2 * project.pixel_size
    print(markdown(["stage", "resolution, Å", "of the limit", "wall s"], rows, (0, 2, 2, 0)))
    print(f"\nLimit: {limit:.2f} Å, two px of the extracted particles. Resolution: masked FSC of two halves at 0.143.")
    return 0


def extract(folder: Path, factor: float, symmetry: str) -> tuple[Project, int]:
    """Cut the particles at their true places, with their true angles and defocus."""
    text = (folder / "README.txt").read_text(encoding="utf-8")
    diameter = float(re.search(r"([\d.]+) Å in diameter", text)[1])  # type: ignore[index]
    pixel_size = float(re.search(r"([\d.]+) Å/px", text)[1])  # type: ignore[index]
    full = 2 * round(0.75 * diameter / pixel_size)
    box = 2 * round(0.5 * full / factor)
    full = 2 * round(0.5 * box * factor)
    project = Project(folder, diameter, full, box, pixel_size * full / box, symmetry)
    radius = round(0.5 * 1.12 * diameter / project.pixel_size)
    project.run(
        "relion_preprocess", "--i", "micrographs_ctf.star", "--reextract_data_star", "particles_truth.star",
        "--part_star", "Extract/particles.star", "--part_dir", "Extract/", "--extract", "--extract_size", full,
        "--scale", box, "--norm", "--bg_radius", min(radius, box // 2 - 1), "--white_dust", -1, "--black_dust", -1,
        "--invert_contrast",
    )  # fmt: skip
    tables = starfile.read(folder / "Extract/particles.star", always_dict=True)
    particles = tables["particles"]
    particles["rlnRandomSubset"] = 1 + np.arange(len(particles)) % 2
    starfile.write(tables, folder / "Extract/halves.star", overwrite=True)
    return project, len(particles)


def reconstruct(project: Project) -> list[str | float]:
    """Reconstruct two halves with the true angles."""
    seconds = 0.0
    (project.folder / "Reconstruct").mkdir()
    for half in (1, 2):
        seconds += project.run(
            "relion_reconstruct", "--i", "Extract/halves.star", "--o", f"Reconstruct/half{half}_class001_unfil.mrc",
            "--ctf", "--sym", project.symmetry, "--subset", half,
        )  # fmt: skip
    resolution = compare(project, "Reconstruct/half1_class001_unfil.mrc", "Reconstruct/post")
    return ["true angles", resolution, resolution / (2 * project.pixel_size), seconds]


def compare(project: Project, half: str, out: str) -> float:
    """Resolution of two half maps inside a mask made from the true structure."""
    mask = truth_map(project, "mask_input.mrc", 15)
    project.run(
        "relion_mask_create", "--i", mask, "--o", "mask.mrc", "--ini_threshold", threshold(project.folder / mask),
        "--extend_inimask", 3, "--width_soft_edge", 6, "--lowpass", 15,
    )  # fmt: skip
    project.run("relion_postprocess", "--i", half, "--o", out, "--angpix", project.pixel_size, "--mask", "mask.mrc",
                "--force_mask", "--randomize_at_A", 5 * project.pixel_size)  # fmt: skip
    general = starfile.read(project.folder / f"{out}.star", always_dict=True)["general"]
    return float(np.ravel(general["rlnFinalResolution"])[0])


def truth_map(project: Project, name: str, low_pass: float) -> str:
    """The true structure at the size and pixel size of the particles, blurred to `low_pass` Å."""
    # First the box, then the size: so that both come out exactly as those of the particles.
    project.run("relion_image_handler", "--i", "Truth/structure.mrc", "--o", name, "--new_box", project.full)
    project.run("relion_image_handler", "--i", name, "--o", name, "--rescale_angpix", project.pixel_size)
    project.run("relion_image_handler", "--i", name, "--o", name, "--angpix", project.pixel_size, "--lowpass", low_pass)
    return name


def threshold(path: Path) -> float:
    """A level that encloses the particle: a fifth of its upper percentile."""
    with mrcfile.open(path, permissive=True) as stored:
        return 0.2 * float(np.percentile(stored.data, 99.5))


def classify(project: Project, classes: int) -> float:
    """2D classification; the averages are in Class2D/."""
    (project.folder / "Class2D").mkdir()
    return project.run(
        "relion_refine", "--i", "Extract/particles.star", "--o", "Class2D/run", "--K", classes, "--iter", 25, "--ctf",
        "--tau2_fudge", 2, "--particle_diameter", 1.1 * project.diameter, "--zero_mask", "--oversampling", 1,
        "--psi_step", 12, "--offset_range", 5, "--offset_step", 2, "--norm", "--scale", "--flatten_solvent",
        "--dont_combine_weights_via_disc", "--pool", 30, "--pad", 2, "--j", 2, "--random_seed", 1,
    )  # fmt: skip


def refine(project: Project) -> list[str | float]:
    """Auto-refinement from the true structure at 40 Å, knowing neither angles nor halves."""
    (project.folder / "Refine3D").mkdir()
    reference = truth_map(project, "reference.mrc", 40)
    tables = starfile.read(project.folder / "Extract/particles.star", always_dict=True)
    known = [name for name in tables["particles"] if name.startswith(("rlnAngle", "rlnOrigin", "rlnClassNumber"))]
    tables["particles"] = tables["particles"].drop(columns=known)
    starfile.write(tables, project.folder / "Extract/unknown.star", overwrite=True)
    seconds = project.run(
        "mpirun", "-n", 3, "relion_refine_mpi", "--i", "Extract/unknown.star", "--o", "Refine3D/run", "--auto_refine",
        "--split_random_halves", "--ref", reference, "--firstiter_cc", "--ini_high", 40, "--ctf",
        "--particle_diameter", 1.1 * project.diameter, "--flatten_solvent", "--zero_mask", "--oversampling", 1,
        "--healpix_order", 2, "--auto_local_healpix_order", 4, "--offset_range", 5, "--offset_step", 2, "--sym",
        project.symmetry, "--low_resol_join_halves", 40, "--norm", "--scale", "--pad", 2, "--pool", 30, "--j", 1,
        "--dont_combine_weights_via_disc", "--random_seed", 1,
    )  # fmt: skip
    resolution = compare(project, "Refine3D/run_half1_class001_unfil.mrc", "Refine3D/post")
    return ["Refine3D", resolution, resolution / (2 * project.pixel_size), seconds]


if __name__ == "__main__":
    sys.exit(main())
