"""How DeepEM does on ever noisier micrographs: the study of the paper's Fig. 6 on simulated 70S ribosomes.

    python benchmarks/deepem_snr.py

For every signal-to-noise ratio micrographs are simulated, the program is trained on the first half of them and picks
the second, with the commands that a user would type. Prints Markdown and draws the precision-recall curves into
docs/images/deepem_snr.png. A training whose model is in the --work folder already is not repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from contestants import Picks
from deepem_accuracy import Study
from matplotlib.figure import Figure
from programs import ROOT, linked, our_program
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import Curve, precision_recall
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.weights import load_model
from relion_ext_picker.presets import simulate_options
from relion_ext_picker.report.plots import save_png
from relion_ext_picker.report.plots.canvas import BLUE, INK, MUTED, VERMILLION, style
from relion_ext_picker.training.windows import HIT_RADIUS
from relion_ext_picker.types import Array
from relion_ext_picker.workflows.simulate import write_project

PICTURE = ROOT / "docs" / "images" / "deepem_snr.png"
COLOURS = (BLUE, VERMILLION, INK, MUTED)
DASHES = {"default": "-", "paper": (0, (4, 2))}
HEADER = ["SNR", "preset", "particles", "scored on", "threshold", "P", "R", "F1", "best F1", "AP", "training CPU s"]
DIGITS = (0, 0, 0, 0, 3, 3, 3, 3, 3, 3, 0)

Curves = dict[tuple[str, str], Curve]  # by SNR and preset


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, train, pick, score, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snr", default="0.01,0.005,0.001", metavar="LIST", help="(default: %(default)s)")
    parser.add_argument("--presets", default="default", metavar="LIST", help="of train (default: %(default)s)")
    parser.add_argument("--micrographs", type=int, default=6, metavar="N", help="for each ratio (default: 6)")
    parser.add_argument("--size", default="2048x2048", metavar="CxR", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--options", default="", metavar="WORDS", help='more for train, such as "--epochs 40"')
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--picker", default="", metavar="FILE", help="relion_ext_picker to measure")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "deepem_snr", metavar="DIR")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE")
    options = parser.parse_args(argv)
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    study = Study(our_program(options.picker), work, options.threads)
    rows: list[list[Value]] = []
    curves: Curves = {}
    for snr in options.snr.split(","):
        for preset in options.presets.split(","):
            row, curves[snr, preset] = measured(study, snr, preset, options)
            rows.append(row)
            print(markdown(HEADER, [row], DIGITS).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown(HEADER, rows, DIGITS))
    save_png(options.picture, partial(drawn, curves), dpi=110)
    return 0


def measured(study: Study, snr: str, preset: str, options: argparse.Namespace) -> tuple[list[Value], Curve]:
    """Row of the table, and the curve, of one signal-to-noise ratio and preset."""
    project = study.work / f"snr{snr}"
    project_options = simulate_options(
        "ribosome", o=str(project), snr=snr, micrographs=options.micrographs, size=options.size, seed=options.seed,
        j=study.threads,
    )  # fmt: skip
    truths = write_project(project_options)
    diameter, pixel_size = truths[0].diameter, truths[0].micrograph.pixel_size
    files = [project / truth.micrograph.name for truth in truths]
    half = len(files) // 2
    parts = {"train": files[:half], "test": files[half:]}
    fields = {name: linked(own, project / name, pixel_size, diameter) for name, own in parts.items()}
    job = project / preset
    extra = ["--preset", preset, *options.options.split()]
    cost = study.train(fields["train"], project / "particles_truth.star", job, extra)
    found, _ = study.pick(fields["test"], job / "model.safetensors", job / "picks")
    truth = {Path(item.micrograph.name).stem: item.xy for item in truths[half:]}
    curve = curve_of(truth, found, HIT_RADIUS * diameter / pixel_size)
    card, _ = load_model(job / "model.safetensors", "deepem")
    kept = np.flatnonzero(curve.threshold >= card.threshold)
    at = [float(values[kept[-1]]) if len(kept) else 0.0 for values in (curve.precision, curve.recall, curve.f1)]
    row: list[Value] = [
        snr, preset, card.provenance["validation"]["positives"], sum(len(xy) for xy in truth.values()), card.threshold,
        *at, float(curve.f1.max(initial=0)), curve.average_precision, cost and cost.cpu,
    ]  # fmt: skip
    return row, curve


def curve_of(truth: Mapping[str, Array], found: Picks, radius: float) -> Curve:
    """Precision and recall of candidates at every score; `radius` in px of the micrograph."""
    scores, hits = [np.zeros(0)], [np.zeros(0, bool)]
    for name, (xy, score) in found.items():
        assert score is not None
        hits.append(match(truth[name], xy, score, radius)[0])
        scores.append(score.astype(np.float64))
    return precision_recall(np.concatenate(scores), np.concatenate(hits), sum(len(xy) for xy in truth.values()))


def drawn(curves: Curves) -> Figure:
    """All precision-recall curves in one chart."""
    figure = Figure(figsize=(6.4, 4.6), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    style(axes, "", "Recall", "Precision", counts=False)
    colours = dict(zip(dict.fromkeys(snr for snr, _ in curves), COLOURS, strict=False))
    for (snr, preset), curve in curves.items():
        label = f"{snr}, {preset}: AP {curve.average_precision:.3f}"
        axes.plot(curve.recall, curve.precision, color=colours[snr], ls=DASHES.get(preset, ":"), lw=1.8, label=label)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower center", title="Signal-to-noise ratio, preset", frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


if __name__ == "__main__":
    sys.exit(main())
