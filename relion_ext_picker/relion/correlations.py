"""Fourier shell correlations that RELION wrote: postprocess.star of PostProcess, and models of Refine3D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import StarError
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.columns import StarColumns

Curve = NDArray[np.float64]

POSTPROCESS = "postprocess.star"
_CLASS_1 = "model_class_1"
_CURVES = (
    labels.FSC_UNMASKED, labels.FSC_MASKED, labels.FSC_RANDOMISED, labels.FSC_CORRECTED, labels.FSC_GOLD_STANDARD,
    labels.SSNR_MAP,
)  # fmt: skip


@dataclass(frozen=True)
class Correlations:
    """Curves over shells from one file.

    Attributes
    ----------
    path : Path
    resolution : ndarray, shape (n,)
        Å of every shell; infinite for shell 0.
    curves : mapping of str to ndarray, shape (n,)
        By RELION's label (:mod:`~relion_ext_picker.relion.labels`).
    final : float or None
        RELION's resolution in Å.
    randomise_from : float or None
        Å beyond which phases were made random.
    sharpening : float or None
        B-factor applied, Å²; not that of the number of particles.
    halves : tuple of str
        Names of the half maps, relative to the project.
    mask : str
        Name of the mask, empty without.
    """

    path: Path
    resolution: Curve
    curves: Mapping[str, Curve]
    final: float | None = None
    randomise_from: float | None = None
    sharpening: float | None = None
    halves: tuple[str, ...] = ()
    mask: str = ""


def read_postprocess(path: Path) -> Correlations:
    """Curves of a PostProcess job, from its folder or its postprocess.star, of RELION 3.0 to 5.

    Raises
    ------
    StarError
        The file cannot be read, is of another kind, or is cut off.
    """
    file = path / POSTPROCESS if path.is_dir() else path
    star = StarColumns(file)
    resolution, curves = _curves(star, labels.FSC_TABLE)
    if labels.FSC_UNMASKED not in curves:
        raise StarError(f"{file}: no Fourier shell correlation in it; give the postprocess.star of a PostProcess job")
    general = labels.GENERAL_TABLE
    halves = tuple(name for label in labels.UNFILTERED_HALF_MAPS if (name := _file(star, label)))
    return Correlations(
        file, resolution, curves, star.number(general, labels.FINAL_RESOLUTION),
        star.number(general, labels.RANDOMISE_FROM), star.number(general, labels.SHARPENING_B_FACTOR), halves,
        _file(star, labels.MASK_NAME),
    )  # fmt: skip


def read_gold_standard(path: Path) -> Correlations:
    """Curves of a Refine3D model, run_model.star or run_itNNN_half1_model.star: correlation and signal-to-noise ratio.

    Raises
    ------
    StarError
        The file cannot be read or cut off, or has no correlation of half maps (a Class2D or Class3D model has not).
    """
    star = StarColumns(path)
    resolution, curves = _curves(star, _CLASS_1)
    if not np.any(curves.get(labels.FSC_GOLD_STANDARD, np.zeros(1))):
        raise StarError(f"{path}: no correlation of half maps in it; give a model of a Refine3D job")
    return Correlations(path, resolution, curves, star.number(labels.MODEL_TABLE, labels.CURRENT_RESOLUTION))


def read_symmetry(folder: Path) -> str:
    """Point group of a refinement, from the sampling files in its folder; empty where there is none."""
    for file in sorted(folder.glob("run*_sampling.star"), reverse=True):
        try:
            star = StarColumns(file)
        except StarError:
            continue
        for table in star.tables:
            if found := star.entry(table, labels.SYMMETRY_GROUP):
                return found
    return ""


def _curves(star: StarColumns, table: str) -> tuple[Curve, dict[str, Curve]]:
    if table not in star.tables or labels.ANGSTROM_RESOLUTION not in star.labels(table):
        raise StarError(f"{star.path}: no table data_{table} with curves; give another file")
    columns = star.numbers(table, (labels.ANGSTROM_RESOLUTION, *_CURVES))
    resolution = columns.pop(labels.ANGSTROM_RESOLUTION).copy()
    if len(resolution) < 3 or not np.isfinite(resolution).all():
        raise StarError(f"{star.path}: table data_{table} has no resolutions; write it again")
    resolution[0] = math.inf  # RELION writes 999
    return resolution, {label: np.nan_to_num(curve) for label, curve in columns.items()}


def _file(star: StarColumns, label: str) -> str:
    """A file name within the project, empty where there is none or it leads out."""
    name = star.entry(labels.GENERAL_TABLE, label) or ""
    return "" if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts else name
