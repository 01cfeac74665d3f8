"""Hand-made structures: mass, size, symmetry, density, and how near they come to atomic models."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.building import (
    FOLDS,
    PROTEIN,
    Domain,
    Matter,
    build,
    cyclic,
    dihedral,
    octahedral,
)
from relion_ext_picker.simulation.handmade import HANDMADE, handmade_matter
from relion_ext_picker.simulation.structures import Structure, load_structure, potential_from_density
from relion_ext_picker.types import Array

MODELS = Path(os.environ.get("REP_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "models"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared structures are absent")


@cache
def matter(name: str) -> Matter:
    return handmade_matter(name)


@cache
def structure(name: str) -> Structure:
    return load_structure(name, 4.0, 0, np.random.default_rng(0))


def grid(xyz: Array, weight: Array, side: int, voxel: float, blur: float) -> Array:
    """Density of weighted points on a cube, smoothed by `blur` Å; axes x, y, z."""
    place = np.rint(np.asarray(xyz) / voxel).astype(int) + side // 2
    volume = np.zeros((side,) * 3)
    np.add.at(volume, tuple(place.T), weight)
    return np.asarray(ndimage.gaussian_filter(volume / voxel**3, blur / voxel))


def correlation(a: Array, b: Array) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


# Displaced volume in Å³ of the molecule: of protein 1.21 Å³ for each Da; without that of lipid. Longest extent in Å.
EXPECTED = {
    "apoferritin": (478e3, (120, 145)),
    "klh": (8.0e6, (480, 530)),
    "20s": (673e3, (175, 195)),
    "bgal": (464e3, (180, 205)),
    "trpv1": (308e3, (150, 180)),
    "ribosome": (None, (280, 320)),
    "small": (100e3, (80, 100)),
}


def test_all_are_listed() -> None:
    assert set(EXPECTED) == set(HANDMADE)


@pytest.mark.parametrize("name", HANDMADE)
def test_mass_and_size(name: str) -> None:
    mass, (low, high) = EXPECTED[name]
    found = matter(name)
    assert np.all(found.volume > 0) and np.all(np.isfinite(found.xyz))
    np.testing.assert_allclose(np.average(found.xyz, axis=0, weights=found.volume), 0, atol=1e-6)
    protein = np.isclose(found.potential / found.volume, PROTEIN.potential)
    if mass:
        assert found.volume[protein].sum() / PROTEIN.volume == pytest.approx(mass, rel=1e-3)
    assert low < structure(name).diameter < high


def test_ribosome_is_two_thirds_rna() -> None:
    found, rna = matter("ribosome"), FOLDS["duplexes"].material
    is_rna = np.isclose(found.potential / found.volume, rna.potential)
    masses = np.array([found.volume[is_rna].sum() / rna.volume, found.volume[~is_rna].sum() / PROTEIN.volume])
    assert masses.sum() == pytest.approx(2.4e6, rel=0.1)
    assert masses[0] / masses.sum() == pytest.approx(0.65, abs=0.05)


@pytest.mark.parametrize("name", HANDMADE)
def test_nothing_is_denser_than_matter_and_the_inside_is_that_of_protein(name: str) -> None:
    found = matter(name)
    side = 2 * round(structure(name).diameter / 4.0 / 2) + 12
    potential = grid(found.xyz, found.potential, side, 4.0, 4.0)
    inside = potential[potential > 2.0]
    assert 3.5 < np.median(inside) < 5.5  # V; atomic models give 4.6
    assert np.percentile(inside, 99) < 8.0  # atomic models 6.2; RNA is denser
    assert structure(name).potential.sum() > 0


@pytest.mark.parametrize(
    ("name", "group"),
    [("apoferritin", octahedral()), ("klh", dihedral(5)), ("20s", dihedral(7)), ("bgal", dihedral(2)),
     ("trpv1", cyclic(4))],
)  # fmt: skip
def test_symmetry(name: str, group: Array) -> None:
    found = matter(name)
    copies = len(group)
    assert np.allclose(group[0], np.eye(3)) and np.allclose(np.linalg.det(group), 1)
    voxel = 0.02 * structure(name).diameter
    volume = grid(found.xyz, found.volume, 64, voxel, voxel)

    def after(rotation: Array) -> float:
        return correlation(volume, grid(found.xyz @ rotation.T, found.volume, 64, voxel, voxel))

    alike = [after(rotation) for rotation in (group[1], group[copies // 2], group[-1])]
    assert min(alike) > 0.98
    assert after(cyclic(40)[3]) < min(alike) - 0.03  # 27 degrees about z is an operation of none of the groups


def test_groups() -> None:
    assert len(cyclic(7)) == 7 and len(dihedral(5)) == 10 and len(octahedral()) == 24
    for group in (cyclic(4), dihedral(3), octahedral()):
        for a in group:
            assert any(np.allclose(a @ group[-1], b) for b in group)


def radial(name: str) -> Array:
    """Mean potential over the distance from the centre in steps of 4 Å."""
    volume = structure(name).potential
    side = len(volume)
    distance = np.rint(np.sqrt(sum((g - side // 2) ** 2 for g in np.ogrid[:side, :side, :side]))).astype(int).ravel()
    return np.asarray(np.bincount(distance, volume.ravel()) / np.bincount(distance))


def test_apoferritin_is_a_hollow_shell() -> None:
    profile = radial("apoferritin")
    assert abs(profile[:8]).max() < 0.3  # out to 30 Å
    assert profile[12:15].mean() > 1.4  # 48 to 58 Å
    assert abs(profile[18:]).max() < 0.2  # 72 Å


def test_haemocyanin_shows_rings_from_above_and_six_stripes_from_the_side() -> None:
    found = matter("klh")
    height, width = np.abs(found.xyz[:, 2]).max() * 2, np.hypot(*found.xyz[:, :2].T).max() * 2
    assert height == pytest.approx(400, abs=15) and width == pytest.approx(355, abs=15)
    radius = np.hypot(found.xyz[:, 0], found.xyz[:, 1])
    assert radius.min() > 30  # hollow
    # In the part beside the collars, every tier is a maximum of matter and every border of tiers a minimum.
    wall = np.bincount((found.xyz[radius > 120, 2] + 200).astype(int), found.volume[radius > 120], 400)
    wall = ndimage.gaussian_filter1d(wall, 6)
    peaks = [z - 200 for z in range(8, 392) if wall[z] == wall[max(0, z - 20) : z + 21].max()]
    np.testing.assert_allclose(peaks, [-152, -91, -30, 30, 91, 152], atol=14)


def test_proteasome_has_four_rings_around_a_channel() -> None:
    found = matter("20s")
    assert np.percentile(np.hypot(found.xyz[:, 0], found.xyz[:, 1]), 0.5) > 10
    assert np.ptp(found.xyz[:, 2]) == pytest.approx(155, abs=8)


def test_channel_has_a_belt_of_lipid_on_one_side() -> None:
    found = matter("trpv1")
    lipid = np.isclose(found.potential / found.volume, FOLDS["lipid"].material.potential)
    assert found.xyz[lipid, 2].mean() > found.xyz[~lipid, 2].mean() + 25
    assert np.hypot(*found.xyz[lipid, :2].T).max() == pytest.approx(60, abs=5)
    assert 0.15 < found.volume[lipid].sum() / found.volume.sum() < 0.5


def test_small_particle_has_no_symmetry() -> None:
    found = matter("small")
    volume = grid(found.xyz, found.volume, 40, 4.0, 4.0)
    for rotation in (cyclic(2)[1], dihedral(2)[2], dihedral(2)[3], cyclic(3)[1], cyclic(4)[1]):
        assert correlation(volume, grid(found.xyz @ rotation.T, found.volume, 40, 4.0, 4.0)) < 0.95


@pytest.mark.parametrize("name", ["apoferritin", "klh"])
def test_a_name_is_one_structure_whatever_the_generator(name: str) -> None:
    np.testing.assert_array_equal(
        load_structure(name, 8.0, 0, np.random.default_rng(1)).potential,
        load_structure(name, 8.0, 0, np.random.default_rng(2)).potential,
    )


def test_grid_spacing_does_not_change_the_matter() -> None:
    sums = [load_structure("bgal", voxel, 0, np.random.default_rng(0)).potential.sum() * voxel**3 for voxel in (2, 5)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-3)


def test_hand_made_structures_have_a_size_of_their_own() -> None:
    with pytest.raises(InputError, match=r"--diameter 100: --structure small has a size of its own, 9\d Å"):
        load_structure("small", 4.0, 100.0, np.random.default_rng(0))


def test_the_estimate_from_a_density_agrees_with_the_known_mass() -> None:
    """The same particle as points of known mass and as a density of unknown scale."""
    found = matter("20s")
    known = structure("20s").potential
    side = len(known)
    density = grid(found.xyz[:, ::-1], found.volume, side, 4.0, 2.0).astype(np.float32)
    guessed = potential_from_density(density, 4.0)
    assert guessed.sum() / known.sum() == pytest.approx(1.0, abs=0.25)


def test_domains_hold_their_mass_and_lipid_gives_way() -> None:
    protein = Domain(50e3, (20.0, 0.0, 0.0))
    both = build(
        [protein, Domain(60e3, (0.0, 0.0, 0.0), fold="lipid", single=True)], cyclic(2), np.random.default_rng(0)
    )
    solid = np.isclose(both.potential / both.volume, PROTEIN.potential)
    assert both.volume[solid].sum() / PROTEIN.volume == pytest.approx(100e3)
    assert (~solid).sum() > 100
    depth = np.minimum(*(copy.depth(both.xyz[~solid]) for copy in (protein, protein.moved(cyclic(2)[1]))))
    assert depth.min() > 1.0


REFERENCES = {"apoferritin": "1fha.pdb", "20s": "3j9i_T20S_proteasome.pdb"}


@needs_models
@pytest.mark.parametrize("name", REFERENCES)
def test_contrast_and_radial_profile_are_those_of_the_atomic_model(name: str) -> None:
    model = load_structure(str(MODELS / REFERENCES[name]), 4.0, 0, np.random.default_rng(0)).potential
    made = structure(name).potential
    assert made.sum() / model.sum() == pytest.approx(1.0, abs=0.12)
    side = min(len(model), len(made))
    profiles = []
    for volume in (model, made):
        cut = slice(len(volume) // 2 - side // 2, len(volume) // 2 + side // 2)
        distance = np.sqrt(sum((g - side // 2) ** 2 for g in np.ogrid[:side, :side, :side])).astype(int).ravel()
        weight = volume[cut, cut, cut].ravel()
        profiles.append((np.bincount(distance, weight) / np.bincount(distance))[: side // 2])
    assert correlation(*profiles) > 0.85
    # Contrast of projections, averaged over the three axes: what a picker sees.
    spread = [
        np.mean([np.std(ndimage.gaussian_filter(v.sum(axis), 1.0)) * len(v) for axis in range(3)])
        for v in (model, made)
    ]
    assert spread[1] / spread[0] == pytest.approx(1.0, abs=0.2)
