"""B-factor from a series of reconstructions of more and more particles."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.bfactor import fit_b_factor
from relion_ext_picker.evaluation.resolution import GOLD_STANDARD, crossing
from relion_ext_picker.relion.correlations import Correlations, read_postprocess
from relion_ext_picker.relion.downstream import read_particles
from relion_ext_picker.relion.results import find_result
from relion_ext_picker.report import plots
from relion_ext_picker.report.evaluation import Measure, Section
from relion_ext_picker.workflows.evaluate_maps import best_curve


def split_count(text: str) -> tuple[Path, int | None]:
    """``PostProcess/job012/:5000`` -> the path, and the number of particles where it is given."""
    path, colon, count = text.rpartition(":")
    return (Path(path), int(count)) if colon and count.isdigit() else (Path(text), None)


def of_series(texts: list[str]) -> Section:
    """Rosenthal-Henderson plot of several PostProcess jobs."""
    rows = []
    for text in texts:
        path, given = split_count(text)
        found = read_postprocess(path)
        at = crossing(best_curve(found), found.resolution, GOLD_STANDARD)
        number = particles_behind(found) if given is None else given
        rows.append((number, at.resolution, at.interpolated, float(found.resolution[-1]), str(path)))
    rows.sort()
    count, shell, interpolated, nyquist = np.array([row[:4] for row in rows], np.float64).T
    try:
        fit = fit_b_factor(count, interpolated, nyquist)
    except ValueError as error:
        raise InputError(f"--postprocess: {error}; refine more subsets, see --make-subsets") from error
    by_shell = fit_b_factor(count, shell, nyquist)
    interval = "too few points for an interval"
    if math.isfinite(fit.low):
        interval = f"95 %: {fit.low:.0f} to " + (f"{fit.high:.0f}" if math.isfinite(fit.high) else "infinity")
    measures = [
        Measure("b_factor", "B-factor", fit.b_factor, "Å²", 1, interval),
        Measure("b_factor_low", "lower end of the interval", fit.low, "Å²", 1),
        Measure("b_factor_high", "upper end of the interval", fit.high, "Å²", 1),
        Measure("b_factor_shells", "B-factor from whole shells", by_shell.b_factor, "Å²", 1),
        Measure("points", "reconstructions fitted", int(fit.used.sum())),
        Measure("left_out", "left out: at Nyquist", int((~fit.used).sum())),
        Measure("particles_for_tenth", "particles for 10 % better, times", _growth(fit.b_factor, interpolated.min())),
    ]
    notes = ["1/d² = 2/B ln N + constant, d interpolated at FSC = 0.143, N in both halves"]
    table = {
        "particles": [int(row[0]) for row in rows], "resolution": shell.tolist(), "interpolated": interpolated.tolist(),
        "nyquist": nyquist.tolist(), "used": fit.used.astype(int).tolist(), "source": [row[4] for row in rows],
    }  # fmt: skip
    page = partial(plots.series_page, count, interpolated, fit)
    return Section("b_factor", "Resolution against number of particles", measures, {"points": table}, notes, [page])


def particles_behind(found: Correlations) -> int:
    """Number of particles of the refinement whose half maps a PostProcess job was given.

    Raises
    ------
    InputError
        The refinement is not there any more.
    """
    if found.halves:
        folder = Path(found.halves[0]).parent
        if folder != Path() and folder.is_dir():
            return len(read_particles(find_result(folder).particles))
    raise InputError(
        f"{found.path}: the refinement of its half maps is not there, so the number of particles is unknown; write it "
        f"behind the name: {found.path}:10000"
    )


def _growth(b_factor: float, resolution: float) -> float:
    """How many times as many particles would take the best resolution 10 % further."""
    return math.exp(min(b_factor / 2 * (1 / (0.9 * resolution) ** 2 - 1 / resolution**2), 700.0))
