"""The part of the table of options that the feedback command has for itself."""

from __future__ import annotations

from dataclasses import dataclass

from relion_ext_picker.job_options import JobOptions
from relion_ext_picker.option import opt


@dataclass(frozen=True)
class FeedbackOptions(JobOptions):
    """Turn what became of the picks downstream into labels, a threshold and the jobs of the next round."""

    diameter: float = opt(
        0.0, "Particle diameter; 0 takes that of the picking job of --in_coords.", unit="Å", low=1, high=5000,
    )  # fmt: skip
    class_resolution: float = opt(
        0.0, "A good class is resolved better than this; 0 takes --class-relative.", unit="Å", low=0.5, high=500,
        group="Classes",
    )  # fmt: skip
    class_relative: float = opt(
        1.3, "A good class is resolved better than this many times what the best-resolved tenth of the particles "
        "reaches.", low=1, high=10, group="Classes",
    )  # fmt: skip
    class_share: float = opt(
        0.01, "A good class holds more than this share of the particles. A smaller one that is resolved as well may be "
        "a rare view and is never a negative.", low=0, high=0.9, group="Classes",
    )  # fmt: skip
    class_score: float = opt(
        0.5, "With the result of the class ranker: its score from which a class is good.", low=0, high=1,
        group="Classes",
    )  # fmt: skip
    min_pmax: float = opt(
        0.0, "Particles of good classes whose best class and orientation are less probable teach nothing.", low=0,
        high=1, group="Classes",
    )  # fmt: skip
    doubt: float = opt(
        0.1, "A pick in a bad class is called false only if it scores less than this share of the true ones do: what "
        "the picker was sure of and RELION could not classify may be a particle. 1 calls all false that score less "
        "than the best.", low=0, high=1, group="Classes",
    )  # fmt: skip
    tolerance: float = opt(
        0.3, "Largest distance of a particle from the pick it came from, as a fraction of the diameter.", low=0.01,
        high=1,
    )  # fmt: skip
    symmetry: str = opt("", "Symmetry of a 3D result, for its views; empty takes that of the job.", metavar="GROUP")
    force: bool = opt(False, "Raise the threshold even if classes or views are lost by it.")
    previous: str = opt(
        "", "Feedback job of the round before, for the table of rounds; found by itself if the model that picked was "
        "trained on its coordinates.", metavar="DIR",
    )  # fmt: skip
