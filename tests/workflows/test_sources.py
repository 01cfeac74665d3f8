"""Which micrographs a job is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from relion_ext_picker.errors import InputError
from relion_ext_picker.relion.star import write_micrographs
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows.sources import find_micrographs

FILES = ("b.mrc", "a.MRC", "c.tif", "d.tiff", "e.mrcs", "notes.txt", "sub/f.mrc", "odd [1]/g.mrc")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        path = tmp_path / "Mics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(mics: str) -> list[str]:
    return [micrograph.name for micrograph in find_micrographs("", mics, 1.5)]


def test_folders_and_patterns(folder: Path) -> None:
    images = ["Mics/a.MRC", "Mics/b.mrc", "Mics/c.tif", "Mics/d.tiff", "Mics/e.mrcs"]
    assert names("Mics") == names("Mics/") == names("./Mics") == images
    assert names("Mics/?.mrc") == ["Mics/b.mrc"]
    assert names("**/*.mrc") == ["Mics/b.mrc", "Mics/odd [1]/g.mrc", "Mics/sub/f.mrc"]
    assert names("Mics/odd [1]") == ["Mics/odd [1]/g.mrc"]
    assert names("Mics/b.mrc") == ["Mics/b.mrc"]
    assert names(f"{folder}/Mics/b.*") == [f"{folder}/Mics/b.mrc"]
    assert find_micrographs("", "Mics/b.mrc", 1.5) == [Micrograph("Mics/b.mrc", 1.5)]


def test_a_pattern_that_climbs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    assert names("../Mics/sub") == [str((folder / "Mics/sub/f.mrc").resolve())]


def test_the_star_file_decides(folder: Path) -> None:
    write_micrographs(Path("x.star"), [Micrograph("0001.mrc", 2.0)])
    (micrograph,) = find_micrographs("x.star", "", 9.0)
    assert (micrograph.name, micrograph.pixel_size) == ("0001.mrc", 2.0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("x.star", "Mics", 1.5), "both given: use one"),
        (("", "", 1.5), "no micrographs were given"),
        (("", "Mics", 0.0), "needs --pixel-size"),
        (("", "Mics/*.txt", 1.5), "Mics/\\*.txt: no .mrc, .mrcs, .tif, .tiff files there"),
        (("", "Nowhere", 1.5), "Nowhere: no"),
        (("none.star", "", 0.0), "none.star: cannot be read"),
    ],
)
def test_errors(folder: Path, given: tuple[str, str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        find_micrographs(*given)
