"""Three rounds of pick, Extract, Class2D, feedback and train with real RELION on simulated, contaminated micrographs.

    python benchmarks/feedback_loop.py [--sets 20s,ribosome,klh] [--mode drpnet,deepem]

Simulates micrographs of the set, runs templates/relion/feedback_loop.sh on them once from the shipped DRPnet model and
once in DeepEM mode from 100 hand picks (true places drawn at random from five micrographs), both with the defaults of
feedback, and scores every round against the known particles: on the micrographs of the loop, whose labels came from 2D
classes and never from the truth, and on others that the loop never saw. Intervals are of 1000 draws of micrographs.
Prints Markdown after every loop, and draws docs/images/feedback_loop.png and the class averages of first rounds. With
--reuse, loops that are there are scored as they are.
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
from numpy.typing import NDArray
from programs import ROOT, our_program
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import Curve, precision_recall
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.pickers.base import Picker, Request, pick_micrograph
from relion_ext_picker.relion.columns import StarColumns
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.feedback_outputs import read_feedback_rounds
from relion_ext_picker.workflows.models import load_picker

Numbers = NDArray[np.float64]

REACH = 0.4  # of the diameter: a pick within it of a free true centre is right
RECALL = 0.9  # at which precision is compared
DRAWS, CONFIDENCE = 1000, 0.95  # of micrographs, for the intervals

CLASS2D = (
    "do_ctf_correction Yes\nctf_intact_first_peak Yes\npsi_sampling 12\noffset_range 2\noffset_step 1\n"
    'highres_limit {limit}\nother_args "--maxsig 150"\nnr_pool 30\ntau_fudge 2'
)


@dataclass(frozen=True)
class DataSet:
    """What is simulated, and how it is classified.

    Attributes
    ----------
    name : str
    diameter, pixel_size : float
        Å and Å/px.
    simulate : str
        Options of the simulation of both projects.
    loop, unseen : (int, int)
        Micrographs and seed of the project of the loop, and of one that it never sees.
    classify : dict of str
        Variables of the script: box, px, what it is scaled to, and the finest shell of Class2D, Å.
    """

    name: str
    diameter: float
    pixel_size: float
    simulate: str
    loop: tuple[int, int]
    unseen: tuple[int, int]
    classify: dict[str, str]

    @property
    def radius(self) -> float:
        """Largest distance of a right pick, px."""
        return REACH * self.diameter / self.pixel_size


SETS = {
    # The rules of feedback were designed on these two.
    "20s": DataSet(
        "20S", 186.0, 3.5,
        "--structure 20s --contaminants 14 --contaminant_kinds carbon,crystal,ethane,gold,aggregate --dose 40 "
        "--thickness 250-500 --particles 40 --size 1024x1024 --pixel-size 3.5 --defocus 1.0-2.5",
        (18, 61), (12, 1061), {"BOX": "80", "RESCALE": "32", "CLASS2D": CLASS2D.format(limit=20)},
    ),
    "ribosome": DataSet(
        "ribosome", 316.0, 5.0,
        "--structure ribosome --contaminants 14 --contaminant_kinds all --dose 30 "
        "--thickness 300-600 --particles 40 --size 1024x1024 --pixel-size 5 --defocus 1.2-2.8",
        (16, 62), (10, 1062), {"BOX": "96", "RESCALE": "40", "CLASS2D": CLASS2D.format(limit=25)},
    ),
    # Nothing was chosen on these.
    "klh": DataSet(
        "KLH", 400.0, 6.5,
        "--structure klh --contaminants 14 --contaminant_kinds all --dose 25 "
        "--thickness 400-700 --particles 40 --size 1024x1024 --pixel-size 6.5 --defocus 1.5-3.0",
        (14, 63), (10, 1063), {"BOX": "96", "RESCALE": "40", "CLASS2D": CLASS2D.format(limit=32)},
    ),
    "bgal": DataSet(
        "β-galactosidase", 198.0, 3.5,
        "--structure bgal --contaminants 14 --contaminant_kinds all --dose 40 "
        "--thickness 250-500 --particles 40 --size 1024x1024 --pixel-size 3.5 --defocus 1.0-2.5",
        (14, 64), (10, 1064), {"BOX": "80", "RESCALE": "32", "CLASS2D": CLASS2D.format(limit=20)},
    ),
}  # fmt: skip
COMMON = {"CLASSES": "12", "ITERATIONS": "18", "ROUNDS": "3", "LAST": "pick"}
HAND_PICKS, HAND_PICKED = 100, 5  # particles, micrographs
HEADER = [
    "set", "start", "round", "on", "picks", "P", "R", "F1", "F1 low", "F1 high", f"P at R {RECALL:g}", "low", "high",
    "AP", "gain of F1", "low", "high", f"gain of P at R {RECALL:g}", "low", "high", "good classes", "good particles",
]  # fmt: skip
DIGITS = (0, 0, 0, 0, 0, *[3] * 15, 0, 0)
STARTS = {"drpnet": "DRPnet, shipped", "deepem": "DeepEM, 100 picks"}
PLACES = {"seen": "micrographs of the loop", "unseen": "micrographs it never saw"}


@dataclass(frozen=True)
class Found:
    """All candidates of a model on a project.

    Attributes
    ----------
    score, hit, micrograph : ndarray, shape (n,)
        Best first; whether it is a particle; index of its micrograph.
    particles : ndarray, shape (m,)
        True ones of every micrograph.
    threshold : float
        The model's own.
    """

    score: Numbers
    hit: NDArray[np.bool_]
    micrograph: NDArray[np.int64]
    particles: NDArray[np.int64]
    threshold: float

    def measures(self, weight: NDArray[np.int64]) -> tuple[float, float]:
        """F1 of the picks, and precision at the recall compared, with every micrograph counted `weight` times."""
        own = weight[self.micrograph]
        right, every = np.cumsum(own * self.hit), np.cumsum(own)
        total = int((weight * self.particles).sum())
        picked = int((self.score >= self.threshold).sum())
        f1 = 2 * right[picked - 1] / (every[picked - 1] + total) if picked else 0.0
        reached = int(np.searchsorted(right, RECALL * total))
        return float(f1), float(right[reached] / every[reached]) if reached < len(right) else 0.0

    @property
    def curve(self) -> Curve:
        """Precision and recall of all candidates."""
        return precision_recall(self.score, self.hit, int(self.particles.sum()))

    @property
    def picked(self) -> tuple[int, float, float]:
        """Picks at the threshold, their precision and recall."""
        picked = int((self.score >= self.threshold).sum())
        right = int(self.hit[:picked].sum())
        return picked, right / max(1, picked), right / int(self.particles.sum())


def draws(micrographs: int) -> NDArray[np.int64]:
    """How often each micrograph is drawn, shape (DRAWS, micrographs); the same for all models on a project."""
    rng = np.random.default_rng(5)
    return rng.multinomial(micrographs, np.full(micrographs, 1 / micrographs), DRAWS)


def interval(values: Numbers) -> tuple[float, float]:
    """Where the middle 95 % of the draws lie."""
    low, high = np.quantile(values, (0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2))
    return float(low), float(high)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, run the loops, score, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "build/feedback_loop", metavar="DIR")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated data sets (default: %(default)s)")
    parser.add_argument("--mode", default=",".join(STARTS), help="comma-separated (default: %(default)s)")
    parser.add_argument("--picker", default="", metavar="PROGRAM", help="the relion_ext_picker to run")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs/images", metavar="DIR")
    parser.add_argument("--reuse", action="store_true", help="score the loops that are there")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    program = str(our_program(options.picker))
    rows: list[list[Value]] = []
    found: dict[str, list[dict[str, Found]]] = {}
    for name in options.sets.split(","):
        data, work = SETS[name], options.work.absolute() / name
        work.mkdir(parents=True, exist_ok=True)
        simulated(work / "unseen", program, data, data.unseen)
        for mode in options.mode.split(","):
            folder = work / mode
            if not (options.reuse and (folder / "loop.done").is_file()):
                run_loop(folder, program, data, mode)
            scored = score_loop(folder, work / "unseen", data, mode)
            rows += table(scored, folder, data, mode)
            found[f"{data.name}: {STARTS[mode]}"] = scored
            print(markdown(HEADER, rows, DIGITS), flush=True)
        options.pictures.mkdir(parents=True, exist_ok=True)
        draw_classes(options.pictures / f"feedback_classes_{name}.png", work / options.mode.split(",")[0])
    draw(options.pictures / "feedback_loop.png", found)
    return 0


def simulated(folder: Path, program: str, data: DataSet, which: tuple[int, int]) -> None:
    """A simulated project of so many micrographs and a seed, unless it is there."""
    if not (folder / "micrographs_ctf.star").is_file():
        more = ["--micrographs", str(which[0]), "--seed", str(which[1])]
        command = [program, "simulate", "--o", folder, *shlex.split(data.simulate), *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def run_loop(folder: Path, program: str, data: DataSet, mode: str) -> None:
    """Simulate the project and run the loop in it."""
    if not shutil.which("relion_pipeliner"):
        raise SystemExit("RELION was not found: on Debian and Ubuntu, apt-get install relion")
    shutil.rmtree(folder, ignore_errors=True)
    simulated(folder, program, data, data.loop)
    (folder / "default_pipeline.star").unlink()  # the script makes one
    settings = {**os.environ, **COMMON, **data.classify, "MODE": mode, "PICKER": program}
    settings["DIAMETER"] = f"{data.diameter:g}"
    if mode == "deepem":
        hand_picks(folder)
        # One training instead of six: what cross-validation adds, held-out figures, is not looked at here.
        settings |= {"HANDPICKS": "hand_picks.csv", "TRAIN": "folds 1"}
    with (folder / "loop.log").open("w") as log:
        script = ROOT / "templates/relion/feedback_loop.sh"
        subprocess.run(["sh", script], cwd=folder, env=settings, check=True, stdout=log, stderr=log)
    (folder / "loop.done").touch()


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


def score_loop(folder: Path, unseen: Path, data: DataSet, mode: str) -> list[dict[str, Found]]:
    """Candidates of the model of every round, on the micrographs of the loop and on those it never saw."""
    rounds = []
    for job in sorted(path.parent for path in folder.glob("External/*/finished.jsonl")):
        settings = json.loads((job / "settings.json").read_text())
        model = str(folder / settings["model"]) if settings["model"] else ""
        picker = load_picker(mode, "default", model, torch.device("cpu"))
        rounds.append({"seen": found_by(picker, folder, data), "unseen": found_by(picker, unseen, data)})
    return rounds


def table(rounds: list[dict[str, Found]], folder: Path, data: DataSet, mode: str) -> list[list[Value]]:
    """Rows of a loop: measures of every round with their intervals, and what it gained on the round before."""
    tables = [path for path in folder.glob("External/*/rounds.star") if "feedback_rounds" in path.read_text()]
    told = max(map(read_feedback_rounds, tables), key=len)
    rows = []
    for where in PLACES:
        before: tuple[tuple[float, float], Numbers] | None = None
        for number, scored in enumerate(rounds):
            found = scored[where]
            mean = found.measures(np.ones(len(found.particles), np.int64))
            drawn = np.array([found.measures(weight) for weight in draws(len(found.particles))])
            gains: list[Value] = [None] * 6
            if before is not None:
                gains = [
                    value
                    for k in (0, 1)
                    for value in (mean[k] - before[0][k], *interval(drawn[:, k] - before[1][:, k]))
                ]
            classes = told[number] if where == "seen" and number < len(told) else None  # the last is not classified
            rows.append([
                data.name, STARTS[mode], number + 1, where, *found.picked, mean[0], *interval(drawn[:, 0]), mean[1],
                *interval(drawn[:, 1]), found.curve.average_precision, *gains,
                f"{classes.good_classes}/{classes.classes}" if classes else None,
                classes.good_particles if classes else None,
            ])  # fmt: skip
            before = mean, drawn
    return rows


def found_by(picker: Picker, folder: Path, data: DataSet) -> Found:
    """All candidates of a picker on a project."""
    micrographs, truth = known(folder)
    scores, hits, index, count = [], [], [], []
    for number, micrograph in enumerate(micrographs):
        image = read_micrograph(folder / micrograph.name)
        xy, score = pick_micrograph(picker, image, micrograph.pixel_size, Request(data.diameter, threshold=0.0))
        places = truth.get(micrograph.name, np.zeros((0, 2), np.float32))
        scores.append(np.asarray(score, np.float64))
        hits.append(match(places, xy, score, data.radius)[0])
        index.append(np.full(len(score), number, np.int64))
        count.append(len(places))
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    hit, micrograph = np.concatenate(hits)[order], np.concatenate(index)[order]
    return Found(score[order], hit, micrograph, np.array(count, np.int64), picker.card.threshold)


def draw(path: Path, loops: dict[str, list[dict[str, Found]]]) -> None:
    """Precision against recall of all rounds, one row per loop, one panel per set of micrographs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(loops), 2, figsize=(8.6, 3.4 * len(loops)), squeeze=False, sharex=True)
    colours = ["#66727f", "#e69f00", "#0072b2"]
    for row, (title, rounds) in enumerate(loops.items()):
        for column, where in enumerate(PLACES):
            axes = panels[row, column]
            for index, scored in enumerate(rounds):
                found, colour = scored[where], colours[index % len(colours)]
                axes.plot(found.curve.recall, found.curve.precision, color=colour, lw=1.6, label=f"round {index + 1}")
                axes.plot(found.picked[2], found.picked[1], "o", color=colour, ms=6)
            axes.axvline(RECALL, color="#d5dae0", lw=1, zorder=0)
            axes.set(xlim=(0.5, 1.005), ylim=(0.5, 1.01), ylabel="precision")
            axes.set_title(f"{title}\n{PLACES[where]}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, loc="lower left")
    for axes in panels[-1]:
        axes.set_xlabel("recall")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


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
