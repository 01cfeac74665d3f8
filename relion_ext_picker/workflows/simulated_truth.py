"""What is known of simulated micrographs, as files: for RELION, and complete for whoever measures a picker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.star import (
    coordinate_path,
    write_coordinate_nodes,
    write_micrographs,
    write_table,
    write_tables,
)
from relion_ext_picker.simulation.contaminants import Nuisance
from relion_ext_picker.simulation.micrograph import SimulatedMicrograph
from relion_ext_picker.types import Array, Ctf, Micrograph

MICROGRAPHS_STAR = "micrographs_ctf.star"
PARTICLES_STAR = "particles_truth.star"
EVERYTHING_STAR = "simulation.star"
MICROGRAPHS_DIR = "Micrographs"
TRUTH_DIR = "Truth"
SUFFIX = "truth"

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Truth:
    """What is known of one simulated micrograph.

    Attributes
    ----------
    micrograph : Micrograph
        Name relative to the project, pixel size and CTF.
    shape : (int, int)
        Rows and columns.
    diameter : float
        Of the particle, Å.
    xy : ndarray, shape (n, 2), float32
        Centres, px.
    angles : ndarray, shape (n, 3), float32
        rot, tilt, psi, degrees.
    defocus_offset : ndarray, shape (n,), float32
        Added to the defocus of the micrograph for each particle, Å.
    overlapped : ndarray, shape (n,), bool
        Another particle lies over this one or under it.
    nuisances : sequence of Nuisance
        Contaminants.
    conditions : mapping of str to float
        B-factor (Å²), dose (e/Å²), thickness of the ice (Å) and signal-to-noise ratio.
    """

    micrograph: Micrograph
    shape: tuple[int, int]
    diameter: float
    xy: Array
    angles: Array
    defocus_offset: Array
    overlapped: NDArray[np.bool_]
    nuisances: Sequence[Nuisance]
    conditions: Mapping[str, float]

    @property
    def ctf(self) -> Ctf:
        """Of the micrograph."""
        assert self.micrograph.ctf is not None  # every simulated micrograph has one
        return self.micrograph.ctf

    @property
    def coordinate_file(self) -> Path:
        """Relative to the project."""
        return Path(TRUTH_DIR) / coordinate_path(self.micrograph.name, SUFFIX)


def truth_of(micrograph: Micrograph, diameter: float, made: SimulatedMicrograph) -> Truth:
    """Keep of a simulated micrograph all but its pixels; `diameter` of the particle in Å."""
    conditions = {
        "pickerBfactor": made.bfactor, "pickerDose": made.dose, "pickerIceThickness": made.thickness,
        "pickerSignalToNoise": made.snr,
    }  # fmt: skip
    return Truth(
        micrograph, (made.image.shape[0], made.image.shape[1]), diameter, made.xy, made.angles, made.defocus_offset,
        made.overlapped, tuple(made.contamination.nuisances), conditions,
    )  # fmt: skip


def write_mrc(path: Path, data: NDArray[Any], pixel_size: float) -> None:
    """Write an MRC file whose bytes depend on the data alone (the library would write the time into the header)."""
    import mrcfile

    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = pixel_size
        mrc.header.label[0] = b"relion_ext_picker simulate"


def write_micrograph(project: Path, truth: Truth, made: SimulatedMicrograph) -> None:
    """The image, the labels of its contaminants and its coordinate file."""
    pixel_size = truth.micrograph.pixel_size
    write_mrc(project / truth.micrograph.name, made.image, pixel_size)
    file = project / truth.coordinate_file
    mask = file.with_name(file.name.replace(f"_{SUFFIX}.star", "_contaminants.mrc"))
    write_mrc(mask, made.contamination.labels.astype(np.int8), pixel_size)
    write_table(file, "", _places(truth))


def write_lists(project: Path, truths: Sequence[Truth]) -> None:
    """The files that name all micrographs, particles and contaminants."""
    write_micrographs(project / MICROGRAPHS_STAR, [truth.micrograph for truth in truths])
    pairs = [(truth.micrograph.name, truth.coordinate_file.as_posix()) for truth in truths]
    write_coordinate_nodes(project / TRUTH_DIR, pairs, MICROGRAPHS_STAR, SUFFIX)
    particles = _joined([_particles(truth) for truth in truths])
    tables: dict[str, Columns] = {labels.OPTICS_TABLE: _optics(truths[0]), labels.PARTICLES_TABLE: particles}
    write_tables(project / PARTICLES_STAR, tables)
    overlaps = np.concatenate([truth.overlapped for truth in truths])
    everything: dict[str, Columns] = {
        labels.OPTICS_TABLE: _optics(truths[0]),
        labels.MICROGRAPHS_TABLE: _joined([_conditions(truth) for truth in truths]),
        labels.PARTICLES_TABLE: {**particles, "pickerOverlapped": overlaps.astype(int).tolist()},
        "contaminants": _joined([_contaminants(truth) for truth in truths]),
    }
    write_tables(project / EVERYTHING_STAR, everything)
    pipeline = project / "default_pipeline.star"
    if not pipeline.exists():
        write_table(pipeline, labels.PIPELINE_TABLE, {labels.JOB_COUNTER: [1]})


def _joined(parts: Sequence[Columns]) -> dict[str, list[Any]]:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _places(truth: Truth) -> dict[str, Sequence[Any]]:
    """Columns of a coordinate file, which RELION's Extract carries into the particles it cuts."""
    count = len(truth.xy)
    values: Mapping[str, Sequence[Any]] = {
        labels.COORDINATE_X: truth.xy[:, 0].tolist(),
        labels.COORDINATE_Y: truth.xy[:, 1].tolist(),
        labels.CLASS_NUMBER: [0] * count,
        labels.ANGLE_PSI: truth.angles[:, 2].tolist(),
        labels.FIGURE_OF_MERIT: [1.0] * count,
    }
    columns = {name: values[name] for name in labels.COORDINATE_COLUMNS}
    columns[labels.ANGLE_ROT] = truth.angles[:, 0].tolist()
    columns[labels.ANGLE_TILT] = truth.angles[:, 1].tolist()
    return columns


def _particles(truth: Truth) -> dict[str, Sequence[Any]]:
    """Columns of particles: their places, and the defocus at their depth."""
    columns: dict[str, Sequence[Any]] = {labels.MICROGRAPH_NAME: [truth.micrograph.name] * len(truth.xy)}
    columns |= _places(truth)
    offset = truth.defocus_offset.astype(np.float64)
    columns[labels.DEFOCUS_U] = (truth.ctf.defocus_u + offset).tolist()
    columns[labels.DEFOCUS_V] = (truth.ctf.defocus_v + offset).tolist()
    columns[labels.DEFOCUS_ANGLE] = [truth.ctf.defocus_angle] * len(truth.xy)
    columns[labels.OPTICS_GROUP] = [1] * len(truth.xy)
    return columns


def _conditions(truth: Truth) -> dict[str, Sequence[Any]]:
    """One row: what was drawn for a micrograph."""
    columns: dict[str, Sequence[Any]] = {
        labels.MICROGRAPH_NAME: [truth.micrograph.name],
        labels.OPTICS_GROUP: [1],
        labels.DEFOCUS_U: [truth.ctf.defocus_u],
        labels.DEFOCUS_V: [truth.ctf.defocus_v],
        labels.DEFOCUS_ANGLE: [truth.ctf.defocus_angle],
        labels.GROUP_NR_PARTICLES: [len(truth.xy)],
    }
    return columns | {name: [value] for name, value in truth.conditions.items()}


def _contaminants(truth: Truth) -> dict[str, Sequence[Any]]:
    """One row per contaminant; places and radii in px."""
    return {
        labels.MICROGRAPH_NAME: [truth.micrograph.name] * len(truth.nuisances),
        labels.COORDINATE_X: [item.x for item in truth.nuisances],
        labels.COORDINATE_Y: [item.y for item in truth.nuisances],
        "pickerRadius": [item.radius for item in truth.nuisances],
        "pickerKind": [item.kind for item in truth.nuisances],
    }


def _optics(truth: Truth) -> dict[str, Sequence[Any]]:
    pixel_size = truth.micrograph.pixel_size
    return {
        labels.OPTICS_GROUP_NAME: ["opticsGroup1"],
        labels.OPTICS_GROUP: [1],
        labels.MICROGRAPH_ORIGINAL_PIXEL_SIZE: [pixel_size],
        labels.VOLTAGE: [truth.ctf.voltage],
        labels.SPHERICAL_ABERRATION: [truth.ctf.spherical_aberration],
        labels.AMPLITUDE_CONTRAST: [truth.ctf.amplitude_contrast],
        labels.IMAGE_PIXEL_SIZE: [pixel_size],
        # Without a box RELION does not extract from this file; the box asked for in the job replaces this one.
        labels.IMAGE_SIZE: [2 * math.ceil(0.75 * truth.diameter / pixel_size)],
        labels.IMAGE_DIMENSIONALITY: [2],
    }
