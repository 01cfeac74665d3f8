"""Subsets of particles as STAR files, and the jobs that refine each: ``evaluate --make-subsets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.subsets import nested_subsets
from relion_ext_picker.options import EvaluateOptions, split_list
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.columns import StarColumns
from relion_ext_picker.relion.downstream import read_particles
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.results import find_result, job_options
from relion_ext_picker.relion.schedule import Step, write_schedule
from relion_ext_picker.relion.tables import table_text
from relion_ext_picker.report.evaluation import Measure, Section
from relion_ext_picker.workflows.evaluate_series import split_count

SCRIPT, SCHEDULE = "run_series.sh", "Schedules/bfactor"
HALF_MAP = "run_half1_class001_unfil.mrc"

_SCRIPT = """#!/bin/sh
# Refine and postprocess every subset, then fit the B-factor. Start in the project folder: sh {folder}{script}
# Every refinement is an ordinary job of the project, with the settings of {refine}.
set -eu
run_job() {{ # run_job TYPE JOB.STAR OPTIONS; the new job's folder is in $job afterwards
    job=$(awk '/_rlnPipeLineJobCounter/ {{print $2; exit}}' default_pipeline.star)
    job=$1/job$(printf '%03d' "$job")/
    relion_pipeliner --addJobFromStar "$2" --addJobOptions "$3"
    relion_pipeliner --RunJobs "$job" --sec_wait_after 1
    [ -e "${{job}}RELION_JOB_EXIT_SUCCESS" ] || {{ echo "$job failed: see ${{job}}run.err" >&2; exit 1; }}
}}
done=
for count in {counts}; do
    run_job Refine3D {folder}refine3d/job.star "fn_img == {folder}subsets/particles_$count.star"
    run_job PostProcess {folder}postprocess/job.star "fn_in == ${{job}}{half_map}"
    done="$done $job"
done
relion_ext_picker evaluate --o bfactor --postprocess $done
"""


def make_subsets(job: JobDirectory, options: EvaluateOptions) -> Section:
    """Write subsets, and with a refinement to take the settings from also what runs the series."""
    source = options.in_parts or options.refine3d
    if not source:
        raise InputError("--make-subsets needs particles: give --in_parts or --refine3d")
    result = find_result(Path(source))
    path = result.chosen or result.particles
    particles = read_particles(path)
    subsets = nested_subsets(len(particles), options.smallest_subset, options.seed, particles.subset)
    star = StarColumns(path)
    table = labels.PARTICLES_TABLE if labels.PARTICLES_TABLE in star.tables else star.tables[-1]
    digits = len(str(len(particles)))
    names = [f"subsets/particles_{len(rows):0{digits}d}.star" for rows in subsets]
    for name, rows in zip(names, subsets, strict=True):
        text = star.with_rows(table, rows)
        job.write(name, partial(Path.write_bytes, data=text))
    notes = [f"nested random subsets of {path}, seed {options.seed}" + ("" if particles.subset is None else
             "; both halves of the data in equal shares")]  # fmt: skip
    notes += _series(job, options, names)
    halves = {}
    if particles.subset is not None:
        halves = {f"half{k}": [int((particles.subset[rows] == k).sum()) for rows in subsets] for k in (1, 2)}
    columns: dict[str, Sequence[int] | Sequence[str]] = {
        "particles": [len(rows) for rows in subsets], **halves, "file": [job.prefix + name for name in names],
    }  # fmt: skip
    measures = [
        Measure("subsets", "subsets", len(subsets)),
        Measure("smallest", "particles of the smallest", len(subsets[0])),
        Measure("particles", "particles in all", len(particles)),
    ]
    return Section("subsets", "Subsets for a B-factor", measures, {"files": columns}, notes)


def _series(job: JobDirectory, options: EvaluateOptions, names: Sequence[str]) -> list[str]:
    """The jobs of the series and the two ways to run them; notes on how."""
    refine = job_options(Path(options.refine3d)) if options.refine3d else {}
    if not refine.get("fn_ref"):
        return ["no script: with --refine3d DIR, a Refine3D job whose settings are to be used, one is written"]
    after = split_list(options.postprocess)
    post = job_options(split_count(after[0])[0]) if after else {}
    if not post:
        mask = options.in_mask or refine.get("fn_mask", "")
        post = {"fn_in": "", "fn_mask": mask, "angpix": "-1", "do_auto_bfac": "No", "do_skip_fsc_weighting": "No"}
    refine = {**refine, "fn_cont": ""}
    written = {
        "refine3d/job.star": job_text(labels.REFINE_JOB_TYPE, {**refine, "fn_img": f"{job.prefix}{names[0]}"}),
        "postprocess/job.star": job_text(labels.POSTPROCESS_JOB_TYPE, post),
        SCRIPT: _SCRIPT.format(
            folder=job.prefix, script=SCRIPT, refine=options.refine3d, half_map=HALF_MAP,
            counts=" ".join(name.rpartition("_")[2].removesuffix(".star") for name in names),
        ),
    }  # fmt: skip
    for name, text in written.items():
        job.write(name, partial(Path.write_text, data=text, encoding="utf-8"))
    steps = []
    for number, name in enumerate(names, 1):
        half = f"{SCHEDULE}/refine_{number}/{HALF_MAP}"
        subset = {**refine, "fn_img": f"{job.prefix}{name}"}
        steps.append(Step(f"refine_{number}", labels.REFINE_JOB_TYPE, job_text(labels.REFINE_JOB_TYPE, subset), (
            (f"{SCHEDULE}/refine_{number}/run_data.star", 3), (half, 10))))  # fmt: skip
        text = job_text(labels.POSTPROCESS_JOB_TYPE, {**post, "fn_in": half})
        steps.append(Step(f"postprocess_{number}", labels.POSTPROCESS_JOB_TYPE, text, (
            (f"{SCHEDULE}/postprocess_{number}/postprocess.star", 14),), (half,)))  # fmt: skip
    for name, text in write_schedule(SCHEDULE, steps).items():
        job.write(name, partial(Path.write_text, data=text, encoding="utf-8"))
    return [
        f"run all in the project folder: sh {job.prefix}{SCRIPT}",
        f"or in RELION 3.1: cp -r {job.prefix}Schedules . && relion_scheduler --schedule {Path(SCHEDULE).name} --run",
    ]


def job_text(kind: int, options: Mapping[str, str]) -> str:
    """A job.star in the form of RELION 3.1, which 4 and 5 read."""
    columns = {labels.JOB_OPTION_VARIABLE: list(options), labels.JOB_OPTION_VALUE: list(options.values())}
    head = f"\ndata_job\n\n_{labels.JOB_TYPE} {kind}\n_{labels.JOB_IS_CONTINUE} 0\n\n"
    return head + table_text("joboptions_values", columns)
