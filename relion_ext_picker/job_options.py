"""The part of the table of options that every command that runs as a job has."""

from __future__ import annotations

from dataclasses import dataclass

from relion_ext_picker.option import opt

GENERATIONS = ("auto", "3.1", "4.0", "5.0")


@dataclass(frozen=True)
class JobOptions:
    """What RELION's External job hands over, and what every command needs to run."""

    o: str = opt("", "Job directory; results, log and markers go there.", group="RELION", metavar="DIR", required=True)
    in_mics: str = opt("", "Micrographs STAR file.", group="RELION", metavar="FILE", relion="in_mic")
    in_movies: str = opt("", "Movies STAR file (not used).", group="RELION", metavar="FILE", relion="in_mov")
    in_parts: str = opt("", "Particles STAR file.", group="RELION", metavar="FILE", relion="in_part")
    in_coords: str = opt(
        "", "Coordinates: a RELION coordinate node, a folder, or one .star, .box or .csv file.", group="RELION",
        metavar="FILE", relion="in_coords",
    )  # fmt: skip
    in_3dref: str = opt(
        "", "3D reference (not used).", group="RELION", metavar="FILE", relion="in_3dref",
        aliases=("--in_3Dref",),
    )  # fmt: skip
    in_mask: str = opt("", "3D mask (not used).", group="RELION", metavar="FILE", relion="in_mask")
    j: int = opt(1, "Number of CPU threads.", group="RELION", low=1, high=1024, relion="nr_threads")
    pipeline_control: str = opt("", "Directory RELION watches for markers.", group="RELION", metavar="DIR")
    relion_version: str = opt(
        "auto", "RELION generation to write for; auto reads it from the job's job.star.", choices=GENERATIONS,
        group="Running",
    )  # fmt: skip
    gpu: str = opt(
        "auto", "CUDA device number, cpu, or auto (first CUDA device if there is one).", group="Running", metavar="ID"
    )
    seed: int = opt(0, "Seed of every random choice.", group="Running", low=0, high=2**31 - 1)
