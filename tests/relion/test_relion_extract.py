"""RELION's own Extract reads the files that we write."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.star import coordinate_path, write_coordinate_nodes, write_micrographs, write_picks
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.types import Ctf, Micrograph, Picks

pytestmark = pytest.mark.skipif(shutil.which("relion_preprocess") is None, reason="RELION is not installed")

# Not tried: a blank in a folder, at which RELION fails itself because it makes its own folder without quotes.
NAMES = ["Micrographs/grid 1.mrc", "0001.mrc", "MotionCorr/job002/Movies/b.mrc", "job003/c.mrc", "Micrographs/none.mrc"]
BOX = 16


def project(folder: Path, xy: np.ndarray) -> None:
    """A project with one bright px at every pick, and the job that picked it."""
    rng = np.random.default_rng(0)
    micrographs = [Micrograph(name, 2.0, 1, Ctf(10000.0, 9500.0, 30.0)) for name in NAMES]
    with JobDirectory("External/job004/", "3.1") as job:
        for micrograph in micrographs:
            image = rng.normal(size=(60, 90)).astype(np.float32)
            image[xy[:, 1].astype(int), xy[:, 0].astype(int)] = 100
            (folder / micrograph.name).parent.mkdir(parents=True, exist_ok=True)
            mrcfile.write(folder / micrograph.name, image)
            found = xy[:0] if micrograph.name == "Micrographs/none.mrc" else xy
            score = np.linspace(0.9, 0.5, len(found)).astype(np.float32)
            picks = Picks(micrograph, found + np.float32(0.3), score, np.zeros(len(found), np.int64), image.shape)
            job.write(coordinate_path(micrograph.name), lambda path, picks=picks: write_picks(path, picks))
        write_micrographs(folder / "micrographs_ctf.star", micrographs)
        pairs = [(name, job.prefix + str(coordinate_path(name))) for name in NAMES]
        write_coordinate_nodes(job.path, pairs, "micrographs_ctf.star")
        job.declare("autopick.star", "coordinates")


def test_extract_finds_every_pick_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    xy = np.array([[20, 30], [60, 17], [89, 59], [0, 0]], np.float32)
    project(tmp_path, xy)
    command = [
        "relion_preprocess", "--i", "micrographs_ctf.star", "--coord_dir", "External/job004/", "--coord_suffix",
        "_autopick.star", "--part_dir", "Extract/job005/", "--part_star", "Extract/job005/particles.star", "--extract",
        "--extract_size", str(BOX),
    ]  # fmt: skip
    (tmp_path / "Extract/job005").mkdir(parents=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_tables(tmp_path / "Extract/job005/particles.star", ["rlnMicrographName", "rlnImageName"])["particles"]
    assert len(table["rlnImageName"]) == 4 * len(xy)
    assert set(table["rlnMicrographName"]) == set(NAMES[:4])
    assert table["rlnCoordinateX"][:4] == [20, 60, 89, 0]
    assert table["rlnAutopickFigureOfMerit"][0] == pytest.approx(0.9)
    assert table["rlnDefocusU"][0] == 10000
    for image_name in table["rlnImageName"]:
        number, stack = image_name.split("@")
        particle = np.atleast_3d(mrcfile.read(tmp_path / stack))[int(number) - 1]
        assert particle[BOX // 2, BOX // 2] == pytest.approx(100)
