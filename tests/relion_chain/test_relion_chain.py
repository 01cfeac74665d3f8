"""The picker as an External job of real RELION 3.1: import, pick, extract, classify; and every way a job can end."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from driver import (
    ABORTED,
    CLASS2D,
    COORDINATES,
    EXECUTABLE,
    EXTERNAL,
    EXTRACT,
    FAILED,
    IMPORT,
    LOG_FILE,
    SUCCEEDED,
    Pipeline,
)
from jobs import STAR, Simulated, crops, scores

from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.relion.tables import read_tables, table_text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("relion_pipeliner") is None, reason="RELION is not installed (apt-get install relion)"
    ),
    pytest.mark.skipif(not EXECUTABLE.exists(), reason="relion_ext_picker is not installed beside this Python"),
]

PARAMETERS = {"mode": "drpnet", "diameter": "130", "gpu": "cpu", "views": "1"}
MANY = "crops.star"


@pytest.fixture(scope="module")
def project(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A copy of the simulated project for all tests here, with a set of many small micrographs beside it."""
    folder = tmp_path_factory.mktemp("chain") / "project"
    shutil.copytree(simulated.folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        crops(18)
    return Simulated(folder, simulated.truths)


@pytest.fixture
def relion(project: Simulated, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.chdir(project.folder)
    return Pipeline(project.folder)


def picked(job: str) -> int:
    return sum(len(read_coordinates(path)) for path in Path(job).glob("*/*_autopick.star"))


def finished(job: str) -> dict[str, int]:
    """The coordinate files of a job and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(job).glob("*/*_autopick.star")}


def test_import_pick_extract_classify(relion: Pipeline, project: Simulated) -> None:
    options = {"do_raw": "No", "do_other": "Yes", "fn_in_other": STAR, "node_type": "Micrographs STAR file (.star)"}
    imported = relion.run(IMPORT, options)
    assert relion.status(imported) == SUCCEEDED
    micrographs = f"{imported}{STAR}"

    job = relion.run(EXTERNAL, relion.pick(micrographs, PARAMETERS))
    assert relion.status(job) == SUCCEEDED, relion.told(job)
    node = f"{job}coords_suffix_autopick.star"
    assert relion.nodes()[node] == COORDINATES and relion.nodes()[f"{job}logfile.pdf"] == LOG_FILE
    assert Path(node).read_text().strip() == micrographs
    assert Path(f"{job}logfile.pdf").read_bytes().startswith(b"%PDF")
    assert scores(project, job).f1 > 0.7
    assert relion.told(job).count("picks, mean score") == 3

    # RELION 3.1 pads boxes that reach over the edge, so that no pick is lost.
    options = {"star_mics": micrographs, "coords_suffix": node, "extract_size": "48", "bg_diameter": "36",
               "do_invert": "Yes", "do_norm": "Yes", "nr_mpi": "1"}  # fmt: skip
    extracted = relion.run(EXTRACT, options)
    assert relion.status(extracted) == SUCCEEDED, relion.told(extracted)
    particles = read_tables(Path(extracted) / "particles.star", ("rlnMicrographName",))["particles"]
    assert len(particles["rlnImageName"]) == picked(job) > 50
    assert set(particles["rlnMicrographName"]) == set(project.names)

    options = {"fn_img": f"{extracted}particles.star", "do_ctf_correction": "No", "nr_classes": "2", "nr_iter": "3",
               "particle_diameter": "160", "psi_sampling": "24", "offset_range": "3", "offset_step": "2",
               "do_preread_images": "Yes", "nr_mpi": "1", "nr_threads": "1"}  # fmt: skip
    classes = relion.run(CLASS2D, options)
    assert relion.status(classes) == SUCCEEDED, relion.told(classes)
    assert (Path(classes) / "run_it003_classes.mrcs").is_file()
    assigned = read_tables(Path(classes) / "run_it003_data.star", ("rlnMicrographName",))["particles"]
    assert len(assigned["rlnClassNumber"]) == picked(job)


def test_abort_then_continue_then_repeat(relion: Pipeline) -> None:
    options = relion.pick(MANY, {**PARAMETERS, "views": "4"})
    job = relion.add(EXTERNAL, options)
    running = relion.start(job)
    relion.wait_for(f"{job}finished.jsonl", 2)
    (Path(job) / "RELION_JOB_ABORT_NOW").touch()
    assert running.wait(120) == 0
    assert relion.status(job) == ABORTED, relion.told(job)
    first = finished(job)
    assert 2 <= len(first) < len(read_micrographs(Path(MANY)))
    assert f"{job}coords_suffix_autopick.star" not in relion.nodes()

    relion.again(job)  # what Continue does
    assert relion.status(job) == SUCCEEDED, relion.told(job)
    second = finished(job)
    assert len(second) == 18 and {name: second[name] for name in first} == first
    assert relion.nodes()[f"{job}coords_suffix_autopick.star"] == COORDINATES

    relion.again(job, "--repeat", "2")
    assert relion.status(job) == SUCCEEDED
    assert finished(job) == second
    assert relion.told(job).count("18 finished earlier") >= 1


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({**PARAMETERS, "diametre": "130"}, "unknown option --diametre: did you mean --diameter?"),
        ({**PARAMETERS, "threshold": "7"}, "--threshold 7: must lie between -1 and 1"),
        ({"mode": "drpnet"}, "--diameter is required"),
        ({**PARAMETERS, "model": "absent.safetensors"}, "absent.safetensors does not exist"),
    ],
    ids=["misspelt", "value", "missing", "fails"],
)
def test_a_job_that_fails_is_failed(relion: Pipeline, parameters: dict[str, str], told: str) -> None:
    job = relion.run(EXTERNAL, relion.pick(STAR, parameters))
    assert relion.status(job) == FAILED, relion.told(job)
    assert told in (Path(job) / "run.err").read_text(encoding="utf-8")


def test_a_job_that_is_told_to_stop_is_failed(relion: Pipeline) -> None:
    """SIGTERM, as queues send it."""
    script = Path("relion_queue.sh")
    script.write_text(f'#!/bin/sh\necho $$ > picker.pid\nexec {EXECUTABLE} "$@"\n')
    script.chmod(0o755)
    job = relion.add(EXTERNAL, relion.pick(MANY, {**PARAMETERS, "views": "4"}, f"./{script}"))
    running = relion.start(job)
    relion.wait_for(f"{job}finished.jsonl", 1)
    os.kill(int(Path("picker.pid").read_text()), signal.SIGTERM)
    assert running.wait(120) == 0
    assert relion.status(job) == FAILED, relion.told(job)
    assert "stopped by SIGTERM" in (Path(job) / "run.err").read_text(encoding="utf-8")


def test_train_on_manual_picks_then_pick(relion: Pipeline, project: Simulated) -> None:
    """As a user has it: Manual picking, an External job that trains, and one that picks with its model."""
    manual = Path("ManualPick/job900")
    for truth in project.truths:
        columns = {
            "rlnCoordinateX": truth.xy[:, 0].tolist(), "rlnCoordinateY": truth.xy[:, 1].tolist(),
            "rlnClassNumber": [-999] * len(truth.xy), "rlnAnglePsi": [-999.0] * len(truth.xy),
            "rlnAutopickFigureOfMerit": [-999.0] * len(truth.xy),
        }  # fmt: skip
        file = manual / coordinate_path(truth.micrograph.name, "manualpick")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(table_text("", columns), encoding="utf-8")
    node = manual / "coords_suffix_manualpick.star"
    node.write_text(f"{STAR}\n", encoding="utf-8")

    parameters = {"mode": "deepem", "diameter": "130", "gpu": "cpu", "steps": "2"}
    options = relion.pick(STAR, parameters, f"{EXECUTABLE} train", str(node))
    training = relion.run(EXTERNAL, options)
    assert relion.status(training) == SUCCEEDED, relion.told(training)
    told, model = relion.told(training), f"{training}model.safetensors"
    assert "cross-validation: part 3 of 3" in told and f"model: {model}" in told
    assert relion.nodes()[f"{training}logfile.pdf"] == LOG_FILE and Path(model).is_file()

    parameters = {"mode": "deepem", "diameter": "130", "gpu": "cpu", "model": model}
    job = relion.run(EXTERNAL, relion.pick(STAR, parameters))
    assert relion.status(job) == SUCCEEDED, relion.told(job)
    assert "general DeepEM model" not in relion.told(job)
    assert scores(project, job).f1 > 0.8


def test_no_picks_at_all_is_success(relion: Pipeline) -> None:
    job = relion.run(EXTERNAL, relion.pick(STAR, {**PARAMETERS, "threshold": "1"}))
    assert relion.status(job) == SUCCEEDED and picked(job) == 0
    assert relion.nodes()[f"{job}coords_suffix_autopick.star"] == COORDINATES
    assert "no particles were found" in relion.told(job)
