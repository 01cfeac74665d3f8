"""A threshold for all micrographs of a job together: --threshold auto and --expected-density.

While micrographs are picked their files hold what the model's own threshold leaves, and the job remembers every
candidate. When all are done the threshold is chosen and the files are written again.

With --threshold auto scores are left as the networks give them. In models without a comparer, the correction for how
many particles a micrograph has (:mod:`relion_ext_picker.pickers.density`) keeps empty micrographs empty, but where all
particles are doubtful it takes them for chance and lowers every score; a threshold for the data set needs neither.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from relion_ext_picker.errors import InputError
from relion_ext_picker.options import AUTO_THRESHOLD, PickOptions
from relion_ext_picker.pickers.selection import LEAST, Choice, best_threshold, threshold_for_count
from relion_ext_picker.report.summary import MicrographSummary
from relion_ext_picker.types import Micrograph, Picks
from relion_ext_picker.workflows.record import Entry, Record

DOUBTFUL = 0.6  # expected F1 below which the micrographs may as well hold noise alone
PER_UM2 = 1e-8  # µm² of 1 Å²

_log = logging.getLogger(__name__)


def automatic(options: PickOptions) -> bool:
    """Whether --threshold auto was given."""
    return options.threshold == AUTO_THRESHOLD


def of_data_set(options: PickOptions) -> bool:
    """Whether the threshold is chosen when all candidates are known."""
    return automatic(options) or options.expected_density > 0


def check_scores(options: PickOptions, preset: str) -> None:
    """Refuse --threshold auto where scores are no probabilities; `preset` is that of the model.

    Raises
    ------
    InputError
    """
    if not automatic(options):
        return
    if options.mode == "deepcryopicker":
        raise InputError(
            "--threshold auto: a DeepCryoPicker job finds its threshold on its own micrographs already; use -1"
        )
    if preset != "default":
        raise InputError(
            f"--threshold auto: scores of the preset {preset} are no probabilities; give a number, or "
            "--expected-density"
        )


def reaching(picks: Picks, threshold: float) -> Picks:
    """The picks with at least this score."""
    kept = picks.score >= threshold
    return replace(picks, xy=picks.xy[kept], score=picks.score[kept], class_number=picks.class_number[kept])


def candidates_of(entry: Entry, micrograph: Micrograph) -> Picks:
    """What a job remembers of a micrograph."""
    shape = (entry.summary.height, entry.summary.width)
    return Picks(micrograph, entry.xy, entry.score, entry.kind, shape)


def settle(
    options: PickOptions,
    own: float,
    micrographs: Sequence[Micrograph],
    summaries: Sequence[MicrographSummary],
    record: Record,
    write: Callable[[str, Picks], None],
) -> tuple[float, list[MicrographSummary]]:
    """Choose the threshold and write the picks that reach it.

    Parameters
    ----------
    options : PickOptions
    own : float
        The model's own threshold.
    micrographs : sequence of Micrograph
    summaries : sequence of MicrographSummary
        As of the micrographs when they were picked.
    record : Record
        Its entries hold all candidates, and afterwards those that are written.
    write : callable
        Takes the name of a coordinate file and its picks.

    Returns
    -------
    threshold : float
    summaries : list of MicrographSummary
    """
    good = [record.entries[item.name] for item in summaries if not item.failed]
    area = sum(each.summary.width * each.summary.height * each.summary.pixel_size**2 for each in good) * PER_UM2
    choice = _chosen(options, own, good, area)
    _tell(options, choice, len(good), area)
    found = []
    for micrograph, summary in zip(micrographs, summaries, strict=True):
        if not summary.failed:
            entry = record.entries[micrograph.name]
            picks = reaching(candidates_of(entry, micrograph), choice.threshold)
            write(entry.coordinates, picks)
            summary = MicrographSummary.of_picks(picks, summary.seconds, summary.status)
            record.entries[micrograph.name] = Entry(
                summary, entry.coordinates, picks.xy, picks.score, picks.class_number
            )
        found.append(summary)
    return choice.threshold, found


def _chosen(options: PickOptions, own: float, entries: Sequence[Entry], area: float) -> Choice:
    scores = [each.score for each in entries]
    if options.expected_density > 0:
        wanted = round(options.expected_density * area)
        choice = threshold_for_count(scores, wanted)
        if choice.picks < wanted:
            _log.warning(
                "--expected-density %g: that is %d particles, but there are only %d candidates",
                options.expected_density, wanted, choice.picks,
            )  # fmt: skip
        return choice
    choice = best_threshold(scores, own)
    if not choice.picks:
        _log.warning("--threshold auto: no candidate has a score of %g or more; is --diameter right?", LEAST)
    return choice


def _tell(options: PickOptions, choice: Choice, count: int, area: float) -> None:
    expected = ""
    if automatic(options):
        expected = (
            f"; if the scores hold, precision {choice.precision:.2f}, recall {choice.recall:.2f}, F1 {choice.f1:.2f}"
        )
    _log.info(
        "threshold %.4g, for %d micrographs together: %d picks, %.3g per µm²%s", choice.threshold, count, choice.picks,
        choice.picks / area if area else 0.0, expected,
    )  # fmt: skip
    if automatic(options) and choice.picks and choice.f1 < DOUBTFUL:
        _log.warning(
            "--threshold auto: no particle is certain, and in noise alone scores are alike: look at the picks before "
            "you use them"
        )
