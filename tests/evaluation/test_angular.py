"""Views: cells, point groups, orientation efficiency, sampling of Fourier space."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.healpix import cell_count, cells_of, centres, view_vectors
from relion_ext_picker.evaluation.psf import efficiency
from relion_ext_picker.evaluation.sampling import sampling, tilt_advice
from relion_ext_picker.evaluation.symmetry import fold, point_group
from relion_ext_picker.evaluation.views import coverage, merged, symmetric

ANGULAR = Path(__file__).parents[3] / "shared/data/oracles/angular"
ROUND = np.arange(0.0, 360, 0.05)
C1 = point_group("C1")


def uniform(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ring(tilt: float) -> np.ndarray:
    return view_vectors(ROUND, np.full(len(ROUND), tilt))


def test_views_are_those_of_relion():
    assert view_vectors([0, 90, 30], [90, 90, 0]) == pytest.approx(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))


@pytest.mark.parametrize("order", range(7))
def test_centres_lie_in_their_cells(order: int):
    middle = centres(order)
    assert len(middle) == cell_count(order) == 12 * 4**order
    assert np.linalg.norm(middle, axis=1) == pytest.approx(np.ones(len(middle)))
    assert cells_of(middle, order).tolist() == list(range(len(middle)))


def test_cells_are_of_equal_area_and_near_their_centres():
    vectors = uniform(400_000)
    count = np.bincount(cells_of(vectors, 2), minlength=192)
    assert np.sum((count - count.mean()) ** 2) / count.mean() < 191 + 5 * np.sqrt(2 * 191)  # chi squared
    away = np.degrees(np.arccos(np.clip(np.sum(centres(5)[cells_of(vectors, 5)] * vectors, axis=1), -1, 1)))
    assert away.max() < 2.0


def test_numbers_of_cells_in_ring_order():
    """Published positions of nside 1: cell 0 at z = 2/3 and longitude 45°, cell 4 on the equator at 0°."""
    first = centres(0)
    assert first[0] == pytest.approx([np.sqrt(5) / 3 / np.sqrt(2)] * 2 + [2 / 3])
    assert first[4] == pytest.approx([1, 0, 0])
    assert cells_of([[0, 0, 1.0], [0, 0, -1.0]], 1).tolist() == [0, 44]


SIZES = {
    "C1": 1,
    "C4": 4,
    "c13": 13,
    "D2": 4,
    "D7": 14,
    "T": 12,
    "O": 24,
    "I": 60,
    "I1": 60,
    "I2": 60,
    "I3": 60,
    "I4": 60,
}


@pytest.mark.parametrize("name", SIZES)
def test_point_groups_are_groups(name: str):
    group = point_group(name)
    assert len(group) == SIZES[name]
    assert np.linalg.det(group) == pytest.approx(np.ones(len(group)))
    products = np.einsum("aij,bjk->abik", group[:4], group)
    assert np.abs(products[:, :, None] - group).max(axis=(3, 4)).min(axis=2).max() < 1e-6


@pytest.mark.skipif(shutil.which("relion_refine") is None, reason="RELION is not installed")
@pytest.mark.parametrize("name", ["C4", "D2", "D7", "T", "O", "I1", "I2", "I3", "I4"])
def test_point_groups_are_those_of_relion(name: str):
    done = subprocess.run(["relion_refine", "--sym", name, "--print_symmetry_ops"], capture_output=True, text=True)
    blocks = [block.splitlines()[1:4] for block in done.stdout.split("R(")[1:]]
    theirs = np.array([[[float(word) for word in row.split()] for row in block] for block in blocks])
    ours = point_group(name)
    assert len(theirs) == len(ours)
    assert np.abs(theirs[:, None] - ours).max(axis=(2, 3)).min(axis=1).max() < 1e-5


@pytest.mark.parametrize("name", ["", "C0", "X", "D", "I5", "Th", "C1000"])
def test_unknown_symmetries_are_refused(name: str):
    with pytest.raises(InputError, match="must be Cn, Dn"):
        point_group(name)


def test_equivalent_views_fold_into_one():
    group = point_group("O")
    vectors = uniform(20)
    folded = fold(vectors, group)
    for element in group:
        assert fold(vectors @ element.T, group) == pytest.approx(folded, abs=1e-9)


def test_opposite_views_are_one():
    views = merged(np.array([[0, 0, 1.0], [0, 0, -1.0], [1, 0, 0], [-1, 0, 0], [0, 1, 0]]))
    assert sorted(views.weight) == [1, 2, 2]
    assert symmetric(views, point_group("C4")).weight.sum() == 20


@pytest.mark.parametrize(("count", "expected"), [(1000, 960.4), (4748, 3938), (10000, 6843)])
def test_views_expected_of_uniform_particles(count: int, expected: float):
    found = coverage(uniform(count), C1)
    assert found.unit_expected == pytest.approx(expected, rel=1e-3)
    assert found.ratio == pytest.approx(1, abs=0.02)
    assert found.occupied == found.unit_occupied


def test_views_of_symmetric_particles_are_compared_with_an_asymmetric_unit():
    group = point_group("D2")
    found = coverage(uniform(4748), group)
    assert found.occupied > 3800 and found.unit_occupied < 2600
    assert found.ratio == pytest.approx(1, abs=0.02)
    half = uniform(4748)
    assert coverage(half[np.abs(half[:, 2]) < 0.3], group).ratio < 0.7


def test_uniform_views_are_efficient_and_one_view_is_not():
    even = efficiency(merged(centres(3)))
    assert even.rays > 0.98 and even.cells == pytest.approx(0.805, abs=0.01) and not even.touches_box
    top = efficiency(merged(np.array([[0, 0, 1.0]])))
    assert top.rays < 0 and top.touches_box
    assert np.abs(top.worst[2]) > 0.9  # nothing is known along the view


def test_side_views_are_worst_along_their_axis_and_turn_with_it():
    """Detail is lost across the axis, in which slices are rare, and the model has no preferred direction."""
    side = efficiency(merged(ring(90)[::20]))
    turned = efficiency(merged(ring(90)[::20] @ point_group("I4")[7].T))
    assert side.rays == pytest.approx(turned.rays, abs=0.01)
    assert np.abs(side.best[2]) > 0.9 and np.abs(side.worst[2]) < 0.2


@pytest.mark.parametrize(
    ("views", "scf", "empty"),
    [
        (centres(5), 1.0, 0.0),
        (ring(90), 8 / np.pi**2, 0.0),
        (ring(60), 8 / np.pi**2 / np.sin(np.pi / 3), 1 - np.sin(np.pi / 3)),
        (ring(45), 8 / np.pi**2 / np.sin(np.pi / 4), 1 - np.sin(np.pi / 4)),
    ],
    ids=["uniform", "side", "ring60", "ring45"],
)
def test_sampling_of_known_distributions(views: np.ndarray, scf: float, empty: float):
    found = sampling(views, C1)
    assert found.scf == pytest.approx(scf, abs=0.015)
    assert found.empty == pytest.approx(empty, abs=0.025)
    assert found.density.mean() == pytest.approx(1)
    assert found.scf_star == pytest.approx(found.scf) if empty == 0 else found.scf_star < 0.3


def test_symmetry_fills_what_one_view_leaves():
    assert (
        sampling(np.array([[0.3, 0.2, 0.933]]), point_group("I")).empty
        < sampling(np.array([[0.3, 0.2, 0.933]]), C1).empty
    )


def test_tilting_helps_a_single_view_and_not_uniform_ones():
    cap = uniform(3000)
    cap = cap[cap[:, 2] > np.cos(np.radians(25))]
    advice = tilt_advice(merged(cap), C1)
    assert advice.best == 40 and advice.efficiencies[-1] > advice.efficiencies[0] + 0.3
    assert tilt_advice(merged(centres(3)), C1).best == 0


CASES = json.loads((ANGULAR / "expected.json").read_text())["cases"] if ANGULAR.exists() else {}
EVERY = [(name, case) for name, cases in CASES.items() for case in cases]
SOME = [pair for pair in EVERY if pair[1] == "box64_B160"] + [pair for pair in EVERY if pair[1] != "box64_B160"][::3]


@pytest.mark.skipif(not EVERY, reason="no ../shared")
@pytest.mark.parametrize(("name", "case"), SOME)
def test_reference_values(name: str, case: str):
    box, b_factor = (int(part.lstrip("boxB")) for part in case.split("_"))
    rot, tilt = np.loadtxt(ANGULAR / f"{name}.dat", ndmin=2).T
    found = efficiency(merged(view_vectors(rot, tilt)), box, b_factor)
    expected = CASES[name][case]
    assert found.cells == pytest.approx(expected["E_cells"], abs=0.01)
    assert found.rays == pytest.approx(expected["E_rays"], abs=0.01)
    assert found.touches_box == (name in ("top_only", "top50_side50") or (name, case) in TOUCHING)


TOUCHING = {("diamond", "box48_B160"), ("diamond", "box64_B320")}


@pytest.mark.skipif(not EVERY, reason="no ../shared")
@pytest.mark.parametrize(("symmetry", "cells", "rays"), [("C1", 0.690, 0.755), ("D2", 0.801, 0.956)])
def test_reference_values_of_a_refinement(symmetry: str, cells: float, rays: float):
    rot, tilt = np.loadtxt(ANGULAR / "refine3d_it016_rot_tilt.dat").T
    found = efficiency(symmetric(merged(view_vectors(rot, tilt)), point_group(symmetry)))
    assert found.cells == pytest.approx(cells, abs=0.01)
    assert found.rays == pytest.approx(rays, abs=0.01)
    assert coverage(view_vectors(rot, tilt), point_group(symmetry)).occupied == 2069


@pytest.mark.skipif(not EVERY, reason="no ../shared")
def test_the_number_that_cryoef_itself_gave():
    rot, tilt = np.loadtxt(ANGULAR / "diamond.dat").T
    assert efficiency(merged(view_vectors(rot, tilt)), box=10).cells == pytest.approx(0.75, abs=0.03)
