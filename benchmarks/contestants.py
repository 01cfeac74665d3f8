"""The pickers whose accuracy is compared, each at its own settings and at the best of those that are tried."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accuracy_sets import Known
from measure import Cost, run
from programs import Field, our_pick, thread_limits
from taught import TAUGHT

from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.io.weights import builtin_model, load_model
from relion_ext_picker.pickers.registry import builtin_name
from relion_ext_picker.types import Array

EVEN_ODDS = 0.0  # Topaz's log-likelihood ratio from which a pick is more likely a particle than not
TOPAZ_WIDTHS = (14, 20, 26)  # px of the particle in the reduced micrograph, nearly: one scale for each
TOPAZ_RADII = (0.5, 0.7, 0.9)  # diameters: its non-maximum suppression
LOG_SIZES = ((0.75, 1.0), (0.5, 1.0))  # diameters: smallest and largest that RELION looks for
LOG_ALL, LOG_DEFAULT = -1.0, 0.0  # RELION's adjustment of the threshold: lower gives more picks
OURS: Mapping[str, tuple[str, ...]] = {
    "drpnet": ("--mode", "drpnet"),
    "drpnet-one-stage": ("--mode", "drpnet", "--no-verify"),
    "drpnet-paper": ("--mode", "drpnet", "--preset", "paper"),
    "drpnet-paper-one-stage": ("--mode", "drpnet", "--preset", "paper", "--no-verify"),
    "deepem": ("--mode", "deepem"),
    "deepcryopicker": ("--mode", "deepcryopicker"),
    TAUGHT: ("--mode", "drpnet"),
}
RIVALS = ("topaz", "log")

Picks = Mapping[str, tuple[Array, Array]]


@dataclass(frozen=True)
class Found:
    """What a picker found with one of its settings.

    Attributes
    ----------
    settings : str
    candidates : mapping
        Coordinates and scores by micrograph, down to low scores, for the curves.
    picks : mapping
        Those of its default threshold.
    threshold : float
    cpu : float
        Processor time of the commands that gave the candidates, seconds.
    automatic : mapping or None
        What is written with `--threshold auto`; None for pickers without it.
    """

    settings: str
    candidates: Picks
    picks: Picks
    threshold: float
    cpu: float
    automatic: Picks | None = None


@dataclass(frozen=True)
class Bench:
    """What all measurements share: the programs, the place to work, and the number of threads."""

    program: Path
    topaz: Path
    work: Path
    threads: int
    model: Path | None = None

    def run(self, command: Sequence[str | Path], folder: Path) -> Cost:
        """Run one command."""
        return run(command, folder, self.work / "commands.log", thread_limits(self.threads))


def found_by(picker: str, known: Known, bench: Bench, keep: bool) -> list[Found]:
    """What a picker finds, once for each of the settings that are tried.

    Parameters
    ----------
    picker : str
        A key of `OURS`, or one of `RIVALS`.
    known : Known
    bench : Bench
    keep : bool
        Take what an earlier run found, where there is one.
    """
    path = bench.work / "found" / known.name / f"{picker}.json"
    if keep and path.exists():
        return [_from_json(each) for each in json.loads(path.read_text(encoding="utf-8"))]
    out = bench.work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    find = {"topaz": topaz, "log": log_picker}.get(picker)
    found = find(known.field, out, bench) if find else [ours(picker, known.field, out, bench)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([_to_json(each) for each in found]), encoding="utf-8")
    return found


def ours(picker: str, field: Field, out: Path, bench: Bench) -> Found:
    """One of our modes; since better picks go first where two are too close, cutting its candidates gives its picks.

    A DeepCryoPicker job that finds too little to learn from has no picks; any other failure ends the benchmark.
    """
    words = list(OURS[picker])
    mode = words[1]
    model = bench.model if bench.model and load_model(bench.model)[0].mode == mode and len(words) == 2 else None
    words += ["--threshold", "0", "--no-report", *(["--model", str(model)] if model else [])]
    command = our_pick(bench.program, field, out / "job", bench.threads, words)
    try:
        cost = bench.run(command, field.folder.parent)
    except SystemExit as refused:
        if "too few particles" not in str(refused):
            raise
        return Found("refused: too few particles to learn from", {}, {}, 0.0, 0.0)
    found = star_picks(out / "job", field)
    trained = out / "job" / "model.safetensors"
    preset = words[words.index("--preset") + 1] if "--preset" in words else "default"
    own = trained if trained.exists() else model or builtin_model(builtin_name(mode, preset))
    threshold = load_model(own, mode)[0].threshold
    if mode == "deepcryopicker" or preset != "default":
        return Found("", found, cut(found, threshold), threshold, cost.cpu)
    words[words.index("--threshold") + 1] = "auto"
    bench.run(our_pick(bench.program, field, out / "auto", bench.threads, words), field.folder.parent)
    return Found("", found, cut(found, threshold), threshold, cost.cpu, star_picks(out / "auto", field))


def topaz(field: Field, out: Path, bench: Bench) -> list[Found]:
    """Both pretrained models of Topaz at several scales and radii.

    Its own default threshold, -6, lists candidates; even odds take that part here.
    """
    scales = sorted({max(1, round(field.diameter_px / width)) for width in TOPAZ_WIDTHS})
    words = []
    for scale in scales:
        radii = sorted({max(1, round(share * field.diameter_px / scale)) for share in TOPAZ_RADII})
        words.append(f"{scale}:{','.join(map(str, radii))}")
    sweep = Path(__file__).with_name("topaz_sweep.py")
    bench.run(
        [bench.topaz, "-W", "ignore", sweep, out, str(bench.threads), *words, "--", *field.files], field.folder.parent
    )
    seconds = json.loads((out / "cpu.json").read_text(encoding="utf-8"))
    found = []
    for name, cpu in seconds.items():
        picks = topaz_picks(out / f"{name}.txt", field)
        model, scale, radius = name.split("-")
        found.append(Found(f"{model}, -s {scale} -r {radius}", picks, cut(picks, EVEN_ODDS), EVEN_ODDS, cpu))
    return found


def log_picker(field: Field, out: Path, bench: Bench) -> list[Found]:
    """RELION's Laplacian of Gaussian, with its default threshold and once more with a low one."""
    outcomes = []
    for small, large in LOG_SIZES:
        found, costs = [], []
        low, high = small * field.diameter, large * field.diameter
        for adjust in (LOG_ALL, LOG_DEFAULT):
            job = out / f"LoG{small:g}{adjust:g}"
            job.mkdir()
            command = [
                "relion_autopick", "--i", f"{field.folder.name}/*.mrc", "--odir", f"{job}/", "--pickname", "autopick",
                "--angpix", f"{field.pixel_size:g}", "--LoG", "--LoG_diam_min", f"{low:g}", "--LoG_diam_max",
                f"{high:g}", "--shrink", "0", "--lowpass", "20", "--LoG_adjust_threshold", f"{adjust:g}",
            ]  # fmt: skip
            costs.append(bench.run(command, field.folder.parent))
            found.append(star_picks(job, field))
        outcomes.append(Found(f"{low:.0f} to {high:.0f} Å", found[0], found[1], LOG_DEFAULT, costs[1].cpu))
    return outcomes


def star_picks(folder: Path, field: Field) -> Picks:
    """The coordinate files of a job; a micrograph without one has no picks."""
    found = {}
    for file in field.files:
        for path in sorted(folder.rglob(f"{file.stem}_autopick.star")):
            coordinates = read_coordinates(path)
            score = coordinates.score if coordinates.score is not None else np.zeros(len(coordinates.xy), np.float32)
            found[file.stem] = (coordinates.xy, score)
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
    return {name: (xy[score >= threshold], score[score >= threshold]) for name, (xy, score) in found.items()}


def _to_json(found: Found) -> dict[str, object]:
    def lists(picks: Picks) -> dict[str, list[list[float]]]:
        return {name: np.column_stack([*xy.T, score]).astype(float).round(5).tolist() for name, (xy, score) in
                picks.items()}  # fmt: skip

    return {
        "settings": found.settings, "threshold": found.threshold, "cpu": found.cpu, "picks": lists(found.picks),
        "candidates": lists(found.candidates),
        "automatic": None if found.automatic is None else lists(found.automatic),
    }  # fmt: skip


def _from_json(data: dict[str, object]) -> Found:
    def arrays(name: str) -> Picks:
        rows = {key: np.array(value, np.float32).reshape(-1, 3) for key, value in dict(data[name]).items()}  # type: ignore[call-overload]
        return {key: (value[:, :2], value[:, 2]) for key, value in rows.items()}

    automatic = arrays("automatic") if data["automatic"] is not None else None
    numbers = (float(str(data[name])) for name in ("threshold", "cpu"))
    return Found(str(data["settings"]), arrays("candidates"), arrays("picks"), *numbers, automatic)
