"""How good the picks of real micrographs are, beside Topaz and RELION's Laplacian of Gaussian.

    python benchmarks/accuracy.py

Ten micrographs of apoferritin with hand-placed centres (EMPIAR-10146), whole exposures and single frames. Only those
that no model and no threshold has seen count: they are the default. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import Cost, run
from programs import Field, Topaz, add_options, linked, our_pick, our_program, shared_data, thread_limits, topaz_python
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import Scores, score_picks
from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.io.weights import builtin_model, load_model
from relion_ext_picker.pickers.registry import builtin_name
from relion_ext_picker.types import Array

HELD_OUT = (
    "May08_04.32.27", "May08_04.33.57", "May08_04.36.57", "May08_05.24.39", "May08_05.31.00", "May08_07.10.35",
)  # fmt: skip
DEVELOPMENT = ("May08_03.05.02", "May08_03.13.02", "May08_03.15.02", "May08_03.43.44")
SETS = ("Micrographs", "SingleFrames")
PIXEL_SIZE, DIAMETER = 1.5, 120.0  # Å/px, Å
RADII = (32.0, 16.0)  # px of the micrograph
EVEN_ODDS = 0.0  # Topaz's log-likelihood ratio from which a pick is more likely a particle than not
TOPAZ_SCALE = 4
TOPAZ_RADII = (14, 18)  # 0.7 and 0.9 diameters: the best for average precision and for F1
LOG_DIAMETERS = (0.75, 1.0)  # of the particle's
LOG_ALL, LOG_DEFAULT = -1.0, 0.0  # RELION's adjustment of the threshold: lower gives more picks

Picks = Mapping[str, tuple[Array, Array | None]]


@dataclass(frozen=True)
class Outcome:
    """What a picker found.

    Attributes
    ----------
    candidates : mapping
        Coordinates and scores by micrograph, down to low scores, for the curves.
    picks : mapping
        Those of its default threshold.
    threshold : float
    cost : Cost
        Of the commands that gave the candidates.
    """

    candidates: Picks
    picks: Picks
    threshold: float
    cost: Cost


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    work: Path
    threads: int

    def run(self, command: Sequence[str | Path], folder: Path) -> Cost:
        """Run one command."""
        return run(command, folder, self.work / "commands.log", thread_limits(self.threads))


Contestant = Callable[[Field, Path], Outcome]


def main(argv: Sequence[str] | None = None) -> int:
    """Pick, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, "accuracy")
    parser.add_argument("--only", default="held-out", metavar="WHICH", help="held-out, development, all, a file with a "
                        "name per line, or names with commas (default: held-out)")  # fmt: skip
    parser.add_argument("--sets", default=",".join(SETS), metavar="LIST", help="of %(default)s")
    for name in ("topaz", "log", "paper"):
        parser.add_argument(f"--no-{name}", action="store_true", help=f"leave {name} out")
    options = parser.parse_args(argv)
    data = shared_data(options.data)
    names = selected(options.only, sorted(path.stem for path in (data / "truth").glob("*.star")))
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(work, options.threads)
    contestants = contestants_of(options, bench)
    truth = {name: read_coordinates(data / "truth" / f"{name}.star").xy for name in names}
    count = sum(len(xy) for xy in truth.values())
    print(f"{len(names)} micrographs, {count} particles: {', '.join(names)}\n")
    for each in options.sets.split(","):
        field = linked([data / each / f"{name}.mrc" for name in names], work / each, PIXEL_SIZE, DIAMETER)
        rows = [row for name, pick in contestants.items() for row in rows_of(name, pick, field, truth, work)]
        print(f"### {each}\n\n{table(rows)}", flush=True)
    return 0


def selected(which: str, known: Sequence[str]) -> list[str]:
    """Names of the micrographs meant by --only.

    Raises
    ------
    SystemExit
        There are none, or a name is unknown.
    """
    groups = {"held-out": HELD_OUT, "development": DEVELOPMENT, "all": tuple(known)}
    if which in groups:
        names = list(groups[which])
    elif Path(which).is_file():
        names = Path(which).read_text(encoding="utf-8").split()
    else:
        names = [name.strip() for name in which.split(",")]
    names = [Path(name).name.removesuffix(".mrc") for name in names]
    if not names or (missing := [name for name in names if name not in known]):
        raise SystemExit(f"--only {which}: no truth for {missing[0] if names else 'it'}: check --data and the names")
    return names


def table(rows: Sequence[Sequence[Value]]) -> str:
    """Rows of :func:`row_of` as Markdown."""
    near, far = f"{RADII[1]:g} px", f"{RADII[0]:g} px"
    header = [
        "picker",
        "threshold",
        f"P {far}",
        "R",
        "F1",
        "best F1",
        "AP",
        f"F1 {near}",
        "best F1",
        "AP",
        "CPU s each",
    ]
    return markdown(header, rows, (0, 2, 3, 3, 3, 3, 3, 3, 3, 3, 2))


def row_of(name: str, threshold: float, scores: Sequence[tuple[Scores, Scores]], seconds: float) -> list[Value]:
    """One line of the table.

    Parameters
    ----------
    name : str
    threshold : float
    scores : sequence of (Scores, Scores)
        For each of `RADII`: of the picks at the default threshold, and of all candidates.
    seconds : float
        Processor time per micrograph.
    """
    (picks, curve), (near_picks, near_curve) = scores
    return [
        name, threshold, picks.precision, picks.recall, picks.f1, curve.best_f1, curve.ap,
        near_picks.f1, near_curve.best_f1, near_curve.ap, seconds,
    ]  # fmt: skip


def rows_of(name: str, pick: Contestant, field: Field, truth: Mapping[str, Array], work: Path) -> Iterator[list[Value]]:
    """The line of a picker, or one that says that it failed."""
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        found = pick(field, out)
    except SystemExit as error:
        print(f"{name}: {error}", file=sys.stderr)
        yield [f"{name}: failed", *[None] * 10]
        return
    scores = [(score_picks(truth, found.picks, r), score_picks(truth, found.candidates, r)) for r in RADII]
    yield row_of(name, found.threshold, scores, found.cost.cpu / len(field.files))


def contestants_of(options: argparse.Namespace, bench: Bench) -> dict[str, Contestant]:
    """The pickers by name."""
    program = our_program(options.picker)
    found: dict[str, Contestant] = {}
    # The paper's second network is trained in the job.
    presets = [("default", ()), ("default", ("--no-verify",)), ("paper", ()), ("paper", ("--no-verify",))]
    for preset, extra in presets[: 2 if options.no_paper else None]:
        model = builtin_model(builtin_name("drpnet", preset))
        if not model.exists():
            print(f"no weights for --preset {preset}: left out", file=sys.stderr)
            continue
        name = " ".join(["relion_ext_picker", *(["--preset", preset] if preset != "default" else []), *extra])
        found[name] = ours(program, bench, model, ("--preset", preset, *extra))
    if not options.no_topaz:
        python = topaz_python(options.topaz_venv)
        for model_name in ("resnet16", "resnet8"):
            for radius in TOPAZ_RADII:
                topaz = Topaz(python, model_name, TOPAZ_SCALE, radius, threshold=-12)
                found[f"Topaz {model_name}, -s {TOPAZ_SCALE} -r {radius}"] = topaz_pick(topaz, bench)
    if not options.no_log:
        if shutil.which("relion_autopick"):
            low, high = (fraction * DIAMETER for fraction in LOG_DIAMETERS)
            found[f"RELION LoG, {low:g} to {high:g} Å"] = log_pick(bench)
        else:
            print("no relion_autopick: left out", file=sys.stderr)
    return found


def ours(program: Path, bench: Bench, model: Path, extra: Sequence[str]) -> Contestant:
    """Our picker; since better picks go first where two are too close, cutting its candidates gives its picks."""

    def pick(field: Field, out: Path) -> Outcome:
        options = ("--threshold", "0", "--no-report", *extra)
        cost = bench.run(our_pick(program, field, out / "job", bench.threads, options), field.folder.parent)
        found = star_picks(out / "job", field)
        retrained = out / "job" / "model.safetensors"
        threshold = load_model(retrained if retrained.exists() else model, "drpnet")[0].threshold
        return Outcome(found, cut(found, threshold), threshold, cost)

    return pick


def topaz_pick(topaz: Topaz, bench: Bench) -> Contestant:
    """Topaz. Its own default threshold, -6, lists candidates; even odds take that part here."""

    def pick(field: Field, out: Path) -> Outcome:
        cost = bench.run(topaz.preprocess(field, out / "prepared", bench.threads), out)
        cost += bench.run(topaz.extract(out / "prepared", out / "picks.txt", bench.threads), out)
        found = topaz_picks(out / "picks.txt", field)
        return Outcome(found, cut(found, EVEN_ODDS), EVEN_ODDS, cost)

    return pick


def log_pick(bench: Bench) -> Contestant:
    """RELION's Laplacian of Gaussian, with its default threshold and once more with a low one."""

    def pick(field: Field, out: Path) -> Outcome:
        found, costs = [], []
        for adjust in (LOG_ALL, LOG_DEFAULT):
            job = out / f"LoG{adjust:g}"
            job.mkdir()
            low, high = (fraction * field.diameter for fraction in LOG_DIAMETERS)
            command = [
                "relion_autopick", "--i", "Micrographs/*.mrc", "--odir", f"{job}/", "--pickname", "autopick",
                "--angpix", f"{field.pixel_size:g}", "--LoG", "--LoG_diam_min", f"{low:g}", "--LoG_diam_max",
                f"{high:g}", "--shrink", "0", "--lowpass", "20", "--LoG_adjust_threshold", f"{adjust:g}",
            ]  # fmt: skip
            costs.append(bench.run(command, field.folder.parent))
            found.append(star_picks(job, field))
        return Outcome(found[0], found[1], LOG_DEFAULT, costs[1])

    return pick


def star_picks(folder: Path, field: Field) -> Picks:
    """The coordinate files of a job; a micrograph without one has no picks."""
    found = {}
    for file in field.files:
        for path in sorted(folder.rglob(f"{file.stem}_autopick.star")):
            coordinates = read_coordinates(path)
            found[file.stem] = (coordinates.xy, coordinates.score)
    return found


def topaz_picks(path: Path, field: Field) -> Picks:
    """Topaz's table: image_name, x_coord, y_coord, score."""
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with path.open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            rows[row["image_name"]].append((float(row["x_coord"]), float(row["y_coord"]), float(row["score"])))
    arrays = {file.stem: np.array(rows[file.stem], np.float32).reshape(-1, 3) for file in field.files}
    return {name: (array[:, :2], array[:, 2]) for name, array in arrays.items()}


def cut(found: Picks, threshold: float) -> Picks:
    """The picks whose score reaches the threshold."""
    kept = {}
    for name, (xy, score) in found.items():
        assert score is not None
        kept[name] = (xy[score >= threshold], score[score >= threshold])
    return kept


if __name__ == "__main__":
    sys.exit(main())
