"""Topaz's pretrained models and RELION's Laplacian of Gaussian on the micrographs of the DeepCryoPicker benchmark."""

from __future__ import annotations

from pathlib import Path

from contestants import Bench, log_picker, topaz
from deepcryopicker_scores import Truth
from programs import Field, topaz_python
from tables import Value, markdown

from relion_ext_picker.evaluation.curves import Scores, score_picks

HEADER = ["micrographs", "picker, best of its settings", "settings", "picks", "P", "R", "best F1", "AP", "CPU s"]


def rivals(bench: Bench, folder: Path, truth: Truth, pixel_size: float, diameter: float) -> list[list[Value]]:
    """A row for each model of Topaz and for RELION's picker: the settings whose average precision is highest.

    Precision, recall and F1 are those of the threshold whose F1 is highest on these very micrographs: flattered twice.
    """
    field = Field(folder, pixel_size, diameter)
    best: dict[str, tuple[float, str, Scores, float]] = {}
    for name, find in (("topaz", topaz), ("log", log_picker)):
        out = bench.work / "rivals" / f"{folder.name}-{name}"
        out.mkdir(parents=True, exist_ok=True)
        for found in find(field, out, bench):
            label, settings = found.settings.split(", ") if name == "topaz" else ("", found.settings)
            label = f"Topaz {label}, pretrained" if label else "RELION, Laplacian of Gaussian"
            places = {key: found.candidates[Path(key).stem] for key in truth.xy}
            scores = score_picks(truth.xy, places, truth.radius)
            assert scores.ap is not None and scores.best_threshold is not None
            if scores.ap > best.get(label, (-1.0,))[0]:
                cut = {key: (xy[score >= scores.best_threshold], score[score >= scores.best_threshold])
                       for key, (xy, score) in places.items()}  # fmt: skip
                at = score_picks(truth.xy, cut, truth.radius)
                best[label] = (scores.ap, settings, at, found.cpu)
    return [
        [folder.name, label, settings, at.n_picks, at.precision, at.recall, at.f1, ap, cpu]
        for label, (ap, settings, at, cpu) in best.items()
    ]


def table(work: Path, threads: int, environment: Path, data: Path, truths: dict[str, Truth]) -> str:
    """The rows as Markdown, for each folder of micrographs of `data` with its truth."""
    bench = Bench(Path(), topaz_python(environment), work, threads)
    rows = [row for name, truth in truths.items() for row in rivals(bench, data / name, truth, 1.5, 120.0)]
    return markdown(HEADER, rows, (0, 0, 0, 0, 3, 3, 3, 3, 0))
