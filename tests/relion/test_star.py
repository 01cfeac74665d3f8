from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.errors import StarError
from relion_ext_picker.relion.star import read_micrographs, write_coordinate_nodes, write_micrographs, write_picks
from relion_ext_picker.types import Ctf, Micrograph, Picks

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnMicrographPixelSize #7
opticsGroup1 1 0.700000 300.000000 2.700000 0.100000 1.400000
opticsGroup2 2 0.850000 200.000000 1.400000 0.070000 0.850000

# version 30001
"""

CTF31 = (
    OPTICS
    + """
data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnCtfMaxResolution #6
MotionCorr/job002/Movies/a.mrc 1 15000.00 14800.00 30.00 8.10
MotionCorr/job002/Movies/b.mrc 2 9000.00 8900.00 -5.00 4.10

"""
)

STAR30 = """
data_

loop_
_rlnMicrographName #1
_rlnCtfImage #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnVoltage #6
_rlnSphericalAberration #7
_rlnAmplitudeContrast #8
_rlnMagnification #9
_rlnDetectorPixelSize #10
Micrographs/a.mrc Micrographs/a.ctf:mrc 10863.85 10575.79 77.99 300.0 2.0 0.1 40000.0 6.0

"""


def put(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m.star"
    path.write_bytes(text.encode())
    return path


def simple(names: str, optics: str = OPTICS, label: str = "_rlnMicrographName #1\n_rlnOpticsGroup #2\n") -> str:
    return f"{optics}\ndata_micrographs\n\nloop_\n{label}{names}\n\n"


def test_relion_31_with_two_optics_groups(tmp_path: Path) -> None:
    assert read_micrographs(put(tmp_path, CTF31)) == [
        Micrograph("MotionCorr/job002/Movies/a.mrc", 1.4, 1, Ctf(15000.0, 14800.0, 30.0, 300.0, 2.7, 0.1)),
        Micrograph("MotionCorr/job002/Movies/b.mrc", 0.85, 2, Ctf(9000.0, 8900.0, -5.0, 200.0, 1.4, 0.07)),
    ]


@pytest.mark.parametrize("change", [("30001", "50001"), ("\n", "\r\n"), (" ", "\t"), ("#", " #")])
def test_relion_5_line_ends_and_tabs_change_nothing(tmp_path: Path, change: tuple[str, str]) -> None:
    expected = read_micrographs(put(tmp_path, CTF31))
    changed = CTF31.replace(*change).replace("#\tversion", "# version")
    assert read_micrographs(put(tmp_path, changed)) == expected


def test_relion_30(tmp_path: Path) -> None:
    (micrograph,) = read_micrographs(put(tmp_path, STAR30))
    assert micrograph.name == "Micrographs/a.mrc"
    assert micrograph.pixel_size == pytest.approx(1.5)
    assert micrograph.optics_group == 1
    assert micrograph.ctf == Ctf(10863.85, 10575.79, 77.99, 300.0, 2.0, 0.1)


@pytest.mark.parametrize("label", ["_rlnMicrographPixelSize", "_rlnPixelSize", "_rlnMicrographOriginalPixelSize"])
def test_pixel_size_in_the_row(tmp_path: Path, label: str) -> None:
    text = f"data_\n\nloop_\n_rlnMicrographName #1\n{label} #2\na.mrc 1.25\n"
    assert read_micrographs(put(tmp_path, text)) == [Micrograph("a.mrc", 1.25)]


def test_original_pixel_size_only_where_there_is_no_other(tmp_path: Path) -> None:
    optics = (
        OPTICS.replace("_rlnMicrographPixelSize #7\n", "").replace(" 1.400000\n", "\n").replace(" 0.850000\n", "\n")
    )
    assert read_micrographs(put(tmp_path, simple("a.mrc 1", optics)))[0].pixel_size == 0.7


def test_names_stay_verbatim_text(tmp_path: Path) -> None:
    names = [
        "0001",
        "0001.mrc",
        "1e5",
        "two words.mrc",
        "NA",
        "null",
        "None",
        "NA.mrc",
        "job001/x.mrc",
        "./a.mrc",
        "é.mrc",
    ]
    rows = "\n".join(f'"{name}" 1' if " " in name else f"{name} 1" for name in names)
    assert [m.name for m in read_micrographs(put(tmp_path, simple(rows)))] == names


def test_all_names_numbers(tmp_path: Path) -> None:
    assert [m.name for m in read_micrographs(put(tmp_path, simple("0001 1\n0002 1")))] == ["0001", "0002"]


def test_no_ctf_columns(tmp_path: Path) -> None:
    assert read_micrographs(put(tmp_path, simple("a.mrc 1")))[0].ctf is None


def test_single_micrograph_written_without_a_loop(tmp_path: Path) -> None:
    optics = "data_optics\n\n_rlnOpticsGroupName g\n_rlnOpticsGroup 1\n_rlnMicrographPixelSize 2.0\n"
    text = f"{optics}\ndata_micrographs\n\n_rlnMicrographName 0007\n_rlnOpticsGroup 1\n"
    assert read_micrographs(put(tmp_path, text)) == [Micrograph("0007", 2.0)]


def test_path_relative_to_the_project(tmp_path: Path) -> None:
    put(tmp_path, CTF31)
    assert len(read_micrographs(Path("m.star"), tmp_path)) == 2


def test_repeated_micrograph_is_kept_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read_micrographs(put(tmp_path, simple("a.mrc 1\nb.mrc 1\na.mrc 2")))
    assert [(m.name, m.optics_group) for m in found] == [("a.mrc", 1), ("b.mrc", 1)]
    assert "1 rows repeat a micrograph" in caplog.text and "a.mrc" in caplog.text


BARE = "data_micrographs\n\nloop_\n_rlnMicrographName #1\n"
WRONG = {
    "no pixel size": (BARE + "a.mrc\n", r"row 1: no pixel size: .*_rlnMicrographPixelSize.*import"),
    "zero pixel size": (BARE + "_rlnMicrographPixelSize #2\na.mrc 0\n", "pixel size is 0"),
    "text for a number": (BARE + "_rlnMicrographPixelSize #2\na.mrc big\n", "_rlnMicrographPixelSize is 'big'"),
    "empty": (BARE + "\n", "lists no micrographs"),
    "no name column": ("data_micrographs\n\nloop_\n_rlnOpticsGroup #1\n1\n", "_rlnMicrographName"),
    "nothing": ("", "_rlnMicrographName"),
    "unknown group": (simple("a.mrc 7"), "row 1: optics group 7 of a.mrc"),
    "no group": (simple("a.mrc", label="_rlnMicrographName #1\n"), "several optics groups"),
    "nan name": (simple("nan 1"), "row 1: _rlnMicrographName is empty"),
    "particles": (
        "data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n1 2 a.mrc\n",
        "lists particles or coordinates, not micrographs",
    ),
    "coordinates": ("data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n1 2\n", "coordinates, not micrographs"),
    "movies": (simple("m.tif 1", label="_rlnMicrographMovieName #1\n_rlnOpticsGroup #2\n"), "lists movies"),
    "picks": (BARE + "_rlnMicrographCoordinates #2\na.mrc b.star\n", "coordinate files of a picking job"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_named(tmp_path: Path, case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(StarError, match=message) as error:
        read_micrographs(put(tmp_path, text))
    assert str(tmp_path / "m.star") in str(error.value)


def test_ten_thousand_rows(tmp_path: Path) -> None:
    path = put(tmp_path, simple("\n".join(f"MotionCorr/job002/Movies/{n:06d}.mrc 1" for n in range(10000))))
    read_micrographs(path)  # imports pandas
    start = time.process_time()
    assert len(read_micrographs(path)) == 10000
    assert time.process_time() - start < 2


def test_written_micrographs_are_read_back(tmp_path: Path) -> None:
    micrographs = [
        Micrograph("Micrographs/0001.mrc", 1.5, 1, Ctf(10000.0, 9000.0, 10.0, 300.0, 2.7, 0.1)),
        Micrograph("Micrographs/two words.mrc", 1.5, 1, Ctf(12000.0, 12500.0, -10.0, 300.0, 2.7, 0.1)),
        Micrograph("Micrographs/c.mrc", 1.5, 2, Ctf(12000.0, 12500.0, 0.0, 200.0, 2.7, 0.1)),
        Micrograph("Micrographs/d.mrc", 2.0, 3, Ctf(12000.0, 12500.0, 0.0, 300.0, 2.7, 0.1)),
    ]
    write_micrographs(tmp_path / "w.star", micrographs)
    assert read_micrographs(tmp_path / "w.star") == micrographs
    without = [Micrograph("a.mrc", 1.5), Micrograph("b.mrc", 3.0, 2)]
    write_micrographs(tmp_path / "w.star", without)
    assert read_micrographs(tmp_path / "w.star") == without


def picks(xy: list[list[float]], score: list[float], shape: tuple[int, int] = (100, 200)) -> Picks:
    positions = np.asarray(xy, np.float32).reshape(-1, 2)
    return Picks(
        Micrograph("a.mrc", 1.0), positions, np.asarray(score, np.float32), np.zeros(len(positions), np.int64), shape
    )


HEAD = (
    "\n# version 30001\n\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnClassNumber #3\n_rlnAnglePsi #4\n"
    "_rlnAutopickFigureOfMerit #5\n"
)


def test_golden_coordinate_file(tmp_path: Path) -> None:
    path = tmp_path / "a_autopick.star"
    write_picks(path, picks([[10.4, 20.5], [199.8, 99.9], [-0.6, 3.0]], [0.25, 0.5, 0.125]))
    assert path.read_text() == (
        HEAD + "  199.000000    99.000000      0     0.000000     0.500000\n"
        "   10.000000    21.000000      0     0.000000     0.250000\n"
        "    0.000000     3.000000      0     0.000000     0.125000\n\n"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["a_autopick.star"]


def test_no_picks_give_an_empty_loop(tmp_path: Path) -> None:
    write_picks(tmp_path / "e.star", picks([], []))
    assert (tmp_path / "e.star").read_text() == HEAD + "\n"


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    write_picks(tmp_path / "n.star", picks([[1, 1], [np.nan, 2], [3, 3], [4, 4]], [np.nan, 0.9, np.inf, 0.5]))
    rows = (tmp_path / "n.star").read_text().removeprefix(HEAD).split("\n")
    assert [row.split() for row in rows if row] == [
        ["4.000000", "4.000000", "0", "0.000000", "0.500000"],
        ["1.000000", "1.000000", "0", "0.000000", "0.000000"],
        ["3.000000", "3.000000", "0", "0.000000", "0.000000"],
    ]


def test_coordinate_nodes(tmp_path: Path) -> None:
    write_coordinate_nodes(tmp_path, [("M/a b.mrc", "External/job001/M/a b_autopick.star")], "CtfFind/job003/m.star")
    assert (tmp_path / "coords_suffix_autopick.star").read_text() == "CtfFind/job003/m.star\n"
    assert (tmp_path / "autopick.star").read_text() == (
        "\n# version 30001\n\ndata_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\n"
        '"M/a b.mrc" "External/job001/M/a b_autopick.star"\n\n'
    )


def test_real_apoferritin_project(shared_data: Path) -> None:
    micrographs = read_micrographs(shared_data / "apoferritin/micrographs.star")
    assert len(micrographs) == 10
    assert {m.pixel_size for m in micrographs} == {1.5}
