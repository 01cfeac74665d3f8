"""Several sets of picks side by side: who finds what, and what RELION made of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError, PickerError
from relion_ext_picker.evaluation.consensus import combinations, merge_picks
from relion_ext_picker.evaluation.curves import Matches, match_picks
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.options import EvaluateOptions
from relion_ext_picker.relion.correlations import read_postprocess
from relion_ext_picker.relion.pipeline import read_pipeline
from relion_ext_picker.report import plots
from relion_ext_picker.report.evaluation import Measure, Section
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.evaluate_angles import of_views
from relion_ext_picker.workflows.evaluate_classes import of_classes
from relion_ext_picker.workflows.evaluate_maps import of_local_resolution, of_postprocess, of_refinement
from relion_ext_picker.workflows.evaluate_picks import RADIUS, Scored, above, in_angstrom, read_truth
from relion_ext_picker.workflows.sources import find_micrographs, micrographs_of_job, settings_of_job

_KINDS = ("Class2D", "Select", "Refine3D", "PostProcess", "LocalRes")
# Column of the table, section it comes from, key of the measure, decimals: the rows of paper 002, table 3, and more.
_DOWNSTREAM = (
    ("good_classes", "classes", "good_classes", 0), ("selected", "classes", "good_particles", 0),
    ("selected_share", "classes", "good_particles_share", 3), ("refined", "angular", "particles", 0),
    ("views", "angular", "views", 0), ("e_od", "angular", "e_od", 2), ("e_od_cells", "angular", "e_od_cells", 2),
    ("scf", "angular", "scf", 2), ("resolution", "postprocess", "resolution_143", 2),
    ("refinement_resolution", "refine3d", "resolution_143", 2), ("local_resolution", "local_resolution", "median", 2),
)  # fmt: skip
_NAMES: Mapping[str, str] = {
    "picks": "picks", "per_micrograph": "per micrograph, median", "precision": "precision", "recall": "recall",
    "f1": "F1", "f2": "F2", "accuracy": "accuracy", "ap": "average precision", "centring": "centring error, Å",
    "good_classes": "good 2D classes", "selected": "selected particles", "selected_share": "share of them",
    "refined": "refined particles", "views": "angular views, of 12,288", "e_od": "E_od, rays",
    "e_od_cells": "E_od, cells", "scf": "SCF", "resolution": "resolution, Å",
    "refinement_resolution": "resolution of Refine3D, Å", "local_resolution": "local resolution, median, Å",
}  # fmt: skip
_DIGITS: Mapping[str, int] = {"picks": 0, "per_micrograph": 1, "centring": 1} | {
    name: digits for name, _, _, digits in _DOWNSTREAM
}


@dataclass(frozen=True)
class Picker:
    """One set of picks.

    Attributes
    ----------
    name : str
        As given.
    picks : mapping
        Coordinates (Å) and scores by micrograph.
    values : dict of str to float
        What is known of it, by the keys of the table.
    """

    name: str
    picks: Scored
    values: dict[str, float] = field(default_factory=dict)


def of_comparison(names: Sequence[str], options: EvaluateOptions) -> Section:
    """Compare sets of picks; see ``--compare``."""
    micrographs = _micrographs(names, options)
    radius = _radius(names, options)
    pickers, notes = [], []
    for name in names:
        here = read_coordinate_set(Path(name), micrographs)
        picks = above(in_angstrom(here, micrographs, options.border), options.threshold)
        if len(picks) < len(micrographs):
            notes.append(
                f"{name} has no picks file for {len(micrographs) - len(picks)} micrographs; they count as empty"
            )
        pickers.append(Picker(name, picks))
    per_micrograph = _counts(pickers, micrographs)
    truth = read_truth(options, micrographs) if options.truth else None
    for number, picker in enumerate(pickers):
        picker.values["picks"] = float(per_micrograph[:, number].sum())
        picker.values["per_micrograph"] = float(np.median(per_micrograph[:, number]))
        if truth is not None:
            picker.values.update(_against_truth(match_picks(truth, picker.picks, radius)))
    notes += _downstream(pickers, options)
    overlap = _overlap(pickers, micrographs, radius)
    found = _who_finds_what(pickers, micrographs, truth, radius)
    notes.insert(0, f"{len(micrographs)} micrographs; picks within {radius:.1f} Å of one another are the same particle")
    short = [picker.name.rstrip("/") for picker in pickers]
    tables = {
        "jobs": {"name": [picker.name for picker in pickers], **_columns(pickers)},
        "overlap": {"name": short, **{f"in_{k + 1}": overlap[:, k].tolist() for k in range(len(pickers))}},
        "found": found,
        "micrographs": {
            "micrograph": [item.name for item in micrographs],
            **{f"picks_{k + 1}": per_micrograph[:, k].tolist() for k in range(len(pickers))},
        },
    }  # fmt: skip
    grid = _grid(pickers)
    page = partial(plots.compare_page, short, overlap, found, per_micrograph)
    table_page = partial(plots.grid_page, "Side by side", grid)
    measures = [
        Measure("sets", "sets of picks", len(pickers)),
        Measure("radius", "radius", radius, "Å", 1),
        Measure("places", "places that any of them has", int(sum(found["places"]))),
        Measure("common", "places that all of them have", _common(found, len(pickers))),
    ]
    return Section("comparison", "Comparison", measures, tables, notes, [table_page, page], grid=grid)


def _micrographs(names: Sequence[str], options: EvaluateOptions) -> list[Micrograph]:
    """Those given, or those of the first job that knows."""
    if options.in_mics or options.mics:
        return find_micrographs(options.in_mics, options.mics, options.pixel_size)
    problem = InputError("--compare: nothing to compare")
    for name in names:
        try:
            return find_micrographs(micrographs_of_job(Path(name) if Path(name).is_dir() else Path(name).parent), "", 0)
        except InputError as error:
            problem = error
    raise problem


def _radius(names: Sequence[str], options: EvaluateOptions) -> float:
    """Radius given, or 0.4 of the diameter given or known from a job of this program, Å."""
    if options.radius > 0:
        return options.radius
    known = [
        settings_of_job(Path(name) if Path(name).is_dir() else Path(name).parent).get("diameter") for name in names
    ]
    diameter = options.diameter or next((float(value) for value in known if isinstance(value, (int, float))), 0.0)
    if diameter <= 0:
        raise InputError("--compare needs --diameter (or --radius), in Å: when do two picks mean the same particle?")
    return RADIUS * diameter


def _counts(pickers: Sequence[Picker], micrographs: Sequence[Micrograph]) -> NDArray[np.int64]:
    """Picks, shape (micrographs, pickers)."""
    rows = [[len(p.picks[m.name][0]) if m.name in p.picks else 0 for p in pickers] for m in micrographs]
    return np.array(rows, np.int64).reshape(len(micrographs), len(pickers))


def _against_truth(found: Matches) -> dict[str, float]:
    scores = found.scores
    values: dict[str, float] = {
        "precision": scores.precision, "recall": scores.recall, "f1": scores.f1, "f2": scores.f2,
        "accuracy": scores.accuracy,
    }  # fmt: skip
    if scores.ap is not None:
        values["ap"] = scores.ap
    if scores.centring is not None:
        values["centring"] = scores.centring
    return values


def _overlap(pickers: Sequence[Picker], micrographs: Sequence[Micrograph], radius: float) -> NDArray[np.float64]:
    """Share of the picks of row k that column l has as well, shape (pickers, pickers)."""
    shared = np.zeros((len(pickers), len(pickers)))
    for item in micrographs:
        for row, one in enumerate(pickers):
            for column, other in enumerate(pickers[:row]):
                if item.name in one.picks and item.name in other.picks:
                    hit, _ = match(other.picks[item.name][0], *one.picks[item.name], radius)
                    shared[row, column] += hit.sum()
    total = np.array([picker.values["picks"] for picker in pickers])
    shared = shared + shared.T + np.diag(total)
    return np.asarray(np.divide(shared, total[:, None], out=np.zeros_like(shared), where=total[:, None] > 0))


def _who_finds_what(
    pickers: Sequence[Picker], micrographs: Sequence[Micrograph], truth: Mapping[str, NDArray[np.float64]] | None,
    radius: float,
) -> dict[str, list[Any]]:  # fmt: skip
    """Number of places that each combination of pickers has, and how many of them are known particles."""
    found, true = [np.zeros((0, len(pickers)), bool)], [np.zeros(0, bool)]
    nothing = np.zeros((0, 2))
    for item in micrographs:
        places = merge_picks([picker.picks.get(item.name, (nothing, None)) for picker in pickers], radius)
        found.append(places.found)
        if truth is not None:
            centres = truth.get(item.name, nothing)
            many = places.found.sum(axis=1).astype(np.float64)  # places that more pickers have choose first
            true.append(match(centres, places.xy, many, radius)[0])
    every = np.concatenate(found)
    rows = combinations(every)
    columns: dict[str, list[Any]] = {
        "by": ["+".join(str(number + 1) for number in who) for who, _ in rows],
        "places": [int(chosen.sum()) for _, chosen in rows],
    }
    if truth is not None:
        right = np.concatenate(true)
        columns["known"] = [int((chosen & right).sum()) for _, chosen in rows]
    return columns


def _common(found: Mapping[str, Sequence[Any]], pickers: int) -> int:
    every = "+".join(str(number + 1) for number in range(pickers))
    return sum(int(count) for by, count in zip(found["by"], found["places"], strict=True) if by == every)


def _downstream(pickers: Sequence[Picker], options: EvaluateOptions) -> list[str]:
    """Fill in what the jobs that follow in the pipeline say; notes on which these are."""
    pipeline = read_pipeline()
    if pipeline is None:
        return []
    after = {p.name: pipeline.after(_folder(p.name)) for p in pickers}
    notes = []
    for picker in pickers:
        others = {job for name, jobs in after.items() if name != picker.name for job in jobs}
        mine = [job for job in after[picker.name] if job not in others]
        if len(mine) < len(after[picker.name]):
            notes.append(f"{picker.name}: jobs that use picks of several sets are left out")
        last = {kind: next((job for job in reversed(mine) if job.startswith(f"{kind}/")), "") for kind in _KINDS}
        used = []
        for what, job, task in _tasks(last, options):
            try:
                section = task()
            except PickerError as error:
                notes.append(f"{picker.name}: {what}: {error}")
                continue
            used.append(job)
            for name, origin, key, _ in _DOWNSTREAM:
                value = section.value(key) if section.name == origin else None
                if isinstance(value, (int, float)):
                    picker.values[name] = float(value)
        if used:
            notes.append(f"{picker.name}: from {', '.join(dict.fromkeys(used))}")
    return notes


def _tasks(last: Mapping[str, str], options: EvaluateOptions) -> list[tuple[str, str, Callable[[], Section]]]:
    """What can be evaluated of the last jobs of each kind."""
    tasks: list[tuple[str, str, Callable[[], Section]]] = []
    if last["Class2D"] or last["Select"]:
        job = last["Select"] or last["Class2D"]
        tasks.append(("2D classes", job, partial(of_classes, last["Class2D"], last["Select"], options)))
    if refined := last["Refine3D"]:
        tasks.append(("resolution", refined, partial(of_refinement, Path(refined))))
        tasks.append(("views", refined, partial(of_views, Path(refined), options.symmetry, options.diameter)))
    if last["PostProcess"]:
        tasks.append(("PostProcess", last["PostProcess"], partial(of_postprocess, Path(last["PostProcess"]))))
    if last["LocalRes"]:
        tasks.append(("local resolution", last["LocalRes"], partial(_local, last, options.in_mask)))
    return tasks


def _local(last: Mapping[str, str], mask: str) -> Section:
    """Local resolution inside the mask given, or that of PostProcess: with the solvent it would say little."""
    if not mask and last["PostProcess"]:
        mask = read_postprocess(Path(last["PostProcess"])).mask
    return of_local_resolution(Path(last["LocalRes"]), Path(mask) if mask else None, None)


def _folder(name: str) -> str:
    """Job folder of a set of picks, as the pipeline writes it."""
    path = Path(name)
    return f"{path if path.is_dir() else path.parent}/"


def _known(pickers: Sequence[Picker]) -> list[str]:
    """Keys that at least one picker has a value for, in the order of the table."""
    return [key for key in _NAMES if any(key in picker.values for picker in pickers)]


def _columns(pickers: Sequence[Picker]) -> dict[str, list[float]]:
    return {key: [picker.values.get(key, float("nan")) for picker in pickers] for key in _known(pickers)}


def _grid(pickers: Sequence[Picker]) -> list[list[str]]:
    """The table for people: a row per number, a column per set of picks."""
    rows = [["", *(str(number) for number in range(1, len(pickers) + 1))]]
    rows.append(["set of picks", *(picker.name.rstrip("/") for picker in pickers)])
    for key in _known(pickers):
        digits = _DIGITS.get(key, 3)
        cells = [f"{p.values[key]:,.{digits}f}" if key in p.values else "–" for p in pickers]
        rows.append([_NAMES[key], *cells])
    return rows
