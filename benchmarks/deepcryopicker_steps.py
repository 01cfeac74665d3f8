"""What each step of the DeepCryoPicker's preprocessing does to the contrast of a micrograph (the paper's Fig. 10).

    python benchmarks/deepcryopicker_steps.py --picture docs/images/deepcryopicker_steps.png
    python benchmarks/deepcryopicker_steps.py --micrograph FILE.mrc --pixel-size 1.5 --diameter 120

Without --micrograph one is simulated. Prints Markdown: the standard deviation of the grey levels, scaled to 0..1, and
how much darker than the rest the particles are that clustering finds good, in standard deviations of the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tables import Value, markdown

from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.pickers.deepcryopicker.find import find_particles
from relion_ext_picker.pickers.deepcryopicker.preprocess import normalise, trace, working_image
from relion_ext_picker.presets import simulate_options
from relion_ext_picker.types import Array
from relion_ext_picker.workflows.simulate import write_project

SHOWN = 200  # px of the working image: five particles


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--micrograph", type=Path, metavar="FILE")
    parser.add_argument("--pixel-size", type=float, default=1.5)
    parser.add_argument("--diameter", type=float, default=120.0)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="PNG to write")
    options = parser.parse_args(argv)
    side = options.diameter / options.pixel_size
    image = read_micrograph(options.micrograph) if options.micrograph else simulated()
    steps = list(trace(working_image(image, side).values))
    found = find_particles(image, diameter_px=side)
    steps.append(("clustering", 1 - found.mask.astype(np.float32)))
    rows, cols = found.grid.from_original(found.xy[found.good])
    radius = found.radius[found.good] / found.grid.scale[0]
    down, right = np.indices(steps[0][1].shape)
    inside = np.zeros(down.shape, bool)
    for row, col, far in zip(rows, cols, radius, strict=True):
        inside |= np.hypot(down - row, right - col) <= far
    table: list[list[Value]] = []
    for name, part in steps:
        grey = normalise(part)
        rest = grey[~inside]
        table.append([name, float(grey.std()), float((rest.mean() - grey[inside].mean()) / max(rest.std(), 1e-9))])
    print(markdown(["step", "standard deviation", "particles darker by"], table, (0, 3, 2)))
    if options.picture:
        from relion_ext_picker.report.plots import save_png
        from relion_ext_picker.report.plots.steps import steps_figure

        top, left = ((length - SHOWN) // 2 for length in steps[0][1].shape)
        window = slice(top, top + SHOWN), slice(left, left + SHOWN)
        save_png(options.picture, lambda: steps_figure(steps, window), dpi=62)
    return 0


def simulated() -> Array:
    """One micrograph of the apoferritin preset."""
    with TemporaryDirectory() as folder:
        write_project(simulate_options("apoferritin", o=folder, micrographs=1, contaminants=0.0, seed=11))
        return read_micrograph(Path(folder) / "Micrographs" / "mic0001.mrc")


if __name__ == "__main__":
    sys.exit(main())
