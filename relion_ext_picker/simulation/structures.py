"""Electrostatic potential of a particle in ice, from atoms, from a density map or from a built-in shape.

What scatters is the difference to the ice that the particle displaces: protein has a mean potential of 6.5 to 7 V,
vitreous ice 4.5 V. Leaving the ice out makes particles three times too dark at low resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.procedural import SHAPES, procedural_volume
from relion_ext_picker.types import Array

ICE_POTENTIAL = 4.5  # V
PROTEIN_POTENTIAL = 6.8  # V
ATOMIC_B = 50.0  # Å²; thermal motion and radiation damage at once
SOLVENT_BLUR = 2.0  # Å, standard deviation of the edge between particle and ice
DEFAULT_DIAMETER = 130.0  # Å, of a built-in shape
# Effective volume of a density smoothed by 4 Å over the volume its atoms displace. Measured on eight atomic models from
# 210 kDa to 820 kDa, at 2 to 5 Å voxels and 2 to 5 Å blur: 1.5 to 2.2. Soft edges and crevices make it larger than 1.
LOOSENESS = 1.9
LARGEST_SIDE = 512  # px; the projection's transform then takes 4 GB
MARGIN = 1.15  # side of the box over the diameter

# Scattering of the isolated atom at zero angle in Å (Peng et al. 1996, Acta Cryst. A52, 257-276) and mass in Da.
ELEMENTS: dict[str, tuple[float, float]] = {
    "H": (0.53, 1.008), "C": (2.51, 12.011), "N": (2.21, 14.007), "O": (1.98, 15.999), "P": (5.49, 30.974),
    "S": (5.16, 32.06), "NA": (4.78, 22.990), "MG": (5.21, 24.305), "CL": (4.86, 35.45), "K": (8.95, 39.098),
    "CA": (9.91, 40.078), "MN": (7.51, 54.938), "FE": (7.17, 55.845), "ZN": (6.07, 65.38), "SE": (7.21, 78.971),
}  # fmt: skip
POTENTIAL_PER_FACTOR = 47.878  # V Å³ per Å of scattering factor: h² / (2 pi m e)
# Chemical bonds draw the outer electrons in: the sum over isolated atoms, 8.1 V for protein, comes down to 6.8 V.
BONDING = 0.84
# Files rarely hold hydrogen, so the mean number per heavy atom is added; displaced volume in Å³/Da.
HYDROGENS, VOLUME_PER_DALTON = (1.01, 0.52), (1.21, 0.91)  # protein, nucleic acid


@dataclass(frozen=True)
class Structure:
    """A particle ready to be projected.

    Attributes
    ----------
    name : str
    potential : ndarray, shape (n, n, n), float32
        V above that of ice; n even, axes z, y, x, centre of mass on voxel n // 2.
    voxel_size : float
        Å.
    diameter : float
        Twice the largest distance from the centre, Å.
    """

    name: str
    potential: Array
    voxel_size: float
    diameter: float


def load_structure(spec: str, pixel_size: float, diameter: float, rng: np.random.Generator) -> Structure:
    """Potential of a built-in shape, an atomic model or a density map.

    Parameters
    ----------
    spec : str
        Name of a built-in shape, or a .pdb, .ent, .cif (first biological assembly), .mrc or .map file.
    pixel_size : float
        Voxel size of the result, Å.
    diameter : float
        Longest extent of a built-in shape in Å, 0 for 130 Å; files have their own.
    rng : numpy.random.Generator
        Decides the details of a built-in shape.

    Raises
    ------
    InputError
        There is no such shape or file, the file holds no structure, or the box would be too large to compute.
    """
    if spec in SHAPES:
        diameter = diameter or DEFAULT_DIAMETER
        density = procedural_volume(spec, rng, _even_side(diameter, pixel_size), diameter / pixel_size)
        potential = potential_from_density(density, pixel_size)
        return Structure(spec, potential, pixel_size, diameter)
    path = Path(spec)
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    if not path.is_file():
        raise InputError(
            f"--structure {spec}: neither a file nor a built-in structure; built in are {', '.join(SHAPES)}"
        )
    if suffix.lower() in (".pdb", ".pdb1", ".ent", ".cif", ".pdb.gz", ".cif.gz", ".ent.gz"):
        return _from_atoms(path, pixel_size)
    if suffix.lower() in (".mrc", ".map"):
        return _from_map(path, pixel_size)
    raise InputError(f"--structure {spec}: must be a .pdb, .cif, .mrc or .map file or one of {', '.join(SHAPES)}")


def _even_side(diameter: float, pixel_size: float) -> int:
    """Voxels per side of a box that holds a particle and its soft edge."""
    side = 2 * math.ceil(0.5 * (MARGIN * diameter + 6 * SOLVENT_BLUR) / pixel_size) + 4
    if side > LARGEST_SIDE:
        raise InputError(
            f"--pixel-size {pixel_size:g}: a particle of {diameter:.0f} Å needs a box of {side} px and at most "
            f"{LARGEST_SIDE} are possible; use at least {pixel_size * side / LARGEST_SIDE:.2f} Å/px"
        )
    return side


@dataclass(frozen=True)
class Atoms:
    """Positions (n, 3) in Å as x, y, z; integrated potential in V Å³ and displaced volume in Å³, (n,) each."""

    xyz: NDArray[np.float64]
    potential: NDArray[np.float64]
    volume: NDArray[np.float64]


def _from_atoms(path: Path, pixel_size: float) -> Structure:
    atoms = read_atoms(path)
    xyz = atoms.xyz - np.average(atoms.xyz, axis=0, weights=atoms.volume)
    diameter = 2 * float(np.linalg.norm(xyz, axis=1).max()) + 3.0  # atoms have a size too
    side = _even_side(diameter, pixel_size)
    # A Gaussian narrower than this would alias on the grid; pixels that coarse cannot show the difference.
    width = max(math.sqrt(ATOMIC_B / (8 * math.pi**2)), 0.6 * pixel_size)
    voxels = xyz / pixel_size + side // 2
    solute, displaced = _deposit(voxels, (atoms.potential, atoms.volume), width / pixel_size, side)
    displaced = ndimage.gaussian_filter(displaced, SOLVENT_BLUR / pixel_size)
    potential = (solute - ICE_POTENTIAL * displaced) / np.float32(pixel_size**3)
    return Structure(path.name, potential, pixel_size, diameter)


def read_atoms(path: Path) -> Atoms:
    """Atoms of the first biological assembly of a PDB or mmCIF file.

    A file without assembly records is taken as it is; if it has several models that lie apart, as the assembly
    files of the PDB do, all are used, otherwise (NMR) the first.

    Raises
    ------
    InputError
        The file cannot be read, holds no atoms, or an element is unknown.
    """
    import gemmi

    try:
        structure = gemmi.read_structure(str(path))
    except Exception as error:  # gemmi raises RuntimeError, ValueError and others for damaged files
        raise InputError(f"{path}: not a readable PDB or mmCIF file ({error})") from error
    structure.setup_entities()
    structure.remove_waters()
    if structure.assemblies and len(structure):
        naming = gemmi.HowToNameCopiedChain.Short
        models = [gemmi.make_assembly(structure.assemblies[0], structure[0], naming)]
    else:
        models = list(structure)
    parts = [_atoms_of(model, path) for model in models]
    parts = [part for part in parts if len(part.xyz)]
    if not parts:
        raise InputError(f"{path}: holds no atoms; give a PDB or mmCIF file with ATOM records")
    if len(parts) > 1 and _is_ensemble(parts):
        parts = parts[:1]
    return Atoms(
        np.concatenate([part.xyz for part in parts]),
        np.concatenate([part.potential for part in parts]),
        np.concatenate([part.volume for part in parts]),
    )


def _is_ensemble(parts: list[Atoms]) -> bool:
    """Whether models are versions of one molecule rather than copies that lie beside each other."""
    first, second = parts[0].xyz, parts[1].xyz
    return len(first) == len(second) and float(np.sqrt(((first - second) ** 2).sum(1).mean())) < 8.0


def _atoms_of(model: Any, path: Path) -> Atoms:
    import gemmi

    xyz, potential, volume = [], [], []
    factor_h, mass_h = ELEMENTS["H"]
    for chain in model:
        for residue in chain:
            kind = 1 if gemmi.find_tabulated_residue(residue.name).is_nucleic_acid() else 0
            for atom in residue:
                symbol = atom.element.name.upper()
                if symbol in ("H", "D"):
                    continue
                if symbol not in ELEMENTS:
                    symbol = _stand_in(atom.element, path, residue)
                factor, mass = ELEMENTS[symbol]
                xyz.append(atom.pos.tolist())
                potential.append(atom.occ * (factor + HYDROGENS[kind] * factor_h))
                volume.append(atom.occ * (mass + HYDROGENS[kind] * mass_h) * VOLUME_PER_DALTON[kind])
    scale = BONDING * POTENTIAL_PER_FACTOR
    return Atoms(np.array(xyz).reshape(-1, 3), scale * np.array(potential), np.array(volume))


def _stand_in(element: Any, path: Path, residue: Any) -> str:
    """Element of the table nearest in atomic number; the few heavy ions of a structure do not show at this scale."""
    import gemmi

    if element.atomic_number == 0:
        raise InputError(f"{path}: atom of unknown element in residue {residue}; fill in the element column")
    return min(ELEMENTS, key=lambda name: abs(gemmi.Element(name.capitalize()).atomic_number - element.atomic_number))


def _deposit(
    voxels: NDArray[np.float64], weights: tuple[NDArray[np.float64], ...], sigma: float, side: int
) -> list[Array]:
    """Sum of Gaussians of standard deviation `sigma` voxels at positions (n, 3) x, y, z, for each set of weights."""
    reach = math.ceil(3 * sigma)
    steps = np.arange(-reach, reach + 1)
    totals = [np.zeros(side**3) for _ in weights]
    for first in range(0, len(voxels), 20_000):
        part = voxels[first : first + 20_000]
        nearest = np.rint(part).astype(np.int64)
        along = np.exp(-0.5 * ((steps[None, None, :] + (nearest - part)[:, :, None]) / sigma) ** 2)
        along /= along.sum(axis=2, keepdims=True)
        index = np.clip(nearest[:, :, None] + steps, 0, side - 1)
        flat = (index[:, 2, :, None, None] * side + index[:, 1, None, :, None]) * side + index[:, 0, None, None, :]
        value = along[:, 2, :, None, None] * along[:, 1, None, :, None] * along[:, 0, None, None, :]
        for total, weight in zip(totals, weights, strict=True):
            share = value * weight[first : first + 20_000, None, None, None]
            total += np.bincount(flat.ravel(), share.ravel(), side**3)
    return [total.reshape(side, side, side).astype(np.float32) for total in totals]


def _from_map(path: Path, pixel_size: float) -> Structure:
    import mrcfile

    try:
        with mrcfile.open(path, permissive=False) as mrc:
            density = np.array(mrc.data, np.float32)
            voxel = float(mrc.voxel_size.x)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable MRC map ({error})") from error
    if density.ndim != 3 or min(density.shape) < 4:
        raise InputError(f"{path}: holds an array of shape {density.shape}; a density map with three axes is needed")
    if not voxel > 0:
        raise InputError(f"{path}: the header has no pixel size; set it, for instance with relion_image_handler")
    if not np.isfinite(density).all() or np.ptp(density) == 0:
        raise InputError(f"{path}: the map is constant or has values that are not numbers")
    body, background = _body_of(density, voxel)
    density = np.where(body, np.maximum(density - background, 0), 0).astype(np.float32)
    centre = np.array(ndimage.center_of_mass(density))
    places = np.argwhere(density > 0.2 * np.percentile(density[body], 90))
    diameter = 2 * float(np.linalg.norm(places - centre, axis=1).max() + 0.5) * voxel
    side = _even_side(diameter, pixel_size)
    step = pixel_size / voxel
    if step > 1:
        density = ndimage.gaussian_filter(density, 0.5 * step)
    density = ndimage.affine_transform(
        density, np.full(3, step), centre - step * (side // 2), (side, side, side), order=3, mode="grid-constant"
    )
    potential = potential_from_density(np.maximum(density, 0), pixel_size)
    return Structure(path.name, potential, pixel_size, diameter)


def _body_of(density: Array, voxel: float) -> tuple[NDArray[np.bool_], float]:
    """Where a map is more than its surroundings (a little grown), and the level of the surroundings."""
    faces = np.concatenate([np.take(density, place, axis).ravel() for axis in range(3) for place in (0, -1)])
    background = float(np.median(faces))
    smooth = ndimage.gaussian_filter(density - background, max(0.5, 5.0 / voxel))
    level = max(0.05 * float(smooth.max()), 3 * float(faces.std()))
    body = smooth > level
    if not body.any():
        raise ValueError("a map whose border is as strong as its inside has no body")
    return body, background


def potential_from_density(density: Array, voxel_size: float) -> Array:
    """Turn a density of arbitrary scale into potential above ice.

    The volume V of the particle is estimated without a threshold, as (sum of density)² / (sum of density²) of the
    smoothed density, divided by the LOOSENESS of that measure. The density is scaled to PROTEIN_POTENTIAL times V, and
    ice of volume V, spread as the density but smoother, is subtracted. An envelope by threshold would easily be too
    loose, and then turns the contrast round.

    Parameters
    ----------
    density : ndarray, shape (n, n, n)
        Not negative, 0 outside of the particle.
    voxel_size : float
        Å.

    Returns
    -------
    ndarray, shape (n, n, n), float32
        V.
    """
    smooth = ndimage.gaussian_filter(density, 4.0 / voxel_size)
    total = float(smooth.sum(dtype=np.float64))
    voxels = total**2 / float(np.square(smooth, dtype=np.float64).sum()) / LOOSENESS
    scale = np.float32(PROTEIN_POTENTIAL * voxels / total)
    ice = ndimage.gaussian_filter(density, SOLVENT_BLUR / voxel_size)
    share = np.float32(ICE_POTENTIAL / PROTEIN_POTENTIAL)
    return np.asarray(scale * (density - share * ice), np.float32)
