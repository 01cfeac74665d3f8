from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.io.coordinates import (
    Coordinates,
    read_coordinate_set,
    read_coordinates,
    write_box,
    write_csv,
)
from relion_ext_picker.types import Micrograph

XY = np.array([[10.5, 20.25], [300, 4]], np.float32)


def star(*columns: str, rows: str = "", name: str = "") -> str:
    head = "".join(f"_{column} #{number}\n" for number, column in enumerate(columns, 1))
    return f"\n# version 30001\n\ndata_{name}\n\nloop_\n{head}{rows}\n"


def picks(x: float) -> str:
    """A coordinate file with one particle at (x, 1)."""
    return star("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", rows=f"{x} 1 0.5\n")


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def micrographs(*names: str) -> list[Micrograph]:
    return [Micrograph(name, 1.5) for name in names]


def xs(found: dict[str, Coordinates]) -> dict[str, list[float]]:
    return {name: rows.xy[:, 0].tolist() for name, rows in found.items()}


# ---- single files


def check(got: Coordinates, score: list[float] | None = None) -> None:
    np.testing.assert_array_equal(got.xy, XY)
    assert got.xy.dtype == np.float32
    if score is None:
        assert got.score is None
    else:
        assert got.score is not None and got.score.dtype == np.float32
        np.testing.assert_allclose(got.score, score)


def test_star_of_relion(tmp_path: Path) -> None:
    columns = ("rlnCoordinateX", "rlnCoordinateY", "rlnClassNumber", "rlnAnglePsi", "rlnAutopickFigureOfMerit")
    text = star(*columns, rows="10.5 20.25 0 0 0.75\n  300.0  4 1 -999 nan\n")
    check(read_coordinates(put(tmp_path / "a_autopick.star", text)), [0.75, 0])
    check(read_coordinates(put(tmp_path / "b.star", text.replace("\n", "\r\n"))), [0.75, 0])


def test_star_with_the_coordinates_in_a_later_table(tmp_path: Path) -> None:
    text = star("rlnOpticsGroup", "rlnMicrographPixelSize", rows="1 1.5\n", name="optics")
    text += star("rlnCoordinateY", "rlnCoordinateX", rows="20.25 10.5\n4 300\n", name="particles")
    check(read_coordinates(put(tmp_path / "a.star", text)))


def test_star_without_particles(tmp_path: Path) -> None:
    got = read_coordinates(put(tmp_path / "a.star", star("rlnCoordinateX", "rlnCoordinateY")))
    assert got.xy.shape == (0, 2) and len(got) == 0


def test_box_is_corner_and_size(tmp_path: Path) -> None:
    check(read_coordinates(put(tmp_path / "a.box", "-9.5\t0.25\t40\t40\n\n284 -12 32 32 -3\n")))


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("x,y\n10.5,20.25\n300,4\n", None),
        ("X-Coordinate, Y-Coordinate\r\n10.5, 20.25\r\n300, 4\r\n", None),
        ("score,y_coord,x_coord\n0.5,20.25,10.5\n.25,4,300\n", [0.5, 0.25]),
        ("rlnCoordinateX;rlnCoordinateY;rlnAutopickFigureOfMerit\n10.5;20.25;1\n300;4;2\n", [1, 2]),
        ("image_name\tx_coord\ty_coord\tscore\na\t10.5\t20.25\t-1\na\t300\t4\t-2\n", [-1, -2]),
        ("10.5,20.25\n300,4", None),
        ("10.5,20.25,0.5\n\n300,4,0.25\n", [0.5, 0.25]),
    ],
)
def test_csv(tmp_path: Path, text: str, score: list[float] | None) -> None:
    check(read_coordinates(put(tmp_path / "a.csv", text)), score)
    check(read_coordinates(put(tmp_path / "b.csv", "\ufeff" + text)), score)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.star", "", "is empty"),
        ("a.star", "hello\n", "has no table with rlnCoordinateX"),
        ("a.star", star("rlnMicrographName", rows="a\n"), "has no table with rlnCoordinateX"),
        ("a.star", star("rlnCoordinateX", "rlnCoordinateY", rows="1 2\n3\n"), "particle 2 .* missing"),
        ("a.star", star("rlnCoordinateX", "rlnCoordinateY", rows="1 2\nx 3\n"), "not a number"),
        ("a.star", star("rlnCoordinateX", "rlnCoordinateY", rows="1 2\ninf 3\n"), "particle 2"),
        ("a.star", "data_\n\n", "not a STAR file|no table"),
        ("a.box", "1 2 3\n", "line 1: expected corner"),
        ("a.box", "1 2 x 3\n", "line 1: expected corner"),
        ("a.csv", "a,b\n1,2\n", "names no columns x and y"),
        ("a.csv", "x,y\n1,2\n3\n", "line 3: no value for y"),
        ("a.csv", "x,y\n1,2\n3,z\n", "not a number"),
        ("a.pdb", "1 2\n", "convert it"),
        ("a.star", star("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", rows="a 1 2\nb 3 4\n"), "several"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = put(tmp_path / name, text)
    with pytest.raises(InputError, match=words) as caught:
        read_coordinates(path)
    assert str(path) in str(caught.value)


def test_missing_binary_and_folder(tmp_path: Path) -> None:
    for name in ("a.star", "a.box", "a.csv"):
        with pytest.raises(InputError, match="does not exist"):
            read_coordinates(tmp_path / name)
    (tmp_path / "b.box").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not a text file"):
        read_coordinates(tmp_path / "b.box")
    (tmp_path / "c.csv").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        read_coordinates(tmp_path / "c.csv")


def test_box_round_trip(tmp_path: Path) -> None:
    xy = np.array([[10, 20], [0, 0], [33.4, 57.6]])
    for side in (64, 65):
        write_box(tmp_path / "a.box", xy, side)
        text = (tmp_path / "a.box").read_text()
        assert text.splitlines()[0].split() == [str(10 - side // 2), str(20 - side // 2), str(side), str(side)]
        got = read_coordinates(tmp_path / "a.box")
        assert np.abs(got.xy - xy).max() <= 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["a.box"]
    write_box(tmp_path / "a.box", np.zeros((0, 2)), 64)
    assert len(read_coordinates(tmp_path / "a.box")) == 0


@pytest.mark.parametrize("name", ["M/a.mrc", 'odd, "name".mrc'])
def test_csv_round_trip(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, name, XY, np.array([0.5, 0.25]))
    assert path.read_text().startswith("micrograph,x,y,score\n")
    check(read_coordinates(path), [0.5, 0.25])
    assert list(read_coordinate_set(path, micrographs(name, "M/b.mrc"))) == [name]
    write_csv(path, name, XY)
    check(read_coordinates(path))


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_csv(tmp_path / "a.csv", "a", XY, np.array([0.5]))
    with pytest.raises(OSError):
        write_box(tmp_path / "none/a.box", XY, 4)
    (tmp_path / "b.box").mkdir()
    with pytest.raises(OSError):
        write_box(tmp_path / "b.box", XY, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["b.box"]


# ---- sets

NAMES = ("MotionCorr/job002/M/0001.mrc", "MotionCorr/job002/M/b.mrc", "MotionCorr/job002/N/0001.mrc")


def test_node_of_relion_4_and_5(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"{name} External/job003/f{number}.star\n" for number, name in enumerate(NAMES))
    put(tmp_path / "External/job003/f0.star", picks(1))
    put(tmp_path / "External/job003/f2.star", picks(2))
    node = star("rlnMicrographName", "rlnMicrographCoordinates", rows=rows, name="coordinate_files")
    put(tmp_path / "External/job003/autopick.star", node)
    found = read_coordinate_set(Path("External/job003/autopick.star"), micrographs(*NAMES), tmp_path)
    assert xs(found) == {NAMES[0]: [1], NAMES[2]: [2]}
    assert "f1.star of micrograph MotionCorr/job002/M/b.mrc does not exist" in caplog.text


def test_node_with_names_that_look_like_numbers(tmp_path: Path) -> None:
    put(tmp_path / "0007", picks(7))
    with pytest.raises(InputError, match=r"convert it"):  # the text is kept: a file without a known ending
        put(tmp_path / "n.star", star("rlnMicrographName", "rlnMicrographCoordinates", rows="0001 0007\n"))
        read_coordinate_set(tmp_path / "n.star", micrographs("0001", "0002"), tmp_path)


def test_node_of_relion_31(tmp_path: Path) -> None:
    job = tmp_path / "External/job003"
    put(job / "coords_suffix_deepem.star", "MotionCorr/job002/corrected_micrographs.star\n")
    put(job / "M/0001_deepem.star", picks(1))
    put(job / "N/0001_deepem.star", picks(2))
    put(job / "M/b_autopick.star", picks(3))  # of another picker
    found = read_coordinate_set(Path("External/job003/coords_suffix_deepem.star"), micrographs(*NAMES), tmp_path)
    assert xs(found) == {NAMES[0]: [1], NAMES[2]: [2]}
    with pytest.raises(InputError, match="no such file"):
        read_coordinate_set(Path("External/job003/coords_suffix_x.star"), micrographs(*NAMES), tmp_path)


def test_particles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = f"5 1 {NAMES[1]} 1 0.1\n1 1 {NAMES[0]} 1 0.2\n6 1 {NAMES[1]} 1 0.3\n9 1 other.mrc 1 1\n"
    columns = ("rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", "rlnOpticsGroup", "rlnAutopickFigureOfMerit")
    text = star("rlnOpticsGroup", rows="1\n", name="optics") + star(*columns, rows=rows, name="particles")
    found = read_coordinate_set(put(tmp_path / "particles.star", text), micrographs(*NAMES))
    assert xs(found) == {NAMES[0]: [1], NAMES[1]: [5, 6]}
    np.testing.assert_allclose(found[NAMES[1]].score, [0.1, 0.3])
    assert "1 micrographs in it are not among those given: other.mrc" in caplog.text


def test_particles_of_digits_only_names(tmp_path: Path) -> None:
    text = star("rlnMicrographName", "rlnCoordinateX", "rlnCoordinateY", rows="0001 1 1\n0010 2 1\n")
    found = read_coordinate_set(put(tmp_path / "p.star", text), micrographs("0001", "0010", "1", "10"))
    assert xs(found) == {"0001": [1], "0010": [2]}


def test_particles_of_another_motion_correction(tmp_path: Path) -> None:
    rows = "".join(f"{n} 1 {name.replace('job002', 'job007')}\n" for n, name in enumerate(NAMES))
    text = star("rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", rows=rows)
    found = read_coordinate_set(put(tmp_path / "p.star", text), micrographs(*NAMES))
    assert xs(found) == {NAMES[0]: [0], NAMES[1]: [1], NAMES[2]: [2]}


def test_names_that_could_mean_the_same(tmp_path: Path) -> None:
    text = star("rlnCoordinateX", "rlnCoordinateY", "rlnMicrographName", rows="1 1 A/a.mrc\n2 1 B/a.mrc\n")
    path = put(tmp_path / "p.star", text)
    with pytest.raises(InputError, match=r"A/a\.mrc and B/a\.mrc in it both could mean"):
        read_coordinate_set(path, micrographs("C/a.mrc"))
    assert xs(read_coordinate_set(path, micrographs("B/a.mrc"))) == {"B/a.mrc": [2]}
    with pytest.raises(InputError, match="no coordinates for any of the 2"):
        read_coordinate_set(path, micrographs("C/a.mrc", "D/a.mrc"))


def test_names_with_dots(tmp_path: Path) -> None:
    given = micrographs("M/May08_03.05.mrc", "M/May08_03.05.02.mrc")
    put(tmp_path / "c.csv", "micrograph,x,y\nMay08_03.05.02,2,1\nMay08_03.05,1,1\n")
    assert xs(read_coordinate_set(tmp_path / "c.csv", given)) == {given[0].name: [1], given[1].name: [2]}
    put(tmp_path / "May08_03.05.02_autopick.star", picks(3))
    assert xs(read_coordinate_set(tmp_path / "May08_03.05.02_autopick.star", given)) == {given[1].name: [3]}


def test_folder(tmp_path: Path) -> None:
    given = micrographs("M/a.mrc", "M/a_1.mrc", "M/b.tif", "M/c.mrc", "M/d.mrc", "M/none.mrc")
    put(tmp_path / "a_autopick.star", picks(1))
    put(tmp_path / "a_autopick.box", "0 0 1 1\n")  # STAR goes first
    put(tmp_path / "a_1_manualpick.star", picks(2))
    put(tmp_path / "deep/b_picks.csv", "x,y\n3,1\n")
    put(tmp_path / "c.box", "3 0 2 2\n")
    put(tmp_path / "d.mrc.star", star("rlnCoordinateX", "rlnCoordinateY"))
    put(tmp_path / "summary.star", "not for us")
    found = read_coordinate_set(tmp_path, given)
    assert xs(found) == {"M/a.mrc": [1], "M/a_1.mrc": [2], "M/b.tif": [3], "M/c.mrc": [4], "M/d.mrc": []}
    assert list(found) == [m.name for m in given[:-1]]


def test_folder_with_repeated_names(tmp_path: Path) -> None:
    put(tmp_path / "M/0001_autopick.star", picks(1))
    assert xs(read_coordinate_set(tmp_path, micrographs(*NAMES))) == {NAMES[0]: [1]}
    put(tmp_path / "N/0001_autopick.star", picks(2))
    assert xs(read_coordinate_set(tmp_path, micrographs(*NAMES))) == {NAMES[0]: [1], NAMES[2]: [2]}
    put(tmp_path / "N/0001_manualpick.star", picks(3))
    with pytest.raises(InputError, match=r"0001_autopick\.star and N/0001_manualpick\.star both fit"):
        read_coordinate_set(tmp_path, micrographs(*NAMES))


def test_folder_where_a_file_could_belong_to_two(tmp_path: Path) -> None:
    put(tmp_path / "0001.star", picks(1))
    with pytest.raises(InputError, match="fits both"):
        read_coordinate_set(tmp_path, micrographs(*NAMES))


def test_one_file_for_one_micrograph(tmp_path: Path) -> None:
    path = put(tmp_path / "anything.star", picks(4))
    assert xs(read_coordinate_set(path, micrographs("M/a.mrc"))) == {"M/a.mrc": [4]}
    with pytest.raises(InputError, match=r"anything\.star has no coordinates for any of the 2 micrographs \(M/a\.mrc"):
        read_coordinate_set(path, micrographs("M/a.mrc", "M/b.mrc"))
    path = put(tmp_path / "b_picks.box", "3 0 2 2\n")
    assert xs(read_coordinate_set(path, micrographs("M/a.mrc", "M/b.mrc"))) == {"M/b.mrc": [4]}


def test_nothing_fits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no coordinates for any of the 3 .*NAME_autopick\.star"):
        read_coordinate_set(tmp_path, micrographs(*NAMES))
    with pytest.raises(InputError, match="does not exist"):
        read_coordinate_set(tmp_path / "none.star", micrographs(*NAMES))
    with pytest.raises(StarError, match="has no table"):
        read_coordinate_set(put(tmp_path / "m.star", star("rlnMicrographName", rows="a\n")), micrographs("a"))


def test_boxes_are_where_relion_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RELION's Extract finds the centres of our .box files where they were."""
    program = shutil.which("relion_preprocess")
    if program is None:
        pytest.skip("RELION is not installed")
    mrcfile = pytest.importorskip("mrcfile")
    monkeypatch.chdir(tmp_path)
    Path("M").mkdir()
    with mrcfile.new("M/a.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(100, 120)).astype("f4"))
    optics = ("rlnOpticsGroupName", "rlnOpticsGroup", "rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
    optics += ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
    text = star(*optics, rows="og 1 1.5 1.5 300 2.7 0.1\n", name="optics")
    put(Path("m.star"), text + star("rlnMicrographName", "rlnOpticsGroup", rows="M/a.mrc 1\n", name="micrographs"))
    Path("picks/M").mkdir(parents=True)
    write_box(Path("picks/M/a_x.box"), [[50, 40], [61, 52]], 32)
    command = [program, "--i", "m.star", "--coord_dir", "picks/", "--coord_suffix", "_x.box", "--extract"]
    command += ["--extract_size", "16", "--part_star", "Extract/p.star", "--part_dir", "Extract/"]
    subprocess.run(command, check=True, capture_output=True)
    got = read_coordinate_set(Path("Extract/p.star"), micrographs("M/a.mrc"))["M/a.mrc"]
    np.testing.assert_array_equal(got.xy, [[50, 40], [61, 52]])


CBOX = """
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
10.0 20.0 <NA> 40.0 40.0 1 38 39 0.75 3 <NA>
50.0 60.0 <NA> 40.0 40.0 1 38 39 0.25 1 <NA>

data_cryolo_include

loop_
_slice_index #1
0
"""


def test_boxes_of_cryolo(tmp_path: Path) -> None:
    (tmp_path / "a.cbox").write_text(CBOX)
    found = read_coordinates(tmp_path / "a.cbox")
    assert found.xy.tolist() == [[30, 40], [70, 80]]
    assert found.score is not None and found.score.tolist() == [0.75, 0.25]
    (tmp_path / "old.cbox").write_text("10 20 40 40 0.75 38 39\n50 60 40 40 0.25 38 39\n")
    old = read_coordinates(tmp_path / "old.cbox")
    assert old.xy.tolist() == found.xy.tolist()
    assert old.score is not None and old.score.tolist() == [0.75, 0.25]
    (tmp_path / "bad.cbox").write_text("data_cryolo\n\nloop_\n_CoordinateX #1\n1\n")
    with pytest.raises(InputError, match="no table with CoordinateX"):
        read_coordinates(tmp_path / "bad.cbox")


def test_text_of_topaz(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("image_name\tx_coord\ty_coord\tscore\na\t1\t2\t-0.5\nb\t3\t4\t1.5\n")
    micrographs = [Micrograph(f"M/{name}.mrc", 1.0) for name in "ab"]
    found = read_coordinate_set(tmp_path / "all.txt", micrographs)
    assert found["M/b.mrc"].xy.tolist() == [[3, 4]]
    assert found["M/a.mrc"].score is not None and found["M/a.mrc"].score.tolist() == [-0.5]


def test_particles_exported_from_cryosparc(tmp_path: Path) -> None:
    """Names have a number before the name of the movie and what was done to it behind."""
    text = "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n"
    text += "J2/motioncorrected/012345678901234567890_mic1_patch_aligned_doseweighted.mrc 5 6\n"
    (tmp_path / "particles.star").write_text(text)
    found = read_coordinate_set(tmp_path / "particles.star", [Micrograph("Micrographs/mic1.mrc", 1.0)])
    assert found["Micrographs/mic1.mrc"].xy.tolist() == [[5, 6]]
