"""The evaluate command: whatever is known of picks, and of what RELION made of them, as numbers and pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError, PickerError
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.option import default_of, info_of
from relion_ext_picker.options import EvaluateOptions, split_list
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.report.evaluation import Evaluation, Section, table_lines, write_json, write_pdf, write_star
from relion_ext_picker.workflows.evaluate_angles import FILES, of_views
from relion_ext_picker.workflows.evaluate_classes import of_classes
from relion_ext_picker.workflows.evaluate_compare import of_comparison
from relion_ext_picker.workflows.evaluate_maps import (
    of_half_maps,
    of_local_resolution,
    of_postprocess,
    of_refinement,
)
from relion_ext_picker.workflows.evaluate_picks import of_picks
from relion_ext_picker.workflows.evaluate_series import of_series, split_count
from relion_ext_picker.workflows.sources import find_micrographs
from relion_ext_picker.workflows.subsets import HALF_MAP, make_subsets

REPORT, STAR, JSON = "logfile.pdf", "evaluation.star", "report.json"
RESULTS = (REPORT, STAR, JSON, *FILES)

Task = tuple[str, Callable[[], Section]]

_log = logging.getLogger(__name__)


def run(options: EvaluateOptions) -> None:
    """Evaluate all inputs that are given; one that cannot be read is told, and the others go on.

    Raises
    ------
    PickerError
        Nothing could be evaluated; the job directory then holds RELION's FAILURE marker.
    JobAborted
        RELION asked for it; the job directory then holds the ABORTED marker.
    """
    with JobDirectory(options.o, options.relion_version) as job:
        tasks = list(_tasks(job, options))
        if not tasks:
            raise InputError(
                "nothing to evaluate: give --truth with picks, --class2d, --refine3d, --postprocess, --half1, "
                "--local-resolution, --angles or --compare"
            )
        for name in RESULTS:  # what an earlier run found must not pass for what this one finds
            (job.path / name).unlink(missing_ok=True)
        sections, missing = _evaluated(job, tasks)
        if not sections:
            reasons = "; ".join(f"{what}: {why}" for what, why in missing)
            raise InputError(f"nothing could be evaluated: {reasons}")
        _write(job, options, Evaluation(f"{job.prefix.rstrip('/')}: evaluation", sections, missing))


def _evaluated(job: JobDirectory, tasks: list[Task]) -> tuple[list[Section], list[tuple[str, str]]]:
    sections: list[Section] = []
    missing = []
    for what, task in tasks:
        job.check_abort()
        _log.info("%s ...", what)
        try:
            sections.append(task())
        except PickerError as error:
            _log.warning("%s: not evaluated: %s", what, error)
            missing.append((what, str(error)))
        except MemoryError:
            _log.warning("%s: not evaluated: out of memory", what)
            missing.append((what, "out of memory"))
    return sections, missing


def _tasks(job: JobDirectory, options: EvaluateOptions) -> Iterator[Task]:
    """What the options ask for, each with a name for messages."""
    mask = Path(options.in_mask) if options.in_mask else None
    if options.truth and options.in_coords:
        yield "picks against known particles", partial(_picks, options)
    elif options.truth and not options.compare:
        yield "picks against known particles", partial(_no_picks, options.truth)
    if options.compare:
        yield "comparison", partial(of_comparison, split_list(options.compare), options)
    if options.class2d or options.select:
        yield "2D classes", partial(of_classes, options.class2d, options.select, options)
    if options.refine3d:
        yield "resolution of the refinement", partial(of_refinement, Path(options.refine3d))
    if first := options.half1 or _half_map_of(options):
        half1, half2 = Path(first), Path(options.half2 or _other_half(first))
        yield "half maps", partial(of_half_maps, half1, half2, mask, options.seed)
    series = split_list(options.postprocess)
    if series:
        yield "resolution of PostProcess", partial(of_postprocess, split_count(series[-1])[0])
    if len(series) > 1:
        yield "B-factor", partial(of_series, series)
    if options.local_resolution:
        reference = Path(options.in_3dref) if options.in_3dref else None
        yield "local resolution", partial(of_local_resolution, Path(options.local_resolution), mask, reference)
    if options.make_subsets:
        yield "subsets", partial(make_subsets, job, options)
    if views := options.angles or options.refine3d or ("" if options.make_subsets else options.in_parts):
        yield "views", partial(of_views, Path(views), options.symmetry, options.diameter)


def _picks(options: EvaluateOptions) -> Section:
    micrographs = find_micrographs(options.in_mics, options.mics, options.pixel_size)
    return of_picks(options, micrographs, read_coordinate_set(Path(options.in_coords), micrographs))


def _no_picks(truth: str) -> Section:
    raise InputError(f"{truth}: there are no picks to judge by it: give --in_coords or --compare")


def _half_map_of(options: EvaluateOptions) -> str:
    """First half map of the refinement, where there is a mask for it and no PostProcess job to tell its resolution."""
    if not options.refine3d or not options.in_mask or options.postprocess:
        return ""
    path = Path(options.refine3d)
    half1 = (path if path.is_dir() else path.parent) / HALF_MAP
    return str(half1) if half1.is_file() else ""


def _other_half(half1: str) -> str:
    """The second half map beside a first one, by RELION's names."""
    path = Path(half1)
    if "half1" not in path.name:
        raise InputError(f"--half1 {half1}: give --half2 as well")
    return str(path.with_name(path.name.replace("half1", "half2")))


def _write(job: JobDirectory, options: EvaluateOptions, evaluation: Evaluation) -> None:
    """All files, and the table into run.out."""
    for line in table_lines(evaluation):
        _log.info("%s", line)
    settings = {"version": __version__} | {
        item.name: getattr(options, item.name)
        for item in fields(options)
        if getattr(options, item.name) != default_of(item) and info_of(item).group != "Running"
    }
    job.write(STAR, partial(write_star, evaluation=evaluation))
    job.write(JSON, partial(write_json, evaluation=evaluation, settings=settings))
    for section in evaluation.sections:
        for name, text in section.files.items():
            job.write(name, partial(Path.write_text, data=text, encoding="utf-8"))
    job.write(REPORT, partial(write_pdf, evaluation=evaluation))
    job.declare(REPORT, "logfile")
    _log.info("")
    _log.info("written: %s%s, %s and %s", job.prefix, REPORT, STAR, JSON)
