"""Particles and classes of RELION 3.0 to 5."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.relion.columns import StarColumns
from relion_ext_picker.relion.downstream import read_classes, read_particles, read_selection
from relion_ext_picker.relion.results import find_result, last_iteration
from relion_ext_picker.relion.tables import table_text

ORACLES = Path(__file__).parents[3] / "shared/data/oracles"
needs_oracles = pytest.mark.skipif(not ORACLES.exists(), reason="no ../shared")

ROWS = {
    "rlnMicrographName": ["MotionCorr/job002/a.mrc", "MotionCorr/job002/b c.mrc", "MotionCorr/job002/a.mrc"],
    "rlnCoordinateX": [10.0, 20.0, 30.0],
    "rlnCoordinateY": [1.0, 2.0, 3.0],
    "rlnImageName": ["000001@Extract/job003/a.mrcs", "000001@Extract/job003/b.mrcs", "000002@Extract/job003/a.mrcs"],
    "rlnClassNumber": [1, 2, 1],
    "rlnAngleRot": [0.0, 0.0, 0.0],
    "rlnAngleTilt": [0.0, 0.0, 0.0],
    "rlnAnglePsi": [5.0, 6.0, 7.0],
    "rlnMaxValueProbDistribution": [0.5, 0.25, 1.0],
    "rlnRandomSubset": [1, 2, 2],
    "rlnAutopickFigureOfMerit": [0.9, 0.8, 0.7],
}
OPTICS = {
    "rlnOpticsGroupName": ["one", "two"],
    "rlnOpticsGroup": [3, 7],
    "rlnMicrographPixelSize": [1.5, 1.75],
    "rlnImagePixelSize": [3.0, 3.5],
    "rlnImageSize": [32, 32],
}
CLASSES = {
    "rlnReferenceImage": [
        "000001@Class2D/job004/run_it020_classes.mrcs",
        "000002@Class2D/job004/run_it020_classes.mrcs",
    ],
    "rlnClassDistribution": [0.75, 0.25],
    "rlnAccuracyRotations": [2.5, 999.0],
    "rlnAccuracyTranslationsAngst": [1.25, 999.0],
    "rlnEstimatedResolution": [12.5, 30.0],
    "rlnOverallFourierCompleteness": [1.0, 0.5],
}
GENERAL = "# version 30001\n\ndata_model_general\n\n_rlnOriginalImageSize  32\n_rlnPixelSize  3.0\n\n"


def write_30(path: Path) -> None:
    """RELION 3.0: one table without a name, origins in px, pixel size from the magnification."""
    rows = ROWS | {
        "rlnOriginX": [1.0, 0.0, -2.0], "rlnOriginY": [0.5, 0.0, 0.0],
        "rlnDetectorPixelSize": [6.0] * 3, "rlnMagnification": [20000.0] * 3,
    }  # fmt: skip
    path.write_text("\n" + table_text("", rows))


def write_31(path: Path, version: str = "30001") -> None:
    """RELION 3.1, 4 and 5: optics and particles, origins in Å."""
    rows = ROWS | {
        "rlnOriginXAngst": [3.0, 0.0, -6.0], "rlnOriginYAngst": [1.5, 0.0, 0.0], "rlnOpticsGroup": [7, 3, 7],
    }  # fmt: skip
    text = "".join(f"\n# version {version}\n\n{table_text(n, t)}" for n, t in (("optics", OPTICS), ("particles", rows)))
    path.write_text(text)


def test_particles_30(tmp_path):
    write_30(tmp_path / "particles.star")
    found = read_particles(tmp_path / "particles.star")
    assert found.names == ("MotionCorr/job002/a.mrc", "MotionCorr/job002/b c.mrc")
    assert found.micrograph.tolist() == [0, 1, 0]
    assert found.pixel_size.tolist() == [3.0] * 3
    assert found.micrograph_pixel_size is None  # the file knows the particle image only
    assert found.origin.tolist() == [[3.0, 1.5], [0.0, 0.0], [-6.0, 0.0]]
    assert found.optics_group is None


@pytest.mark.parametrize("version", ["30001", "50001"])
def test_particles_31(tmp_path, version):
    write_31(tmp_path / "particles.star", version)
    found = read_particles(tmp_path / "particles.star")
    assert len(found) == 3 and found.box == 32
    assert found.xy.tolist() == [[10, 1], [20, 2], [30, 3]]
    assert found.origin.tolist() == [[3.0, 1.5], [0.0, 0.0], [-6.0, 0.0]]
    assert found.micrograph_pixel_size.tolist() == [1.75, 1.5, 1.75]  # by the optics group of each particle
    assert found.pixel_size.tolist() == [3.5, 3.0, 3.5]
    assert found.class_number.tolist() == [1, 2, 1]
    assert found.angles[:, 2].tolist() == [5, 6, 7]
    assert found.pmax.tolist() == [0.5, 0.25, 1.0]
    assert found.subset.tolist() == [1, 2, 2]
    assert found.figure_of_merit.tolist() == [0.9, 0.8, 0.7]


def test_optics_group_that_is_not_there(tmp_path):
    write_31(tmp_path / "particles.star")
    text = (tmp_path / "particles.star").read_text().replace("two 7", "two 8")
    (tmp_path / "particles.star").write_text(text)
    with pytest.raises(StarError, match="optics group 7 .* not in the optics table"):
        read_particles(tmp_path / "particles.star")


def test_cut_off(tmp_path):
    file = tmp_path / "run_data.star"
    write_31(file)
    whole = file.read_bytes()
    end = len(whole.rstrip())
    for length in (end - 1, end - 20):
        file.write_bytes(whole[:length])
        with pytest.raises(StarError, match="cut off"):
            read_particles(file)
    file.write_bytes(whole[: end - 20] + b"\n")  # a row too short, but with a line end
    with pytest.raises(StarError, match="row 3 .* fewer than .* cut off"):
        read_particles(file)
    lines = whole.decode().rstrip().split("\n")
    file.write_text("\n".join([*lines[:-2], " ".join(lines[-2].split()[:5]), lines[-1], "", ""]))  # in the middle
    with pytest.raises(StarError, match="row 2 .* fewer than"):
        read_particles(file)


def test_wrong_files(tmp_path):
    file = tmp_path / "x.star"
    for text, message in [
        ("hello\n", "not a STAR file"),
        ("data_\n\nloop_\n_rlnMicrographName #1\na.mrc\n\n", "micrographs, not particles"),
        ("data_\n\nloop_\n_rlnCoordinateX #1\n1.0\n\n", "lists no particles"),
    ]:
        file.write_text(text)
        with pytest.raises(StarError, match=message):
            read_particles(file)
    with pytest.raises(StarError, match="lists no classes"):
        read_classes(file)
    with pytest.raises(StarError, match="no column _rlnSelected"):
        read_selection(file)
    with pytest.raises(StarError, match="cannot be read"):
        read_particles(tmp_path / "none.star")
    write_31(file)
    file.write_text(file.read_text().replace("0.250000", "quarter"))
    with pytest.raises(StarError, match="damaged"):
        read_particles(file)
    write_31(file)
    file.write_text(file.read_text().replace("0.700000", "nan"))
    assert np.isnan(read_particles(file).figure_of_merit[2])


def test_windows_line_ends_and_one_entry_tables(tmp_path):
    write_31(tmp_path / "a.star")
    (tmp_path / "a.star").write_bytes((tmp_path / "a.star").read_bytes().replace(b"\n", b"\r\n"))
    assert read_particles(tmp_path / "a.star").names[0] == "MotionCorr/job002/a.mrc"
    (tmp_path / "b.star").write_text(GENERAL)
    assert StarColumns(tmp_path / "b.star").number("model_general", "rlnPixelSize") == 3.0


def test_classes(tmp_path):
    (tmp_path / "m.star").write_text(GENERAL + table_text("model_classes", CLASSES))
    found = read_classes(tmp_path / "m.star")
    assert found.distribution.tolist() == [0.75, 0.25] and found.resolution.tolist() == [12.5, 30.0]
    assert found.completeness.tolist() == [1.0, 0.5] and found.score is None
    np.testing.assert_array_equal(found.accuracy_rotations, [2.5, np.nan])
    np.testing.assert_array_equal(found.accuracy_translations, [1.25, np.nan])
    assert (found.box, found.pixel_size) == (32, 3.0)


@pytest.mark.parametrize("label", ["rlnClassScore", "rlnPredictedClassScore"])
def test_class_ranker(tmp_path, label):
    (tmp_path / "m.star").write_text(table_text("model_classes", CLASSES | {label: [0.9, 0.1]}))
    assert read_classes(tmp_path / "m.star").score.tolist() == [0.9, 0.1]


def test_accuracy_of_30_is_in_px(tmp_path):
    old = {n: v for n, v in CLASSES.items() if n != "rlnAccuracyTranslationsAngst"} | {
        "rlnAccuracyTranslations": [2.0, 999.0]
    }
    (tmp_path / "m.star").write_text(GENERAL + table_text("model_classes", old))
    np.testing.assert_array_equal(read_classes(tmp_path / "m.star").accuracy_translations, [6.0, np.nan])


def _class2d(folder: Path, iterations: tuple[int, ...]) -> Path:
    folder.mkdir(parents=True)
    for number in iterations:
        write_31(folder / f"run_it{number:03d}_data.star")
        (folder / f"run_it{number:03d}_model.star").write_text(GENERAL + table_text("model_classes", CLASSES))
    return folder


def test_last_iteration(tmp_path):
    job = _class2d(tmp_path / "Class2D/job004", (0, 1, 20))
    write_31(job / "run_it021_data.star")  # killed before the model was there
    assert last_iteration(job).iteration == 20
    _class2d(tmp_path / "more", (25,))
    for kind in ("data", "model"):
        (tmp_path / f"more/run_it025_{kind}.star").rename(job / f"run_ct20_it025_{kind}.star")
    found = find_result(job)
    assert (found.iteration, found.particles.name) == (25, "run_ct20_it025_data.star")
    assert find_result(job / "run_it001_model.star").models == (job / "run_it001_model.star",)
    with pytest.raises(InputError, match="no run_itNNN_data.star"):
        find_result(tmp_path / "more")
    with pytest.raises(InputError, match="no such file"):
        find_result(tmp_path / "Class2D/job005")


def test_final_files_of_refine3d(tmp_path):
    write_31(tmp_path / "run_data.star")
    write_31(tmp_path / "run_it003_data.star")
    for half in (1, 2):
        (tmp_path / f"run_it003_half{half}_model.star").write_text(table_text("model_classes", CLASSES))
    assert find_result(tmp_path).particles.name == "run_data.star"
    found = find_result(tmp_path / "run_it003_data.star")
    assert [model.name for model in found.models] == ["run_it003_half1_model.star", "run_it003_half2_model.star"]
    (tmp_path / "run_data.star").unlink()
    assert find_result(tmp_path).iteration == 3


@pytest.mark.parametrize("given", ["run_it020_model.star", "run_it020_optimiser.star"])
def test_select_is_followed_to_its_classes(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    _class2d(Path("Class2D/job004"), (20,))
    Path("Class2D/job004/run_it020_optimiser.star").touch()
    select = Path("Select/job005")
    select.mkdir(parents=True)
    write_31(select / "particles.star")
    (select / "backup_selection.star").write_text(table_text("", {"rlnSelected": [1, 0]}))
    options = {"rlnJobOptionVariable": ["fn_data", "fn_model"], "rlnJobOptionValue": ["", f"Class2D/job004/{given}"]}
    (select / "job.star").write_text(table_text("joboptions_values", options))
    found = find_result(select)
    assert found.particles == Path("Class2D/job004/run_it020_data.star") and found.chosen == select / "particles.star"
    assert found.models == (Path("Class2D/job004/run_it020_model.star"),)
    assert read_selection(found.selection).tolist() == [True, False]
    (select / "job.star").unlink()  # nobody knows any more what it chose from
    assert find_result(select / "particles.star").particles == select / "particles.star"


@needs_oracles
def test_oracle_class2d():
    found = find_result(ORACLES / "relion4_class2d")
    particles, classes = read_particles(found.particles), read_classes(found.models[0])
    assert (len(particles), len(particles.names), len(classes), found.iteration) == (4786, 24, 50, 25)
    top = int(classes.distribution.argmax())
    assert top + 1 == 25 and int((particles.class_number == 25).sum()) == 461
    assert classes.distribution[top] == pytest.approx(0.095987) and classes.resolution[top] == pytest.approx(10.298182)
    assert int(np.isnan(classes.accuracy_rotations).sum()) == 25
    assert len(np.unique(particles.class_number)) == 48
    assert particles.micrograph_pixel_size[0] == 0.885 and particles.pixel_size[0] == 3.54


@needs_oracles
def test_oracle_refine3d():
    found = find_result(ORACLES / "relion31_refine3d")
    particles = read_particles(found.particles)
    assert len(particles) == 4748 and np.bincount(particles.subset).tolist() == [0, 2337, 2411]
    assert read_classes(found.models[0]).resolution.tolist() == [3.354503]


def test_many_particles(tmp_path):
    """Linear in the number of rows: 100,000 rows take a second or so; a quadratic reader would not end."""
    rows = "".join(
        f"{i % 4000}.5 {i % 3000}.25 Micrographs/m{i % 300}.mrc {i + 1}@x.mrcs {i % 50 + 1}\n" for i in range(100_000)
    )
    head = "data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n_rlnImageName #4\n"
    (tmp_path / "p.star").write_text(f"{head}_rlnClassNumber #5\n{rows}\n")
    started = time.process_time()
    found = read_particles(tmp_path / "p.star")
    assert len(found) == 100_000 and len(found.names) == 300
    assert time.process_time() - started < 20, os.getloadavg()
