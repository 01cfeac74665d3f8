"""How good the default DeepEM is after training on real micrographs, and how many particles that takes.

    python benchmarks/deepem_accuracy.py

Ten micrographs of apoferritin with hand-placed centres (EMPIAR-10146), whole exposures and single frames. Four of the
first five (by name) are trained on, the fifth chooses the threshold, and the other five are scored. With --develop the
first five alone are used, each in turn scored by a network that was trained on the other four. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from programs import shared_data
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import Curve, Scores, precision_recall, score_picks
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.io.weights import load_model
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.pickers.deepem.default import DefaultDeepEM, untrained
from relion_ext_picker.training.deepem_default import train_default
from relion_ext_picker.training.loop import Schedule
from relion_ext_picker.training.patches import Labelled

SETS = ("Micrographs", "SingleFrames")
PIXEL_SIZE, DIAMETER = 1.5, 120.0  # Å/px, Å
RADII = (32.0, 16.0)  # px of the micrograph
FOR_TRAINING = 5
HEADER = ["set", "particles", "threshold", "P 32 px", "R", "F1", "best F1", "AP", "best F1 16 px", "AP", "training s"]
DIGITS = (0, 0, 3, 3, 3, 3, 3, 3, 3, 3, 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the apoferritin set")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated")
    parser.add_argument("--particles", default="100,400,0", help="numbers to train with; 0 is all")
    parser.add_argument("--model", type=Path, help="go on from this model instead of random weights")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=0.0, help="0 is 0.003, or 0.001 with --model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--develop", action="store_true", help="leave the scored five alone")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    data = shared_data(options.data)
    names = sorted(path.stem for path in (data / "truth").glob("*.star"))
    rows: list[list[Value]] = []
    for which in options.sets.split(","):
        for count in (int(word) for word in options.particles.split(",")):
            for training, chooser, scored in _splits(names, options.develop):
                start = _start(options)
                known = _some(_read(start, data, which, training), count)
                began = time.perf_counter()
                picker = _trained(start, known, options)
                seconds = time.perf_counter() - began
                threshold = _threshold(picker, _read(start, data, which, [chooser]))
                total = sum(len(item.xy) for item in known)
                found = _row(picker, _read(start, data, which, scored), threshold)
                rows.append([which, total, threshold, *found, seconds])
                print(markdown(HEADER, rows[-1:], DIGITS).splitlines()[-1], file=sys.stderr, flush=True)
    print(markdown(HEADER, rows, DIGITS))
    return 0


def _splits(names: Sequence[str], develop: bool) -> Iterator[tuple[list[str], str, list[str]]]:
    """Micrographs to train on, one to choose the threshold with, and those to score."""
    first, rest = list(names[:FOR_TRAINING]), list(names[FOR_TRAINING:])
    if not develop:
        yield first[:-1], first[-1], rest
        return
    for index, name in enumerate(first):
        chooser = first[index - 1]
        yield [other for other in first if other not in (name, chooser)], chooser, [name]


def _start(options: argparse.Namespace) -> DefaultDeepEM:
    torch.manual_seed(0)
    device = torch.device("cpu")
    if options.model is None:
        return untrained(device)
    return DefaultDeepEM(*load_model(options.model, "deepem"), device)


def _read(picker: DefaultDeepEM, data: Path, which: str, names: Sequence[str]) -> list[Labelled]:
    found = []
    for name in names:
        frame = picker.prepare(read_micrograph(data / which / f"{name}.mrc"), PIXEL_SIZE, DIAMETER)
        found.append(Labelled(name, frame, read_coordinates(data / "truth" / f"{name}.star").xy))
    return found


def _some(labelled: Sequence[Labelled], count: int) -> list[Labelled]:
    """`count` particles of all micrographs drawn at random; the others are there, but nobody has marked them."""
    bounds = np.cumsum([0, *(len(item.xy) for item in labelled)])
    chosen = np.sort(np.random.default_rng(1).permutation(bounds[-1])[: count or None])
    parts = [chosen[(chosen >= low) & (chosen < high)] - low for low, high in zip(bounds, bounds[1:], strict=False)]
    return [replace(item, xy=item.xy[part]) for item, part in zip(labelled, parts, strict=True)]


def _trained(picker: DefaultDeepEM, known: Sequence[Labelled], options: argparse.Namespace) -> DefaultDeepEM:
    rate = options.learning_rate or (1e-3 if options.model else 3e-3)
    schedule = Schedule(options.steps, rate, average=0.99, report=options.steps)
    return train_default(picker, known, schedule, lambda line, network: None)


def _picks(picker: DefaultDeepEM, item: Labelled) -> tuple[np.ndarray, np.ndarray]:
    grid, sides = item.frame.grid, item.frame.values.shape
    shape = round(grid.scale[0] * sides[0]), round(grid.scale[1] * sides[1])
    return pick_prepared(picker, item.frame, shape, PIXEL_SIZE, Request(DIAMETER, 0.0))


def _threshold(picker: DefaultDeepEM, items: Sequence[Labelled]) -> float:
    """The threshold of the highest F2, as the command chooses it."""
    scores, hits = [], []
    for item in items:
        xy, score = _picks(picker, item)
        scores.append(score)
        hits.append(match(item.xy, xy, score, RADII[0])[0])
    curve: Curve = precision_recall(np.concatenate(scores), np.concatenate(hits), sum(len(item.xy) for item in items))
    return float(curve.threshold[int(np.argmax(curve.f_beta(2)))])


def _row(picker: DefaultDeepEM, items: Sequence[Labelled], threshold: float) -> list[Value]:
    truth = {item.name: item.xy for item in items}
    picks = {item.name: _picks(picker, item) for item in items}
    kept = {name: (xy[score >= threshold], score[score >= threshold]) for name, (xy, score) in picks.items()}
    at: Scores = score_picks(truth, kept, RADII[0])
    far, near = (score_picks(truth, picks, radius) for radius in RADII)
    return [at.precision, at.recall, at.f1, far.best_f1, far.ap, near.best_f1, near.ap]


if __name__ == "__main__":
    sys.exit(main())
