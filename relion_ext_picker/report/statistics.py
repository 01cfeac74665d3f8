"""The numbers of the report: totals, drift, and which micrographs to show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from relion_ext_picker.report.summary import MicrographSummary

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Totals:
    """Headline numbers of a job.

    Attributes
    ----------
    micrographs, finished, failed, empty : int
        All, those with a valid result, those without, and those with a valid result but no pick.
    picks : int
    median, low, high : float
        Picks per finished micrograph; NaN where none is finished.
    mean_score : float
        Over all picks, NaN where there are none.
    seconds : float
        Median wall time per micrograph worked on, NaN where none was.
    """

    micrographs: int
    finished: int
    failed: int
    empty: int
    picks: int
    median: float
    low: float
    high: float
    mean_score: float
    seconds: float


def totals(summaries: Sequence[MicrographSummary]) -> Totals:
    """Headline numbers; every field is defined for an empty job as well."""
    finished = [item for item in summaries if not item.failed]
    picks = np.array([item.picks for item in finished], np.float64)
    scored = [item for item in finished if item.picks and math.isfinite(item.mean_score)]
    weight = sum(item.picks for item in scored)
    times = [item.seconds for item in finished if item.seconds > 0]
    return Totals(
        micrographs=len(summaries),
        finished=len(finished),
        failed=len(summaries) - len(finished),
        empty=int((picks == 0).sum()),
        picks=int(picks.sum()),
        median=float(np.median(picks)) if len(picks) else math.nan,
        low=float(picks.min()) if len(picks) else math.nan,
        high=float(picks.max()) if len(picks) else math.nan,
        mean_score=sum(item.picks * item.mean_score for item in scored) / weight if weight else math.nan,
        seconds=float(np.median(times)) if times else math.nan,
    )


def running_median(values: NDArray[Any]) -> Values:
    """Median over a window of a twentieth of the values, at least 5 of them; mirrored at both ends.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Finite values in order.

    Returns
    -------
    ndarray, shape (n,), or shape (0,) where fewer than 5 values make a running median pointless
    """
    if len(values) < 5:
        return np.zeros(0)
    window = max(5, len(values) // 20) | 1
    return np.asarray(ndimage.median_filter(np.asarray(values, np.float64), size=window, mode="reflect"))


def rating(summary: MicrographSummary) -> float:
    """Number of picks times their mean score: how much a micrograph yields. 0 without picks."""
    return summary.picks * summary.mean_score if summary.picks and math.isfinite(summary.mean_score) else 0.0


def representatives(summaries: Sequence[MicrographSummary]) -> list[tuple[str, int]]:
    """Which micrographs to show: ("Best", index), ("Median", index) and ("Worst", index) by :func:`rating`.

    Failed micrographs are left out, no micrograph appears twice, and equal ratings keep the order of input; so one
    finished micrograph gives only "Best", two give "Best" and "Worst", none gives an empty list.
    """
    order = sorted((i for i, item in enumerate(summaries) if not item.failed), key=lambda i: -rating(summaries[i]))
    if not order:
        return []
    chosen = [("Best", order[0])]
    if len(order) > 2:
        chosen.append(("Median", order[len(order) // 2]))
    if len(order) > 1:
        chosen.append(("Worst", order[-1]))
    return chosen
