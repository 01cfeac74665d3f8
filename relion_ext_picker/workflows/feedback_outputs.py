"""What the feedback command writes: coordinates, tables, and the jobs of the next round."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.evaluation.classes2d import ClassVerdict
from relion_ext_picker.feedback.labels import Label
from relion_ext_picker.feedback.rounds import FeedbackRound
from relion_ext_picker.io.mrc import shape_of
from relion_ext_picker.options import PickOptions, TrainOptions
from relion_ext_picker.relion.columns import StarColumns
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.star import coordinate_path, write_coordinate_nodes, write_picks, write_tables
from relion_ext_picker.relion.templates import EXECUTABLE, job_star, value_text
from relion_ext_picker.types import ClassTable, Micrograph, Picks
from relion_ext_picker.workflows.feedback_inputs import PickJob

ROUNDS = "rounds.star"
FEEDBACK = "feedback.star"
_KEPT_FOR_PICK = ("preset", "min_distance", "max_picks", "contrast", "border")
_FEW = 10  # parameters of an External job

TRAINABLE = ("drpnet", "deepem")

_log = logging.getLogger(__name__)

Numbers = NDArray[np.float64]


def write_coordinates(
    job: JobDirectory,
    source: PickJob,
    suffix: str,
    where: tuple[NDArray[np.int64], Numbers],
    told: tuple[Numbers, NDArray[np.int64]],
) -> str:
    """Write a set of coordinates with both of RELION's nodes and declare it.

    Parameters
    ----------
    job : JobDirectory
    source : PickJob
    suffix : str
        The set becomes ``suffix.star`` and ``coords_suffix_suffix.star``.
    where : (ndarray, shape (n,); ndarray, shape (n, 2))
        Index of the micrograph, and px.
    told : (ndarray, shape (n,); ndarray, shape (n,))
        Score of the pick, and class of the particle.

    Returns
    -------
    str
        The node for the RELION of this job, relative to the project.
    """
    index, xy = where
    pairs = []
    for number, micrograph in enumerate(source.micrographs):
        here = index == number  # maybe none: a set without coordinates is a set, too
        name = str(coordinate_path(micrograph.name, suffix))
        picks = Picks(
            micrograph, xy[here].astype(np.float32), np.nan_to_num(told[0][here]).astype(np.float32), told[1][here],
            _shape(micrograph, xy[here]),
        )  # fmt: skip
        job.write(name, lambda path, picks=picks: write_picks(path, picks))  # type: ignore[misc]
        pairs.append((micrograph.name, job.prefix + name))
    write_coordinate_nodes(job.path, pairs, source.micrographs_star, suffix)
    job.declare(f"{suffix}.star", "coordinates")
    return f"{job.prefix}{'coords_suffix_' if job.generation == '3.1' else ''}{suffix}.star"


def _shape(micrograph: Micrograph, xy: Numbers) -> tuple[int, int]:
    """Rows and columns of a micrograph; where it cannot be read, large enough for its coordinates."""
    try:
        return shape_of(Path(micrograph.name))
    except InputError:
        return int(xy[:, 1].max(initial=0)) + 2, int(xy[:, 0].max(initial=0)) + 2


def write_next_jobs(job: JobDirectory, source: PickJob, threshold: float | None, nodes: tuple[str, str]) -> None:
    """Write next_pick/job.star and next_train/job.star.

    The first picks again as before with the new threshold; the second goes on from the model that picked, with the
    labels of this round.

    Parameters
    ----------
    job : JobDirectory
    source : PickJob
    threshold : float or None
        None keeps that of the picking job.
    nodes : (str, str)
        Coordinate nodes of true and false particles; the second may be empty.
    """
    settings = {
        name: value_text(value) for name, value in source.settings.items() if not isinstance(value, (list, dict))
    }
    mode = settings.get("mode", "drpnet")
    common = {"in_mic": source.micrographs_star, "nr_threads": "4", "mode": mode}
    if "diameter" in settings:
        common["diameter"] = settings["diameter"]
    executable = source.executable or EXECUTABLE
    given = {**settings, **common, "fn_exe": executable}
    if threshold is not None:
        given["threshold"] = value_text(threshold)
    usual = {item.name: value_text(item.default) for item in fields(PickOptions)}
    more = [name for name in _KEPT_FOR_PICK if settings.get(name, usual[name]) != usual[name]]
    names = ("mode", "diameter", "threshold", "model", *more)[: _FEW - 1]
    _write_job(job, "next_pick", PickOptions, (*names, "gpu"), given)

    preset = settings.get("preset", "default")
    if mode not in TRAINABLE or (mode == "drpnet" and preset != "default"):
        _log.info(
            "next_train/job.star is not written: preset %s of mode %s does not learn from verified picks", preset, mode
        )
        return
    true, false = nodes
    given = {**common, "fn_exe": f"{executable.removesuffix(' pick')} train", "add_true": true, "add_false": false}
    given |= {name: settings[name] for name in ("model", "contrast", "preset") if name in settings}
    learn = ["mode", "diameter", "model", "add_true", "add_false", "contrast"]
    if mode == "drpnet":
        given["stage"] = "classifier"
        learn.append("stage")
    elif not given.get("model"):  # the built-in DeepEM model has no training set to add to
        given["in_coords"] = true
        learn.remove("add_true")
    if preset != "default":
        learn.append("preset")
    if not false:
        learn.remove("add_false")
    _write_job(job, "next_train", TrainOptions, (*learn, "gpu"), given)


def _write_job(
    job: JobDirectory, folder: str, command: type[Any], names: Sequence[str], given: Mapping[str, str]
) -> None:
    known = {"fn_exe", "in_mic", "in_coords", "nr_threads", *names}
    text = job_star(command, names, {name: value for name, value in given.items() if name in known})
    job.write(f"{folder}/job.star", lambda path: path.write_text(text, encoding="utf-8"))


def write_feedback(
    path: Path, summary: Mapping[str, Any], judged: tuple[ClassTable, ClassVerdict] | None, label: NDArray[np.int64],
    class_number: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write feedback.star: what was found in one row, and one row per class."""
    tables: dict[str, Mapping[str, Sequence[Any]]] = {"feedback": {name: [value] for name, value in summary.items()}}
    if judged is not None:
        classes, verdict = judged
        count = len(classes)
        words = np.select([verdict.good, verdict.rare, verdict.unsure], ["good", "rare", "unsure"], "bad")
        size, true, false = (
            np.bincount(class_number[which], minlength=count + 1)[1:]
            for which in (np.ones(len(label), bool), label == Label.TRUE, label == Label.FALSE)
        )
        tables["classes"] = {
            "pickerClass": list(range(1, count + 1)),
            "pickerVerdict": words.tolist(),
            "pickerParticles": size.tolist(),
            "pickerTrue": true.tolist(),
            "pickerFalse": false.tolist(),
            "pickerShare": classes.distribution.tolist(),
            "pickerResolution": np.nan_to_num(classes.resolution, nan=-1).tolist(),
        }
    write_tables(path, tables)


_ROUND_COLUMNS = {
    "round": "pickerRound", "picks_of": "pickerPicksOf", "particles_of": "pickerParticlesOf", "picks": "pickerPicks",
    "particles": "pickerParticles", "good_particles": "pickerGoodParticles", "classes": "pickerClasses",
    "good_classes": "pickerGoodClasses", "resolution": "pickerResolution", "e_od": "pickerOrientationEfficiency",
    "views": "pickerViews", "threshold": "pickerThreshold",
}  # fmt: skip
_UNKNOWN = -1


def write_feedback_rounds(path: Path, rounds: Sequence[FeedbackRound]) -> None:
    """Write rounds.star, one row per round; what is not known is -1."""
    columns = {
        label: [_UNKNOWN if (value := getattr(row, name)) is None else value for row in rounds]
        for name, label in _ROUND_COLUMNS.items()
    }
    write_tables(path, {"feedback_rounds": columns})


def read_feedback_rounds(path: Path) -> list[FeedbackRound]:
    """Read what :func:`write_feedback_rounds` wrote.

    Raises
    ------
    StarError
        It is another kind of file, or cut off.
    """
    star, table = StarColumns(path), "feedback_rounds"
    if table not in star.tables:
        raise StarError(f"{path}: no table of rounds in it; give a folder of a feedback job")
    texts = ("picks_of", "particles_of")
    numbers, words = star.read(
        table, [label for name, label in _ROUND_COLUMNS.items() if name not in texts],
        [_ROUND_COLUMNS[name] for name in texts],
    )  # fmt: skip
    whole = {item.name for item in fields(FeedbackRound) if "int" in str(item.type)}
    rounds = []
    for row in range(star.count(table)):
        values: dict[str, Any] = {}
        for name, label in _ROUND_COLUMNS.items():
            if name in texts:
                values[name] = words[label].values[words[label].index[row]]
            elif label in numbers:
                value = float(numbers[label][row])
                values[name] = None if value == _UNKNOWN else int(value) if name in whole else value
        rounds.append(FeedbackRound(**values))
    return rounds
