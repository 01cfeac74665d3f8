"""Time and memory of evaluating a large data set: half a million particles with classes, angles and scores.

    python benchmarks/evaluate.py

Writes a Class2D-like and a Refine3D-like STAR file of random particles and measures `evaluate` on them, whole commands
with start-up and report, one thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import run
from programs import our_program, thread_limits
from tables import markdown

from relion_ext_picker.relion import labels
from relion_ext_picker.relion.tables import table_text

CLASSES = 50
PER_MICROGRAPH = 200
COLUMNS = (
    labels.COORDINATE_X, labels.COORDINATE_Y, labels.FIGURE_OF_MERIT, labels.CLASS_NUMBER, labels.ANGLE_ROT,
    labels.ANGLE_TILT, labels.ANGLE_PSI, labels.ORIGIN_X_ANGSTROM, labels.ORIGIN_Y_ANGSTROM, labels.MAX_PROBABILITY,
    labels.RANDOM_SUBSET, labels.DEFOCUS_U, labels.DEFOCUS_V, labels.DEFOCUS_ANGLE, labels.OPTICS_GROUP,
    labels.IMAGE_NAME, labels.MICROGRAPH_NAME,
)  # fmt: skip


def write_inputs(folder: Path, count: int) -> None:
    """Particles, their classes, and their micrographs."""
    rng = np.random.default_rng(0)
    micrographs = max(1, count // PER_MICROGRAPH)
    which = rng.integers(0, micrographs, count)
    numbers = np.stack(
        [
            *rng.uniform(0, 4000, (2, count)), rng.beta(5, 2, count), rng.integers(1, CLASSES + 1, count),
            rng.uniform(-180, 180, count), np.degrees(np.arccos(rng.uniform(-1, 1, count))),
            rng.uniform(-180, 180, count), *rng.normal(0, 2, (2, count)), rng.uniform(0.2, 1, count),
            rng.integers(1, 3, count), *rng.uniform(8000, 20000, (2, count)), rng.uniform(0, 180, count),
        ],
        axis=1,
    )  # fmt: skip
    names = [f"MotionCorr/job002/Movies/movie_{number:05d}.mrc" for number in range(micrographs)]
    optics = {
        labels.OPTICS_GROUP_NAME: ["one"], labels.OPTICS_GROUP: [1], labels.MICROGRAPH_PIXEL_SIZE: [0.9],
        labels.IMAGE_PIXEL_SIZE: [1.8], labels.IMAGE_SIZE: [256],
    }  # fmt: skip
    with (folder / "run_it025_data.star").open("w") as stream:
        stream.write(table_text(labels.OPTICS_TABLE, optics) + f"\ndata_{labels.PARTICLES_TABLE}\n\nloop_\n")
        stream.writelines(f"_{label} #{place}\n" for place, label in enumerate(COLUMNS, 1))
        for row, (values, micrograph) in enumerate(zip(numbers, which, strict=True), 1):
            text = " ".join(f"{value:12.6f}" for value in values)
            stream.write(f"{text} 1 {row:06d}@Extract/job018/Movies/movie_{micrograph:05d}.mrcs {names[micrograph]}\n")
        stream.write("\n")
    classes = {
        labels.CLASS_DISTRIBUTION: [1 / CLASSES] * CLASSES,
        labels.ESTIMATED_RESOLUTION: np.linspace(8, 30, CLASSES).tolist(),
    }
    general = {labels.PIXEL_SIZE: [1.8], labels.ORIGINAL_IMAGE_SIZE: [256]}
    tables = {labels.MODEL_TABLE: general, labels.CLASSES_TABLE: classes}
    text = "\n".join(table_text(name, table) for name, table in tables.items())
    (folder / "run_it025_model.star").write_text(text)
    table = {labels.MICROGRAPH_NAME: names, labels.OPTICS_GROUP: [1] * micrographs}
    (folder / "micrographs.star").write_text(
        table_text(labels.OPTICS_TABLE, optics) + "\n" + table_text(labels.MICROGRAPHS_TABLE, table)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=500_000)
    parser.add_argument("--work", type=Path, default=Path("build/evaluate"))
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    write_inputs(work, options.particles)
    data, picks = "run_it025_data.star", ["--in_coords", "run_it025_data.star", "--truth", "run_it025_data.star"]
    cases = {
        "2D classes and views": ["--class2d", ".", "--angles", data],
        "views, symmetry I": ["--angles", data, "--symmetry", "I"],
        "picks against as many known particles": ["--in_mics", "micrographs.star", *picks, "--radius", "20"],
    }
    rows = []
    for name, words in cases.items():
        command = [our_program(), "evaluate", "--o", "job", *words]
        cost = run(command, work, work / "log.txt", thread_limits(1))
        rows.append([f"{name}, {options.particles:,} particles", cost.cpu, cost.wall, cost.peak])
    print(markdown(["evaluate", "CPU s", "wall s", "peak MB"], rows, (0, 1, 1, 0)))


if __name__ == "__main__":
    main()
