"""Which files of a job folder hold its result."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.columns import StarColumns

_ITERATION = re.compile(r"^(?P<run>.+)_it(?P<number>[0-9]{3})_(?:data|model|half1_model|half2_model)\.star$")
_MODEL_OF_SELECT = "fn_model"  # job option of Select
_GIVE = "give the folder or a STAR file of a finished Class2D, Class3D, Refine3D or Select job"


@dataclass(frozen=True)
class JobResult:
    """The result of a job downstream of picking; None is what the job does not have.

    Attributes
    ----------
    folder : Path
    particles : Path
        All particles that the job classified or refined.
    models : tuple of Path
        run_itNNN_model.star, or the two half models of a Refine3D iteration; none where there is no model.
    iteration : int or None
        None for the final files of a Refine3D job and for jobs without iterations.
    chosen : Path or None
        particles.star of a Select job: the particles of the chosen classes.
    selection : Path or None
        backup_selection.star of a Select job.
    ranked : Path or None
        rank_model.star of the class ranker.
    """

    folder: Path
    particles: Path
    models: tuple[Path, ...] = ()
    iteration: int | None = None
    chosen: Path | None = None
    selection: Path | None = None
    ranked: Path | None = None


def find_result(path: Path) -> JobResult:
    """The result of a job, from its folder or one of its STAR files.

    A folder stands for its final files (run_data.star, run_model.star) or else its last iteration that has both its
    particles and its model; a file of an iteration for that iteration. A Select job is followed to the job whose
    classes it chose from, by the ``fn_model`` of its job.star.

    Parameters
    ----------
    path : Path
        Relative to the working directory, which is the project, or absolute.

    Raises
    ------
    InputError
        There is no such file or folder, or nothing of the kind in it.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; {_GIVE}")
    folder = path if path.is_dir() else path.parent
    if (folder / "backup_selection.star").is_file() or (folder / "rank_model.star").is_file():
        return _selected(folder)
    wanted = _ITERATION.match(path.name) if path.is_file() else None
    if wanted:
        return _iteration(folder, wanted["run"], int(wanted["number"]), path)
    final = folder / "run_data.star"
    if final.is_file() and path in (folder, final, folder / "run_model.star"):
        model = folder / "run_model.star"
        return JobResult(folder, final, (model,) if model.is_file() else ())
    if path.is_dir():
        return last_iteration(folder)
    return JobResult(folder, path)


def last_iteration(folder: Path) -> JobResult:
    """The last iteration in a folder that is whole: one that has its particles and its model.

    Raises
    ------
    InputError
        There is none.
    """
    found = {(int(m["number"]), m["run"]) for file in folder.glob("*_data.star") if (m := _ITERATION.match(file.name))}
    for number, run in sorted(found, reverse=True):
        result = _iteration(folder, run, number, folder)
        if result.models:
            return result
    raise InputError(f"{folder}: no run_itNNN_data.star with its model in it; {_GIVE}")


def _iteration(folder: Path, run: str, number: int, asked: Path) -> JobResult:
    stem = f"{run}_it{number:03d}"
    data = folder / f"{stem}_data.star"
    if not data.is_file():
        raise InputError(f"{asked}: {data.name}, the particles of this iteration, is not beside it; {_GIVE}")
    both = tuple(folder / f"{stem}_half{half}_model.star" for half in (1, 2))
    one = (folder / f"{stem}_model.star",)
    models = next((files for files in (one, both) if all(file.is_file() for file in files)), ())
    return JobResult(folder, data, models, number)


def _selected(folder: Path) -> JobResult:
    """A Select job, with the job whose classes it chose from where that is still there."""
    files = {name: folder / f"{name}.star" for name in ("particles", "backup_selection", "rank_model", "rank_data")}
    here = {name: file if file.is_file() else None for name, file in files.items()}
    source = _chosen_from(folder)
    before = find_result(source) if source is not None and source.exists() else None
    particles = before.particles if before else here["rank_data"] or here["particles"]
    if particles is None:
        raise InputError(f"{folder}: neither particles.star nor the job it chose from is there; {_GIVE}")
    return JobResult(
        folder,
        particles,
        before.models if before else (),
        before.iteration if before else None,
        here["particles"],
        here["backup_selection"],
        here["rank_model"],
    )


def _chosen_from(folder: Path) -> Path | None:
    """The file that a Select job was given, from its job.star."""
    text = job_options(folder).get(_MODEL_OF_SELECT, "").replace("_optimiser.star", "_data.star")
    return Path(text) if text and ".." not in Path(text).parts else None


def job_options(folder: Path) -> dict[str, str]:
    """The options of a job from its job.star; none where it has no such file."""
    try:
        star = StarColumns(folder / "job.star")
        table = next(t for t in star.tables if labels.JOB_OPTION_VALUE in star.labels(t))
        names, values = (star.texts(table, label) for label in (labels.JOB_OPTION_VARIABLE, labels.JOB_OPTION_VALUE))
    except (StarError, StopIteration):
        return {}
    return {names.values[n]: values.values[v] for n, v in zip(names.index, values.index, strict=True)}
