from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tracemalloc
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from relion_ext_picker.errors import InputError
from relion_ext_picker.io.mrc import read_micrograph, shape_of

SHARED = Path(os.environ.get("REP_SHARED", Path(__file__).parents[3] / "shared"))


def image(dtype: str = "f4", shape: tuple[int, int] = (40, 56)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


def write_mrc(path: Path, data: np.ndarray, extended: bytes = b"") -> Path:
    with warnings.catch_warnings(), mrcfile.new(path, overwrite=True) as mrc:
        warnings.simplefilter("ignore", RuntimeWarning)  # of NaN in the data, where that is the test
        mrc.set_data(data)
        if extended:
            mrc.set_extended_header(np.frombuffer(extended, "V1"))
    return path


def patch(path: Path, offset: int, value: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(value)] = value
    path.write_bytes(raw)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["i1", "i2", "f4", "u2", "f2"])
def test_modes_and_byte_orders(tmp_path: Path, kind: str, order: str) -> None:
    data = image(order + kind)
    path = write_mrc(tmp_path / "a.mrc", data)
    got = read_micrograph(path)
    assert got.dtype == np.float32 and got.dtype.isnative
    assert got.flags.c_contiguous and got.flags.writeable
    np.testing.assert_array_equal(got, data.astype(np.float32))
    assert shape_of(path) == (40, 56)


def test_negative_values_survive(tmp_path: Path) -> None:
    for kind in ("i1", "i2", "f2", "f4"):
        data = image(kind) - np.asarray(50, kind)
        np.testing.assert_array_equal(read_micrograph(write_mrc(tmp_path / "a.mrc", data)), data.astype("f4"))


def test_unsigned_bytes_of_old_programs(tmp_path: Path) -> None:
    data = np.arange(40 * 56).reshape(40, 56).astype("u1")
    path = write_mrc(tmp_path / "a.mrc", data.view("i1"))
    np.testing.assert_array_equal(read_micrograph(path), data.view("i1"))
    patch(path, 152, np.array([1146047817, 0], "<i4").tobytes())  # IMOD, not signed
    np.testing.assert_array_equal(read_micrograph(path), data)
    patch(path, 152, np.array([1146047817, 1], "<i4").tobytes())  # IMOD, signed
    np.testing.assert_array_equal(read_micrograph(path), data.view("i1"))
    patch(path, 152, bytes(8))
    patch(path, 76, np.array([0, 255], "<f4").tobytes())  # statistics that only unsigned bytes can have
    np.testing.assert_array_equal(read_micrograph(path), data)


def test_extended_header_and_odd_headers(tmp_path: Path) -> None:
    data = image()
    path = write_mrc(tmp_path / "a.mrc", data, extended=bytes(range(200)) * 7)
    np.testing.assert_array_equal(read_micrograph(path), data)
    patch(path, 208, b"\0\0\0\0\xff\xff\0\0")  # no MAP, a machine stamp that means nothing
    patch(path, 28, np.array([0, 0, 0, np.nan, -1, 1e30], "<f4").tobytes())  # grid and cell: no pixel size
    np.testing.assert_array_equal(read_micrograph(path), data)


@pytest.mark.parametrize("name", ["a.mrc", "a.mrcs", "a.MRC"])
def test_one_slice(tmp_path: Path, name: str) -> None:
    path = write_mrc(tmp_path / name, image()[None])
    assert read_micrograph(path).shape == (40, 56)


def test_more_bytes_than_needed_are_ignored(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "a.mrc", image())
    path.write_bytes(path.read_bytes() + b"tail")
    np.testing.assert_array_equal(read_micrograph(path), image())


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "f4", ">u2"])
@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 7}, {"compression": "zlib"}, {"photometric": "miniswhite"}])
def test_tiff_is_upside_down(tmp_path: Path, kind: str, options: dict) -> None:
    data = image(kind)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, byteorder=">" if kind[0] == ">" else "<", **options)
    got = read_micrograph(path)
    assert got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, data[::-1].astype("f4"))
    assert shape_of(path) == (40, 56)


def test_tiff_agrees_with_relion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Extract cuts at a coordinate is what we have there."""
    program = shutil.which("relion_preprocess")
    if program is None:
        pytest.skip("RELION is not installed")
    monkeypatch.chdir(tmp_path)
    Path("picks/M").mkdir(parents=True)
    Path("M").mkdir()
    tifffile.imwrite("M/a.tif", image("u2"))
    optics = "data_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n_rlnMicrographPixelSize\n"
    optics += "_rlnMicrographOriginalPixelSize\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n"
    optics += "og 1 1.5 1.5 300 2.7 0.1\n\n"
    table = "data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\nM/a.tif 1\n\n"
    Path("mics.star").write_text(optics + table)
    Path("picks/M/a_autopick.star").write_text("\ndata_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n30 20\n20 12\n\n")
    command = [program, "--i", "mics.star", "--coord_dir", "picks/", "--coord_suffix", "_autopick.star", "--extract"]
    command += ["--extract_size", "16", "--part_star", "Extract/p.star", "--part_dir", "Extract/"]
    subprocess.run(command, check=True, capture_output=True)
    cut = mrcfile.read("Extract/M/a.mrcs")
    ours = read_micrograph(Path("M/a.tif"))
    np.testing.assert_allclose(cut[0], ours[12:28, 22:38], atol=1e-3)
    np.testing.assert_allclose(cut[1], ours[4:20, 12:28], atol=1e-3)


def test_missing_pixels_become_the_median(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = image()
    data[3, 4], data[5, 6], data[7, 8] = np.nan, np.inf, -np.inf
    good = data[np.isfinite(data)]
    with caplog.at_level(logging.WARNING):
        got = read_micrograph(write_mrc(tmp_path / "bad px.mrc", data))
    assert got[3, 4] == got[5, 6] == got[7, 8] == np.median(good)
    assert "bad px.mrc" in caplog.text and "3 pixels" in caplog.text
    np.testing.assert_array_equal(got[np.isfinite(data)], good)


def test_very_large_values_are_not_taken_for_infinite(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = np.full((40, 56), 3e38, np.float32)
    data[0, 0] = -3e38
    np.testing.assert_array_equal(read_micrograph(write_mrc(tmp_path / "a.mrc", data)), data)
    assert not caplog.text


def broken(tmp_path: Path, fault: str) -> Path:
    """A file with a fault."""
    path = write_mrc(tmp_path / "a.mrc", image())
    if fault == "missing":
        return tmp_path / "none.mrc"
    if fault == "folder":
        (tmp_path / "f.mrc").mkdir()
        return tmp_path / "f.mrc"
    if fault == "in a file":
        return path / "b.mrc"
    if fault == "nan":
        return write_mrc(path, np.full((40, 56), np.nan, np.float32))
    if fault == "mostly nan":
        return write_mrc(path, np.where(image() < 90, np.nan, image()).astype("f4"))
    if fault == "constant":
        return write_mrc(path, np.full((40, 56), 7, np.int16))
    if fault == "stack":
        return write_mrc(tmp_path / "a.mrcs", np.stack([image(), image()]))
    if fault == "complex":
        return write_mrc(path, image().astype(np.complex64))
    if fault in ("complex int", "packed"):
        patch(path, 12, np.array([3 if "int" in fault else 101], "<i4").tobytes())
    elif fault == "mode":
        patch(path, 12, np.array([77], "<i4").tobytes())
    elif fault == "size":
        patch(path, 0, np.array([-5], "<i4").tobytes())
    elif fault == "huge extended header":
        patch(path, 92, np.array([10**9], "<i4").tobytes())
    elif fault == "text":
        path.write_text("this is no image\n" * 200)
    else:
        path.write_bytes(path.read_bytes()[: {"empty": 0, "half a header": 500, "truncated": -1}[fault]])
    return path


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "does not exist: check the name"),
        ("folder", "is a folder"),
        ("in a file", "check the permissions"),
        ("empty", "0 bytes"),
        ("half a header", "truncated"),
        ("truncated", "truncated"),
        ("mode", "header makes no sense"),
        ("size", "header makes no sense"),
        ("text", "header makes no sense"),
        ("huge extended header", "truncated"),
        ("complex", "MRC mode 4"),
        ("complex int", "MRC mode 3"),
        ("packed", "MRC mode 101"),
        ("stack", "2 images: movies must be motion-corrected"),
    ],
)
def test_faults_are_named(tmp_path: Path, fault: str, words: str) -> None:
    path = broken(tmp_path, fault)
    for function in (read_micrograph, shape_of):
        with pytest.raises(InputError, match=words) as caught:
            function(path)
        assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"), [("nan", "every pixel NaN"), ("mostly nan", "NaN or infinite"), ("constant", "no contrast")]
)
def test_useless_images_are_named(tmp_path: Path, fault: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_micrograph(broken(tmp_path, fault))


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write_mrc(tmp_path / "a.mrc", image())
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.mrc cannot be read \(Permission denied\): check the permissions"):
        read_micrograph(path)


@pytest.mark.parametrize("fault", ["stack", "colour", "text", "empty", "truncated"])
def test_tiff_faults(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "a.tiff"
    if fault == "stack":
        tifffile.imwrite(path, np.stack([image("u2")] * 3), photometric="minisblack")
    elif fault == "colour":
        tifffile.imwrite(path, np.zeros((40, 56, 3), "u1"), photometric="rgb")
    elif fault == "text":
        path.write_text("this is no image")
    elif fault == "empty":
        path.touch()
    else:
        tifffile.imwrite(path, image("u2"))
        path.write_bytes(path.read_bytes()[:-500])
    words = {"stack": "3 images: movies", "colour": "greyscale", "empty": "0 bytes"}.get(fault, "no TIFF file that can")
    with pytest.raises(InputError, match=words) as caught:
        read_micrograph(path)
    assert "a.tiff" in str(caught.value)


@pytest.mark.parametrize(("kind", "images"), [("<f4", 1.0), (">f4", 1.0), ("<i2", 1.5), ("i1", 1.25)])
def test_memory_of_reading(tmp_path: Path, kind: str, images: float) -> None:
    """One image, and the raw one for types other than float."""
    path = write_mrc(tmp_path / "a.mrc", image(kind, (1024, 1024)))
    tracemalloc.start()
    try:
        read_micrograph(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (images + 0.1) * 1024 * 1024 * 4


def test_real_micrograph() -> None:
    folder = SHARED / "data/apoferritin/Micrographs"
    if not folder.is_dir():
        pytest.skip("the shared data are not here")
    path = sorted(folder.glob("*.mrc"))[0]
    got = read_micrograph(path)
    assert got.shape == shape_of(path) == (1200, 1240)
    np.testing.assert_array_equal(got, mrcfile.read(path).astype("f4"))
