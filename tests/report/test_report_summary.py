"""Summaries, their totals and the choice of micrographs to show."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from relion_ext_picker.errors import InputError
from relion_ext_picker.relion import labels
from relion_ext_picker.report.statistics import representatives, running_median, totals
from relion_ext_picker.report.summary import MicrographSummary, summary_columns
from relion_ext_picker.types import Ctf, Micrograph, Picks


def _picks(score: list[float]) -> Picks:
    micrograph = Micrograph("a/b.mrc", 1.5, ctf=Ctf(10000, 12000))
    n = len(score)
    return Picks(micrograph, np.zeros((n, 2), np.float32), np.array(score, np.float32), np.zeros(n, np.int64), (20, 30))


def test_of_picks_takes_mean_maximum_size_and_mean_defocus() -> None:
    summary = MicrographSummary.of_picks(_picks([0.5, 0.75]), 2.0)
    assert (summary.picks, summary.mean_score, summary.max_score) == (2, 0.625, 0.75)
    assert (summary.width, summary.height, summary.pixel_size, summary.defocus) == (30, 20, 1.5, 11000)
    assert math.isnan(MicrographSummary.of_picks(_picks([]), 2.0).mean_score)


def test_failure_message_is_one_line() -> None:
    summary = MicrographSummary.of_failure(Micrograph("a.mrc", 1.0), "bad\n\tfile\x1b  here")
    assert summary.failed and summary.message == "bad file here" and math.isnan(summary.defocus)


@pytest.mark.parametrize("score", [[0.5, 0.75], []])
def test_json_round_trip(score: list[float]) -> None:
    summary = MicrographSummary.of_picks(_picks(score), 2.0)
    text = json.dumps(summary.to_json(), allow_nan=False)
    assert repr(MicrographSummary.from_json(json.loads(text))) == repr(summary)


@pytest.mark.parametrize(
    "change",
    [{"picks": "7"}, {"picks": True}, {"picks": None}, {"status": "gone"}, {"seconds": "x"}, {"surprise": 1}],
)
def test_damaged_json_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        MicrographSummary.from_json({**MicrographSummary("a.mrc").to_json(), **change})


def test_json_without_name_is_refused_and_old_json_without_newer_fields_is_read() -> None:
    with pytest.raises(InputError, match="name"):
        MicrographSummary.from_json({"picks": 1})
    assert MicrographSummary.from_json({"name": "a", "seconds": 1}).seconds == 1.0


def test_columns_begin_as_relions_and_hold_one_row_per_micrograph() -> None:
    columns = summary_columns([MicrographSummary.of_picks(_picks([0.5]), 1.0), MicrographSummary("b", status="failed")])
    assert list(columns)[:3] == [labels.MICROGRAPH_NAME, labels.GROUP_NR_PARTICLES, labels.FIGURE_OF_MERIT]
    assert columns[labels.GROUP_NR_PARTICLES] == [1, 0]
    assert columns[labels.FIGURE_OF_MERIT] == [0.5, 0.0]
    assert columns["pickerStatus"] == ["picked", "failed"] and columns["pickerMessage"] == ["None", "None"]
    assert {len(column) for column in columns.values()} == {2}


def test_totals_weigh_the_mean_score_and_leave_out_failures() -> None:
    total = totals(
        [
            MicrographSummary("a", 1, 0.2, 0.2, seconds=1),
            MicrographSummary("b", 3, 0.6, 0.7, seconds=3),
            MicrographSummary("c", 0, seconds=5),
            MicrographSummary("d", 8, 0.5, 0.5, status="skipped"),
            MicrographSummary("e", status="failed", seconds=99),
        ]
    )
    assert (total.micrographs, total.finished, total.failed, total.empty, total.picks) == (5, 4, 1, 1, 12)
    assert (total.median, total.low, total.high, total.seconds) == (2, 0, 8, 3)
    assert total.mean_score == pytest.approx((0.2 + 1.8 + 4.0) / 12)


def test_totals_of_nothing() -> None:
    total = totals([])
    assert total.micrographs == total.picks == 0 and math.isnan(total.median) and math.isnan(total.seconds)


def test_representatives() -> None:
    made = [MicrographSummary(str(n), n, 0.5, 0.5) for n in (3, 9, 1, 5, 7)]
    failed = MicrographSummary("x", status="failed")
    assert representatives([failed, *made]) == [("Best", 2), ("Median", 4), ("Worst", 3)]
    assert representatives(made[:2]) == [("Best", 1), ("Worst", 0)]
    assert representatives([failed, made[0]]) == [("Best", 1)]
    assert representatives([failed]) == []


def test_rating_weighs_number_by_score() -> None:
    many_poor, few_good = MicrographSummary("a", 10, 0.1, 0.1), MicrographSummary("b", 4, 0.9, 0.9)
    assert representatives([many_poor, few_good])[0] == ("Best", 1)


def test_running_median_follows_a_step_and_ignores_an_outlier() -> None:
    values = np.r_[np.zeros(100), np.ones(100)]
    values[50] = 40
    trend = running_median(values)
    assert len(trend) == 200 and set(trend) == {0.0, 1.0} and trend[80] == 0 and trend[120] == 1
    assert len(running_median(np.ones(4))) == 0
