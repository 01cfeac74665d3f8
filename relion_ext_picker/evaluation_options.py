"""The part of the table of options that the evaluate command has for itself."""

from __future__ import annotations

from dataclasses import dataclass

from relion_ext_picker.job_options import JobOptions
from relion_ext_picker.option import opt

DOWN, TRUE, MAPS, ANGLES, SUBSETS = "Classes and refinements", "Known particles", "Maps", "Views", "Subsets"


@dataclass(frozen=True)
class EvaluateOptions(JobOptions):
    """Judge picks by known particles and by what RELION makes of them; any subset of inputs will do."""

    in_parts: str = opt(
        "", "Particles STAR file with angles, or particles to divide with --make-subsets.", group="RELION",
        metavar="FILE", relion="in_part",
    )  # fmt: skip
    in_coords: str = opt(
        "", "Picks: a picking job or its coordinate node, a folder, or one file (.star, .box, .cbox, .csv, .txt).",
        group="RELION", metavar="FILE", relion="in_coords",
    )  # fmt: skip
    in_3dref: str = opt(
        "", "Map to show beneath the local resolution.", group="RELION", metavar="FILE", relion="in_3dref",
        aliases=("--in_3Dref",),
    )  # fmt: skip
    in_mask: str = opt(
        "", "Mask for half maps and local resolution.", group="RELION", metavar="FILE", relion="in_mask",
        aliases=("--mask",),
    )  # fmt: skip

    truth: str = opt(
        "", "Known particles, in any form that --in_coords takes; judges the picks of --in_coords and --compare.",
        group=TRUE, metavar="FILE",
    )  # fmt: skip
    diameter: float = opt(0.0, "Particle diameter.", unit="Å", low=1, high=5000, group=TRUE)
    radius: float = opt(
        0.0, "Largest distance of a pick from the known particle that it counts for; 0 is 0.4 diameters. Half of it is "
        "told as well.", unit="Å", low=0.1, high=5000, group=TRUE,
    )  # fmt: skip
    threshold: float = opt(
        -1.0, "Score from which picks count for precision and recall; -1 counts all. The curves are of all.", low=-1,
        high=1, group=TRUE,
    )  # fmt: skip
    border: float = opt(
        0.0, "Picks and known particles closer than this to the edge of the micrograph are left out.", unit="Å", low=0,
        high=5000, group=TRUE,
    )  # fmt: skip
    compare: str = opt(
        "", "Picking jobs to set side by side, with the jobs that follow them in the pipeline.", group="Comparison",
        metavar="DIRS", several=True,
    )  # fmt: skip

    class2d: str = opt("", "Class2D job, or a STAR file of one of its iterations.", group=DOWN, metavar="DIR")
    select: str = opt("", "Select job: chosen classes, or those of the class ranker.", group=DOWN, metavar="DIR")
    class_resolution: float = opt(
        0.0, "A good 2D class is resolved better than this; 0 takes --class-relative.", unit="Å", low=0.5, high=500,
        group=DOWN,
    )  # fmt: skip
    class_relative: float = opt(
        1.3, "A good 2D class is resolved better than this many times what the best-resolved tenth of the particles "
        "reaches.", low=1, high=10, group=DOWN,
    )  # fmt: skip
    class_share: float = opt(0.01, "A good 2D class holds more than this share of the particles.", low=0, high=1,
                             group=DOWN)  # fmt: skip
    class_score: float = opt(0.5, "Score of the class ranker from which a class is good.", low=0, high=1, group=DOWN)
    refine3d: str = opt("", "Refine3D job, or a STAR file of one of its iterations.", group=DOWN, metavar="DIR")
    postprocess: str = opt(
        "", "PostProcess jobs or their postprocess.star; several of different numbers of particles give a B-factor.",
        group=DOWN, metavar="DIRS", several=True,
    )  # fmt: skip

    half1: str = opt("", "First half map; the second is --half2, or the file of the same name with half2.", group=MAPS,
                     metavar="FILE")  # fmt: skip
    half2: str = opt("", "Second half map.", group=MAPS, metavar="FILE")
    local_resolution: str = opt("", "Map of local resolution, or the LocalRes job.", group=MAPS, metavar="FILE")

    angles: str = opt(
        "", "Views: a particles STAR file, or text with a column of rot and one of tilt, as cryoEF reads it.",
        group=ANGLES, metavar="FILE",
    )  # fmt: skip
    symmetry: str = opt(
        "", "Point group as in RELION; empty is that of the refinement, or C1.", group=ANGLES, metavar="NAME"
    )

    make_subsets: bool = opt(
        False, "Write nested random subsets of the particles of --in_parts or --refine3d, and what RELION needs to "
        "refine each.", group=SUBSETS,
    )  # fmt: skip
    smallest_subset: int = opt(
        1000, "Particles of the smallest subset; each is about twice as large as the one before.", low=2, high=10**8,
        group=SUBSETS,
    )  # fmt: skip
    mics: str = opt(
        "", "Micrographs without a STAR file: a folder or a quoted pattern.", group="Headless", metavar="GLOB"
    )
    pixel_size: float = opt(0.0, "Pixel size of the micrographs of --mics.", unit="Å/px", low=0.01, high=100,
                            group="Headless")  # fmt: skip
