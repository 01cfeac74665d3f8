"""Time and memory of picking, beside Topaz with its faster model, on the same micrographs.

    python benchmarks/speed.py

Every command is measured whole, start-up included, with one micrograph and with several; the programs take turns, and
the medians are printed as Markdown. benchmarks/README.md says how Topaz is installed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measure import Cost, middle, run
from programs import (
    Field,
    Topaz,
    add_options,
    linked,
    our_pick,
    our_program,
    shared_data,
    thread_limits,
    topaz_python,
)
from tables import markdown

MODEL = "resnet8"
SUPPRESSION = 0.7  # Topaz's radius in particle diameters: where its average precision on apoferritin is best


@dataclass(frozen=True)
class Case:
    """Micrographs to time.

    Attributes
    ----------
    name : str
    size : (int, int)
        Columns and rows.
    count : int
        Micrographs in the command with several; where there are fewer real ones, they are taken again.
    diameter_px : int
    topaz_scale : int
        Reduces the particle to the 20 to 25 px that Topaz's models expect; 0 leaves Topaz out.
    real : bool
        Take the real micrographs where they are there.
    """

    name: str
    size: tuple[int, int]
    count: int
    diameter_px: int
    topaz_scale: int
    real: bool = False


CASES = {
    case.name: case
    for case in (
        Case("1240", (1240, 1200), 10, 80, 4, real=True),
        Case("1240-job", (1240, 1200), 100, 80, 4, real=True),
        Case("4096-200", (4096, 4096), 3, 200, 8),
        Case("4096-100", (4096, 4096), 3, 100, 4),
        Case("8192-200", (8192, 8192), 1, 200, 0),
        Case("8192-100", (8192, 8192), 1, 100, 0),
    )
}
OURS = "relion_ext_picker"
VARIANTS: dict[str, tuple[str, ...]] = {
    OURS: (),
    f"{OURS} --no-report": ("--no-report",),
    f"{OURS} --no-report --views 1": ("--no-report", "--views", "1"),
}


@dataclass(frozen=True)
class Bench:
    """What all measurements share."""

    program: Path
    topaz: Path | None
    threads: int
    runs: int
    work: Path
    data: Path

    def run(self, command: Sequence[str | Path], folder: Path) -> Cost:
        """Measure one command."""
        return run(command, folder, self.work / "commands.log", thread_limits(self.threads))


Contestant = Callable[[Field, Path], Cost]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, "speed")
    parser.add_argument("--cases", default=",".join(CASES), metavar="LIST", help="of %(default)s")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each command (default: 3)")
    parser.add_argument("--no-topaz", action="store_true", help="measure ours alone")
    options = parser.parse_args(argv)
    names = [name.strip() for name in options.cases.split(",")]
    for name in names:
        if name not in CASES:
            parser.error(f"--cases {name}: must be of {', '.join(CASES)}")
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        our_program(options.picker), None if options.no_topaz else topaz_python(options.topaz_venv), options.threads,
        max(1, options.runs), work, shared_data(options.data),
    )  # fmt: skip
    print(f"{options.threads} threads, no GPU, medians of {bench.runs} runs, the programs in turns\n")
    for name in names:
        print(report(CASES[name], bench), flush=True)
    return 0


def report(case: Case, bench: Bench) -> str:
    """Measure a case: its heading, table and ratios."""
    several, kind = micrographs(case, bench)
    one = first_of(several, bench.work / f"{case.name}-one")
    contestants = contestants_of(case, bench)
    count = len(several.files)
    runs = [in_turns(contestants, field, bench) for field in ([one, several] if count > 1 else [one])]
    single, whole = ({name: middle(costs) for name, costs in each.items()} for each in (runs[0], runs[-1]))
    rows = [cost_row(name, count, single[name], whole[name]) for name in contestants]
    lines = [f"### {case.size[0]} x {case.size[1]}, particle {case.diameter_px} px ({kind}), up to {count}", ""]
    header = ["program", "1 micrograph: CPU s", "wall s", "peak MB"]
    if count > 1:
        header += [f"{count} micrographs: CPU s", "wall s", "peak MB", "CPU s each", "CPU s one more"]
    lines += [markdown(header, rows, (0, 2, 2, 0, 2, 2, 0, 2, 2))]
    return "\n".join([*lines, *ratios(count, single, whole), spread(runs), ""])


def spread(runs: Sequence[dict[str, list[Cost]]]) -> str:
    """How far the runs of a command lie apart, at most: what the figures are worth."""
    every = [[cost.cpu for cost in costs] for each in runs for costs in each.values()]
    most = max((max(values) - min(values)) / median(values) for values in every)
    return f"* CPU-seconds of the runs of one command differ by up to {100 * most:.0f} %"


def cost_row(name: str, count: int, single: Cost, whole: Cost) -> list[str | float]:
    """A row of the table; `CPU s one more` is what another micrograph adds to a command."""
    row: list[str | float] = [name, single.cpu, single.wall, single.peak]
    if count > 1:
        row += [whole.cpu, whole.wall, whole.peak, whole.cpu / count, (whole.cpu - single.cpu) / (count - 1)]
    return row


def ratios(count: int, single: dict[str, Cost], whole: dict[str, Cost]) -> list[str]:
    """How many times more processor time Topaz takes."""
    topaz = [name for name in single if name.startswith("Topaz")]
    lines = []
    for name in single:
        if topaz and name != topaz[0]:
            one = single[topaz[0]].cpu / single[name].cpu
            text = f"CPU-seconds of Topaz / {name}: {one:.1f} with 1 micrograph"
            if count > 1:
                more = (whole[topaz[0]].cpu - single[topaz[0]].cpu) / (whole[name].cpu - single[name].cpu)
                all_of = whole[topaz[0]].cpu / whole[name].cpu
                text += f", {all_of:.1f} with {count}, {more:.1f} for each further one"
            lines.append(f"* {text}")
    return lines


def contestants_of(case: Case, bench: Bench) -> dict[str, Contestant]:
    """The programs by name."""
    found: dict[str, Contestant] = {}

    def ours(extra: tuple[str, ...]) -> Contestant:
        return lambda field, out: bench.run(
            our_pick(bench.program, field, out / "job", bench.threads, extra), field.folder.parent
        )

    for name, extra in VARIANTS.items():
        found[name] = ours(extra)
    if bench.topaz is not None and case.topaz_scale:
        side = case.diameter_px / case.topaz_scale
        topaz = Topaz(bench.topaz, MODEL, case.topaz_scale, round(SUPPRESSION * side))

        def both(field: Field, out: Path) -> Cost:
            cost = bench.run(topaz.preprocess(field, out / "prepared", bench.threads), out)
            return cost + bench.run(topaz.extract(out / "prepared", out / "picks.txt", bench.threads), out)

        found[f"Topaz {MODEL}, -s {topaz.scale} -r {topaz.radius}"] = both
    return found


def in_turns(contestants: dict[str, Contestant], field: Field, bench: Bench) -> dict[str, list[Cost]]:
    """Costs of each, measured A B C A B C ..."""
    costs: dict[str, list[Cost]] = {name: [] for name in contestants}
    for turn in range(bench.runs):
        for name, measure in contestants.items():
            out = bench.work / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            costs[name].append(measure(field, out))
            cost = costs[name][-1]
            print(f"{field.folder.parent.name} run {turn + 1} {name}: {cost.cpu:.2f} CPU s, {cost.wall:.2f} s, "
                  f"{cost.peak:.0f} MB", file=sys.stderr, flush=True)  # fmt: skip
    shutil.rmtree(bench.work / "out", ignore_errors=True)
    return costs


def micrographs(case: Case, bench: Bench) -> tuple[Field, str]:
    """Micrographs of a case, simulated where they are not real; simulated ones are kept for the next time."""
    folder = bench.work / case.name
    if case.real and (real := sorted((bench.data / "Micrographs").glob("*.mrc"))[: case.count]):
        return linked(real, folder, 1.5, 1.5 * case.diameter_px, case.count), "apoferritin, real"
    field = Field(folder / "Micrographs", 1.0, float(case.diameter_px))
    if len(field.files) != case.count:
        shutil.rmtree(folder, ignore_errors=True)
        particles = int(0.15 * case.size[0] * case.size[1] / case.diameter_px**2)
        bench.run(
            [
                bench.program, "simulate", "--o", folder, "--structure", "irregular", "--size",
                f"{case.size[0]}x{case.size[1]}", "--pixel-size", "1", "--diameter", str(case.diameter_px),
                "--particles", str(particles), "--micrographs", str(case.count), "--seed", "0",
            ],
            bench.work,
        )  # fmt: skip
    return field, "simulated"


def first_of(field: Field, folder: Path) -> Field:
    """The first micrograph alone."""
    return linked(field.files[:1], folder, field.pixel_size, field.diameter)


if __name__ == "__main__":
    sys.exit(main())
