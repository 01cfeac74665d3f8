"""Truth for the DeepCryoPicker benchmark, and its scores by class and for particles that no edge cuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import Value

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.types import Array

KINDS = ("", "top", "side", "irregular")  # by class number
NEAR = 0.4  # of the diameter: 32 px for apoferritin


@dataclass(frozen=True)
class Truth:
    """True centres and kinds (class numbers, 0 where a view is neither) of micrographs by name, and the radius.

    `sides` are columns and rows of a micrograph.
    """

    xy: Mapping[str, Array]
    kind: Mapping[str, np.ndarray]
    radius: float
    sides: Mapping[str, tuple[int, int]]

    def inside(self, name: str, xy: Array) -> np.ndarray:
        """Whether a particle at each place is cut by no edge."""
        far = np.minimum(xy, np.array(self.sides[name]) - 1 - xy).min(axis=1, initial=np.inf)
        return np.asarray(far >= 0.5 * self.radius / NEAR)


def picks_of(job: Path, project: Path, star: Path | None = None) -> dict[str, tuple[Array, Array | None]]:
    found = {}
    for item in read_micrographs(star or project / "micrographs_ctf.star"):
        (file,) = job.rglob(f"{Path(item.name).stem}_autopick.star")
        coordinates = read_coordinates(file)
        found[item.name] = (coordinates.xy, coordinates.score)
    return found


def real_truth(data: Path, star: str) -> Truth:
    names = [item.name for item in read_micrographs(data / star)]
    xy = {name: read_coordinates(data / "truth" / f"{Path(name).stem}.star").xy for name in names}
    kind = {name: np.ones(len(places), int) for name, places in xy.items()}
    return Truth(xy, kind, NEAR * 80, dict.fromkeys(names, (1240, 1200)))


def known_truth(project: Path, diameter: float) -> Truth:
    """Truth of a simulated project: a cylinder within 35 degrees of its axis is a top view, across it a side view."""
    xy, kind, sides, size = {}, {}, {}, 1.0
    for item in read_micrographs(project / "micrographs_ctf.star"):
        source = (project / item.name).resolve().parents[1]
        file = source / "Truth" / "Micrographs" / f"{Path(item.name).resolve().stem}_truth.star"
        if not file.exists():
            file = source / "Truth" / "Micrographs" / f"{(project / item.name).resolve().stem}_truth.star"
        (table,) = read_tables(file, ()).values()
        xy[item.name] = np.stack([table["rlnCoordinateX"], table["rlnCoordinateY"]], axis=1).astype(np.float32)
        tilt = np.array(table["rlnAngleTilt"], float)
        views = np.where(np.minimum(tilt, 180 - tilt) < 35, 1, np.where(np.abs(tilt - 90) < 35, 2, 0))
        kind[item.name] = views if source.name.startswith("klh") else np.full(len(tilt), 3)
        rows, columns = read_micrograph(project / item.name).shape
        sides[item.name] = (columns, rows)
        size = item.pixel_size
    return Truth(xy, kind, NEAR * diameter / size, sides)


def by_class(job: Path, name: str, stage: str, truth: Truth) -> Iterator[list[Value]]:
    """Precision and recall of each class and of all: of every particle, and of those that no edge cuts."""
    for whole in (False, True):
        right, picked, other, count, hits, picks = (dict.fromkeys((1, 2, 3), 0) for _ in range(6))
        for stem, places in truth.xy.items():
            (file,) = job.rglob(f"{Path(stem).stem}_autopick.star")
            coordinates = read_coordinates(file)
            (table,) = read_tables(file, ()).values()
            kinds = np.array([int(value) for value in table.get("rlnClassNumber", [])], int)
            hit, index = match(places, coordinates.xy, coordinates.score, truth.radius)
            true = np.where(hit, truth.kind[stem][index], 0)
            inside = truth.inside(stem, places) | (not whole)
            counts = np.where(hit, inside[index], truth.inside(stem, coordinates.xy) | (not whole))
            for kind in right:
                right[kind] += int((counts & hit & (true == kind) & (kinds == kind)).sum())
                other[kind] += int((counts & hit & (true == kind) & (kinds != kind)).sum())
                picked[kind] += int((counts & (kinds == kind)).sum())
                count[kind] += int((inside & (truth.kind[stem] == kind)).sum())
                hits[kind] += int((counts & hit & (true == kind)).sum())
                picks[kind] += int((counts & (kinds == kind)).sum())
        which = "whole" if whole else "all"
        for kind in right:
            if count[kind] or picked[kind]:
                yield [name, stage, which, KINDS[kind], count[kind],
                       *_rates(right[kind], picked[kind], count[kind]), other[kind]]  # fmt: skip
        total = sum(count.values())
        yield [name, stage, which, "together", total, *_rates(sum(hits.values()), sum(picks.values()), total), 0]


def _rates(right: int, picked: int, count: int) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    precision, recall = right / max(1, picked), right / max(1, count)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)
