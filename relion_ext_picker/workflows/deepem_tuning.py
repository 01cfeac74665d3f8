"""``train --tune``: a screen over the kernels, pools and maps of a DeepEM network.

One thing after another is varied and the best of each is kept: the sides of the kernels (as they are, 0.7 and 1.4 times
that), then the pools, then the number of maps (half, twice). Six networks at most are trained, a third of
what a full grid takes. What counts is the average precision of the picks on the held-out micrographs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relion_ext_picker.relion.tables import write_table
from relion_ext_picker.workflows.deepem_learning import Sizes, Three
from relion_ext_picker.workflows.deepem_validation import Outcome

NAME = "tune.star"
KERNELS = (0.7, 1.4)  # times the sides of the preset's kernels
POOLS = ((2, 2, 2), (3, 2, 2))
MAPS = (0.5, 2.0)  # times the preset's maps

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """A network that was tried."""

    sizes: Sizes
    outcome: Outcome
    seconds: float

    @property
    def score(self) -> float:
        """What trials are compared by."""
        return self.outcome.exam.curve.average_precision


def fitting_kernels(box: int, wanted: tuple[float, float, float], pools: Three) -> Three | None:
    """The kernels nearest to what is wanted whose maps are filled by the pools, None where there are none.

    Parameters
    ----------
    box : int
        Side of the window, px.
    wanted : (float, float, float)
        Sides, px.
    pools : (int, int, int)
    """
    side, kernels = box, []
    for want, pool in zip(wanted, pools, strict=True):
        possible = [k for k in range(1, side + 1) if (side - k + 1) % pool == 0]
        if not possible:
            return None
        kernel = min(possible, key=lambda k: (abs(k - want), k))
        kernels.append(kernel)
        side = (side - kernel + 1) // pool
    return kernels[0], kernels[1], kernels[2]


def kernel_trials(box: int, start: Sizes) -> Iterator[Sizes]:
    """The start, and the same with smaller and larger kernels."""
    yield start
    for factor in KERNELS:
        kernels = fitting_kernels(box, _times(start.kernels, factor), start.pools)
        if kernels is not None:
            yield Sizes(kernels, start.pools, start.maps)


def pool_trials(box: int, best: Sizes) -> Iterator[Sizes]:
    """The same with other pools, and the kernels that fit."""
    for pools in POOLS:
        kernels = fitting_kernels(box, _times(best.kernels, 1.0), pools)
        if pools != best.pools and kernels is not None:
            yield Sizes(kernels, pools, best.maps)


def map_trials(best: Sizes) -> Iterator[Sizes]:
    """The same with fewer and with more maps."""
    for factor in MAPS:
        one, two, three = (max(1, round(maps * factor)) for maps in best.maps)
        yield Sizes(best.kernels, best.pools, (one, two, three))


def tune(box: int, start: Sizes, pools: bool, attempt: Callable[[Sizes], Outcome]) -> list[Trial]:
    """Try networks.

    Parameters
    ----------
    box : int
        Side of the window, px.
    start : Sizes
        The preset's.
    pools : bool
        Whether pools may be varied.
    attempt : callable
        Trains a network from random weights and tests it.

    Returns
    -------
    list of Trial
        In the order tried; the first of the highest score is the best.
    """
    trials: list[Trial] = []
    for stage in range(3):
        best = max(trials, key=lambda trial: trial.score).sizes if trials else start
        if stage == 0:
            proposed = kernel_trials(box, start)
        elif stage == 1:
            proposed = pool_trials(box, best) if pools else iter(())
        else:
            proposed = map_trials(best)
        for sizes in proposed:
            if any(trial.sizes == sizes for trial in trials):
                continue
            _log.info("network %d: %s", len(trials) + 1, sizes)
            start_time = time.perf_counter()
            outcome = attempt(sizes)
            trials.append(Trial(sizes, outcome, time.perf_counter() - start_time))
            scores = outcome.exam.scores()
            _log.info(
                "network %d: average precision %.3f, F2 %.3f, %.0f s",
                len(trials), scores["average_precision"], scores["f2"], trials[-1].seconds,
            )  # fmt: skip
    return trials


def write_trials(path: Path, trials: list[Trial]) -> None:
    """tune.star: one row per network."""
    best = max(trials, key=lambda trial: trial.score)
    scores = [trial.outcome.exam.scores() for trial in trials]
    parameters = [sum(p.numel() for p in trial.outcome.learnt.picker.network().parameters()) for trial in trials]
    columns: dict[str, Sequence[Any]] = {
        **{
            f"picker{name.capitalize()}": ["-".join(map(str, getattr(trial.sizes, name))) for trial in trials]
            for name in ("kernels", "pools", "maps")
        },
        "pickerParameters": parameters,
        "pickerAveragePrecision": [score["average_precision"] for score in scores],
        "pickerF1": [score["f1"] for score in scores],
        "pickerF2": [score["f2"] for score in scores],
        "pickerHeldOutError": [trial.outcome.learnt.curve[-1].held_error for trial in trials],
        "pickerSeconds": [trial.seconds for trial in trials],
        "pickerChosen": [int(trial is best) for trial in trials],
    }
    write_table(path, "tune", columns)


def _times(values: Three, factor: float) -> tuple[float, float, float]:
    return values[0] * factor, values[1] * factor, values[2] * factor
