"""Nested subsets and what refines them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_evaluate import evaluate, particles, report

from relion_ext_picker.evaluation.subsets import nested_subsets
from relion_ext_picker.relion.downstream import read_particles
from relion_ext_picker.relion.tables import read_tables

REFINE = """
data_job

_rlnJobType 10
_rlnJobIsContinue 0

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
fn_img Extract/job003/particles.star
fn_ref map.mrc
fn_cont ""
sampling "7.5 degrees"
fn_mask mask.mrc
"""


def test_subsets_are_nested_balanced_and_random():
    half = np.where(np.arange(1000) < 600, 1, 2)
    found = nested_subsets(1000, 100, 0, half)
    assert [len(rows) for rows in found] == [125, 250, 500, 1000]
    for small, large in zip(found, found[1:], strict=False):
        assert set(small) < set(large)
        assert (half[small] == 1).mean() == pytest.approx(0.6, abs=0.01)
    assert found[-1].tolist() == list(range(1000))
    assert 350 < np.median(found[1]) < 650
    assert nested_subsets(1000, 100, 0, half)[0].tolist() == found[0].tolist()
    assert nested_subsets(1000, 100, 1, half)[0].tolist() != found[0].tolist()
    assert [len(rows) for rows in nested_subsets(1000, 600, 0)] == [1000]


@pytest.fixture
def series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("Refine3D/job004").mkdir(parents=True)
    particles(Path("Refine3D/job004/run_data.star"), 400)
    Path("Refine3D/job004/job.star").write_text(REFINE)
    Path("default_pipeline.star").write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 5\n\n")
    words = ["--make-subsets", "--refine3d", "Refine3D/job004/", "--smallest-subset", "100"]
    assert evaluate(*words, job="External/job005/") == 0
    return Path("External/job005")


def test_files_of_a_series(series: Path) -> None:
    found = report("External/job005/")["metrics"]["subsets"]
    files = found["tables"]["files"]
    assert files["particles"] == [100, 200, 400] and files["half1"] == files["half2"] == [50, 100, 200]
    every = Path("Refine3D/job004/run_data.star").read_text().splitlines()
    for name, count in zip(files["file"], files["particles"], strict=True):
        lines = Path(name).read_text().splitlines()
        assert [line for line in lines if line in set(every)] == lines  # rows as they were, in their order
        table = read_particles(Path(name))
        assert len(table) == count and table.box == 32 and np.isin(table.subset, (1, 2)).all()
    assert Path(files["file"][-1]).read_text() == Path("Refine3D/job004/run_data.star").read_text()
    job = read_tables(series / "refine3d/job.star", [])["joboptions_values"]
    options = dict(zip(job["rlnJobOptionVariable"], job["rlnJobOptionValue"], strict=True))
    assert options["sampling"] == "7.5 degrees" and options["fn_img"] == "External/job005/subsets/particles_100.star"
    subprocess.run(["sh", "-n", series / "run_series.sh"], check=True)
    schedule = read_tables(series / "Schedules/bfactor/schedule.star", [])
    assert schedule["schedule_edges"]["rlnScheduleEdgeOutputNodeName"][-1] == "EXIT"


def test_without_a_refinement_there_are_subsets_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    particles(Path("particles.star"), 50)
    assert evaluate("--make-subsets", "--in_parts", "particles.star", "--smallest-subset", "20", job="s/") == 0
    assert [path.name for path in sorted(Path("s/subsets").iterdir())] == ["particles_25.star", "particles_50.star"]
    assert not Path("s/run_series.sh").exists()
    assert evaluate("--make-subsets", job="t/") == 1


@pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="RELION is not installed")
def test_the_script_asks_relion_for_the_right_jobs(series: Path, tmp_path: Path) -> None:
    """RELION makes the jobs; the refinements themselves are replaced by what they would leave."""
    tools = tmp_path / "tools"
    tools.mkdir()
    real = shutil.which("relion_pipeliner")
    (tools / "relion_pipeliner").write_text(
        f'#!/bin/sh\n[ "$1" = --RunJobs ] && {{ touch "$2RELION_JOB_EXIT_SUCCESS"; exit; }}\nexec {real} "$@"\n'
    )
    (tools / "relion_ext_picker").write_text('#!/bin/sh\necho "$@" > evaluated\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    subprocess.run(["sh", series / "run_series.sh"], check=True, env=environment, capture_output=True, timeout=60)
    assert Path("evaluated").read_text().split() == [
        "evaluate", "--o", "bfactor", "--postprocess", *(f"PostProcess/job0{n:02d}/" for n in (6, 8, 10)),
    ]  # fmt: skip
    job = read_tables(Path("PostProcess/job010/job.star"), [])["joboptions_values"]
    options = dict(zip(job["rlnJobOptionVariable"], job["rlnJobOptionValue"], strict=True))
    assert options["fn_in"] == "Refine3D/job009/run_half1_class001_unfil.mrc" and options["fn_mask"] == "mask.mrc"
    job = read_tables(Path("Refine3D/job009/job.star"), [])["joboptions_values"]
    options = dict(zip(job["rlnJobOptionVariable"], job["rlnJobOptionValue"], strict=True))
    assert options["fn_img"] == "External/job005/subsets/particles_400.star" and options["sampling"] == "7.5 degrees"
