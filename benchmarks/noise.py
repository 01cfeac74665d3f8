"""How many fields of noise alone get picks, which should be none.

    python benchmarks/noise.py

Simulated fields of 512 px without particles or dirt (256 square diameters each), as the default presets' shipped models
see them, at their own thresholds. "networks alone": without comparing candidates and without any correction for how
many particles there are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from tables import markdown

from relion_ext_picker.pickers.base import Picker, Request, pick_prepared
from relion_ext_picker.pickers.deepem.default import DefaultDeepEM
from relion_ext_picker.simulation.fields import FieldGenerator
from relion_ext_picker.types import Array, Grid, ScoreMap
from relion_ext_picker.workflows.models import load_picker

REFERENCE, SIDE = 32.0, 512  # px


def main(argv: Sequence[str] | None = None) -> int:
    """Draw, pick and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fields", type=int, default=120, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--modes", default="drpnet,deepem", metavar="LIST", help="(default: %(default)s)")
    options = parser.parse_args(argv)
    source = FieldGenerator(options.seed, REFERENCE, SIDE, empty=1.0, soiled=False)
    images = [source.draw().image for _ in range(options.fields)]
    rows: list[list[str | float]] = []
    for mode in options.modes.split(","):
        picker = load_picker(mode, "default", "", torch.device("cpu"))
        for name, whole in ((mode, True), (f"{mode}, networks alone", False)):
            counts = [len(picks_of(picker, image, whole)) for image in images]
            fields = sum(count > 0 for count in counts)
            rows.append([name, picker.card.threshold, options.fields, fields, sum(counts)])
    print(markdown(["default of", "threshold", "fields", "with picks", "picks"], rows, (0, 2, 0, 0, 0)))
    return 0


def picks_of(picker: Picker, image: Array, whole: bool) -> Array:
    """Scores of the picks of a field."""
    frame = ScoreMap(image, Grid())
    if isinstance(picker, DefaultDeepEM):
        frame = picker.normalised(frame)
    return pick_prepared(picker, frame, (SIDE, SIDE), 1.0, Request(REFERENCE, verify=whole, corrected=whole))[1]


if __name__ == "__main__":
    sys.exit(main())
