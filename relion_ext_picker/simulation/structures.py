"""Electrostatic potential of a particle in ice, from atoms, from a density map or from a built-in structure.

What scatters is the difference to the ice that the particle displaces: protein has a mean potential of 6.5 to 7 V,
vitreous ice 4.5 V. Leaving the ice out makes particles three times too dark at low resolution.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.building import Matter
from relion_ext_picker.simulation.handmade import HANDMADE, handmade_matter
from relion_ext_picker.simulation.procedural import SHAPES, procedural_volume
from relion_ext_picker.types import Array

ICE_POTENTIAL = 4.5  # V
PROTEIN_POTENTIAL = 6.8  # V
ATOMIC_B = 25.0  # Å², thermal motion; what the beam does comes on top, see damage.py
SOLVENT_BLUR = 2.0  # Å, standard deviation of the edge between particle and ice
DEFAULT_DIAMETER = 130.0  # Å, of a random shape
RANDOM = "procedural:"  # may stand before the name of a random shape
# Effective volume of a density smoothed by 4 Å over the volume its atoms displace. Measured on eight atomic models from
# 210 kDa to 820 kDa, at 2 to 5 Å voxels and 2 to 5 Å blur: 1.5 to 2.2. Soft edges and crevices make it larger than 1.
LOOSENESS = 1.9
LARGEST_SIDE = 512  # px; the projection's transform then takes 4 GB
MARGIN = 1.15  # side of the box over the diameter
ATOM_SIZE = 3.0  # Å that a particle is larger than the farthest centres of its atoms
ATOMIC_FILES = (".pdb", ".pdb1", ".ent", ".cif", ".mmcif")
MAP_FILES = (".mrc", ".map", ".ccp4")

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
    """Potential of a built-in structure, an atomic model or a density map.

    Parameters
    ----------
    spec : str
        Name of a hand-made structure (`HANDMADE`) or of a random shape (`SHAPES`, with or without "procedural:" before
        it), or a .pdb, .ent, .cif (first biological assembly; these may end in .gz), .mrc, .map or .ccp4 file.
    pixel_size : float
        Voxel size of the result, Å.
    diameter : float
        Longest extent of a random shape in Å, 0 for 130 Å; all others have their own.
    rng : numpy.random.Generator
        Decides the details of a random shape.

    Raises
    ------
    InputError
        There is no such structure or file, the file holds no structure, a diameter is given for what has its own, or
        the box would be too large to compute.
    """
    shape = shape_of(spec)
    if shape:
        diameter = diameter or DEFAULT_DIAMETER
        density = procedural_volume(shape, rng, _even_side(diameter, pixel_size), diameter / pixel_size)
        potential = potential_from_density(density, pixel_size)
        return Structure(shape, potential, pixel_size, diameter)
    made = _of_matter(spec, handmade_matter(spec), pixel_size) if spec in HANDMADE else _from_file(spec, pixel_size)
    if diameter:
        raise InputError(
            f"--diameter {diameter:g}: --structure {spec} has a size of its own, {made.diameter:.0f} Å; leave "
            "--diameter away"
        )
    return made


def shape_of(spec: str) -> str | None:
    """Name of the random shape that a --structure stands for, None if it is something else."""
    name = spec.removeprefix(RANDOM)
    return name if name in SHAPES else None


def _from_file(spec: str, pixel_size: float) -> Structure:
    path = Path(spec)
    built_in = f"hand-made {', '.join(HANDMADE)}; random {', '.join(SHAPES)}"
    if not path.is_file():
        close = difflib.get_close_matches(spec.lower().removeprefix(RANDOM), [*HANDMADE, *SHAPES], n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"--structure {spec}: neither a file nor a built-in structure{meant}; built in are {built_in}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"] and suffixes[-2:-1] and suffixes[-2] in ATOMIC_FILES:
        return _from_atoms(path, pixel_size)
    if suffixes and suffixes[-1] in ATOMIC_FILES:
        return _from_atoms(path, pixel_size)
    if suffixes and suffixes[-1] in MAP_FILES:
        return _from_map(path, pixel_size)
    raise InputError(
        f"--structure {spec}: must be a .pdb, .cif, .mrc or .map file, or the name of a built-in structure: {built_in}"
    )


def _even_side(diameter: float, pixel_size: float) -> int:
    """Voxels per side of a box that holds a particle and its soft edge."""
    side = 2 * math.ceil(0.5 * (MARGIN * diameter + 6 * SOLVENT_BLUR) / pixel_size) + 4
    if side > LARGEST_SIDE:
        raise InputError(
            f"--pixel-size {pixel_size:g}: a particle of {diameter:.0f} Å needs a box of {side} px and at most "
            f"{LARGEST_SIDE} are possible; use at least {pixel_size * side / LARGEST_SIDE:.2f} Å/px"
        )
    return side


def _from_atoms(path: Path, pixel_size: float) -> Structure:
    return _of_matter(path.name, read_atoms(path), pixel_size)


def _of_matter(name: str, matter: Matter, pixel_size: float) -> Structure:
    xyz = matter.xyz - np.average(matter.xyz, axis=0, weights=matter.volume)
    diameter = 2 * float(np.linalg.norm(xyz, axis=1).max()) + ATOM_SIZE
    side = _even_side(diameter, pixel_size)
    # A Gaussian narrower than this would alias on the grid; pixels that coarse cannot show the difference.
    width = max(math.sqrt(ATOMIC_B / (8 * math.pi**2)), 0.6 * pixel_size)
    voxels = xyz / pixel_size + side // 2
    solute, displaced = _deposit(voxels, (matter.potential, matter.volume), width / pixel_size, side)
    displaced = ndimage.gaussian_filter(displaced, SOLVENT_BLUR / pixel_size)
    potential = (solute - ICE_POTENTIAL * displaced) / np.float32(pixel_size**3)
    return Structure(name, potential, pixel_size, diameter)


def read_atoms(path: Path) -> Matter:
    """Atoms of the first biological assembly of a PDB or mmCIF file.

    A file without assembly records is taken as it is; if it has several models that lie apart, as the assembly
    files of the PDB do, all are used, otherwise (NMR) the first.

    Raises
    ------
    InputError
        The file cannot be read, holds no atoms or none but hydrogen and water, an atom has no place, no element or an
        unknown one.
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
        raise InputError(
            f"{path}: holds no atoms (water and hydrogen do not count); give a PDB or mmCIF file with ATOM records"
        )
    if len(parts) > 1 and _is_ensemble(parts):
        parts = parts[:1]
    atoms = Matter(
        np.concatenate([part.xyz for part in parts]),
        np.concatenate([part.potential for part in parts]),
        np.concatenate([part.volume for part in parts]),
    )
    if not np.isfinite(atoms.xyz).all():
        raise InputError(f"{path}: an atom has no coordinates; repair or remove it")
    if not atoms.volume.sum() > 0:
        raise InputError(f"{path}: the occupancy of all atoms is 0; set it to 1")
    return atoms


def _is_ensemble(parts: list[Matter]) -> bool:
    """Whether models are versions of one molecule rather than copies that lie beside each other."""
    first, second = parts[0].xyz, parts[1].xyz
    return len(first) == len(second) and float(np.sqrt(((first - second) ** 2).sum(1).mean())) < 8.0


def _atoms_of(model: Any, path: Path) -> Matter:
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
    return Matter(np.array(xyz).reshape(-1, 3), scale * np.array(potential), np.array(volume))


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
            steps = np.array([float(mrc.voxel_size[axis]) for axis in "xyz"])
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable MRC map ({error})") from error
    if density.ndim != 3 or min(density.shape) < 4:
        raise InputError(f"{path}: holds an array of shape {density.shape}; a density map with three axes is needed")
    if not (np.isfinite(steps).all() and steps.min() > 0):
        raise InputError(f"{path}: the header has no pixel size; set it, for instance with relion_image_handler")
    if steps.max() > 1.01 * steps.min():
        raise InputError(f"{path}: the pixel size is {steps} Å along x, y and z; resample the map to cubic voxels")
    voxel = float(steps.mean())
    if not np.isfinite(density).all():
        raise InputError(f"{path}: the map has values that are not numbers; repair it")
    if np.ptp(density) == 0:
        raise InputError(f"{path}: the map is constant, it holds no particle; give another file")
    body, background = _body_of(density, voxel)
    if not body.any():
        raise InputError(
            f"{path}: nothing in the map stands out from its border; the particle must be bright and lie free "
            "in the box"
        )
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
    return smooth > level, background


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
