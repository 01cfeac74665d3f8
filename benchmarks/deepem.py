"""Time of DeepEM's recognition: as published, beside a floor and a plain loop over windows, and of the default preset.

    python benchmarks/deepem.py

One micrograph of the size, with the window, step and rotations of each row of the paper's tables. The floor is the
time that the matrix products and sigmoids of the algorithm would take at the highest rates that this machine reaches,
with everything else for nothing. The loop over windows is run for some windows and extrapolated. Weights and
micrographs are random: time does not depend on them. The default preset picks the same micrographs, all of it counted
from the image in memory to the coordinates. Markdown is printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from tables import markdown

if TYPE_CHECKING:
    import numpy as np

    from relion_ext_picker.pickers.deepem.network import DeepEM

STEP = 20
ROTATIONS = 4
BOX_PER_DIAMETER = 1.6  # KLH's; of the paper's data sets the smallest particles, which make most work for the default
LOOP = 24  # windows that the plain loop is run for
SECONDS = 0.5  # each rate is measured for so long, five times


@dataclass(frozen=True)
class Case:
    """Rows and columns of the micrograph, and the published seconds."""

    shape: tuple[int, int]
    published: float


CASES = {
    "klh": Case((2048, 2048), 7300),
    "19s": Case((1919, 1855), 790),
    "26s": Case((1919, 1855), 1160),
    "inflammasome": Case((1919, 1855), 560),
}


@dataclass(frozen=True)
class Work:
    """What has to be done for a micrograph.

    Attributes
    ----------
    windows : int
    flop : float
        Of the matrix products; a multiplication and an addition are two.
    sigmoids : float
    direct : float
        Of the same layers as plain convolutions of every window.
    read : float
        Bytes read and written if everything but the filtered micrographs stays in the cache.
    """

    windows: int
    flop: float
    sigmoids: float
    direct: float
    read: float


@dataclass(frozen=True)
class Rates:
    """The most that the machine does per second: operations in matrix products, sigmoids, bytes copied."""

    flop: float
    sigmoids: float
    read: float


@dataclass(frozen=True)
class Run:
    """Wall and processor seconds of a scan, and peak memory of its process in MB."""

    wall: float
    cpu: float
    peak: float


def work_of(name: str) -> Work:
    """Count the work of a preset."""
    import torch

    from relion_ext_picker.pickers.deepem.presets import PRESETS
    from relion_ext_picker.pickers.deepem.spectral import SpectralConvolution

    sizes, shape = PRESETS[name].architecture, CASES[name].shape
    windows = ((shape[0] - sizes.box) // STEP + 1) * ((shape[1] - sizes.box) // STEP + 1)
    inputs = (1, *sizes.maps[:2])
    layers = [
        SpectralConvolution(torch.zeros(sizes.maps[i], inputs[i], *[sizes.kernels[i]] * 2), torch.zeros(sizes.maps[i]),
                            sizes.pooled[i - 1])
        for i in (1, 2)
    ]  # fmt: skip
    direct = [
        m * n * k**2 * side**2 for m, n, k, side in zip(sizes.maps, inputs, sizes.kernels, sizes.convolved, strict=True)
    ]
    values = sum(m * side**2 for m, side in zip(sizes.maps, sizes.convolved, strict=True))
    passes = ROTATIONS * windows
    return Work(
        windows,
        2.0 * passes * (sum(layer.multiplications for layer in layers) + sizes.features),
        float(passes * (values + 1)),
        2.0 * passes * (sum(direct) + sizes.features),
        4.0 * shape[0] * shape[1] * (1 + 2 * ROTATIONS * sizes.maps[0]),
    )


def rates(threads: int) -> Rates:
    """Measure the machine; to be run in a process of its own."""
    import torch

    torch.set_num_threads(threads)
    left, right, out = (torch.randn(2048, 2048) for _ in range(3))
    values = torch.randn(threads * 100_000)
    near = torch.empty_like(values)
    large = torch.randn(32_000_000)
    copy = torch.empty_like(large)
    return Rates(
        2 * 2048**3 / fastest(lambda: torch.mm(left, right, out=out)),
        len(values) / fastest(lambda: torch.sigmoid(values, out=near)),
        8 * len(large) / fastest(lambda: copy.copy_(large)),
    )


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of one call, the best of five series."""
    call()
    found = []
    for _ in range(5):
        begin, count = time.perf_counter(), 0
        while time.perf_counter() < begin + SECONDS:
            call()
            count += 1
        found.append((time.perf_counter() - begin) / count)
    return min(found)


def material(name: str) -> tuple[DeepEM, np.ndarray]:
    """A network of a preset with random weights, and a micrograph."""
    import numpy as np
    import torch

    from relion_ext_picker.pickers.deepem.network import DeepEM
    from relion_ext_picker.pickers.deepem.presets import PRESETS

    network = DeepEM(PRESETS[name].architecture)
    network.reset(torch.Generator().manual_seed(0))
    image = np.random.default_rng(0).normal(100, 10, CASES[name].shape).astype(np.float32)
    return network.eval(), image


def scan(name: str, threads: int) -> Run:
    """Score all windows; to be run in a process of its own."""
    import torch

    from relion_ext_picker.pickers.deepem.exact import Scan, StdWindow, scan_windows

    torch.set_num_threads(threads)
    network, image = material(name)
    wall, cpu = time.perf_counter(), time.process_time()
    scan_windows(network, image, Scan(STEP, StdWindow()))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def diameter_of(name: str) -> float:
    """Particle diameter that the default preset is measured with, px."""
    from relion_ext_picker.pickers.deepem.presets import PRESETS

    return PRESETS[name].architecture.box / BOX_PER_DIAMETER


def pick_by_default(name: str, threads: int) -> Run:
    """Pick with the default preset, in as many rotations; to be run in a process of its own."""
    import torch

    from relion_ext_picker.pickers.base import Request, pick_micrograph
    from relion_ext_picker.workflows.models import load_picker

    torch.set_num_threads(threads)
    _, image = material(name)
    picker = load_picker("deepem", "default", "", torch.device("cpu"), ROTATIONS)
    request = Request(diameter_of(name))
    pick_micrograph(picker, image[:512, :512], 1.0, request)  # what is done once for a job
    wall, cpu = time.perf_counter(), time.process_time()
    pick_micrograph(picker, image, 1.0, request)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def loop(name: str, threads: int) -> tuple[float, float]:
    """Seconds per window of the plain loop, and the largest difference of its scores from those of the scan."""
    import numpy as np
    import torch

    from relion_ext_picker.pickers.deepem.exact import Scan, StdWindow, scan_windows
    from relion_ext_picker.pickers.deepem.network import normalised

    torch.set_num_threads(threads)
    network, image = material(name)
    box = network.architecture.box
    scores = []
    with torch.inference_mode():
        for index in range(-2, LOOP):  # two to warm up
            if not index:
                begin = time.perf_counter()
            left = abs(index) * STEP
            window = normalised(torch.from_numpy(image[:box, left : left + box]))
            turned = [network(torch.rot90(window, turn)[None, None]) for turn in range(ROTATIONS)]
            scores.append(float(torch.stack(turned).mean()))
        seconds = (time.perf_counter() - begin) / LOOP
    found = scan_windows(network, image[:box, : box + STEP * (LOOP - 1)], Scan(STEP, StdWindow())).score[0]
    return seconds, float(np.abs(found - np.array(scores[2:])).max())


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each scan; medians are shown (default: 3)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--preset", choices=CASES, help="one of the presets; all by default")
    parser.add_argument("--no-published", action="store_true", help="the default preset alone")
    options = parser.parse_args(argv)
    names = [options.preset] if options.preset else list(CASES)
    os.environ["OMP_WAIT_POLICY"] = "passive"  # as in the program: threads that wait do not spin

    if not options.no_published:
        published(names, options)
    rows = []
    for name in names:
        wall, cpu, peak = medians(pick_by_default, name, options)
        rows.append([name, "{} x {}".format(*CASES[name].shape), diameter_of(name), wall, cpu, peak])
    print(markdown(DEFAULT_HEADER, rows, DEFAULT_DIGITS))
    return 0


def published(names: Sequence[str], options: argparse.Namespace) -> None:
    """Measure and print the recognition as published."""
    speed: Rates = alone(rates, options.threads)
    print(
        f"{options.threads} threads: {speed.flop / 1e9:.0f} GFLOP/s in matrix products, "
        f"{speed.sigmoids / 1e9:.1f} 10⁹ sigmoids/s, {speed.read / 1e9:.0f} GB/s copied\n"
    )
    counts = {name: alone(work_of, name) for name in names}
    print(markdown(FLOOR_HEADER, [floor_row(name, counts[name], speed) for name in names], FLOOR_DIGITS))
    rows = []
    for name in names:
        wall, cpu, peak = medians(scan, name, options)
        each, difference = alone(loop, name, options.threads)
        plain = each * counts[name].windows
        floor = floor_of(counts[name], speed)
        rows.append(
            [name, wall, cpu, floor, wall / floor, plain, plain / wall, CASES[name].published,
             CASES[name].published / wall, peak, f"{difference:.0e}"]
        )  # fmt: skip
    print(markdown(HEADER, rows, DIGITS))
    print(f"The loop over windows was run for {LOOP} windows of each preset and extrapolated to all.\n")


def medians(measure: Callable[[str, int], Run], name: str, options: argparse.Namespace) -> tuple[float, float, float]:
    """Wall and processor seconds and peak memory, medians of several runs in fresh processes."""
    runs: list[Run] = [alone(measure, name, options.threads) for _ in range(max(1, options.runs))]
    wall, cpu, peak = (median(getattr(run, field) for run in runs) for field in ("wall", "cpu", "peak"))
    return wall, cpu, peak


DEFAULT_HEADER = ["default, size of", "micrograph", "particle px", "s", "CPU s", "peak MB"]
DEFAULT_DIGITS = [0, 0, 0, 2, 2, 0]
FLOOR_HEADER = [
    "preset", "windows", "direct TFLOP", "products TFLOP", "s", "sigmoids 10⁹", "s", "memory GB", "s", "floor s",
]  # fmt: skip
FLOOR_DIGITS = [0, 0, 2, 3, 2, 2, 2, 2, 2, 2]
HEADER = [
    "preset", "s", "CPU s", "floor s", "times floor", "loop s", "times faster", "published s", "times faster",
    "peak MB", "difference",
]  # fmt: skip
DIGITS = [0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def floor_of(work: Work, speed: Rates) -> float:
    """Seconds for products and sigmoids one after the other, or for the memory if that is longer."""
    return max(work.flop / speed.flop + work.sigmoids / speed.sigmoids, work.read / speed.read)


def floor_row(name: str, work: Work, speed: Rates) -> list[str | float]:
    """Row of the table of floors."""
    return [
        name, work.windows, work.direct / 1e12, work.flop / 1e12, work.flop / speed.flop, work.sigmoids / 1e9,
        work.sigmoids / speed.sigmoids, work.read / 1e9, work.read / speed.read, floor_of(work, speed),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
