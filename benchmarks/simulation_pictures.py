"""The pictures of docs/simulation.md.

    python benchmarks/simulation_pictures.py

Draws a micrograph of every preset, every kind of contaminant with its label, the hand-made structures, and
apoferritin with its power spectrum beside that of real micrographs, if those are there. The picture that also shows
a real micrograph goes to build/ and no farther.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from programs import ROOT, shared_data
from scipy import signal
from sheets import FIRST, OUTLINE, SECOND, Sheet, show
from tables import markdown

from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import SimulateOptions
from relion_ext_picker.presets import PRESETS, simulate_options
from relion_ext_picker.simulation.contaminants import KINDS
from relion_ext_picker.simulation.handmade import HANDMADE
from relion_ext_picker.simulation.micrograph import SimulatedMicrograph, simulate_micrograph
from relion_ext_picker.simulation.projection import Projector
from relion_ext_picker.simulation.structures import Structure, load_structure
from relion_ext_picker.types import Array
from relion_ext_picker.workflows.simulate import settings_of

TILE, FIELD = 236, 1800.0  # px of a panel, and Å that it shows of a preset
NUISANCES = {"structure": "apoferritin", "size": "1024x1024", "pixel_size": 2.0, "particles": 60, "contaminants": 2.0,
             "defocus": "1.5", "dose": "40"}  # fmt: skip
VIEWS = {"along z": (0.0, 0.0, 0.0), "across": (0.0, 90.0, 90.0), "oblique": (30.0, 50.0, 0.0)}  # rot, tilt, psi
VOXEL, BAR = 2.0, 100.0  # Å of a projection and of its scale bar
WINDOW = 512  # px of the pieces whose spectra are averaged
WHITE = (0.25, 0.30)  # 1/Å: spectra are scaled to 1 here, where there is little but the noise of the electrons
BANDS = (0.005, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.33)  # 1/Å
REAL_PIXEL_SIZE = 1.5  # Å/px


def simulated(options: SimulateOptions, number: int = 1) -> tuple[SimulatedMicrograph, Structure]:
    """What `simulate` writes as micrograph `number`."""
    settings = settings_of(options)
    structure = load_structure(
        options.structure, options.pixel_size, options.diameter, np.random.default_rng([options.seed, 0])
    )
    rng = np.random.default_rng([options.seed, number])
    return simulate_micrograph(structure, settings, rng, Projector(structure.potential), options.j), structure


def presets(folder: Path, seed: int, threads: int) -> None:
    """The middle of a micrograph of every preset, all at one scale."""
    names = [name for name in PRESETS if PRESETS[name]]
    sheet = Sheet(5, -(-len(names) // 5), TILE, 54)
    for number, name in enumerate(names):
        options = simulate_options(name, seed=seed, j=threads)
        made, _ = simulated(options)
        side = round(FIELD / options.pixel_size)
        top, left = ((length - side) // 2 for length in made.image.shape)
        defocus = (made.ctf.defocus_u + made.ctf.defocus_v) / 2e4
        text = f"{options.pixel_size:g} Å/px, {made.dose:.3g} e/Å²\n{defocus:.2f} µm, SNR {made.snr:.2g}"
        show(sheet.panel(number, f"{name}\n{text}"), made.image[top : top + side, left : left + side], TILE)
    sheet.save(folder / "simulation_presets.png")


def nuisances(folder: Path, seed: int, threads: int) -> None:
    """One micrograph for each kind of contaminant, and below it the same with the label outlined."""
    sheet = Sheet(4, 4, TILE, 18)
    for index, kind in enumerate(KINDS):
        place = index % 4 + 8 * (index // 4)
        found = (
            simulated(simulate_options(contaminant_kinds=kind, seed=turn, j=threads, **NUISANCES))[0]
            for turn in range(seed, seed + 100)
        )
        made = next(one for one in found if one.contamination.nuisances)
        show(sheet.panel(place, f"{index + 1} {kind}"), made.image, sheet.tile)
        axes = sheet.panel(place + 4)
        show(axes, made.image, sheet.tile)
        axes.contour(made.contamination.labels == index + 1, levels=[0.5], colors=OUTLINE, linewidths=1.5)
    sheet.save(folder / "simulation_contaminants.png")


def structures(folder: Path) -> None:
    """Three projections of every hand-made structure."""
    sheet = Sheet(len(HANDMADE), len(VIEWS), 150, 18)
    for column, name in enumerate(HANDMADE):
        structure = load_structure(name, VOXEL, 0.0, np.random.default_rng(0))
        for row, (view, angles) in enumerate(VIEWS.items()):
            label = f"{name}, {structure.diameter:.0f} Å" if row == 0 else view if column == 0 else ""
            axes = sheet.panel(row * len(HANDMADE) + column, label)
            image = Projector(structure.potential)(np.array([angles]))[0]
            axes.imshow(image, cmap="gray", vmin=0, interpolation="bicubic")
            end = 0.95 * len(image)
            axes.plot((end - BAR / VOXEL, end), (end, end), color="white", linewidth=2)
    sheet.save(folder / "simulation_structures.png")


def spectrum(image: Array, pixel_size: float) -> tuple[Array, Array]:
    """Rotational average of the power spectrum, 1 at WHITE: frequency in 1/Å and power."""
    window = signal.windows.hann(WINDOW, sym=False)
    window = window[:, None] * window[None, :]
    total = np.zeros((WINDOW, WINDOW))
    starts = [np.arange(0, side - WINDOW + 1, WINDOW // 2) for side in image.shape]
    for top in starts[0]:
        for left in starts[1]:
            piece = image[top : top + WINDOW, left : left + WINDOW]
            total += np.abs(np.fft.fft2((piece - piece.mean()) * window)) ** 2
    steps = np.fft.fftfreq(WINDOW, 1 / WINDOW)
    ring = np.rint(np.hypot(steps[:, None], steps)).astype(int).ravel()
    power = np.bincount(ring, total.ravel()) / np.bincount(ring)
    frequency = np.arange(len(power)) / (WINDOW * pixel_size)
    inside = (frequency >= WHITE[0]) & (frequency < WHITE[1])
    kept = slice(3, WINDOW // 2)
    return frequency[kept], (power / power[inside].mean())[kept]


def curves(axes: Axes, images: Sequence[Array], pixel_size: float, **style: Any) -> tuple[Array, Array]:
    """Spectrum of the first image as a line, the range of all as a band; frequency and median power."""
    measured = [spectrum(image, pixel_size) for image in images]
    frequency, powers = measured[0][0], np.array([power for _, power in measured])
    axes.fill_between(frequency, powers.min(0), powers.max(0), color=style["color"], alpha=0.25, linewidth=0)
    axes.plot(frequency, powers[0], linewidth=1.2, **style)
    return frequency, np.median(powers, axis=0)


def print_bands(simulated: tuple[Array, Array], real: tuple[Array, Array]) -> None:
    """Table of the mean power in bands."""
    rows: list[list[str | float]] = []
    for low, high in pairwise(BANDS):
        means = [power[(at >= low) & (at < high)].mean() for at, power in (simulated, real)]
        rows.append([f"{low:.3g} to {high:.3g}", *means, means[0] / means[1]])
    print(markdown(["1/Å", "simulated", "real", "ratio"], rows))


def apoferritin(folder: Path, data: Path, seed: int, threads: int, count: int) -> None:
    """The preset beside real micrographs: spectra, and the images themselves."""
    options = simulate_options("apoferritin", seed=seed, j=threads)
    made = [simulated(options, number)[0].image for number in range(1, count + 1)]
    real = [read_micrograph(file) for file in sorted(data.glob("Micrographs/*.mrc"))[:count]]
    for path, others in ((folder, []), (ROOT / "build", real[:1])):
        sheet = Sheet(2 + len(others), 1, 480, 20)
        show(sheet.panel(0, "simulated"), made[0], sheet.tile)
        for image in others:
            show(sheet.panel(1, "real"), image, sheet.tile)
        left, width = (sheet.width - 410) / sheet.width, 390 / sheet.width
        axes = sheet.figure.add_axes((left, 60 / sheet.height, width, 1 - 80 / sheet.height))
        first = curves(axes, made, options.pixel_size, color=FIRST, label="simulated")
        second = curves(axes, real, REAL_PIXEL_SIZE, color=SECOND, label="real") if real else None
        axes.set(yscale="log", xlabel="spatial frequency, 1/Å", ylabel="power, 1 from 1/4 to 1/3.3 Å", xlim=(0, 0.33))
        axes.legend(frameon=False)
        sheet.save(path / "simulation_spectra.png")
    if second:
        print_bands(first, second)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="", metavar="DIR", help="folder with Micrographs/ of apoferritin "
                        "(default: data/apoferritin in $REP_SHARED or in ../shared)")  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "images", metavar="DIR", help="default: docs/images"
    )
    parser.add_argument("--only", choices=("presets", "contaminants", "structures", "spectra"), help="one picture")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: 1)")
    parser.add_argument("--count", type=int, default=4, metavar="N", help="micrographs per spectrum (default: 4)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: 2")
    options = parser.parse_args(argv)
    if options.only in (None, "structures"):
        structures(options.out)
    if options.only in (None, "spectra"):
        apoferritin(options.out, shared_data(options.data), options.seed, options.threads, max(1, options.count))
    if options.only in (None, "contaminants"):
        nuisances(options.out, options.seed, options.threads)
    if options.only in (None, "presets"):
        presets(options.out, options.seed, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
