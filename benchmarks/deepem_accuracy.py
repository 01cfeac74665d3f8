"""How good DeepEM is after training on real micrographs, and how many particles that takes.

    python benchmarks/deepem_accuracy.py
    python benchmarks/deepem_accuracy.py --preset paper --particles 0

Ten micrographs of apoferritin with hand-placed centres (EMPIAR-10146), whole exposures and single frames. The program
is trained on the first five (by name) and picks the other five, both with the commands that a user would type. Prints
Markdown. A training whose model is in the --work folder already is not repeated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accuracy_sets import REAL, REAL_DIAMETER, REAL_PIXEL_SIZE
from contestants import Picks, cut, star_picks
from measure import Cost, run
from programs import ROOT, Field, linked, our_pick, our_program, shared_data, thread_limits
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.io.weights import load_model
from relion_ext_picker.pickers.deepem.presets import PRESETS, STEP

FOR_TRAINING = 5
RADII = (32.0, 16.0)  # px of the micrograph
HEADER = [
    "set", "particles", "threshold", "P 32 px", "R", "F1", "best F1", "AP", "F1 16 px", "AP", "training CPU s",
    "picking CPU s each",
]  # fmt: skip
DIGITS = (0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 0, 1)


@dataclass(frozen=True)
class Study:
    """Trainings and the picks of their models.

    Attributes
    ----------
    program : Path
        relion_ext_picker.
    work : Path
    threads : int
    """

    program: Path
    work: Path
    threads: int

    def train(self, field: Field, coordinates: Path, job: Path, extra: Sequence[str]) -> Cost | None:
        """Train on the micrographs of a folder into the folder `job`; None where that was done before."""
        if (job / "model.safetensors").exists():
            return None
        command = [
            self.program, "train", "--mode", "deepem", "--o", job, "--mics", field.folder.name, "--in_coords",
            coordinates, "--pixel-size", f"{field.pixel_size:g}", "--diameter", f"{field.diameter:g}", "--gpu", "cpu",
            "--j", str(self.threads), *extra,
        ]  # fmt: skip
        return run(command, field.folder.parent, self.work / "commands.log", thread_limits(self.threads))

    def pick(self, field: Field, model: Path, job: Path) -> tuple[Picks, Cost]:
        """Candidates of the micrographs of a folder by name, down to low scores."""
        shutil.rmtree(job, ignore_errors=True)
        words = ("--mode", "deepem", "--model", str(model), "--threshold", "0", "--no-report")
        command = our_pick(self.program, field, job, self.threads, words)
        cost = run(command, field.folder.parent, self.work / "commands.log", thread_limits(self.threads))
        return star_picks(job, field), cost


def main(argv: Sequence[str] | None = None) -> int:
    """Train, pick, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the apoferritin set")
    parser.add_argument("--sets", default=",".join(REAL), metavar="LIST", help="(default: %(default)s)")
    parser.add_argument("--preset", default="default", metavar="NAME", help="of train (default: %(default)s)")
    parser.add_argument("--particles", default="100,400,0", metavar="LIST", help="numbers to train with; 0 is all")
    parser.add_argument("--options", default="", metavar="WORDS", help='more for train, such as "--scratch"')
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--picker", default="", metavar="FILE", help="relion_ext_picker to measure")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "deepem_accuracy", metavar="DIR")
    options = parser.parse_args(argv)
    work, data, rows = options.work.absolute(), shared_data(options.data), []
    work.mkdir(parents=True, exist_ok=True)
    study = Study(our_program(options.picker), work, options.threads)
    for which in options.sets.split(","):
        for count in (int(word) for word in options.particles.split(",")):
            rows.append(row_of(study, data, which, count, options))
            print(markdown(HEADER, rows[-1:], DIGITS).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown(HEADER, rows, DIGITS))
    print(f"The windows of preset paper come within {RADII[0]:g} px of {reached(data):.1%} of the scored particles.")
    return 0


def reached(data: Path) -> float:
    """Share of the scored particles that a window of preset paper can have found: no recall is higher."""
    box = PRESETS["paper"].architecture.box  # of the micrographs as they are, whose particles are of its size
    found = []
    for file in sorted((data / "truth").glob("*.star"))[FOR_TRAINING:]:
        xy = read_coordinates(file).xy
        shape = read_micrograph(data / REAL[0] / f"{file.stem}.mrc").shape
        off = [
            np.abs(xy[:, axis, None] - (np.arange(0, side - box + 1, STEP) + (box - 1) / 2)).min(axis=1)
            for axis, side in enumerate(shape[::-1])
        ]
        found.append(np.hypot(*off) <= RADII[0])
    return float(np.concatenate(found).mean())


def row_of(study: Study, data: Path, which: str, count: int, options: argparse.Namespace) -> list[Value]:
    """Train with `count` particles and score the micrographs that were not trained on."""
    names = sorted(path.stem for path in (data / "truth").glob("*.star"))
    parts = {"train": names[:FOR_TRAINING], "test": names[FOR_TRAINING:]}
    fields = {
        part: linked(
            [data / which / f"{name}.mrc" for name in own], study.work / which / part, REAL_PIXEL_SIZE, REAL_DIAMETER
        )
        for part, own in parts.items()
    }
    given = options.options.split()
    job = study.work / "_".join([which, options.preset, str(count or "all"), *(word.strip("-") for word in given)])
    limit = ["--max-positives", str(count)] if count else []
    cost = study.train(fields["train"], data / "truth", job, ["--preset", options.preset, *limit, *given])
    model = job / "model.safetensors"
    found, picking = study.pick(fields["test"], model, job / "picks")
    card, _ = load_model(model, "deepem")
    truth = {name: read_coordinates(data / "truth" / f"{name}.star").xy for name in parts["test"]}
    at, near = (score_picks(truth, cut(found, card.threshold), radius) for radius in RADII)
    far_curve, near_curve = (score_picks(truth, found, radius) for radius in RADII)
    return [
        which, card.provenance["validation"]["positives"], card.threshold, at.precision, at.recall, at.f1,
        far_curve.best_f1, far_curve.ap, near.f1, near_curve.ap, cost and cost.cpu, picking.cpu / len(truth),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
