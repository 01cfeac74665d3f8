"""Particles of training fields made from structures: atomic models, density maps, hand-made ones."""

from __future__ import annotations

import numpy as np

from relion_ext_picker.simulation.procedural import PointCloud
from relion_ext_picker.simulation.structures import Structure, load_structure

COARSE = 6.0  # Å: voxels at which the diameter of a structure is found
ACROSS = 24  # voxels per diameter: finer than a network sees them, with 32 px per diameter and its smoothing
FAINT = 0.02  # of the largest potential: voxels below add nothing that shows


def structure_cloud(spec: str) -> PointCloud:
    """A structure as weighted points, for :class:`~relion_ext_picker.simulation.fields.FieldGenerator`.

    Parameters
    ----------
    spec : str
        File or name of a hand-made structure, see :func:`~relion_ext_picker.simulation.structures.load_structure`.

    Raises
    ------
    InputError
        There is no such structure, or the file cannot be read.
    """
    rng = np.random.default_rng(0)  # for random shapes alone
    diameter = load_structure(spec, COARSE, 0.0, rng).diameter
    return cloud_of(load_structure(spec, diameter / ACROSS, 0.0, rng))


def cloud_of(structure: Structure) -> PointCloud:
    """The voxels of a structure as points that stand for Gaussians of half a voxel.

    Potential below that of ice, which surrounds a particle as a faint fringe, counts as well.
    """
    values = structure.potential
    places = np.argwhere(np.abs(values) > FAINT * np.abs(values).max())
    weight = values[tuple(places.T)]
    step = structure.voxel_size / structure.diameter
    xyz = (places[:, ::-1] - values.shape[0] // 2) * step
    return PointCloud(xyz.astype(np.float32), (weight / weight.sum()).astype(np.float32), 0.5 * step)
