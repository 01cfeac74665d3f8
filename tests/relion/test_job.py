from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relion_ext_picker.errors import InputError, JobAborted
from relion_ext_picker.relion import markers
from relion_ext_picker.relion.job import JobDirectory, detect_generation
from relion_ext_picker.relion.signals import Terminated

JOB_31 = "\n# version 30001\n\ndata_job\n\n_rlnJobType    99\n_rlnJobIsContinue 0\n"
JOB_40 = "\n# version 30001\n\ndata_job\n\n_rlnJobTypeLabel relion.external\n_rlnJobIsContinue 0\n_rlnJobIsTomo 0\n"
JOB_50 = JOB_40.replace("30001", "50001")
GENERATIONS = {"3.1": JOB_31, "4.0": JOB_40, "5.0": JOB_50}


def found_markers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("RELION_JOB"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("generation", GENERATIONS)
def test_generation(tmp_path: Path, generation: str) -> None:
    (tmp_path / "job.star").write_text(GENERATIONS[generation])
    assert detect_generation(tmp_path / "job.star") == generation
    assert JobDirectory(tmp_path).generation == generation
    assert JobDirectory(tmp_path, "4.0").generation == "4.0"


def test_generation_without_job_star(tmp_path: Path) -> None:
    assert JobDirectory(tmp_path).generation == "5.0"


HEAD = "\n# version 30001\n\ndata_output_nodes\n\nloop_\n_rlnPipeLineNodeName #1\n"
NODES = {
    "3.1": HEAD + "_rlnPipeLineNodeType #2\nExternal/job001/coords_suffix_autopick.star 2\n"
    "External/job001/logfile.pdf 13\n\n",
    "4.0": HEAD + "_rlnPipeLineNodeTypeLabel #2\n"
    "External/job001/autopick.star MicrographsCoords.star.relion.autopick\n"
    "External/job001/logfile.pdf LogFile.pdf.relion.autopick\n"
    "External/job001/model.safetensors ProcessData.safetensors.relion.external\n\n",
    "5.0": HEAD + "_rlnPipeLineNodeTypeLabel #2\n"
    "External/job001/autopick.star MicrographCoordsGroup.star.relion.autopick\n"
    "External/job001/logfile.pdf LogFile.pdf.relion.autopick\n"
    "External/job001/model.safetensors ProcessData.safetensors.relion.external\n\n",
}


@pytest.mark.parametrize("generation", NODES)
@pytest.mark.parametrize("given", ["External/job001/", "External/job001"])
def test_output_nodes_and_success(project: Path, generation: str, given: str) -> None:
    folder = project / "External/job001"
    folder.mkdir(parents=True)
    (folder / "job.star").write_text(GENERATIONS[generation])
    with JobDirectory(given) as job:
        for name in ("autopick.star", "coords_suffix_autopick.star", "logfile.pdf", "model.safetensors"):
            job.write(name, lambda path: path.write_text("x"))
        job.declare("autopick.star", "coordinates")
        job.declare("coords_suffix_autopick.star", "coordinates")  # the same node
        job.declare("External/job001/logfile.pdf", "logfile")
        job.declare("model.safetensors", "model")
        assert not (folder / markers.OUTPUT_NODES).exists()
        assert found_markers(folder) == []
    assert (folder / markers.OUTPUT_NODES).read_text() == NODES[generation]
    assert found_markers(folder) == [markers.EXIT_SUCCESS]
    assert (folder / markers.EXIT_SUCCESS).stat().st_mtime_ns >= (folder / markers.OUTPUT_NODES).stat().st_mtime_ns


def test_node_that_was_not_written_is_not_declared(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    (project / "j").mkdir()
    (project / "j" / markers.OUTPUT_NODES).write_text("old")
    with JobDirectory("j/") as job:
        job.declare("logfile.pdf", "logfile")
    assert "j/logfile.pdf was not written" in caplog.text
    assert not (project / "j" / markers.OUTPUT_NODES).exists()


def test_unknown_kind_of_node(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        JobDirectory(tmp_path).declare("x", "movie")


@pytest.mark.parametrize("error", [RuntimeError("boom"), InputError("bad"), KeyboardInterrupt(), SystemExit(0)])
def test_any_exception_leaves_failure_and_goes_on(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / markers.EXIT_SUCCESS).touch()
    with pytest.raises(type(error)), JobDirectory(tmp_path):
        assert found_markers(tmp_path) == []
        raise error
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]


def test_abort(tmp_path: Path) -> None:
    with pytest.raises(JobAborted), JobDirectory(tmp_path) as job:
        job.check_abort()
        (tmp_path / markers.ABORT_NOW).touch()
        job.check_abort()
    assert found_markers(tmp_path) == [markers.EXIT_ABORTED]


def test_abort_asked_for_before_the_start_is_honoured_once(tmp_path: Path) -> None:
    (tmp_path / markers.ABORT_NOW).touch()
    with pytest.raises(JobAborted), JobDirectory(tmp_path) as job:
        job.check_abort()
    with JobDirectory(tmp_path) as job:
        job.check_abort()
    assert found_markers(tmp_path) == [markers.EXIT_SUCCESS]


def test_nodes_that_cannot_be_written_are_a_failure(tmp_path: Path) -> None:
    (tmp_path / markers.OUTPUT_NODES).mkdir()
    with pytest.raises(OSError, match=markers.OUTPUT_NODES), JobDirectory(tmp_path) as job:
        job.write("logfile.pdf", lambda path: path.write_text("x"))
        job.declare("logfile.pdf", "logfile")
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]


def test_a_marker_that_cannot_be_written_does_not_hide_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(folder: Path, marker: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(markers, "leave", full)
    with pytest.raises(RuntimeError, match="boom"), JobDirectory(tmp_path):
        raise RuntimeError("boom")
    assert "cannot leave" in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/job/: the job directory cannot be written: .*--o"):
        JobDirectory(tmp_path / "file/job").__enter__()


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.write_text("half")
        assert path.suffix == ".star"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"), JobDirectory(tmp_path) as job:
        job.write("a/b.star", half)
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("name", ["../x.star", "a/../../x.star", "/tmp/x.star"])
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="out of the job directory"):
        JobDirectory(tmp_path / "j").path_for(name)


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    job = JobDirectory(tmp_path / "j")
    (tmp_path / "outside").mkdir()
    (tmp_path / "j/inside").mkdir(parents=True)
    (tmp_path / "j/Movies").symlink_to(tmp_path / "outside")
    (tmp_path / "j/other").symlink_to("inside")
    with pytest.raises(InputError, match="out of the job directory"):
        job.write("Movies/a/x.star", lambda path: path.write_text("x"))
    assert list((tmp_path / "outside").iterdir()) == []
    job.write("other/x.star", lambda path: path.write_text("x"))
    assert (tmp_path / "j/inside/x.star").read_text() == "x"
    (tmp_path / "j/y.star").symlink_to(tmp_path / "outside/y.star")
    job.write("y.star", lambda path: path.write_text("y"))
    assert not (tmp_path / "outside/y.star").exists()


def test_the_job_directory_may_be_an_alias(tmp_path: Path) -> None:
    (tmp_path / "job001").mkdir()
    (tmp_path / "alias").symlink_to("job001")
    with JobDirectory(tmp_path / "alias") as job:
        job.write("a/x.star", lambda path: path.write_text("x"))
    assert (tmp_path / "job001/a/x.star").exists()


def test_settings(tmp_path: Path) -> None:
    settings = {"diameter": 120.0, "mode": "drpnet"}
    with JobDirectory(tmp_path) as job:
        (tmp_path / "theirs_autopick.star").touch()
        assert job.settings_changed(settings)
        assert (tmp_path / "theirs_autopick.star").exists()  # nothing says that an earlier run of ours wrote it
        job.write("a/x_autopick.star", lambda path: path.write_text("x"))
    with JobDirectory(tmp_path) as job:
        assert not job.settings_changed(dict(reversed(settings.items())))
        assert job.is_finished("a/x_autopick.star")
        assert not job.is_finished("a/y_autopick.star")
    with JobDirectory(tmp_path) as job:
        assert job.settings_changed(settings | {"diameter": 130.0})
        assert not job.is_finished("a/x_autopick.star")
        assert not job.settings_changed(settings | {"diameter": 130.0})
    (tmp_path / "settings.json").write_text("{ damaged")
    with JobDirectory(tmp_path) as job:
        assert job.settings_changed(settings)


def test_two_jobs_share_nothing(tmp_path: Path) -> None:
    with JobDirectory(tmp_path / "a") as first:
        with pytest.raises(RuntimeError), JobDirectory(tmp_path / "b") as second:
            second.write("x.star", lambda path: path.write_text("b"))
            first.write("x.star", lambda path: path.write_text("a"))
            raise RuntimeError
        assert not first.is_finished("y.star")
    assert found_markers(tmp_path / "a") == [markers.EXIT_SUCCESS]
    assert found_markers(tmp_path / "b") == [markers.EXIT_FAILURE]
    assert (tmp_path / "a/x.star").read_text() == "a"


SLEEPER = """
import sys, time
from pathlib import Path
from relion_ext_picker.relion.job import JobDirectory

def slowly(path):
    with path.open("w") as file:
        for _ in range(600):
            file.write("half a file\\n")
            file.flush()
            (job.path / "started").touch()
            time.sleep(0.1)

with JobDirectory(sys.argv[1]) as job:
    try:
        job.write("a/x_autopick.star", slowly)
    except Exception:  # what goes on after a bad micrograph
        pass
"""


def start_sleeper(folder: Path, *before: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([*before, sys.executable, "-c", SLEEPER, str(folder)], stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if (folder / "started").exists():
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the job did not start")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_leave_failure_and_no_half_file(tmp_path: Path, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the signal is ignored here, as under nohup, and jobs leave it so")
    process = start_sleeper(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]
    assert list((tmp_path / "a").iterdir()) == []


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    process = start_sleeper(tmp_path, "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=120)


def test_sigkill_leaves_no_half_file_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    process = start_sleeper(tmp_path)
    process.kill()
    process.communicate(timeout=120)
    (left,) = (tmp_path / "a").iterdir()
    assert left.name.startswith(".tmp-")
    with JobDirectory(tmp_path) as job:
        assert not job.is_finished("a/x_autopick.star")
        assert list((tmp_path / "a").iterdir()) == []


def test_handlers_are_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as error, JobDirectory(tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert str(error.value) == "stopped by SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before
