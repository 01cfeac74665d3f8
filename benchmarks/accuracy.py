"""How good picks are, on simulated micrographs of structures that no model has seen and on real ones, beside others.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --sets development --pickers drpnet --model trained/model.safetensors

Every picker is run by its command, and all are scored alike. Ours have one setting: the shipped model, its own
threshold, the diameter. Of Topaz (both pretrained models) and RELION's Laplacian of Gaussian the best of several
settings is taken on every set, with the truth at hand, which flatters them. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy_calibration import draw, groups_of, table
from accuracy_scores import Outcome, best_of, draws, interval, outcome_of, resampled
from accuracy_sets import RATIOS, REAL, Known, names_of, real, recipe_of, selected, simulated
from contestants import OURS, RIVALS, Bench, found_by
from numpy.typing import NDArray
from programs import add_options, our_program, shared_data, topaz_python
from tables import Value, markdown
from taught import TAUGHT, taught

PICKERS = ("drpnet", "deepem", "deepcryopicker", *RIVALS)
HEADER = [
    "picker",
    "threshold",
    "P",
    "R",
    "F1",
    "F1 auto",
    "best F1",
    "AP",
    "AP nearer",
    "centring, px",
    "on dirt, %",
    "CPU s each",
]
DIGITS = (0, 2, 3, 3, 3, 3, 3, 3, 3, 1, 1, 2)
Outcomes = dict[tuple[str, str], Outcome]  # by set and picker


def main(argv: Sequence[str] | None = None) -> int:
    """Pick, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, "accuracy")
    parser.add_argument("--sets", default=",".join(("simulated", *REAL)), metavar="LIST", help="simulated, "
                        f"development, {', '.join(REAL)}, or single sets (default: %(default)s)")  # fmt: skip
    parser.add_argument("--pickers", default=",".join(PICKERS), metavar="LIST",
                        help=f"of {', '.join((*OURS, *RIVALS))} (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--model", type=Path, default=None, metavar="FILE", help="instead of the shipped one of its mode"
    )
    parser.add_argument("--keep", default=",".join(RIVALS), metavar="LIST", help="pickers that are not run again where "
                        "--work has what they found (default: %(default)s)")  # fmt: skip
    parser.add_argument("--only", default="held-out", metavar="WHICH", help="real micrographs: held-out, development, "
                        "all, a file with a name per line, or names with commas (default: held-out)")  # fmt: skip
    parser.add_argument("--models", type=Path, default=None, metavar="DIR", help="structures to simulate (default: "
                        "data/models in $REP_SHARED or in ../shared)")  # fmt: skip
    parser.add_argument("--calibration", type=Path, default=None, metavar="PNG", help="draw how scores and shares of "
                        "particles agree")  # fmt: skip
    options = parser.parse_args(argv)
    pickers, keep = listed(options.pickers, "--pickers"), listed(options.keep, "--keep")
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    topaz = topaz_python(options.topaz_venv) if "topaz" in pickers else Path()
    model = options.model.absolute() if options.model else None
    bench = Bench(our_program(options.picker), topaz, work, options.threads, model)
    outcomes: Outcomes = {}
    names = names_of(options.sets)
    for name in names:
        known = set_of(name, options, bench)
        for picker in pickers:
            if picker == TAUGHT and name in REAL:
                continue
            own = replace(bench, model=taught_model(name, options, bench)) if picker == TAUGHT else bench
            tried = [outcome_of(each, known) for each in found_by(picker, known, own, picker in keep)]
            for label, alike in grouped(picker, tried).items():
                outcomes[name, label] = best_of(alike)
                print(
                    f"{name} {label}: AP {outcomes[name, label].ap:.3f} {outcomes[name, label].settings}",
                    file=sys.stderr,
                )
        count = sum(len(xy) for xy in known.particles.values())
        print(f"{name}: {len(known.field.files)} micrographs, {count} particles", file=sys.stderr, flush=True)
    for ratio in RATIOS:
        sets = [name for name in names if name.endswith(f"-{ratio}")]
        if sets:
            print(f"### Simulated, signal-to-noise ratio {ratio}\n\n{simulated_tables(sets, outcomes)}", flush=True)
    for name in names:
        if name in REAL:
            rows = [row_of(label, [each]) for (other, label), each in outcomes.items() if other == name]
            print(f"### {name}\n\n{markdown(HEADER, rows, DIGITS)}", flush=True)
    by_ratio = {f"SNR {ratio}": [name for name in names if name.endswith(f"-{ratio}")] for ratio in RATIOS}
    groups = groups_of(outcomes, {**by_ratio, **{name: [name] for name in names if name in REAL}})
    if groups:
        print(f"### Scores as probabilities\n\n{table(groups)}", flush=True)
    if options.calibration:
        draw(groups, options.calibration)
    return 0


def listed(text: str, flag: str) -> list[str]:
    """Names of pickers, separated by commas; SystemExit where one is unknown."""
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in (*OURS, *RIVALS):
            raise SystemExit(f"{flag} {name}: must be of {', '.join((*OURS, *RIVALS))}")
    return names


def set_of(name: str, options: argparse.Namespace, bench: Bench) -> Known:
    """A set by its name."""
    if name in REAL:
        data = shared_data(options.data)
        only = selected(options.only, sorted(path.stem for path in (data / "truth").glob("*.star")))
        return real(name, data, only, bench.work)

    def simulate(project: Path, words: Sequence[str]) -> None:
        project.parent.mkdir(parents=True, exist_ok=True)
        bench.run([bench.program, "simulate", "--o", project, *words, "--j", str(bench.threads)], bench.work)

    return simulated(name, structures(options), bench.work / "sets", simulate)


def structures(options: argparse.Namespace) -> Path:
    """The folder of the structures that are simulated."""
    return Path(options.models or shared_data("").parent / "models")


def taught_model(name: str, options: argparse.Namespace, bench: Bench) -> Path:
    """The model that has learnt from the very structure of a simulated set, made where it is not there yet."""
    recipe, _ = recipe_of(name)
    return taught(structures(options) / recipe.file, bench.model, bench.work / "taught" / f"{recipe.name}.safetensors")


def grouped(picker: str, tried: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The settings of a picker among which the best is taken, by the name of the line in the tables."""
    if picker in OURS:
        return {picker: list(tried)}
    if picker == "log":
        return {"RELION LoG": list(tried)}
    names = list(dict.fromkeys(each.settings.partition(",")[0] for each in tried))
    return {f"Topaz {name}": [each for each in tried if each.settings.startswith(f"{name},")] for name in names}


def row_of(label: str, outcomes: Sequence[Outcome], spread: tuple[float, float] | None = None) -> list[Value]:
    """One line of a table: means over sets, but for the share on dirt, which is of all picks together."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    picks, curves = [each.picks for each in outcomes], [each.curve for each in outcomes]
    settings = {each.settings for each in outcomes} if len(outcomes) == 1 else set()
    written = sum(each.written for each in outcomes if each.soiled)
    soiled = 100 * sum(sum(each.soiled.values()) for each in outcomes) / written if written else None
    thresholds = {each.threshold for each in outcomes}
    ap = mean([each.ap for each in outcomes])
    return [
        " ".join([label, *sorted(f"({text})" for text in settings if text)]),
        thresholds.pop() if len(thresholds) == 1 else None,
        *(mean([getattr(each, name) for each in picks]) for name in ("precision", "recall", "f1")),
        mean([each.auto.f1 if each.auto else None for each in outcomes]),
        mean([each.best_f1 for each in curves]),
        f"{ap:.3f} [{spread[0]:.3f}, {spread[1]:.3f}]" if spread and ap is not None else ap,
        mean([each.nearer for each in outcomes]), mean([each.centring for each in curves]), soiled,
        mean([each.cpu for each in outcomes]),
    ]  # fmt: skip


def simulated_tables(sets: Sequence[str], outcomes: Outcomes) -> str:
    """Means over the structures, average precision by structure, and differences between us and the others."""
    labels = list(dict.fromkeys(label for name, label in outcomes if name in sets))
    drawn = draws(sets, outcomes)
    mean_ap = {
        label: np.mean([resampled(outcomes[name, label].each, drawn[name]) for name in sets], axis=0)
        for label in labels
    }
    rows = [row_of(label, [outcomes[name, label] for name in sets], interval(mean_ap[label])) for label in labels]
    structures = [name.partition("-")[0] for name in sets]
    by_ap: list[list[Value]] = [[label, *(outcomes[name, label].ap for name in sets)] for label in labels]
    by_f1: list[list[Value]] = [[label, *(outcomes[name, label].picks.f1 for name in sets)] for label in labels]
    text = f"{markdown(HEADER, rows, DIGITS)}\nAP by structure:\n\n"
    text += markdown(["picker", *structures], by_ap, (0, *[3] * len(sets)))
    for label in labels:
        text += _settings(label, sets, outcomes)
    text += "\nF1 at the default threshold:\n\n" + markdown(["picker", *structures], by_f1, (0, *[3] * len(sets)))
    return f"{text}\n{differences(sets, outcomes, mean_ap)}"


def _settings(label: str, sets: Sequence[str], outcomes: Outcomes) -> str:
    """The settings that were best, in the order of the structures; of ours, which sets it refuses."""
    if label in OURS:
        refused = [name.partition("-")[0] for name in sets if outcomes[name, label].settings]
        return f"\n{label} finds too little to learn from and says so: {', '.join(refused)}.\n" if refused else ""
    best = filter(None, (outcomes[name, label].settings.rpartition(", ")[2] for name in sets))
    return f"\nBest settings of {label}: {'; '.join(best)}.\n"


def differences(sets: Sequence[str], outcomes: Outcomes, mean_ap: Mapping[str, NDArray[np.float64]]) -> str:
    """AP of ours minus that of the others: in the mean with its interval, and where it is smallest."""
    rivals = {
        "the better Topaz": [label for label in mean_ap if label.startswith("Topaz")],
        "RELION LoG": [label for label in mean_ap if label == "RELION LoG"],
    }
    rivals = {name: found for name, found in rivals.items() if found}
    if len(rivals) > 1:
        rivals["the best of them"] = [label for found in list(rivals.values()) for label in found]
    if TAUGHT in mean_ap:
        rivals["a model taught the structure"] = [TAUGHT]
    rows: list[list[Value]] = []
    for own in [label for label in mean_ap if label in OURS and label != TAUGHT]:
        for name, found in rivals.items():
            better = max(found, key=lambda label: np.mean([outcomes[each, label].ap for each in sets]))
            gain = np.mean([outcomes[each, own].ap - outcomes[each, better].ap for each in sets])
            low, high = interval(mean_ap[own] - mean_ap[better])
            least = {each: outcomes[each, own].ap - max(outcomes[each, label].ap for label in found) for each in sets}
            worst = min(least, key=lambda each: least[each])
            rows.append([
                own, name, f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]", f"{least[worst]:+.3f}", worst.partition("-")[0],
            ])  # fmt: skip
    header = ["AP of", "minus that of", "in the mean", "least", "on"]
    return markdown(header, rows) if rows else ""


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
