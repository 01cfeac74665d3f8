"""Speed of the simulation: training patches per second, and time and memory of one large micrograph.

    python benchmarks/simulation.py

Patches of 160 x 160 are drawn by one process and by two at a time, and handed to training in batches. The micrograph
of 4096 x 4096 has 300 particles; its time is that of `simulate_micrograph`, the structure being ready, and its peak
memory that of the whole process. Medians are printed as Markdown; how long it takes to start a process is left out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from statistics import median

from programs import thread_limits
from tables import markdown

# What is measured is imported in the processes that run it: this one stays small, so that they start quickly.

SIDE, REFERENCE = 160, 32.0  # px: patch and particle
BATCH = 32
MICROGRAPH, PIXEL_SIZE, DIAMETER, PARTICLES = 4096, 1.0, 160.0, 300
STRUCTURE = "irregular"


_together: list[Barrier] = []  # set in the processes of a pool


def join(barrier: Barrier) -> None:
    """Called once in every process of a pool."""
    _together.append(barrier)


def draw_patches(seed: int, seconds: float) -> float:
    """Patches per second that one process draws while the others of its pool do the same."""
    from relion_ext_picker.simulation.fields import patches

    supply = patches(seed, SIDE, REFERENCE)
    next(supply)
    _together[0].wait()
    begin = time.perf_counter()
    count = 0
    while time.perf_counter() < begin + seconds:
        next(supply)
        count += 1
    return count / (time.perf_counter() - begin)


def draw_batches(seed: int, workers: int, seconds: float) -> float:
    """New patches per second that reach the training loop, with their target maps."""
    import torch

    from relion_ext_picker.simulation.fields import FieldSource
    from relion_ext_picker.training.batches import REUSE, patch_batches

    torch.set_num_threads(1)
    supply = patch_batches(FieldSource(REFERENCE, SIDE), seed, REFERENCE, BATCH, workers)
    for _ in range(10):  # what the workers made while the loop was not yet asking
        next(supply)
    begin = time.perf_counter()
    count = 0
    while time.perf_counter() < begin + seconds:
        next(supply)
        count += 1
    return count * (BATCH // REUSE) / (time.perf_counter() - begin)


def micrograph(seed: int) -> tuple[float, float, int]:
    """Seconds for one micrograph, peak memory of the process in MB, and how many particles it has."""
    import numpy as np

    from relion_ext_picker.simulation.micrograph import MicrographSettings, simulate_micrograph
    from relion_ext_picker.simulation.projection import Projector
    from relion_ext_picker.simulation.structures import load_structure

    structure = load_structure(STRUCTURE, PIXEL_SIZE, DIAMETER, np.random.default_rng(seed))
    projector = Projector(structure.potential)
    settings = MicrographSettings(shape=(MICROGRAPH, MICROGRAPH), pixel_size=PIXEL_SIZE, particles=PARTICLES)
    begin = time.perf_counter()
    made = simulate_micrograph(structure, settings, np.random.default_rng(seed), projector)
    seconds = time.perf_counter() - begin
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, len(made.xy)


def pool(processes: int) -> ProcessPoolExecutor:
    """Fresh Python processes that can start a task together."""
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, fresh, join, (fresh.Barrier(processes),))


def patch_rate(processes: int, seed: int, seconds: float) -> float:
    """Patches per second of some processes at a time, all together."""
    with pool(processes) as workers:
        return sum(workers.map(draw_patches, [seed + index for index in range(processes)], [seconds] * processes))


def batch_rate(workers: int, seed: int, seconds: float) -> float:
    """:func:`draw_batches` in a process of its own."""
    with pool(1) as process:
        return process.submit(draw_batches, seed, workers, seconds).result()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each measurement (default: 3)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of a run (default: 10)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of the micrograph (default: 2)")
    parser.add_argument("--only", choices=("patches", "training", "micrograph"), help="one of the measurements")
    options = parser.parse_args(argv)
    runs = range(max(1, options.runs))

    if options.only != "micrograph":
        print_patches(options.only, runs, options.seconds)
    if options.only in (None, "micrograph"):
        print_micrograph(runs, options.threads)
    return 0


def print_patches(only: str | None, runs: range, seconds: float) -> None:
    """Table of the patches per second, the libraries held to one thread in each process."""
    os.environ.update(thread_limits(1))
    measured: dict[str, Callable[[int, float], float]] = {}
    if only != "training":
        measured["drawn by one process"] = partial(patch_rate, 1)
        measured["drawn by two processes"] = partial(patch_rate, 2)
    if only != "patches":
        measured["in training batches, two workers"] = partial(batch_rate, 2)
    rows: list[list[str | float]] = []
    for name, rate in measured.items():
        rates = [rate(100 * run, seconds) for run in runs]
        rows.append([name, median(rates), min(rates), max(rates)])
    print(f"Patches of {SIDE} x {SIDE}, particle {REFERENCE:g} px, medians of {len(runs)} runs of {seconds:g} s\n")
    print(markdown(["patches", "per second", "lowest", "highest"], rows, (0, 0, 0, 0)), flush=True)


def print_micrograph(runs: range, threads: int) -> None:
    """Table of the cost of a micrograph."""
    os.environ.update(thread_limits(threads))
    costs = []
    for run in runs:
        with pool(1) as process:
            costs.append(process.submit(micrograph, run).result())
    seconds, peaks, counts = zip(*costs, strict=True)
    print(f"Micrograph of {MICROGRAPH} x {MICROGRAPH}, {threads} threads, medians of {len(runs)} runs\n")
    row = [median(counts), median(seconds), max(seconds), max(peaks)]
    print(markdown(["particles", "seconds", "slowest", "highest peak MB"], [row], (0, 1, 1, 0)), end="")


if __name__ == "__main__":
    sys.exit(main())
