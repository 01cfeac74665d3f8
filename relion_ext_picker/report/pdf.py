"""The report of a picking job: logfile.pdf, and a picture of one micrograph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relion_ext_picker.report.overlay import Overlay, compare
from relion_ext_picker.report.statistics import Totals, totals
from relion_ext_picker.report.summary import MicrographSummary
from relion_ext_picker.report.teaching import Teaching

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULE = (
    "Micrographs shown are the best, the median and the worst by number of picks × mean score. "
    "Row 0 is at the top, as in RELION's viewer. The colour scale is the same on all pages."
)


@dataclass(frozen=True)
class Heading:
    """What a report says of the job as a whole.

    Attributes
    ----------
    title : str
        E.g. "External/job004 - DRPnet picks".
    settings : mapping of str to str
        The job's settings in the order to print them, values with units.
    threshold : float
        Score from which candidates were kept, NaN draws no line.
    """

    title: str
    settings: Mapping[str, str] = field(default_factory=dict)
    threshold: float = math.nan


def write_report(
    path: Path, summaries: Sequence[MicrographSummary], scores: Sequence[ArrayLike], overlays: Sequence[Overlay],
    heading: Heading, teaching: Teaching | None = None,
) -> None:  # fmt: skip
    """Write the report as PDF: totals and settings, counts, scores, then one page per overlay.

    Equal input gives equal bytes. Any number of micrographs will do, none included.

    Parameters
    ----------
    path : Path
        Written in place: give a temporary name and rename.
    summaries : sequence of MicrographSummary
        In acquisition order.
    scores : sequence of ndarray, shape (n_i,)
        Scores of the picks per micrograph, in any order.
    overlays : sequence of Overlay
        See :func:`~relion_ext_picker.report.statistics.representatives` for which micrographs to show.
    heading : Heading
    teaching : Teaching, optional
        How the picker taught itself in this job: more pages.
    """
    from relion_ext_picker.report import plots  # matplotlib takes half a second to import; only reports need it

    picks = np.array([math.nan if item.failed else item.picks for item in summaries], np.float64)
    means = np.array([math.nan if item.failed else item.mean_score for item in summaries], np.float64)
    defocus = np.array([item.defocus for item in summaries], np.float64)
    every = np.concatenate([np.zeros(0), *(np.asarray(item, np.float64).reshape(-1) for item in scores)])
    failures = [(item.name, item.message) for item in summaries if item.failed]
    limits = score_limits([item.score for item in overlays])

    more = teaching.pages() if teaching is not None else []
    count = 3 + len(more) + len(overlays)
    footers = [f"relion_ext_picker  ·  {heading.title}  ·  page {number + 1} of {count}" for number in range(count)]
    pages: list[Callable[[], Figure]] = [
        partial(plots.cover_page, heading.title, _headlines(totals(summaries)), heading.settings, failures, footers[0]),
        partial(plots.counts_page, picks, footers[1]),
        partial(plots.scores_page, every, means, defocus, picks, (heading.threshold, footers[2])),
    ]
    pages += [partial(draw, footer) for draw, footer in zip(more, footers[3:], strict=False)]
    pages += [
        partial(plots.overlay_page, overlay, limits, RULE, footer)
        for overlay, footer in zip(overlays, footers[3 + len(more) :], strict=True)
    ]
    plots.save_pdf(path, pages, heading.title)


def write_overlay_png(path: Path, overlay: Overlay, truth_xy: NDArray[Any] | None = None) -> None:
    """Write a picture of a micrograph: picks as circles coloured by score, and a colour bar.

    Parameters
    ----------
    path : Path
        Written in place.
    overlay : Overlay
    truth_xy : ndarray, shape (m, 2), optional
        True centres in px of the micrograph as stored. Those without a pick within the particle radius are drawn as
        dashed circles, picks without a true centre get a cross.
    """
    from relion_ext_picker.report import plots

    missed, false = (None, None) if truth_xy is None else compare(overlay, truth_xy)
    limits = score_limits([overlay.score])
    plots.save_png(path, partial(plots.overlay_figure, overlay, limits, missed, false))


def score_limits(scores: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Ends of a colour bar for some scores: multiples of 0.05, at least 0.1 apart; 0 and 1 without any score."""
    every = np.concatenate([np.zeros(0), *scores])
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = math.floor(every.min() * 20 + 1e-4) / 20, math.ceil(every.max() * 20 - 1e-4) / 20
    return (low, high) if high - low > 0.099 else (high - 0.1, high)


def _headlines(total: Totals) -> list[tuple[str, str, str]]:
    """The large numbers of the first page: (label, value, note)."""

    def number(value: float, digits: int = 0) -> str:
        return f"{value:,.{digits}f}" if math.isfinite(value) else "–"

    spread = f"{number(total.low)} to {number(total.high)}" if total.finished else ""
    seconds = number(total.seconds, 2 if total.seconds < 10 else 0)
    return [
        ("Micrographs", number(total.micrographs), ""),
        ("Picked", number(total.finished), f"{total.empty:,} without picks" if total.empty else ""),
        ("Failed", number(total.failed), ""),
        ("Picks", number(total.picks), ""),
        ("Per micrograph", number(total.median), f"median; {spread}" if spread else ""),
        ("Mean score", number(total.mean_score, 3), "over all picks" if total.picks else ""),
        (
            "Time each",
            f"{seconds} s" if math.isfinite(total.seconds) else "–",
            "median, wall" if seconds != "–" else "",
        ),
    ]
