"""Projections against sums of voxels, against rotation by interpolation and against RELION."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from relion_ext_picker.simulation.orientations import uniform_orientations
from relion_ext_picker.simulation.projection import Projector, euler_matrix
from relion_ext_picker.simulation.structures import load_structure
from relion_ext_picker.types import Array
from relion_ext_picker.workflows.simulated_truth import write_mrc


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.fixture(scope="module")
def volume() -> Array:
    """Five unequal blobs: no symmetry, no centre."""
    places = [(0, 0, 0), (7, 2, -3), (-5, 6, 4), (2, -8, 5), (-3, -2, -9)]
    out = np.zeros((32, 32, 32), np.float32)
    for weight, (x, y, z) in enumerate(places, 1):
        out[16 + z, 16 + y, 16 + x] = weight
    return np.asarray(ndimage.gaussian_filter(out, 1.5), np.float32)


def test_straight_views_are_sums_of_voxels(volume: Array) -> None:
    projector = Projector(volume)
    front, side, turned = projector(np.array([[0, 0, 0], [0, 90, 0], [0, 0, 90]]))
    assert correlation(front, volume.sum(0)) > 0.998
    assert front.sum() == pytest.approx(volume.sum(), rel=1e-3)
    # At tilt 90 the beam runs along x; the projection's x axis is -z of the volume.
    expected = np.zeros((32, 32), np.float32)
    expected[:, 1:] = volume.sum(2).T[:, :0:-1]
    assert correlation(side, expected) > 0.998
    # psi 90 shows the volume's y along x, and its -x along y.
    expected = np.zeros((32, 32), np.float32)
    expected[1:] = volume.sum(0).T[:0:-1]
    assert correlation(turned, expected) > 0.998


def test_views_are_those_of_the_rotated_volume(volume: Array) -> None:
    angles = uniform_orientations(4, np.random.default_rng(5))
    for view, matrix in zip(Projector(volume)(angles), euler_matrix(angles), strict=True):
        back = matrix.T[::-1, ::-1]  # from the view's z, y, x to the volume's z, y, x
        centre = np.full(3, 16.0)
        rotated = ndimage.affine_transform(volume, back, centre - back @ centre, order=3)
        assert correlation(view, rotated.sum(0)) > 0.995


def test_threads_do_not_change_projections(volume: Array) -> None:
    projector, angles = Projector(volume), uniform_orientations(7, np.random.default_rng(5))
    assert projector(angles, workers=3).tobytes() == projector(angles).tobytes()
    assert projector(angles[:0]).shape == (0, 32, 32)


def test_an_odd_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="even cube"):
        Projector(np.zeros((5, 5, 5), np.float32))


@pytest.mark.skipif(shutil.which("relion_project") is None, reason="relion_project is not installed")
def test_projections_are_those_of_relion(tmp_path: Path) -> None:
    import mrcfile

    rng = np.random.default_rng(7)
    structure = load_structure("irregular", 4.0, 150.0, rng)
    angles = uniform_orientations(10, rng)
    write_mrc(tmp_path / "map.mrc", structure.potential, 4.0)
    side = len(structure.potential)
    optics = f"data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnVoltage\n_rlnSphericalAberration\n\
_rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n_rlnImageDimensionality\n1 o 300 2.7 0.1 4.0 {side} 2\n\n"
    head = "data_particles\n\nloop_\n_rlnImageName\n_rlnAngleRot\n_rlnAngleTilt\n_rlnAnglePsi\n_rlnOpticsGroup\n"
    rows = [f"{n:06d}@x.mrcs {a[0]} {a[1]} {a[2]} 1" for n, a in enumerate(angles, 1)]
    (tmp_path / "angles.star").write_text(optics + head + "\n".join(rows) + "\n", encoding="utf-8")
    command = ["relion_project", "--i", "map.mrc", "--ang", "angles.star", "--o", "out", "--angpix", "4"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    theirs = mrcfile.read(tmp_path / "out.mrcs")
    for ours, view in zip(Projector(structure.potential)(angles), theirs, strict=True):
        assert correlation(ours, view) > 0.999
        assert ours.std() == pytest.approx(view.std(), rel=0.01)
