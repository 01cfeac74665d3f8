"""Views: how many, how even, and what the even-ness costs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.healpix import Vectors, cells_of, centres, view_vectors
from relion_ext_picker.evaluation.psf import B_FACTOR, BOX, Efficiency, efficiency
from relion_ext_picker.evaluation.sampling import Sampling, TiltAdvice, sampling, tilt_advice
from relion_ext_picker.evaluation.symmetry import point_group
from relion_ext_picker.evaluation.views import Coverage, coverage, merged, symmetric
from relion_ext_picker.relion.correlations import read_symmetry
from relion_ext_picker.relion.downstream import read_particles
from relion_ext_picker.relion.results import find_result
from relion_ext_picker.report import plots
from relion_ext_picker.report.bild import bild_text
from relion_ext_picker.report.evaluation import Measure, Section

_RADIUS = 100.0  # Å of the sphere of the .bild file where the size of the particles is not known
_BILD_ORDER = 4
FILES = ("angles.bild", "angles.log")


def of_views(path: Path, symmetry: str, diameter: float) -> Section:
    """Views of a refinement, a particles STAR file, or text with columns of rot and tilt.

    Parameters
    ----------
    path : Path
    symmetry : str
        Empty takes that of the refinement, or C1.
    diameter : float
        Å, 0 where unknown: size of the .bild file.
    """
    file, angles, radius = _read(path)
    name = symmetry or read_symmetry(file.parent) or "C1"
    group = point_group(name)
    vectors = view_vectors(angles[:, 0], angles[:, 1])
    counted = coverage(vectors, group)
    views = merged(vectors)
    found = efficiency(symmetric(views, group))
    even = sampling(vectors, group)
    advice = tilt_advice(views, group)
    notes = [f"{file}, symmetry {name.upper()}", _what(found)]
    if found.touches_box:
        notes.append("PSF touches the box: views are so one-sided that both efficiencies depend on the size of the box")
    occupied = np.bincount(cells_of(vectors, _BILD_ORDER), minlength=len(centres(_BILD_ORDER)))
    worst, best = (_phi_theta(direction) for direction in (found.worst, found.best))
    table = {"tilt": list(advice.tilts), "efficiency": list(advice.efficiencies)}
    page = partial(plots.angles_page, vectors, (found, even, advice), name.upper())
    return Section(
        "angular", "Views", _measures(counted, found, even, advice), {"tilts": table}, notes, [page],
        {
            FILES[0]: bild_text(centres(_BILD_ORDER), occupied, radius or 0.5 * diameter or _RADIUS),
            FILES[1]: _log_text(found, advice, (worst, best)),
        },
    )  # fmt: skip


def _read(path: Path) -> tuple[Path, NDArray[np.float64], float]:
    """File, angles (rot and tilt, degrees) and radius of the box in Å, 0 where unknown."""
    if path.is_file() and path.suffix.lower() != ".star":
        return path, _read_text(path), 0.0
    result = find_result(path)
    particles = read_particles(result.chosen if path.is_dir() and result.chosen else result.particles)
    if particles.angles is None:
        raise InputError(f"{result.particles}: no angles in it; give the particles of a Refine3D job")
    angles = particles.angles[np.isfinite(particles.angles[:, :2]).all(axis=1)]
    if not angles[:, :2].any():
        raise InputError(f"{result.particles}: rot and tilt are 0 throughout; give the particles of a Refine3D job")
    radius = 0.0
    if particles.box and particles.pixel_size is not None:
        radius = 0.5 * particles.box * float(particles.pixel_size[0])
    return result.particles, angles, radius


def _read_text(path: Path) -> NDArray[np.float64]:
    try:
        angles = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as columns of rot and tilt in degrees ({error})") from error
    if angles.shape[1] < 2 or not len(angles):
        raise InputError(f"{path}: needs a column of rot and one of tilt, in degrees")
    return angles


def _measures(counted: Coverage, found: Efficiency, even: Sampling, advice: TiltAdvice) -> list[Measure]:
    phi, theta = _phi_theta(found.worst)
    better = advice.efficiencies[list(advice.tilts).index(advice.best)] - advice.efficiencies[0]
    return [
        Measure("particles", "particles", counted.particles),
        Measure("views", "angular views, of 12,288", counted.occupied),
        Measure("unit_views", "views in the asymmetric unit", counted.unit_occupied),
        Measure("unit_views_expected", "the same, expected of uniform views", counted.unit_expected, digits=0),
        Measure("views_ratio", "ratio of the two", counted.ratio),
        Measure("e_od", "efficiency E_od, rays (1 is uniform)", found.rays),
        Measure("e_od_cells", "efficiency E_od, cells (0.805 is uniform)", found.cells, note="compare with cryoEF"),
        Measure("psf_touches_box", "PSF touches the box", "yes" if found.touches_box else "no"),
        Measure("psf_mean", "mean PSF resolution", float(found.radius.mean()), "Å", 2),
        Measure("psf_worst", "worst PSF resolution", float(found.radius.max()), "Å", 2),
        Measure("psf_best", "best PSF resolution", float(found.radius.min()), "Å", 2),
        Measure("worst_rot", "worst direction, rot", phi, "°", 0),
        Measure("worst_tilt", "worst direction, tilt", theta, "°", 0),
        Measure("scf", "sampling compensation factor (SCF)", even.scf),
        Measure("scf_star", "SCF*", even.scf_star),
        Measure("empty_directions", "directions without a view", even.empty),
        Measure("suggested_tilt", "suggested tilt of the specimen", advice.best, "°", 0,
                f"E_od by {better:+.2f}" if advice.best else "none is needed"),
    ]  # fmt: skip


def _what(found: Efficiency) -> str:
    return (
        f"E_od of a model of {BOX} px of 1 Å and B = {B_FACTOR:g} Å²; the PSF resolutions are of this model, compare "
        f"them with one another: along the worst direction it is {found.radius.max() / found.radius.min():.2f} times "
        "as long as along the best"
    )


def _phi_theta(direction: Vectors) -> tuple[float, float]:
    x, y, z = (float(value) for value in direction)
    return float(np.degrees(np.arctan2(y, x))), float(np.degrees(np.arccos(np.clip(z, -1, 1))))


def _log_text(found: Efficiency, advice: TiltAdvice, ends: tuple[tuple[float, float], tuple[float, float]]) -> str:
    """The same in the words of cryoEF's log, for programs that read that."""
    (worst_phi, worst_theta), (best_phi, best_theta) = ends
    radius = found.radius
    counts, edges = np.histogram(radius, 10)
    lines = [
        f"Efficiency: {found.cells:.2f}",
        f"Mean PSF resolution: {radius.mean():.2f} Å",
        f"Standard deviation: {radius.std():.2f} Å",
        f"Worst PSF resolution: {radius.max():.2f} Å along phi = {worst_phi:.1f} theta = {worst_theta:.1f}",
        f"Best PSF resolution: {radius.min():.2f} Å along phi = {best_phi:.1f} theta = {best_theta:.1f}",
        f"Recommended tilt angle: {advice.best:g} degrees",
        "",
        "Distribution of PSF resolution:",
        *(f"{low:.3f} {count}" for low, count in zip(edges, counts, strict=False)),
        "",
    ]
    return "\n".join(lines)
