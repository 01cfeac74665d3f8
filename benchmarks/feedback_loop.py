"""Three rounds of pick, Extract, Class2D, feedback and train with real RELION on simulated, contaminated micrographs.

    python benchmarks/feedback_loop.py

Simulates 18 micrographs with carbon edges, ice crystals, ethane, gold and aggregates, runs
templates/relion/feedback_loop.sh on them once from the shipped DRPnet model and once in DeepEM mode from 100 hand picks
(true places drawn at random from five micrographs), and scores every round against the known particles: on the
micrographs of the loop, whose labels came from 2D classes and never from the truth, and on 12 more that the loop never
saw. Prints Markdown and draws docs/images/feedback_loop.png. With --reuse, loops that are there are scored as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import torch
from programs import ROOT, our_program
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import Curve, precision_recall, score_picks
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.pickers.base import Picker, Request, pick_micrograph
from relion_ext_picker.relion.columns import StarColumns
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.feedback_outputs import read_feedback_rounds
from relion_ext_picker.workflows.models import load_picker

DIAMETER, PIXEL_SIZE = 186.0, 3.5  # Å, Å/px
RADIUS = 0.4 * DIAMETER / PIXEL_SIZE  # px: a pick within it of a free true centre is right
RECALL = 0.9  # at which precision is compared
SIMULATE = shlex.split(
    "--structure 20s --contaminants 14 --contaminant_kinds carbon,crystal,ethane,gold,aggregate --dose 40 "
    "--thickness 250-500 --particles 40 --size 1024x1024 --pixel-size 3.5 --defocus 1.0-2.5"
)
LOOP = {"micrographs": "18", "seed": "61"}
UNSEEN = {"micrographs": "12", "seed": "1061"}
CLASS2D = (
    "do_ctf_correction Yes\nctf_intact_first_peak Yes\npsi_sampling 12\noffset_range 2\noffset_step 1\n"
    'highres_limit 20\nother_args "--maxsig 150"\nnr_pool 30\ntau_fudge 2'
)
SETTINGS = {"DIAMETER": "186", "BOX": "80", "RESCALE": "32", "CLASSES": "12", "ITERATIONS": "18", "CLASS2D": CLASS2D}
# The picks of the shipped model are good enough for the looser rule, which leaves more of them as labels.
FEEDBACK = {"drpnet": "class_relative 1.5\ndoubt 1", "deepem": ""}
HAND_PICKS, HAND_PICKED = 100, 5  # particles, micrographs
HEADER = [
    "start", "round", "picks", "P", "R", "F1", f"P at R {RECALL:g}", "AP", "unseen: P", "R", "F1", f"P at R {RECALL:g}",
    "AP", "good classes", "good particles",
]  # fmt: skip
DIGITS = (0, 0, 0, *[3] * 10, 0, 0)


@dataclass(frozen=True)
class Scored:
    """A round of picking."""

    row: list[Value]
    seen: Curve
    unseen: Curve


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, run the loops, score, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "build/feedback_loop", metavar="DIR")
    parser.add_argument("--modes", default="drpnet,deepem", help="comma-separated (default: %(default)s)")
    parser.add_argument("--picker", default="", metavar="PROGRAM", help="the relion_ext_picker to run")
    parser.add_argument("--picture", type=Path, default=ROOT / "docs/images/feedback_loop.png", metavar="FILE")
    parser.add_argument("--reuse", action="store_true", help="score the loops that are there")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    work, program = options.work.absolute(), str(our_program(options.picker))
    work.mkdir(parents=True, exist_ok=True)
    simulated(work / "unseen", program, UNSEEN)
    rounds: dict[str, list[Scored]] = {}
    for mode in options.modes.split(","):
        folder = work / mode
        if not (options.reuse and folder.is_dir()):
            run_loop(folder, program, mode)
        rounds[mode] = score_loop(folder, work / "unseen", mode)
    print(markdown(HEADER, [scored.row for found in rounds.values() for scored in found], DIGITS))
    draw(options.picture, rounds)
    draw_classes(options.picture.with_name("feedback_classes.png"), work / next(iter(rounds)))
    return 0


def simulated(folder: Path, program: str, values: dict[str, str]) -> None:
    """A simulated project, unless it is there."""
    if not (folder / "micrographs_ctf.star").is_file():
        more = [word for name, value in values.items() for word in (f"--{name}", value)]
        subprocess.run([program, "simulate", "--o", folder, *SIMULATE, *more], check=True, stdout=subprocess.DEVNULL)


def run_loop(folder: Path, program: str, mode: str) -> None:
    """Simulate the project and run the loop in it."""
    if not shutil.which("relion_pipeliner"):
        raise SystemExit("RELION was not found: on Debian and Ubuntu, apt-get install relion")
    shutil.rmtree(folder, ignore_errors=True)
    simulated(folder, program, LOOP)
    (folder / "default_pipeline.star").unlink()  # the script makes one
    settings = {**os.environ, **SETTINGS, "MODE": mode, "PICKER": program, "FEEDBACK": FEEDBACK[mode]}
    if mode == "deepem":
        hand_picks(folder)
        settings |= {"HANDPICKS": "hand_picks.csv", "TRAIN": "folds 1"}
    with (folder / "loop.log").open("w") as log:
        script = ROOT / "templates/relion/feedback_loop.sh"
        subprocess.run(["sh", script], cwd=folder, env=settings, check=True, stdout=log, stderr=log)


def hand_picks(folder: Path) -> None:
    """True places drawn at random, as a person's picks."""
    micrographs, truth = known(folder)
    rng = np.random.default_rng(7)
    chosen = sorted(rng.permutation(len(micrographs))[:HAND_PICKED])
    places = [(micrographs[i].name, *xy) for i in chosen for xy in truth[micrographs[i].name].tolist()]
    picked = [places[i] for i in sorted(rng.permutation(len(places))[:HAND_PICKS])]
    lines = "".join(f"{name},{x},{y}\n" for name, x, y in picked)
    (folder / "hand_picks.csv").write_text(f"micrograph,x,y\n{lines}", encoding="utf-8")


def known(folder: Path) -> tuple[list[Micrograph], dict[str, Array]]:
    """The micrographs of a project and their true particles."""
    micrographs = read_micrographs(Path("micrographs_ctf.star"), folder)
    found = read_coordinate_set(Path("Truth/truth.star"), micrographs, folder)
    return micrographs, {name: item.xy for name, item in found.items()}


def score_loop(folder: Path, unseen: Path, mode: str) -> list[Scored]:
    """Every round of a loop against the truth."""
    jobs = sorted(path.parent for path in folder.glob("External/*/finished.jsonl"))
    tables = sorted(folder.glob("External/*/rounds.star"))
    told = max((read_feedback_rounds(t) for t in tables if "feedback_rounds" in t.read_text()), key=len)
    start = {"drpnet": "DRPnet, shipped", "deepem": "DeepEM, 100 picks"}[mode]
    rounds = []
    for number, job in enumerate(jobs):
        settings = json.loads((job / "settings.json").read_text())
        model = str(folder / settings["model"]) if settings["model"] else ""
        picker = load_picker(mode, "default", model, torch.device("cpu"))
        micrographs, truth = known(folder)
        picks = read_coordinate_set(Path(f"External/{job.name}/autopick.star"), micrographs, folder)
        scores = score_picks(truth, {name: (item.xy, item.score) for name, item in picks.items()}, RADIUS)
        seen, other = curve_of(picker, folder), curve_of(picker, unseen)
        classes = told[number] if number < len(told) else None  # none where the last Class2D was left out
        at = max(0, int(np.searchsorted(-other.threshold, -picker.card.threshold, side="right")) - 1)
        row: list[Value] = [
            start, number + 1, scores.n_picks, scores.precision, scores.recall, scores.f1, precision_at(seen),
            seen.average_precision, float(other.precision[at]), float(other.recall[at]), float(other.f1[at]),
            precision_at(other), other.average_precision,
            f"{classes.good_classes}/{classes.classes}" if classes else None,
            classes.good_particles if classes else None,
        ]  # fmt: skip
        rounds.append(Scored(row, seen, other))
    return rounds


def curve_of(picker: Picker, folder: Path) -> Curve:
    """Precision and recall of all candidates of a picker on a project."""
    micrographs, truth = known(folder)
    scores, hits, count = [], [], 0
    for micrograph in micrographs:
        image = read_micrograph(folder / micrograph.name)
        xy, score = pick_micrograph(picker, image, micrograph.pixel_size, Request(DIAMETER, threshold=0.0))
        places = truth.get(micrograph.name, np.zeros((0, 2), np.float32))
        scores.append(score)
        hits.append(match(places, xy, score, RADIUS)[0])
        count += len(places)
    return precision_recall(np.concatenate(scores), np.concatenate(hits), count)


def precision_at(curve: Curve) -> float:
    """Precision at the highest threshold that reaches the recall compared."""
    reached = np.flatnonzero(curve.recall >= RECALL)
    return float(curve.precision[reached[0]]) if len(reached) else 0.0


def draw(path: Path, rounds: dict[str, list[Scored]]) -> None:
    """Precision against recall of all rounds, one panel per start and set of micrographs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2 * len(rounds), figsize=(4.2 * 2 * len(rounds), 4.0), squeeze=False, sharey=True)
    colours = ["#66727f", "#e69f00", "#0072b2"]
    for column, (found, which) in enumerate(
        (found, which) for found in rounds.values() for which in ("seen", "unseen")
    ):
        axes = panels[0, column]
        for index, scored in enumerate(found):
            curve: Curve = getattr(scored, which)
            colour = colours[index % len(colours)]
            axes.plot(curve.recall, curve.precision, color=colour, lw=1.6, label=f"round {index + 1}")
            recall, precision = (scored.row[4], scored.row[3]) if which == "seen" else (scored.row[9], scored.row[8])
            axes.plot([recall], [precision], "o", color=colour, ms=6)
        axes.axvline(RECALL, color="#d5dae0", lw=1, zorder=0)
        axes.set(xlim=(0.5, 1.005), ylim=(0.5, 1.01), xlabel="recall")
        where = "micrographs of the loop" if which == "seen" else "micrographs it never saw"
        axes.set_title(f"{found[0].row[0]}\n{where}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower left")
    panels[0, 0].set_ylabel("precision")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_classes(path: Path, folder: Path) -> None:
    """The class averages of the first round of a loop, and what the feedback made of them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    job = min(path.parent for path in folder.glob("External/*/feedback.star"))
    (row, *_) = read_feedback_rounds(job / "rounds.star")
    averages = mrcfile.read(sorted(folder.glob(f"{row.particles_of}/run_it???_classes.mrcs"))[-1])
    star = StarColumns(job / "feedback.star")
    names = ("pickerParticles", "pickerResolution")
    size, resolution = star.numbers("classes", names).values()
    verdict = star.texts("classes", "pickerVerdict")
    words = [verdict.values[index] for index in verdict.index]
    used = sorted(np.flatnonzero(size > 0), key=lambda k: (["good", "unsure", "rare", "bad"].index(words[k]), -size[k]))
    figure, panels = plt.subplots(1, len(used), figsize=(1.25 * len(used), 1.75))
    colours = {"good": "#0072b2", "unsure": "#66727f", "rare": "#e69f00", "bad": "#d55e00"}
    for axes, k in zip(panels, used, strict=True):
        axes.imshow(averages[k], cmap="gray")
        axes.set(xticks=[], yticks=[])
        axes.set_title(words[k], fontsize=10, color=colours[words[k]], fontweight="bold")
        axes.set_xlabel(
            f"{int(size[k])}\n{resolution[k]:.0f} Å" if resolution[k] > 0 else f"{int(size[k])}\n–", fontsize=9
        )
        for spine in axes.spines.values():
            spine.set(color=colours[words[k]], linewidth=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
