"""What goes wrong in practice: each fault ends with the right marker and a message that names the file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from jobs import JOB, STAR, Simulated, all_picks, crops, image_of, markers, pick, put, star_of, start, summary, words

from relion_ext_picker.io.weights import builtin_model, load_model, save_model
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.types import ModelCard

MIC = "Micrographs/mic0002.mrc"


def cut_short() -> None:
    Path(MIC).write_bytes(Path(MIC).read_bytes()[:70_000])


def cut_in_the_header() -> None:
    Path(MIC).write_bytes(Path(MIC).read_bytes()[:700])


def zero_bytes() -> None:
    Path(MIC).write_bytes(b"")


def all_nan() -> None:
    put(MIC, np.full((256, 256), np.nan, np.float32))


def constant() -> None:
    put(MIC, np.full((256, 256), 7, np.float32))


def missing() -> None:
    Path(MIC).unlink()


def folder_instead() -> None:
    Path(MIC).unlink()
    Path(MIC).mkdir()


def file_instead_of_folder() -> None:
    Path("Movies").touch()
    star_of(["Micrographs/mic0001.mrc", "Movies/mic0002.mrc", "Micrographs/mic0003.mrc"])


def dangling_link() -> None:
    Path(MIC).unlink()
    Path(MIC).symlink_to("nowhere.mrc")


def text_instead() -> None:
    Path(MIC).write_text("this is no image\n" * 200)


def movie() -> None:
    put(MIC, np.zeros((4, 64, 64), np.float32))


def complex_image() -> None:
    put(MIC, np.ones((64, 64), np.complex64))


def too_small_for_the_particle() -> None:
    put(MIC, image_of(MIC)[:30, :400].copy())


def climbing() -> None:
    Path("../../outside").mkdir(exist_ok=True)
    shutil.copy(MIC, "../../outside/x.mrc")
    star_of(["Micrographs/mic0001.mrc", "../../outside/x.mrc", "Micrographs/mic0003.mrc"])


def linked_out() -> None:
    """A folder of the job that leads out of it."""
    Path("elsewhere").mkdir()
    Path(JOB).mkdir(parents=True)
    (Path(JOB) / "Linked").symlink_to(Path("elsewhere").resolve())
    Path("Linked").mkdir()
    shutil.copy(MIC, "Linked/x.mrc")
    star_of(["Micrographs/mic0001.mrc", "Linked/x.mrc", "Micrographs/mic0003.mrc"])


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (cut_short, "is truncated (70000 bytes, its header asks for 1049600)"),
        (cut_in_the_header, "is truncated (700 bytes"),
        (zero_bytes, "is empty (0 bytes)"),
        (all_nan, "is damaged (every pixel NaN or infinite)"),
        (constant, "has no contrast (every pixel is 7)"),
        (missing, "does not exist: check the name in the STAR file"),
        (folder_instead, "is a folder: name the image file"),
        (file_instead_of_folder, "cannot be read (Not a directory)"),
        (dangling_link, "does not exist"),
        (text_instead, "is neither an MRC nor a TIFF file"),
        (movie, "holds 4 images: movies must be motion-corrected first"),
        (complex_image, "holds complex numbers"),
        (too_small_for_the_particle, "more than the micrograph of 400 x 30 px: check --diameter"),
        (climbing, "import the micrographs through a link inside the project folder"),
        (linked_out, "leads out of the job directory"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bad_micrograph_does_not_stop_the_others(
    project: Simulated, capsys: pytest.CaptureFixture[str], fault: Callable[[], None], told: str
) -> None:
    fault()
    assert pick("--report", "Yes") == 0
    assert markers() == ["EXIT_SUCCESS"]
    table, error = summary(), capsys.readouterr().err
    name = table["rlnMicrographName"][1]
    assert table["pickerStatus"] == ["picked", "failed", "picked"]
    assert told in error and told in table["pickerMessage"][1]
    assert f"WARNING: [2/3] {name}: failed" in error and "Traceback" not in error
    assert all(len(found) for found in all_picks([project.names[0], project.names[2]]).values())
    assert not list(Path("elsewhere").glob("*")) and not list(Path("..").rglob("x_autopick*"))


def test_some_pixels_that_are_not_numbers(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    image = image_of(MIC).copy()
    image[5, 7:20] = np.nan
    put(MIC, image)
    assert pick() == 0
    assert summary()["pickerStatus"] == ["picked"] * 3
    assert f"{MIC}: 13 pixels are NaN or infinite" in capsys.readouterr().err


def test_all_micrographs_bad(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    for name in project.names:
        Path(name).write_bytes(b"")
    assert pick() == 1
    assert markers() == ["EXIT_FAILURE"]
    error = capsys.readouterr().err
    assert "ERROR: none of the 3 micrographs could be picked; the first: micrograph Micrographs/mic0001.mrc" in error


def test_a_diameter_larger_than_the_micrographs(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--diameter", "2100") == 1
    assert markers() == ["EXIT_FAILURE"]
    assert "2100 Å is 525 px at 4 Å/px, more than the micrograph of 512 x 512 px" in capsys.readouterr().err
    assert pick("--diameter", "2000", "--report", "Yes") == 0  # just fits


@pytest.mark.parametrize("what", [MIC, "Micrographs"])
def test_no_permission_to_read(project: Simulated, capsys: pytest.CaptureFixture[str], what: str) -> None:
    Path(what).chmod(0)
    try:
        if os.access(what, os.R_OK):
            pytest.skip("permissions do not hold for this user")
        assert pick() == (1 if what == "Micrographs" else 0)
    finally:
        Path(what).chmod(0o755)
    assert "cannot be read (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["job", "folder"])
def test_a_file_in_the_place_of_a_folder(project: Simulated, capsys: pytest.CaptureFixture[str], name: str) -> None:
    if name == "job":
        Path("External").touch()
        assert pick() == 1
        assert f"{JOB}: the job directory cannot be written" in capsys.readouterr().err
    else:
        Path(JOB).mkdir(parents=True)
        (Path(JOB) / "Micrographs").touch()
        assert pick() == 1
        assert "Micrographs: the folder cannot be made: File exists" in capsys.readouterr().err
        assert markers() == ["EXIT_FAILURE"]


# ---- models


def other_mode() -> str:
    card, networks = load_model(builtin_model("drpnet"))
    save_model(Path("m.safetensors"), ModelCard("deepem", "default", 32.0, card.networks, 0.5), networks)
    return "is a deepem model; --mode drpnet needs a drpnet model"


def half_a_model() -> str:
    data = builtin_model("drpnet").read_bytes()
    Path("m.safetensors").write_bytes(data[: len(data) // 2])
    return "m.safetensors is not a safetensors model file, or it is damaged or incomplete"


def flipped_header() -> str:
    data = bytearray(builtin_model("drpnet").read_bytes())
    data[0:8] = b"\xff" * 8
    Path("m.safetensors").write_bytes(bytes(data))
    return "m.safetensors is not a safetensors model file"


def empty_model() -> str:
    Path("m.safetensors").touch()
    return "m.safetensors is empty"


def folder_as_model() -> str:
    Path("m.safetensors").mkdir()
    return "m.safetensors is a folder"


def tensors_of_another_shape() -> str:
    card, networks = load_model(builtin_model("drpnet"))
    networks["proposer"]["head.weight"] = torch.zeros(3, 3)
    save_model(Path("m.safetensors"), card, networks)
    return "does not fit its card"


def no_numbers_in_the_model() -> str:
    card, networks = load_model(builtin_model("drpnet"))
    networks["proposer"]["head.bias"] = torch.full_like(networks["proposer"]["head.bias"], torch.nan)
    save_model(Path("m.safetensors"), card, networks)
    return "values that are not finite"


@pytest.mark.parametrize(
    "fault",
    [other_mode, half_a_model, flipped_header, empty_model, folder_as_model, tensors_of_another_shape,
     no_numbers_in_the_model],
)  # fmt: skip
def test_bad_models(project: Simulated, capsys: pytest.CaptureFixture[str], fault: Callable[[], str]) -> None:
    told = fault()
    assert pick("--model", "m.safetensors") == 1
    error = capsys.readouterr().err
    assert told in error and "m.safetensors" in error and "Traceback" not in error
    assert markers() == ["EXIT_FAILURE"]


# ---- the disk


@dataclass
class SmallDisk:
    folder: Path

    def fill(self, leave: int) -> None:
        free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        (self.folder / "filler").write_bytes(b"\0" * max(0, free - leave))


@pytest.fixture
def small_disk(project: Simulated) -> Iterator[SmallDisk]:
    """A file system of 1 MB in the place of the folder External."""
    folder = Path("External").absolute()
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("leave", [0, 8192, 20480])
def test_a_full_disk(project: Simulated, small_disk: SmallDisk, capsys: pytest.CaptureFixture[str], leave: int) -> None:
    small_disk.fill(leave)
    assert pick("--report", "Yes") == 1
    assert markers() == ["EXIT_FAILURE"]
    error = capsys.readouterr().err
    assert "ERROR: No space left on device" in error and "make room" in error
    assert not list(Path(JOB).rglob(".tmp-*"))
    (small_disk.folder / "filler").unlink()
    assert pick("--report", "Yes") == 0  # with room again the job goes on
    assert markers() == ["EXIT_SUCCESS"] and all(len(found) for found in all_picks(project.names).values())


# ---- processes


def wait_for(lines: int, process: subprocess.Popen[str]) -> None:
    """Until so many micrographs are finished."""
    record, end = Path(JOB) / "finished.jsonl", time.monotonic() + 120
    while not record.is_file() or record.read_bytes().count(b"\n") < lines:
        assert process.poll() is None and time.monotonic() < end, "the job ended too early or never began"
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again(project: Simulated) -> None:
    names = crops(16)
    assert pick("--views", "4", job="undisturbed/", star="crops.star") == 0
    process = start("--views", "4", star="crops.star")
    wait_for(2, process)
    process.kill()
    process.communicate()
    done = sorted(path.name for path in Path(JOB).rglob("*_autopick.star"))
    assert markers() == [] and 2 <= len(done) < len(names)
    assert pick("--views", "4", star="crops.star") == 0
    assert markers() == ["EXIT_SUCCESS"] and not list(Path(JOB).rglob(".tmp-*"))
    assert summary()["pickerStatus"].count("skipped") >= 2
    for name in names:
        files = [(Path(job) / coordinate_path(name)).read_bytes() for job in (JOB, "undisturbed/")]
        assert files[0] == files[1], name
    assert (Path(JOB) / "autopick.star").read_text() == (
        Path("undisturbed/autopick.star").read_text().replace("undisturbed/", JOB)
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop(project: Simulated, number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the signal is ignored here, as in the background of a script, and jobs leave it so")
    crops(16)
    process = start("--views", "4", star="crops.star")
    wait_for(1, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"ERROR: stopped by {number.name}" in error and "Traceback" not in error
    assert markers() == ["EXIT_FAILURE"]


@pytest.mark.slow
def test_abort_of_a_running_process(project: Simulated) -> None:
    crops(16)
    process = start("--views", "4", star="crops.star")
    wait_for(1, process)
    (Path(JOB) / "RELION_JOB_ABORT_NOW").touch()
    process.communicate(timeout=60)
    assert process.returncode == 3 and markers() == ["EXIT_ABORTED"]
    assert len(list(Path(JOB).rglob("*_autopick.star"))) < 16


@pytest.mark.slow
def test_two_jobs_at_once(project: Simulated) -> None:
    processes = [start(job=job) for job in ("External/job008/", "External/job009/")]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    first, second = (all_picks(project.names, job) for job in ("External/job008/", "External/job009/"))
    for name in project.names:
        np.testing.assert_array_equal(first[name].xy, second[name].xy)


def test_a_usage_error_ends_the_job(project: Simulated) -> None:
    line = [*words(), "--diametre", "120"]
    done = subprocess.run([sys.executable, "-m", "relion_ext_picker.cli", *line], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown option --diametre: did you mean --diameter?" in done.stderr
    assert markers() == ["EXIT_FAILURE"] and Path(STAR).is_file()
