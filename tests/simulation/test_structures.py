"""Potentials: mass, contrast, assemblies, maps, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.procedural import SHAPES
from relion_ext_picker.simulation.structures import (
    load_structure,
    potential_from_density,
    read_atoms,
    shape_of,
)
from relion_ext_picker.types import Array
from relion_ext_picker.workflows.simulated_truth import write_mrc

SHARED = Path(os.environ.get("REP_SHARED", Path(__file__).parents[3] / "shared"))
MODELS = SHARED / "data" / "models"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="the shared structures are absent")

# A lump of "protein": backbone-like atoms on a grid of 2.6 Å, 17.6 Å³ each, as dense as protein.
ATOM = "ATOM  {n:5d}  {name:<3s} ALA A{r:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           {element:>2s}\n"


def pdb_lump(radius: float, shift: float = 0.0) -> str:
    axis = np.arange(-radius, radius + 0.1, 2.55)
    lines = []
    for x in axis:
        for y in axis:
            for z in axis:
                if x * x + y * y + z * z <= radius**2:
                    n = len(lines) + 1
                    element = ("C", "C", "C", "N", "O", "C", "C", "N")[n % 8]
                    lines.append(ATOM.format(n=n, name=element, r=n // 8 + 1, x=x + shift, y=y, z=z, element=element))
    return "".join(lines)


def test_inside_of_protein_is_two_volts_above_ice(tmp_path: Path) -> None:
    (tmp_path / "lump.pdb").write_text(pdb_lump(20.0) + "END\n", encoding="utf-8")
    structure = load_structure(str(tmp_path / "lump.pdb"), 2.0, 0, np.random.default_rng(0))
    assert structure.potential.dtype == np.float32
    assert structure.diameter == pytest.approx(43, abs=2)
    side = len(structure.potential)
    distance = np.sqrt(sum((g - side // 2) ** 2 for g in np.ogrid[:side, :side, :side])) * 2.0
    assert structure.potential[distance < 14].mean() == pytest.approx(2.3, abs=0.4)
    assert abs(structure.potential[distance > 28]).max() < 0.01


def test_grid_spacing_does_not_change_the_matter(tmp_path: Path) -> None:
    (tmp_path / "lump.pdb").write_text(pdb_lump(15.0) + "END\n", encoding="utf-8")
    matter = [
        load_structure(str(tmp_path / "lump.pdb"), pixel, 0, np.random.default_rng(0)).potential.sum() * pixel**3
        for pixel in (1.0, 2.0, 4.0)
    ]
    np.testing.assert_allclose(matter, matter[0], rtol=1e-3)


def test_assembly_records_are_expanded(tmp_path: Path) -> None:
    biomt = (
        "REMARK 350 BIOMOLECULE: 1\n"
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A\n"
        "REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000\n"
        "REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000\n"
        "REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000\n"
    )
    one = pdb_lump(8.0, shift=30.0)
    (tmp_path / "single.pdb").write_text(one + "END\n", encoding="utf-8")
    (tmp_path / "dimer.pdb").write_text(biomt + one + "END\n", encoding="utf-8")
    single, dimer = read_atoms(tmp_path / "single.pdb"), read_atoms(tmp_path / "dimer.pdb")
    assert len(dimer.xyz) == 2 * len(single.xyz)
    np.testing.assert_allclose(dimer.xyz.mean(0)[:2], 0, atol=1e-6)


@pytest.mark.parametrize(("shift", "copies"), [(30.0, 2), (0.5, 1)], ids=["assembly", "ensemble"])
def test_models_are_parts_or_versions(tmp_path: Path, shift: float, copies: int) -> None:
    first, second = pdb_lump(8.0), pdb_lump(8.0, shift)
    text = f"MODEL        1\n{first}ENDMDL\nMODEL        2\n{second}ENDMDL\nEND\n"
    (tmp_path / "models.pdb").write_text(text, encoding="utf-8")
    assert len(read_atoms(tmp_path / "models.pdb").xyz) == copies * first.count("ATOM")


@needs_models
def test_apoferritin_has_24_subunits() -> None:
    atoms = read_atoms(MODELS / "1fha.pdb")
    assert atoms.volume.sum() / 1.21e3 == pytest.approx(24 * 20, rel=0.1)  # kDa
    structure = load_structure(str(MODELS / "1fha.pdb"), 4.0, 0, np.random.default_rng(0))
    assert 120 < structure.diameter < 145
    side = len(structure.potential)
    distance = np.sqrt(sum((g - side // 2) ** 2 for g in np.ogrid[:side, :side, :side])) * 4.0
    assert structure.potential[(distance > 44) & (distance < 54)].mean() > 1.0  # shell
    assert abs(structure.potential[distance < 28].mean()) < 0.3  # cavity


@needs_models
def test_a_ribosome_map_weighs_what_a_ribosome_weighs() -> None:
    structure = load_structure(str(MODELS / "4v4r_5A.mrc"), 5.0, 0, np.random.default_rng(0))
    mass = structure.potential.sum() * 5.0**3 / 2.3 / 1.21e6
    assert 1.5 < mass < 3.5  # MDa
    assert 0.95 < ndimage.center_of_mass(np.maximum(structure.potential, 0))[0] / (len(structure.potential) // 2) < 1.05


def ball(side: int, radius: float, shift: int = 0) -> Array:
    grid = np.indices((side, side, side)) - side // 2 - np.array([0, 0, shift])[:, None, None, None]
    return np.asarray(ndimage.gaussian_filter((np.sqrt((grid**2).sum(0)) < radius).astype(np.float32), 1.0))


@pytest.mark.parametrize("scale", [1.0, 250.0])
def test_scale_of_a_density_does_not_matter_and_contrast_is_positive(scale: float) -> None:
    density = ball(48, 15.0)
    reference = potential_from_density(density, 2.0)
    np.testing.assert_allclose(
        potential_from_density(density * np.float32(scale), 2.0), reference, rtol=1e-3, atol=1e-4
    )
    assert 1.0 < reference[24, 24, 24] < 2.6
    assert reference.sum() > 0


def test_maps_are_resampled_and_centred(tmp_path: Path) -> None:
    write_mrc(tmp_path / "map.mrc", ball(40, 9.0, shift=5), 3.0)
    structure = load_structure(str(tmp_path / "map.mrc"), 2.0, 0, np.random.default_rng(0))
    assert structure.voxel_size == 2.0
    assert structure.diameter == pytest.approx(54, abs=8)
    centre = np.array(ndimage.center_of_mass(np.maximum(structure.potential, 0)))
    np.testing.assert_allclose(centre, len(structure.potential) // 2, atol=0.1)


@pytest.mark.parametrize("name", ["shell", "barrel", "cylinder", "irregular"])
def test_built_in_shapes(name: str) -> None:
    one, same, other = (load_structure(name, 4.0, 140.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.potential, same.potential)
    assert not np.array_equal(one.potential, other.potential)
    assert len(one.potential) % 2 == 0 and one.diameter == 140.0
    assert one.potential.sum() > 0


@pytest.mark.parametrize("name", list(SHAPES))
def test_random_shapes_by_either_name(name: str) -> None:
    bare, full = (load_structure(spec, 6.0, 120.0, np.random.default_rng(1)) for spec in (name, f"procedural:{name}"))
    assert np.array_equal(bare.potential, full.potential)
    assert shape_of(name) == shape_of(f"procedural:{name}") == name and shape_of("klh") is None


def test_bad_input_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "empty.pdb").write_text("END\n", encoding="utf-8")
    (tmp_path / "noise.mrc").write_bytes(b"not a map")
    (tmp_path / "x.txt").write_text("", encoding="utf-8")
    unknown = ATOM.format(n=1, name="Q", r=1, x=0, y=0, z=0, element="X").replace("ATOM  ", "HETATM")
    (tmp_path / "unknown.pdb").write_text(unknown + "END\n", encoding="utf-8")
    write_mrc(tmp_path / "flat.mrc", np.zeros((8, 8, 8), np.float32), 3.0)
    write_mrc(tmp_path / "nosize.mrc", ball(16, 4), 0.0)
    write_mrc(tmp_path / "two_dimensional.mrc", ball(16, 4)[8], 3.0)
    write_mrc(tmp_path / "inverted.mrc", -ball(16, 4), 3.0)
    broken = ball(16, 4)
    broken[8, 8, 8] = np.nan
    with pytest.warns(RuntimeWarning):
        write_mrc(tmp_path / "broken.mrc", broken, 3.0)
    write_mrc(tmp_path / "oblong.mrc", ball(16, 4), (3.0, 3.0, 4.5))
    water = (
        ATOM.format(n=1, name="O", r=1, x=0, y=0, z=0, element="O").replace("ATOM  ", "HETATM").replace("ALA", "HOH")
    )
    (tmp_path / "water.pdb").write_text(water + "END\n", encoding="utf-8")
    absent = ATOM.format(n=1, name="C", r=1, x=0, y=0, z=0, element="C").replace("  1.00 20.00", "  0.00 20.00")
    (tmp_path / "absent.pdb").write_text(absent + "END\n", encoding="utf-8")
    cases = {
        "empty.pdb": "no atoms", "noise.mrc": "not a readable MRC", "x.txt": "must be a", "missing.pdb": "neither",
        "flat.mrc": "constant", "nosize.mrc": "no pixel size", "unknown.pdb": "unknown element",
        "two_dimensional.mrc": "three axes", "inverted.mrc": "must be bright", "broken.mrc": "not numbers",
        "oblong.mrc": "cubic voxels", "water.pdb": "no atoms", "absent.pdb": "occupancy of all atoms is 0",
    }  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            load_structure(str(tmp_path / name), 2.0, 0, rng)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sphere", r"--structure sphere: neither a file nor a built-in structure; .*apoferritin.*; random shell"),
        ("apoferitin", r"did you mean apoferritin\?"),
        ("KLH", r"did you mean klh\?"),
        ("procedural:ring2", r"did you mean ring\?"),
        ("procedural:klh", r"did you mean klh\?"),
    ],
)
def test_unknown_names_are_answered_with_what_there_is(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_structure(spec, 4.0, 0, np.random.default_rng(0))


def test_a_box_that_cannot_be_computed_names_the_pixel_size_that_can() -> None:
    with pytest.raises(InputError, match=r"--pixel-size 0\.5: .* at most 512 .*use at least 1\.\d\d Å/px"):
        load_structure("klh", 0.5, 0, np.random.default_rng(0))


@needs_models
def test_files_have_a_size_of_their_own() -> None:
    with pytest.raises(InputError, match="--diameter 90: .*1fha.pdb has a size of its own"):
        load_structure(str(MODELS / "1fha.pdb"), 4.0, 90.0, np.random.default_rng(0))
