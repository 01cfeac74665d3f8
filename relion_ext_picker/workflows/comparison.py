"""What has the last word in general models: it learns from what their networks say of simulated micrographs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from relion_ext_picker.pickers.drpnet.network import REFERENCE_DIAMETER
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.simulation.procedural import PointCloud
from relion_ext_picker.training.comparer import Candidates, learnt, lesson_of
from relion_ext_picker.training.loop import Schedule
from relion_ext_picker.workflows.simulated_training import DRAWN

SIDES = {256: 0.3, 384: 0.3, 512: 0.25, 896: 0.15}  # px, of the micrographs, and their shares
EMPTY = 0.28  # share of the micrographs without a particle: most of rejecting is learnt there
MOST, FEWEST = 4000, 60  # micrographs
STEPS, RATE = 1500, 3e-3
APART = 0.5  # of the diameter: the smallest distance of two candidates
HIT = 0.4  # of the diameter: within it a candidate is a particle
SEED = 31_337  # other micrographs than the networks have learnt from

_log = logging.getLogger(__name__)


def comparison(
    job: JobDirectory, candidates: Candidates, clouds: Sequence[PointCloud], steps: int, seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Teach a comparer; None where the networks propose too little for that.

    Parameters
    ----------
    job : JobDirectory
    candidates : callable
        What the networks say of an image.
    clouds : sequence of PointCloud
        Particles besides the procedural ones.
    steps : int
        Of the networks' own training: a short one has a short lesson.
    seed : int

    Returns
    -------
    entry : dict
        For the model card.
    state : dict of Tensor
    """
    fields = min(MOST, max(FEWEST, steps))

    def told(number: int) -> None:
        job.check_abort()
        if number % 500 == 0:
            _log.info("comparison: micrograph %d/%d", number, fields)

    sources = [
        (FieldSource(REFERENCE_DIAMETER, side, tuple(clouds), empty=EMPTY, sparse=True, **DRAWN), share)
        for side, share in SIDES.items()
    ]
    lesson = lesson_of(candidates, sources, fields, HIT * REFERENCE_DIAMETER, SEED + seed, told)
    if lesson is None:
        _log.warning("comparison: the networks propose too little, or nothing else but particles, to learn from")
        return None
    schedule = Schedule(STEPS, RATE, weight_decay=0.01, average=0.99, report=STEPS)
    entry, network = learnt(lesson, schedule, lambda line, _: _log.info("comparison: %s", line), seed)
    return entry, dict(network.state_dict())
