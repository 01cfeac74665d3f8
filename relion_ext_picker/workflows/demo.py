"""The demo command: simulate a small project, pick it, score the picks against the truth, draw a picture."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import DemoOptions, PickOptions, SimulateOptions
from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.report.overlay import make_overlay
from relion_ext_picker.report.pdf import write_overlay_png
from relion_ext_picker.workflows import pick
from relion_ext_picker.workflows.simulate import write_project
from relion_ext_picker.workflows.simulated_truth import MICROGRAPHS_STAR, Truth

JOB = "Picks/"  # not a job folder of RELION, whose first External job in this project would overwrite it
PICTURE = "overlay.png"
RADII = (0.4, 0.2)  # matching radii as fractions of the diameter

_log = logging.getLogger(__name__)


def run(options: DemoOptions) -> None:
    """Write a project with its picks into ``options.o`` and say how good the picks are.

    Raises
    ------
    InputError
        The folder holds something else.
    """
    start = time.perf_counter()
    _log.info("simulating %d micrographs of %s particles", options.micrographs, options.structure)
    truths = write_project(
        SimulateOptions(
            o=options.o, structure=options.structure, micrographs=options.micrographs, seed=options.seed, j=options.j
        )
    )
    diameter = truths[0].diameter
    with _inside(Path(options.o)):
        pick.run(PickOptions(o=JOB, in_mics=MICROGRAPHS_STAR, diameter=round(diameter), j=options.j, seed=options.seed))
        _score(truths, diameter)
        _picture(truths[0])
    _log.info("in %s: %s (coordinates, logfile.pdf, summary.star) and %s", options.o, JOB, PICTURE)
    _log.info("%.0f s in all", time.perf_counter() - start)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder, as RELION's programs do in a project."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _score(truths: list[Truth], diameter: float) -> None:
    truth = {item.micrograph.name: item.xy for item in truths}
    found = {name: read_coordinates(Path(JOB) / coordinate_path(name)) for name in truth}
    picks = {name: (item.xy, item.score) for name, item in found.items()}
    for fraction in RADII:
        scores = score_picks(truth, picks, fraction * diameter / truths[0].micrograph.pixel_size)
        _log.info(
            "within %.0f Å of the truth: precision %.3f, recall %.3f, F1 %.3f (%d particles, %d picks)",
            fraction * diameter, scores.precision, scores.recall, scores.f1, scores.n_truth, scores.n_picks,
        )  # fmt: skip


def _picture(truth: Truth) -> None:
    name, pixel_size = truth.micrograph.name, truth.micrograph.pixel_size
    found = read_coordinates(Path(JOB) / coordinate_path(name))
    assert found.score is not None
    overlay = make_overlay(
        read_micrograph(Path(name)), found.xy, found.score, truth.diameter / pixel_size, name, pixel_size
    )
    write_overlay_png(Path(PICTURE), overlay, truth.xy)
