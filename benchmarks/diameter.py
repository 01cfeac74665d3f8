"""What `--diameter auto` estimates, and what a diameter that is off by a quarter costs.

    python benchmarks/diameter.py

DRPnet's shipped model on the simulated sets of accuracy.py: the estimate from three micrographs, and F1 of all four at
the model's threshold with 0.75, 1 and 1.25 of the true diameter. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from accuracy_scores import NEAR, counted
from accuracy_sets import REAL, names_of, simulated
from measure import run
from programs import ROOT, our_program, shared_data, thread_limits
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.pickers.base import Request, pick_micrograph
from relion_ext_picker.pickers.size import estimate_size
from relion_ext_picker.workflows.models import load_picker

FACTORS = (0.75, 1.0, 1.25)
LOOKED_AT = 3  # micrographs, as in a job


def main(argv: Sequence[str] | None = None) -> int:
    """Estimate, pick, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", default="simulated", metavar="LIST", help="as of accuracy.py (default: %(default)s)")
    parser.add_argument("--models", type=Path, default=None, metavar="DIR", help="structures to simulate")
    parser.add_argument("--picker", default="", metavar="FILE", help="relion_ext_picker that simulates")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "accuracy", metavar="DIR")
    options = parser.parse_args(argv)
    work = options.work.absolute()
    torch.set_num_threads(options.threads)
    picker = load_picker("drpnet", "default", "", torch.device("cpu"))
    judge = load_picker("drpnet", "default", "", torch.device("cpu"), views=1)

    def simulate(project: Path, words: Sequence[str]) -> None:
        project.parent.mkdir(parents=True, exist_ok=True)
        command = [our_program(options.picker), "simulate", "--o", project, *words, "--j", str(options.threads)]
        run(command, work, work / "commands.log", thread_limits(options.threads))

    rows: list[list[Value]] = []
    for name in [each for each in names_of(options.sets) if each not in REAL]:
        known = simulated(name, options.models or shared_data("").parent / "models", work / "sets", simulate)
        images = {file.stem: read_micrograph(file) for file in known.field.files}
        true, pixel_size = known.field.diameter, known.field.pixel_size
        size = estimate_size(judge, list(images.values())[:LOOKED_AT], pixel_size)
        found = []
        for factor in FACTORS:
            request = Request(factor * true)
            picks = {stem: pick_micrograph(picker, image, pixel_size, request) for stem, image in images.items()}
            found.append(score_picks(known.particles, counted(picks, known), NEAR * known.field.diameter_px).f1)
        told = f"{size.low:.0f} to {size.high:.0f}"
        row = [name, true, size.diameter, 100 * (size.diameter / true - 1), told, "yes" if size.sure else "no", *found]
        rows.append([*row, min(found) - found[1]])
        print(row, file=sys.stderr, flush=True)
    header = ["set", "diameter, Å", "estimate", "off, %", "as good", "sure", *(f"F1 at {each:g}" for each in FACTORS)]
    print(markdown([*header, "worst"], rows, (0, 0, 0, 0, 0, 0, 3, 3, 3, 3)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
