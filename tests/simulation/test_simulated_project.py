"""The simulate command: the project on disk, its options, and RELION's view of it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile

from relion_ext_picker.errors import InputError
from relion_ext_picker.options import SimulateOptions
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.simulation.contaminants import KINDS
from relion_ext_picker.types import Array
from relion_ext_picker.workflows.simulate import parse_kinds, parse_size, run, settings_of, write_project
from relion_ext_picker.workflows.simulated_truth import Truth

SMALL = SimulateOptions(
    o="", structure="irregular", diameter=150.0, micrographs=2, particles=20, size="320x256", pixel_size=4.0, seed=3
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Truth]]:
    folder = tmp_path_factory.mktemp("simulated") / "project"
    return folder, write_project(replace(SMALL, o=str(folder)))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_micrographs_and_their_list(project: tuple[Path, list[Truth]]) -> None:
    folder, truths = project
    listed = read_micrographs(Path("micrographs_ctf.star"), folder)
    assert [m.name for m in listed] == ["Micrographs/mic0001.mrc", "Micrographs/mic0002.mrc"]
    for micrograph, truth in zip(listed, truths, strict=True):
        assert micrograph.pixel_size == 4.0 and micrograph.ctf is not None and truth.micrograph.ctf is not None
        assert micrograph.ctf.defocus_u == pytest.approx(truth.micrograph.ctf.defocus_u)
        assert 7800 < micrograph.ctf.defocus_u < 25300
        with mrcfile.open(folder / micrograph.name, permissive=False) as mrc:
            assert mrc.data.shape == (256, 320) and mrc.data.dtype == np.float32
            assert float(mrc.voxel_size.x) == pytest.approx(4.0)
        with mrcfile.open(folder / "Truth" / micrograph.name.replace(".mrc", "_contaminants.mrc")) as mrc:
            assert mrc.data.shape == (256, 320) and int(mrc.header.mode) == 0
            assert mrc.data.min() >= 0 and mrc.data.max() <= len(KINDS)


def test_coordinates_in_both_forms(project: tuple[Path, list[Truth]]) -> None:
    folder, truths = project
    assert (folder / "Truth/coords_suffix_truth.star").read_text().strip() == "micrographs_ctf.star"
    node = starfile.read(folder / "Truth/truth.star")
    for row, truth in zip(node.itertuples(), truths, strict=True):
        assert row.rlnMicrographName == truth.micrograph.name
        table = starfile.read(folder / row.rlnMicrographCoordinates)
        np.testing.assert_array_equal(table[["rlnCoordinateX", "rlnCoordinateY"]].to_numpy(), truth.xy)
        angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
        np.testing.assert_allclose(angles, truth.angles, atol=1e-4)


def test_particles_have_the_defocus_of_their_depth(project: tuple[Path, list[Truth]]) -> None:
    folder, truths = project
    particles = starfile.read(folder / "particles_truth.star")["particles"]
    assert len(particles) == sum(len(truth.xy) for truth in truths) > 20
    first = particles[particles["rlnMicrographName"] == truths[0].micrograph.name]
    assert truths[0].micrograph.ctf is not None
    depth = first["rlnDefocusV"].to_numpy() - truths[0].micrograph.ctf.defocus_v
    np.testing.assert_allclose(depth, truths[0].defocus_offset, atol=0.01)


def test_everything_that_was_drawn_is_on_record(tmp_path: Path) -> None:
    options = replace(SMALL, o=str(tmp_path / "p"), contaminants=4.0, overlaps=0.5, snr="0.05", particles=25)
    truths = write_project(options)
    tables = starfile.read(tmp_path / "p/simulation.star")
    micrographs, particles, bodies = (tables[name] for name in ("micrographs", "particles", "contaminants"))
    assert micrographs["rlnGroupNrParticles"].tolist() == [len(truth.xy) for truth in truths]
    np.testing.assert_allclose(micrographs["pickerSignalToNoise"], 0.05, rtol=0.05)
    assert (micrographs["pickerDose"] > 0).all()
    np.testing.assert_allclose(micrographs["pickerIceThickness"], 400, rtol=0.1)  # mean of an uneven layer
    assert particles["pickerOverlapped"].tolist() == np.concatenate([t.overlapped for t in truths]).astype(int).tolist()
    assert 0 < particles["pickerOverlapped"].sum() < len(particles)
    assert len(bodies) == sum(len(truth.nuisances) for truth in truths) > 0
    for truth in truths:
        name = truth.micrograph.name
        with mrcfile.open(tmp_path / "p/Truth" / name.replace(".mrc", "_contaminants.mrc")) as mrc:
            shown = {KINDS[number - 1] for number in np.unique(mrc.data) if number}
        assert shown <= set(bodies["pickerKind"][bodies["rlnMicrographName"] == name])


def test_same_options_same_bytes_and_overwriting(project: tuple[Path, list[Truth]], tmp_path: Path) -> None:
    folder, _ = project
    again = tmp_path / "again"
    run(replace(SMALL, o=str(again), micrographs=3))
    assert (again / "Micrographs/mic0003.mrc").exists()
    run(replace(SMALL, o=str(again)))  # over its own output; the third micrograph goes
    assert digest(again) == digest(folder)
    run(replace(SMALL, o=str(again), seed=4))
    assert digest(again)["Micrographs/mic0001.mrc"] != digest(folder)["Micrographs/mic0001.mrc"]


def test_foreign_folders_stay_untouched(tmp_path: Path) -> None:
    (tmp_path / "Micrographs").mkdir()
    (tmp_path / "Micrographs/mic0001.mrc").write_bytes(b"precious")
    with pytest.raises(InputError, match="something else"):
        write_project(replace(SMALL, o=str(tmp_path)))
    assert (tmp_path / "Micrographs/mic0001.mrc").read_bytes() == b"precious"


def test_sizes_and_kinds_are_parsed() -> None:
    assert parse_size("1024x512") == (512, 1024)
    assert parse_size(" 300 X 300 ") == (300, 300)
    assert parse_kinds("all") == KINDS and parse_kinds("gold, carbon") == ("carbon", "gold")


def test_options_become_settings() -> None:
    options = replace(
        SMALL, thickness="300-500", defocus="0.5-1.5", astigmatism="100", bfactor="60-70", dose="20-40", frames=40,
        used_frames=4, snr="0.01-0.1", camera="ccd", orientations="belt", orientation_spread=7.0, overlaps=0.2,
        contaminant_kinds="gold", damage=False,
    )  # fmt: skip
    settings = settings_of(options)
    assert (settings.thickness, settings.defocus, settings.astigmatism) == ((300, 500), (5e3, 15e3), (100, 100))
    assert (settings.bfactor, settings.dose, settings.snr) == ((60, 70), (20, 40), (0.01, 0.1))
    assert (settings.frames, settings.used_frames, settings.camera) == (40, 4, "ccd")
    assert (settings.orientations, settings.orientation_spread, settings.overlaps) == ("belt", 7.0, 0.2)
    assert settings.kinds == ("gold",) and not settings.damage


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defocus": "2.5-0.8"}, r"--defocus 2\.5-0\.8: .*from 0\.05 to 10 µm"),
        ({"thickness": "thin"}, r"--thickness thin: .*from 0 to 5000 Å"),
        ({"dose": "0"}, r"--dose 0: .*from 0\.01 to 1000 e/Å²"),
        ({"snr": "0-0.1"}, r"--snr 0-0\.1: a range must begin above 0, such as 0\.05-0\.1"),
        ({"frames": 10, "used_frames": 11}, r"--used-frames 11: there are only 10 frames"),
        ({"contaminant_kinds": "gold,carbn"}, r"--contaminant-kinds gold,carbn: .*; did you mean carbon\?"),
        ({"contaminant_kinds": ","}, r"--contaminant-kinds ,: must be all or some of carbon, hole"),
    ],
)
def test_what_cannot_be_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_of(replace(SMALL, **changes))  # type: ignore[arg-type]


def test_an_snr_out_of_reach_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--snr 50: Micrographs/mic0001\.mrc: .* limits it to .*; ask for less"):
        write_project(replace(SMALL, o=str(tmp_path / "p"), snr="50"))


@pytest.mark.parametrize("text", ["1024", "x", "10x1024", "1024x99999", "-5x200", "200x200x200", ""])
def test_bad_sizes_are_named(text: str) -> None:
    with pytest.raises(InputError, match=r"--size .*64 to 16384 px"):
        parse_size(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"structure": "sphere"}, "--structure sphere"),
        ({"diameter": 2000.0}, "more than --size 320x256 holds"),
        ({"diameter": 10.0}, "at least 4 px"),
        ({"diameter": 1500.0, "pixel_size": 2.0, "size": "2048x2048", "particles": 1}, "at most 512 are possible"),
        ({"particles": 500}, "--particles 500: at most"),
        (
            {"structure": "bgal", "diameter": 0.0, "pixel_size": 2.5, "size": "64x64", "particles": 1},
            "--structure bgal: .* more than --size",
        ),
        ({"structure": "small"}, "--diameter 150: --structure small has a size of its own"),
    ],
)
def test_impossible_wishes_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        write_project(replace(SMALL, o=str(tmp_path / "p"), **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "p").exists()


@pytest.mark.skipif(shutil.which("relion_reconstruct") is None, reason="RELION is not installed")
def test_relion_reconstructs_the_structure_from_the_truth(tmp_path: Path) -> None:
    """Coordinates, signs, handedness and angles all have to be right for this."""
    project = tmp_path / "project"
    options = replace(SMALL, o=str(project), micrographs=4, particles=50, size="512x512", contaminants=0.0, dose="60")
    write_project(options)
    extract = (
        "relion_preprocess --i micrographs_ctf.star --coord_dir Truth/ --coord_suffix _truth.star --extract "
        "--part_star Extract/particles.star --part_dir Extract/ --extract_size 56 --invert_contrast "
        "--norm --bg_radius 24"
    )
    reconstruct = "relion_reconstruct --i Extract/particles.star --o map.mrc --ctf --angpix 4"
    (project / "Extract").mkdir()
    for command in (extract, reconstruct):
        subprocess.run(command.split(), cwd=project, check=True, capture_output=True, timeout=300)
    ours, theirs = mrcfile.read(project / "Truth/structure.mrc"), mrcfile.read(project / "map.mrc")
    fsc = shell_correlation(ours, theirs)
    shell_of_20_angstrom = round(len(fsc) * 2 * 4.0 / 20.0)
    assert fsc[1:shell_of_20_angstrom].mean() > 0.8
    assert shell_correlation(ours, theirs[:, :, ::-1])[4:shell_of_20_angstrom].mean() < 0.6


def shell_correlation(ours: Array, theirs: Array) -> Array:
    """Fourier shell correlation of two maps cut or padded to the smaller box, within a soft sphere."""
    side = min(len(ours), len(theirs))
    a, b = (m[tuple(slice(len(m) // 2 - side // 2, len(m) // 2 + side // 2) for _ in range(3))] for m in (ours, theirs))
    distance = np.sqrt(sum((g - side // 2) ** 2 for g in np.ogrid[:side, :side, :side]))
    mask = np.clip((side / 2 - distance) / 3, 0, 1)
    fa, fb = (np.fft.fftshift(np.fft.fftn(m * mask)) for m in (a, b))
    shell = np.rint(distance).astype(int).ravel()
    cross, pa, pb = (np.bincount(shell, v.ravel()) for v in ((fa * fb.conj()).real, abs(fa) ** 2, abs(fb) ** 2))
    return np.asarray((cross / np.sqrt(pa * pb))[: side // 2], np.float32)
