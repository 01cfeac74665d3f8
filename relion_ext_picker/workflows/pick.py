"""The pick command: micrographs in, coordinate files, nodes, summary and report out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache, partial

from relion_ext_picker import __version__
from relion_ext_picker.errors import InputError
from relion_ext_picker.io.coordinates import write_box, write_csv
from relion_ext_picker.options import AUTO_DIAMETER, FORMATS, PickOptions, info_of, with_plain_model
from relion_ext_picker.pickers.base import Picker, Request, class_numbers, pick_prepared
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.star import write_coordinate_nodes, write_micrographs, write_picks
from relion_ext_picker.report.progress import Progress
from relion_ext_picker.report.summary import MicrographSummary
from relion_ext_picker.types import Micrograph, Picks
from relion_ext_picker.workflows.data_set_threshold import candidates_of, check_scores, of_data_set, reaching, settle
from relion_ext_picker.workflows.deepcryopicker import deepcryopicker
from relion_ext_picker.workflows.deepcryopicker_report import teaching_of
from relion_ext_picker.workflows.models import choose_device, fingerprint, load_picker, model_path
from relion_ext_picker.workflows.particle_size import NAME as SIZE
from relion_ext_picker.workflows.particle_size import check_size, with_diameter
from relion_ext_picker.workflows.reading import Prepared, prepared, request_of
from relion_ext_picker.workflows.record import NAME as RECORD
from relion_ext_picker.workflows.record import Record
from relion_ext_picker.workflows.reporting import write_job_report, write_summary
from relion_ext_picker.workflows.retrain import MODEL, job_picker
from relion_ext_picker.workflows.scanning import advise, scanning
from relion_ext_picker.workflows.sources import find_micrographs

PICKS = ("*_autopick.star", "*_autopick.box", "*_autopick.csv", RECORD)

_log = logging.getLogger(__name__)


def run(options: PickOptions) -> None:
    """Pick all micrographs that have no picks yet.

    Parameters
    ----------
    options : PickOptions

    Raises
    ------
    PickerError
        Nothing could be picked, or an input is wrong; the job directory then holds RELION's FAILURE marker.
    JobAborted
        RELION asked for it; the job directory then holds the ABORTED marker.
    """
    with JobDirectory(options.o, options.relion_version) as job:
        _pick(job, with_plain_model(options))


def _pick(job: JobDirectory, options: PickOptions) -> None:
    formats = _formats(options.formats)
    micrographs = find_micrographs(options.in_mics, options.mics, options.pixel_size)
    device = choose_device(options.gpu, options.j)
    settings = _settings(options)
    if options.mode == "deepcryopicker":
        if options.diameter == AUTO_DIAMETER:
            options = replace(options, diameter=0.0)  # it has an estimate of its own
        job.check_abort()
        check_scores(options, options.preset)
        changed = job.settings_changed(settings, PICKS)  # its model is kept while it holds
        picker, options = deepcryopicker(job, options, micrographs, device)
    else:
        picker = load_picker(options.mode, options.preset, options.model, device, options.views)
        check_scores(options, picker.card.preset)  # this and the next two refuse now what cannot be
        check_size(options, picker.card.preset)
        scanning(picker, options, micrographs[0].pixel_size)
        job.check_abort()
        changed = job.settings_changed(settings, (*PICKS, MODEL, SIZE))
        options = with_diameter(job, options, micrographs, device)
        advise(options)
    record = Record(job.path, keep=not changed)
    try:
        todo = [item for item in micrographs if record.finished(item) is None]
        if options.mode != "deepcryopicker":
            picker = job_picker(job, picker, options, micrographs if todo else [])
        request = request_of(options)
        summaries = _pick_all(job, picker, micrographs, record, (request, options, formats))
    finally:
        record.close()
    threshold = _own_threshold(options, picker)
    failed = [item for item in summaries if item.failed]
    if len(failed) == len(summaries):
        raise InputError(f"none of the {len(summaries)} micrographs could be picked; the first: {failed[0].message}")
    if of_data_set(options):
        write = partial(_write, job, options, formats)
        threshold, summaries = settle(options, threshold, micrographs, summaries, record, write)
    _finish(job, picker, options, micrographs, summaries, record, threshold)


def _pick_all(
    job: JobDirectory,
    picker: Picker,
    micrographs: Sequence[Micrograph],
    record: Record,
    how: tuple[Request, PickOptions, tuple[str, ...]],
) -> list[MicrographSummary]:
    """Pick what is not finished; summaries of all, in order."""
    request, options, formats = how
    summaries: list[MicrographSummary] = []
    todo = [item for item in micrographs if record.finished(item) is None]
    done = [entry for item in micrographs if (entry := record.finished(item)) is not None]
    owners = {entry.coordinates: entry.summary.name for entry in done}
    scanner = cache(lambda pixel_size: scanning(picker, options, pixel_size))  # optics groups may differ
    with Progress(len(micrographs)) as progress:
        stream = prepared(picker, todo, request)
        try:
            for micrograph in micrographs:
                job.check_abort()
                entry = record.finished(micrograph)
                if entry is None:
                    outcome = next(stream)
                    own = scanner(micrograph.pixel_size)
                    summary = _pick_one(job, own, outcome, record, (request, options, formats), owners)
                else:
                    summary = entry.summary
                    if of_data_set(options):
                        written = reaching(candidates_of(entry, micrograph), _own_threshold(options, picker))
                        summary = MicrographSummary.of_picks(written, summary.seconds, summary.status)
                summaries.append(summary)
                progress.done(summary)
        finally:
            stream.close()
    return summaries


def _pick_one(
    job: JobDirectory,
    picker: Picker,
    outcome: Prepared | MicrographSummary,
    record: Record,
    how: tuple[Request, PickOptions, tuple[str, ...]],
    owners: dict[str, str],
) -> MicrographSummary:
    """Score one prepared micrograph and write its files."""
    if isinstance(outcome, MicrographSummary):
        return outcome
    request, options, formats = how
    start = time.perf_counter()
    micrograph = outcome.micrograph
    try:
        name = str(coordinate_path(micrograph.name))
        if owners.setdefault(name, micrograph.name) != micrograph.name:
            raise InputError(f"{micrograph.name}: its coordinate file {name} is that of {owners[name]}; rename one")
        job.path_for(name)
        xy, score = pick_prepared(picker, outcome.frame, outcome.shape, micrograph.pixel_size, request)
        kind = class_numbers(picker, outcome.frame, xy)
    except (InputError, MemoryError) as error:
        return MicrographSummary.of_failure(micrograph, str(error) or f"{micrograph.name}: out of memory")
    picks = Picks(micrograph, xy, score, kind, outcome.shape)
    seconds = outcome.seconds + time.perf_counter() - start
    own = _own_threshold(options, picker)
    written = reaching(picks, own) if of_data_set(options) else picks  # the rest is for when the threshold is known
    _write(job, options, formats, name, written)
    record.add(picks, MicrographSummary.of_picks(picks, seconds), name)
    return MicrographSummary.of_picks(written, seconds)


def _own_threshold(options: PickOptions, picker: Picker) -> float:
    """The threshold that is given, else the model's."""
    return options.threshold if options.threshold >= 0 else picker.card.threshold


def _write(job: JobDirectory, options: PickOptions, formats: tuple[str, ...], name: str, picks: Picks) -> None:
    """The coordinate files of a micrograph."""
    job.write(name, lambda path: write_picks(path, picks))
    stem, micrograph = name.removesuffix(".star"), picks.micrograph
    if "box" in formats:
        side = (options.box_size or 1.5 * options.diameter) / micrograph.pixel_size
        write_box(job.path_for(f"{stem}.box"), picks.xy, max(2, 2 * round(side / 2)))
    if "csv" in formats:
        write_csv(job.path_for(f"{stem}.csv"), micrograph.name, picks.xy, picks.score)


def _finish(
    job: JobDirectory,
    picker: Picker,
    options: PickOptions,
    micrographs: Sequence[Micrograph],
    summaries: Sequence[MicrographSummary],
    record: Record,
    threshold: float,
) -> None:
    """Write the nodes, the summary and the report, and declare them."""
    star = options.in_mics
    if not star:
        job.write("micrographs.star", lambda path: write_micrographs(path, micrographs))
        star = f"{job.prefix}micrographs.star"
    good = [item for item in summaries if not item.failed]
    pairs = [(item.name, job.prefix + record.entries[item.name].coordinates) for item in good]
    write_coordinate_nodes(job.path, pairs, star)
    job.declare("autopick.star", "coordinates")
    write_summary(job, summaries)
    if options.report:
        teaching = teaching_of(job, options, micrographs, picker)
        write_job_report(job, options, summaries, record, threshold, teaching)
        job.declare("logfile.pdf", "logfile")
    if sum(item.picks for item in good) == 0:
        _log.warning("no particles were found in %d micrographs: check --diameter and --threshold", len(good))


def _formats(text: str) -> tuple[str, ...]:
    formats = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for part in formats:
        if part not in FORMATS:
            raise InputError(f"--formats {text}: {part} is not one of {', '.join(FORMATS)}")
    return formats


def _settings(options: PickOptions) -> dict[str, object]:
    """What the picks depend on: with other values finished micrographs are picked again."""
    names = (
        "mode", "diameter", "preset", "threshold", "expected_density", "model", "min_distance", "max_picks", "border",
        "contrast", "views", "verify", "retrain_classifier", "step", "std_window", "maxima", "formats", "box_size",
        "pixel_size", "seed",
    )  # fmt: skip
    own = tuple(item.name for item in fields(options) if info_of(item).mode == options.mode == "deepcryopicker")
    settings: dict[str, object] = {name: getattr(options, name) for name in (*names, *own)}
    if options.model or options.mode != "deepcryopicker":
        settings["model_sha256"] = fingerprint(model_path(options.mode, options.preset, options.model))
    settings["version"] = __version__
    return settings
