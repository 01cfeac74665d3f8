"""What the tests of whole jobs share: running one, and reading what it left."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

from relion_ext_picker.cli import main
from relion_ext_picker.evaluation.curves import Scores, score_picks
from relion_ext_picker.io.coordinates import Coordinates, read_coordinates
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.star import write_micrographs
from relion_ext_picker.relion.tables import Table, read_tables
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.simulated_truth import Truth

DIAMETER = 130.0  # Å
STAR = "micrographs_ctf.star"
JOB = "External/job007/"
FAST = ("--gpu", "cpu", "--views", "1", "--no-report")


@dataclass(frozen=True)
class Simulated:
    """A simulated project and what is known of it."""

    folder: Path
    truths: list[Truth]

    @property
    def names(self) -> list[str]:
        """Names of the micrographs."""
        return [truth.micrograph.name for truth in self.truths]


def words(*more: str, job: str = JOB, star: str = STAR) -> list[str]:
    """A picking command line, as RELION writes it; later words win."""
    return ["--o", job, "--in_mics", star, "--diameter", f"{DIAMETER:g}", *FAST, *more, "--j", "1"]


def pick(*more: str, job: str = JOB, star: str = STAR) -> int:
    """Pick in this process; the exit code."""
    return main(words(*more, job=job, star=star))


def start(*more: str, job: str = JOB, star: str = STAR) -> subprocess.Popen[str]:
    """Pick in a process of its own."""
    command = [sys.executable, "-m", "relion_ext_picker.cli", *words(*more, job=job, star=star)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def markers(job: str = JOB) -> list[str]:
    """How the job ended, as RELION sees it: the ends of the names of its markers."""
    return sorted(path.name.removeprefix("RELION_JOB_") for path in Path(job).glob("RELION_JOB_*"))


def picks_of(name: str, job: str = JOB) -> Coordinates:
    """The picks of a micrograph."""
    return read_coordinates(Path(job) / coordinate_path(name))


def all_picks(names: Sequence[str], job: str = JOB) -> dict[str, Coordinates]:
    """The picks of several micrographs."""
    return {name: picks_of(name, job) for name in names}


def scores(project: Simulated, job: str = JOB) -> Scores:
    """Agreement of a job's picks with the truth, within 0.3 diameters."""
    truth = {item.micrograph.name: item.xy for item in project.truths}
    found = {name: (item.xy, item.score) for name, item in all_picks(project.names, job).items()}
    return score_picks(truth, found, 0.3 * DIAMETER / project.truths[0].micrograph.pixel_size)


def agreement(first: Array, second: Array, radius: float = 1.5) -> float:
    """F1 of two sets of picks, within `radius` px."""
    return score_picks({"m": first}, {"m": (second, None)}, radius).f1


def summary(job: str = JOB) -> Table:
    """The columns of summary.star."""
    (table,) = read_tables(Path(job) / "summary.star", ("rlnMicrographName",)).values()
    return table


def image_of(name: str) -> Array:
    """Pixels of an MRC file."""
    return np.asarray(mrcfile.read(name), np.float32)


def put(name: str, image: np.ndarray) -> None:
    """Write an MRC file, with its folders."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels that are not numbers
        mrcfile.write(name, image, overwrite=True)


def star_of(names: Sequence[str], pixel_size: float = 4.0, star: str = STAR) -> str:
    """Write a micrographs STAR file; its name."""
    write_micrographs(Path(star), [Micrograph(name, pixel_size) for name in names])
    return star


def crops(count: int, side: int = 256) -> list[str]:
    """Cut `count` micrographs of `side` px out of those of the project; their names, in a STAR file of their own."""
    names = []
    for number in range(count):
        image = image_of(f"Micrographs/mic{number % 3 + 1:04d}.mrc")
        top, left = 64 * (number // 3) % (512 - side), 32 * number % (512 - side)
        names.append(f"Crops/crop{number:02d}.mrc")
        put(names[-1], image[top : top + side, left : left + side])
    star_of(names, star="crops.star")
    return names
