from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import starfile

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.relion.tables import read_tables, table_text, write_table, write_tables


def test_golden_table(tmp_path: Path) -> None:
    columns = {"rlnMicrographName": ["a.mrc", "two words.mrc"], "rlnOpticsGroup": [1, 2], "rlnVoltage": [300.0, 2e-7]}
    write_table(tmp_path / "t.star", "micrographs", columns)
    assert (tmp_path / "t.star").read_text() == (
        "\n# version 30001\n\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n"
        'a.mrc 1 300.000000\n"two words.mrc" 2 2.000000e-07\n\n'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("tab\there", '"tab\there"'),
        ("#start", '"#start"'),
        ("_start", '"_start"'),
        ("data_x/y.mrc", '"data_x/y.mrc"'),
        ('5" lens', "'5\" lens'"),
        (7, "7"),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.500000"),
        (True, "1"),
        (0.0, "0.000000"),
    ],
)
def test_cells(value: object, written: str) -> None:
    assert table_text("", {"c": [value]}).splitlines()[4] == written


def test_quoting_is_undone_by_a_tokeniser() -> None:
    values = ["a b", "", "#x", "_y", 'in"ch', "data_1"]
    row = table_text("", {str(number): [value] for number, value in enumerate(values)}).splitlines()[-2]
    assert shlex.split(row) == values


@pytest.mark.parametrize("text", ["line\nend", "return\r", "both \" and '"])
def test_text_that_cannot_be_written(text: str) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        table_text("", {"c": [text]})


def test_columns_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="argument"):
        table_text("", {"a": [1], "b": [1, 2]})


def test_starfile_reads_what_we_write(tmp_path: Path) -> None:
    tables = {"optics": {"rlnOpticsGroup": [1], "rlnVoltage": [300.0]}, "x": {"n": ["a b", "c"], "v": [1.5, -2.0]}}
    write_tables(tmp_path / "t.star", tables)
    read = starfile.read(tmp_path / "t.star")
    assert read["x"]["n"].tolist() == ["a b", "c"]
    assert read["x"]["v"].tolist() == [1.5, -2.0]
    assert read_tables(tmp_path / "t.star", ["n"]) == tables


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "t.star"
    write_table(path, "a", {"c": [1]})
    before = path.read_text()
    with pytest.raises(InputError):
        write_table(path, "a", {"c": ["bad\n"]})
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.star"]


@pytest.mark.parametrize("name", ["it's.mrc", "a#1.mrc", '"it\'s here.mrc"', "data_2024/a.mrc"])
def test_names_that_the_library_would_change_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.star"
    path.write_text(f"data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n{name} 1\nb.mrc 1\n")
    with pytest.raises(StarError, match="line 6: .*plainer name"):
        read_tables(path, ["rlnMicrographName"])


def test_files_that_are_no_star_files(tmp_path: Path) -> None:
    with pytest.raises(StarError, match="missing.star: cannot be read"):
        read_tables(tmp_path / "missing.star", [])
    with pytest.raises(StarError, match="cannot be read"):
        read_tables(tmp_path, [])
    (tmp_path / "b.star").write_bytes(b"\xff\xfe\x00data_")
    with pytest.raises(StarError, match="not text"):
        read_tables(tmp_path / "b.star", [])
    (tmp_path / "r.star").write_text("data_\n\nloop_\n_a #1\n_b #2\n1 2\n1 2 3 4\n")
    with pytest.raises(StarError, match="r.star: damaged"):
        read_tables(tmp_path / "r.star", [])
