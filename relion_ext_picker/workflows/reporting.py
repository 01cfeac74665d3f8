"""From what a job remembers to summary.star and logfile.pdf."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from relion_ext_picker.errors import PickerError
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import PickOptions, default_of, info_of
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.tables import write_table
from relion_ext_picker.report.overlay import Overlay, make_overlay
from relion_ext_picker.report.pdf import Heading, write_report
from relion_ext_picker.report.statistics import representatives
from relion_ext_picker.report.summary import MicrographSummary, summary_columns
from relion_ext_picker.report.teaching import Teaching
from relion_ext_picker.workflows.data_set_threshold import of_data_set
from relion_ext_picker.workflows.record import Entry, Record

_log = logging.getLogger(__name__)


def write_summary(job: JobDirectory, summaries: Sequence[MicrographSummary]) -> None:
    """summary.star: one row per micrograph, failed ones included."""
    job.write("summary.star", lambda path: write_table(path, "", summary_columns(summaries)))


def write_job_report(
    job: JobDirectory, options: PickOptions, summaries: Sequence[MicrographSummary], record: Record, threshold: float,
    teaching: Teaching | None = None,
) -> None:  # fmt: skip
    """logfile.pdf, with overlays of the best, the median and the worst micrograph."""
    none = np.zeros(0, np.float32)
    scores = [record.entries[item.name].score if not item.failed else none for item in summaries]
    heading = Heading(f"{job.prefix.rstrip('/')}: {options.mode} picks", _settings_text(options, threshold), threshold)
    overlays = []
    for place, index in representatives(summaries):
        overlay = _overlay(f"{place} micrograph", record.entries[summaries[index].name], options)
        overlays += [overlay] if overlay is not None else []
    job.write("logfile.pdf", lambda path: write_report(path, summaries, scores, overlays, heading, teaching))


def _overlay(place: str, entry: Entry, options: PickOptions) -> Overlay | None:
    summary = entry.summary
    try:
        image = read_micrograph(Path(summary.name))
    except PickerError as error:
        _log.warning("no picture of %s in the report: %s", summary.name, error)
        return None
    title = f"{place}: {summary.name}"
    diameter = options.diameter / summary.pixel_size
    return make_overlay(image, entry.xy, entry.score, diameter, title, summary.pixel_size)


def _origin(options: PickOptions) -> str:
    """Where the threshold comes from, as it is told after it."""
    if of_data_set(options):
        return " (chosen for these micrographs together)"
    return " (the model's own)" if options.threshold < 0 else ""


def _settings_text(options: PickOptions, threshold: float) -> dict[str, str]:
    """The settings worth reading: what the user must give, and what is not as by default."""
    text = {
        "micrographs": options.in_mics or options.mics,
        "mode, preset": f"{options.mode}, {options.preset}",
        "diameter": f"{options.diameter:g} Å",
        "threshold": f"{threshold:.3g}{_origin(options)}",
        "model": options.model or ("taught in this job" if options.mode == "deepcryopicker" else "built-in"),
    }
    for item in fields(options):
        value, group = getattr(options, item.name), info_of(item).group
        told = ("mode", "preset", "diameter", "threshold", "model", "mics")
        if item.name not in told and group not in ("RELION", "Output") and value != default_of(item):
            unit = info_of(item).unit
            text[item.name.replace("_", " ")] = f"{value} {unit}".strip()
    return text
