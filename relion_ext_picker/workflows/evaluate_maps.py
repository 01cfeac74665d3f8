"""Resolution: correlation of half maps, what PostProcess and Refine3D wrote, and local resolution."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.fsc import FscCurves, half_map_fsc, ssnr
from relion_ext_picker.evaluation.localres import LocalResolution, local_resolution
from relion_ext_picker.evaluation.resolution import GOLD_STANDARD, HALF, Crossing, crossing
from relion_ext_picker.io.volumes import read_volume
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.correlations import Correlations, read_gold_standard, read_postprocess
from relion_ext_picker.relion.results import find_result
from relion_ext_picker.report import plots
from relion_ext_picker.report.evaluation import Measure, Section
from relion_ext_picker.types import Array

Curve = NDArray[np.float64]


def of_half_maps(half1: Path, half2: Path, mask: Path | None, seed: int) -> Section:
    """Correlation of two half maps, calculated here."""
    first, pixel_size = read_volume(half1)
    second, other = read_volume(half2)
    masked = None if mask is None else read_volume(mask)[0]
    if abs(pixel_size - other) > 1e-3 * pixel_size:
        raise InputError(f"{half1} and {half2} have different pixel sizes, {pixel_size:g} and {other:g} Å")
    try:
        curves = half_map_fsc(first, second, pixel_size, masked, seed)
    except ValueError as error:
        raise InputError(f"{half1}, {half2}{f', {mask}' if mask else ''}: {error}") from error
    named = {
        "unmasked": curves.unmasked, "masked": curves.masked, "randomised": curves.randomised,
        "corrected": curves.corrected,
    }  # fmt: skip
    notes = [f"calculated from {half1} and {half2}" + (f" with {mask}" if mask else ", without a mask")]
    if curves.randomise_from:
        notes.append(f"phases random from {curves.resolution[curves.randomise_from]:.2f} Å on, seed {seed}")
    elif masked is not None:
        notes.append("the unmasked curve never falls below 0.8, so that nothing was corrected")
    return _section(
        "fsc", "Resolution of the half maps", (curves.resolution, _there(named), curves.best), notes,
        _of_curves(curves),
    )  # fmt: skip


def of_postprocess(path: Path) -> Section:
    """Curves and resolution that a PostProcess job wrote."""
    found = read_postprocess(path)
    named = {
        "unmasked": found.curves.get(labels.FSC_UNMASKED), "masked": found.curves.get(labels.FSC_MASKED),
        "randomised": found.curves.get(labels.FSC_RANDOMISED), "corrected": found.curves.get(labels.FSC_CORRECTED),
    }  # fmt: skip
    measures = []
    if found.final is not None:
        measures.append(Measure("relion_resolution", "resolution according to RELION", found.final, "Å"))
    if found.sharpening is not None:
        measures.append(Measure("sharpening_b_factor", "B-factor of the sharpening", found.sharpening, "Å²", 1))
    curve = best_curve(found)
    at = crossing(curve, found.resolution, GOLD_STANDARD)
    notes = [f"as written in {found.path}"]
    if found.final is not None and not math.isclose(found.final, at.resolution, rel_tol=2e-3):
        notes.append("RELION's resolution is not where its corrected curve falls below 0.143: see its warnings")
    return _section("postprocess", "Resolution, PostProcess", (found.resolution, _there(named), curve), notes, measures)


def of_refinement(path: Path) -> Section:
    """Correlation that a Refine3D job wrote in its models: unmasked unless solvent-flattened."""
    result = find_result(path)
    models = [*result.models, *sorted(result.folder.glob("run*_it[0-9]*_half1_model.star"))[-1:]]
    problem = InputError(f"{path}: no model with a correlation of half maps; give a Refine3D job")
    for model in models:
        try:
            found = read_gold_standard(model)
        except InputError as error:
            problem = error
            continue
        curve = found.curves[labels.FSC_GOLD_STANDARD]
        measures = []
        if found.final is not None:
            measures.append(Measure("current_resolution", "current resolution of the refinement", found.final, "Å"))
        return _section(
            "refine3d", "Resolution, Refine3D", (found.resolution, {"gold_standard": curve}, curve),
            [f"as written in {model}; without a mask unless the refinement was solvent-flattened"], measures,
        )  # fmt: skip
    raise problem


def of_local_resolution(path: Path, mask: Path | None, reference: Path | None) -> Section:
    """Local resolution inside a mask."""
    file = path
    if path.is_dir():
        maps = sorted(path.glob("*locres.mrc"))
        if not maps:
            raise InputError(f"{path}: no *_locres.mrc in it; give a LocalRes job or the map")
        file = maps[0]
    values, pixel_size = read_volume(file)
    beneath = None if reference is None else read_volume(reference)[0]
    try:
        found = local_resolution(values, None if mask is None else read_volume(mask)[0])
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    if beneath is not None and beneath.shape != values.shape:
        raise InputError(f"{reference}: its size {beneath.shape} is not that of {file}, {values.shape}")
    measures = [
        Measure("median", "median", found.quantiles[50], "Å", 2),
        *(Measure(f"percent{p}", f"{p} % of the voxels are better than", found.quantiles[p], "Å", 2)
          for p in found.quantiles if p != 50),
        Measure("mean", "mean", found.mean, "Å", 2),
        Measure("best", "best voxel", found.lowest, "Å", 2),
        Measure("worst", "worst voxel", found.highest, "Å", 2),
        Measure("voxels", "voxels", found.voxels),
    ]  # fmt: skip
    note = f"{file}, " + (f"inside {mask}" if mask else "all voxels with a value: give a mask to leave solvent out")
    table = {"from": found.edges[:-1].tolist(), "to": found.edges[1:].tolist(), "voxels": found.counts.tolist()}
    shown = _beneath(beneath, found)
    page = partial(plots.local_page, found, shown, pixel_size)
    return Section("local_resolution", "Local resolution", measures, {"histogram": table}, [note], [page])


def best_curve(found: Correlations) -> Curve:
    """The curve by which PostProcess goes: corrected where there is a mask, else unmasked."""
    curve = found.curves.get(labels.FSC_CORRECTED)
    return found.curves[labels.FSC_UNMASKED] if curve is None else curve


def _beneath(reference: Array | None, found: LocalResolution) -> Array | None:
    return None if reference is None else reference[found.level]


def _there(curves: dict[str, Curve | None]) -> dict[str, Curve]:
    return {name: curve for name, curve in curves.items() if curve is not None}


def _of_curves(curves: FscCurves) -> list[Measure]:
    at = crossing(curves.unmasked, curves.resolution, GOLD_STANDARD)
    return [Measure("unmasked_resolution", "resolution at 0.143 without mask", at.resolution, "Å", 2)]


def _section(
    name: str, title: str, found: tuple[Curve, dict[str, Curve], Curve], notes: list[str], more: list[Measure]
) -> Section:
    """Resolutions, warnings and the page that all curves share."""
    resolution, curves, best = found
    crossings = [crossing(best, resolution, limit) for limit in (GOLD_STANDARD, HALF)]
    measures = []
    for at in crossings:
        key = f"{round(1000 * at.limit):03d}"
        note = "" if at.reached else "never below: limited by the pixel size"
        measures += [
            Measure(f"resolution_{key}", f"resolution at {at.limit:g}, shell", at.resolution, "Å", 3, note),
            Measure(f"interpolated_{key}", f"resolution at {at.limit:g}, interpolated", at.interpolated, "Å", 3),
        ]
    ratio = ssnr(best)
    shells = np.arange(len(best))
    table = {"shell": shells.tolist(), "resolution": np.where(shells > 0, resolution, 999.0).tolist()}
    table |= {f"fsc_{key}": curve.tolist() for key, curve in curves.items()}
    table |= {"ssnr": np.minimum(ratio, 1e9).tolist(), "ssnr_half": np.minimum(ratio / 2, 1e9).tolist()}
    told = [*notes, *_warnings(crossings, resolution)]
    page = partial(plots.fsc_page, title, resolution, curves, (best, ratio), crossings)
    return Section(name, title, [*measures, *more], {"curves": table}, told, [page])


def _warnings(crossings: list[Crossing], resolution: Curve) -> list[str]:
    told = []
    for at in crossings:
        if not at.reached:
            told.append(f"the curve never falls below {at.limit:g}: the maps are sampled too coarsely to tell")
        elif at.shell == 0:
            told.append(f"the curve is below {at.limit:g} from the first shell on: the half maps do not agree")
        elif at.rises_again:
            told.append(
                f"the curve rises above {at.limit:g} again, last at {resolution[at.last_above]:.2f} Å; the first "
                "crossing counts, as in RELION. Look at the mask"
            )
    return told
