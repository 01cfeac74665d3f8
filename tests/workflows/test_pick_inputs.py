"""What the pick command is given: names, folders, kinds of files, and what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from jobs import (
    DIAMETER,
    JOB,
    STAR,
    Simulated,
    agreement,
    image_of,
    markers,
    pick,
    picks_of,
    put,
    scores,
    star_of,
    summary,
)

from relion_ext_picker.cli import main
from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.star import read_micrographs, write_micrographs
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.simulate import SimulateOptions, write_project


def test_optics_groups_of_different_pixel_size(project: Simulated) -> None:
    """The same micrograph, also stored at twice the pixel size: the same places."""
    name = project.names[0]
    image = image_of(name)
    put("Micrographs/binned.mrc", image.reshape(256, 2, 256, 2).mean(axis=(1, 3)).astype(np.float32))
    write_micrographs(Path(STAR), [Micrograph(name, 4.0), Micrograph("Micrographs/binned.mrc", 8.0)])
    assert pick() == 0
    assert summary()["rlnMicrographPixelSize"] == [4.0, 8.0]
    assert agreement(picks_of(name).xy, picks_of("Micrographs/binned.mrc").xy * 2 + 0.5, 4.0) > 0.85


def test_names(project: Simulated) -> None:
    """RELION's rules for folders; names that look like numbers; blanks."""
    source = project.names[0]
    names = {
        "0001.mrc": "0001_autopick.star",
        "Grid 2/mic a.mrc": "Grid 2/mic a_autopick.star",
        "MotionCorr/job002/Movies/deep/b.mrc": "Movies/deep/b_autopick.star",
        "job003/c.mrc": "c_autopick.star",
        "Stack/d.mrcs": "Stack/d_autopick.star",
    }
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, name)
    star_of(list(names))
    assert pick("--formats", "box") == 0
    first = picks_of("0001.mrc").xy
    for file in names.values():
        np.testing.assert_array_equal(read_coordinates(Path(JOB) / file).xy, first)
        assert (Path(JOB) / file).with_suffix(".box").is_file()
    listed = read_tables(Path(JOB) / "autopick.star", ("rlnMicrographName",))["coordinate_files"]
    assert listed["rlnMicrographName"] == list(names)
    assert listed["rlnMicrographCoordinates"] == [JOB + file for file in names.values()]
    assert pick("--formats", "box") == 0
    assert summary()["pickerStatus"] == ["skipped"] * len(names)


@pytest.mark.parametrize("mics", ["Micrographs", "./Micrographs/*.mrc", "*/mic*.mrc"])
def test_headless(project: Simulated, mics: str) -> None:
    given = ["--o", "picks", "--mics", mics, "--pixel-size", "4", "--diameter", "130", "--gpu", "cpu", "--views", "1",
             "--formats", "star,box,csv", "--no-report"]  # fmt: skip
    assert main(given) == 0
    for name in project.names:
        star = picks_of(name, "picks")
        csv, box = (read_coordinates((Path("picks") / name).with_name(f"{Path(name).stem}_autopick{end}"))
                    for end in (".csv", ".box"))  # fmt: skip
        assert len(star) == len(csv) == len(box) > 10
        assert star.score is not None and csv.score is not None
        np.testing.assert_allclose(csv.xy, star.xy, atol=0.51)
        np.testing.assert_allclose(box.xy, star.xy, atol=1.01)
        np.testing.assert_allclose(csv.score, star.score, atol=1e-5)
    assert [m.pixel_size for m in read_micrographs(Path("picks/micrographs.star"))] == [4.0] * 3
    assert Path("picks/coords_suffix_autopick.star").read_text() == "picks/micrographs.star\n"


def test_headless_from_a_folder_beside_the_micrographs(project: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("work").mkdir()
    monkeypatch.chdir("work")
    given = ["--o", "picks", "--mics", "../Micrographs/mic0001.mrc", "--pixel-size", "4", "--diameter", "130"]
    assert main([*given, "--gpu", "cpu", "--views", "1", "--no-report"]) == 0
    (name,) = summary("picks")["rlnMicrographName"]
    assert Path(name).is_absolute() and Path(name).samefile("../Micrographs/mic0001.mrc")
    assert (Path("picks") / coordinate_path(name)).is_file()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--mics", "Micrographs"], "both given"),
        (["--in_mics", "absent.star"], "absent.star: cannot be read"),
        (["--formats", "star,mod"], "mod is not one of star, box, csv"),
        (["--gpu", "7"], "--gpu 7: this machine has"),
        (["--gpu", "first"], "--gpu first: must be"),
        (["--model", "absent.safetensors"], "absent.safetensors"),
        (["--in_mics", f"{JOB}autopick.star"], "lists the coordinate files of a picking job"),
    ],
)
def test_wrong_inputs(project: Simulated, capsys: pytest.CaptureFixture[str], more: list[str], told: str) -> None:
    if JOB in more[1]:
        star_of(project.names[:1])
        assert pick() == 0
    assert pick(*more) == 1
    error = capsys.readouterr().err
    assert told in error and error.startswith("ERROR: ") and "Traceback" not in error
    assert markers() == ["EXIT_FAILURE"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--diameter", "130"], "no micrographs were given"),
        (["--diameter", "130", "--mics", "Micrographs"], "--mics needs --pixel-size"),
        (["--diameter", "130", "--mics", "Nowhere/*.mrc", "--pixel-size", "4"], "--mics Nowhere/*.mrc: no .mrc"),
    ],
)
def test_no_micrographs(project: Simulated, capsys: pytest.CaptureFixture[str], given: list[str], told: str) -> None:
    assert main(["--o", JOB, *given]) == 1
    assert told in capsys.readouterr().err and markers() == ["EXIT_FAILURE"]


@pytest.mark.parametrize("size", ["640x384", "384x640"])
def test_micrographs_that_are_not_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    options = SimulateOptions(
        o=str(tmp_path / "p"), diameter=DIAMETER, micrographs=1, particles=40, size=size, pixel_size=4.0,
        contaminants=0.0, thickness="200", seed=8,
    )  # fmt: skip
    made = Simulated(tmp_path / "p", write_project(options))
    monkeypatch.chdir(made.folder)
    assert pick() == 0
    (truth,) = made.truths
    found = picks_of(truth.micrograph.name).xy
    assert scores(made).f1 > 0.7
    distance = np.hypot(*(truth.xy[:, None] - found[None]).transpose(2, 0, 1)).min(axis=1)
    long = int(truth.shape[0] > truth.shape[1])
    for end in (truth.xy[:, long] < 200, truth.xy[:, long] > 440):
        assert end.sum() > 3 and np.median(distance[end]) < 2.5
        offset = [found[np.hypot(*(found - p).T).argmin()] - p for p in truth.xy[end & (distance < 6)]]
        assert np.abs(np.median(offset, axis=0)).max() < 1.5  # no stretch along either axis


def test_kinds_of_image_files(project: Simulated) -> None:
    """The same picture in every kind of file; whole numbers after scaling, so that rounding is all that differs."""
    image = image_of(project.names[0])
    level = (image - image.mean()) / image.std()
    kinds = {
        "f2.mrc": level.astype(np.float16),
        "i1.mrc": np.clip(np.rint(level * 24), -127, 127).astype(np.int8),
        "i2.mrc": np.rint(level * 1000).astype(np.int16),
        "u2.mrc": np.rint(level * 1000 + 20000).astype(np.uint16),
    }
    put("Kinds/f4.mrc", level)
    for name, data in kinds.items():
        put(f"Kinds/{name}", data)
    raw = Path("Kinds/f4.mrc").read_bytes()
    swapped = bytearray(np.frombuffer(raw[:224], "<i4").astype(">i4").tobytes()) + raw[224:1024]
    swapped[212:216] = bytes([0x11, 0x11, 0, 0])
    Path("Kinds/big.mrc").write_bytes(bytes(swapped) + np.frombuffer(raw[1024:], "<f4").astype(">f4").tobytes())
    with mrcfile.new("Kinds/extended.mrc") as mrc:
        mrc.set_data(level)
        mrc.set_extended_header(np.zeros(2048, np.uint8))
        mrc.voxel_size = 0.0
    tifffile.imwrite("Kinds/float.tif", level[::-1].copy())  # RELION turns TIFF images upside down
    tifffile.imwrite("Kinds/whole.tiff", np.rint(level[::-1] * 1000).astype(np.int16))
    names = sorted(str(path) for path in Path("Kinds").iterdir() if path.name != "f4.mrc")
    star_of(["Kinds/f4.mrc", *names])
    assert pick() == 0 and len(names) == 8
    expected = picks_of("Kinds/f4.mrc").xy
    for name in names:
        if name.endswith(("big.mrc", "extended.mrc", "float.tif")):
            np.testing.assert_array_equal(picks_of(name).xy, expected, err_msg=name)
        assert agreement(expected, picks_of(name).xy) > 0.97, name
