from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from relion_ext_picker.evaluation.curves import Scores, precision_recall, score_picks
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinates import read_coordinates

SHARED = Path(os.environ.get("REP_SHARED", Path(__file__).parents[3] / "shared"))

Truth = dict[str, np.ndarray]
Picks = dict[str, tuple[np.ndarray, np.ndarray]]


def fields(seed: int, digits: int = 17) -> tuple[Truth, Picks]:
    """Three micrographs: jittered truth and false picks of lower score; one of them without picks."""
    rng = np.random.default_rng(seed)
    truth, picks = {}, {}
    for name in "abc":
        truth[name] = rng.uniform(0, 1000, (80, 2))
        good = truth[name][:70] + rng.normal(0, 8, (70, 2))
        xy = np.concatenate([good, rng.uniform(0, 1000, (60, 2))])
        score = np.concatenate([rng.beta(4, 2, 70), rng.beta(2, 4, 60)]).round(digits)
        order = rng.permutation(130)
        picks[name] = xy[order], score[order]
    del picks["c"]
    return truth, picks


def by_hand(truth: Truth, picks: Picks, radius: float) -> tuple[float, float, float]:
    """Average precision, best F1 and its threshold, one threshold at a time."""
    total = sum(len(t) for t in truth.values())
    pairs = []
    for name, (xy, score) in picks.items():
        pairs += list(zip(score.tolist(), match(truth[name], xy, score, radius)[0].tolist(), strict=True))
    area, before, best = 0.0, 0.0, (-1.0, 0.0)
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        kept = [hit for score, hit in pairs if score >= threshold]
        recall = sum(kept) / total
        area += (recall - before) * sum(kept) / len(kept)
        before = recall
        f1 = 2 * sum(kept) / (len(kept) + total)
        if f1 > best[0]:
            best = f1, threshold
    return area, *best


@pytest.mark.parametrize("digits", [17, 1])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_counting_by_hand(seed: int, digits: int) -> None:
    truth, picks = fields(seed, digits)
    got = score_picks(truth, picks, 16)
    area, best_f1, threshold = by_hand(truth, picks, 16)
    assert got.ap == pytest.approx(area, abs=1e-12)
    assert got.best_f1 == pytest.approx(best_f1, abs=1e-12)
    assert got.best_threshold == threshold
    assert (got.n_truth, got.n_picks) == (240, 260)
    assert got.precision == got.hits / 260 and got.recall == got.hits / 240 and got.f1 == 2 * got.hits / 500
    assert 0.3 < got.ap < 0.7


def referee() -> ModuleType:
    path = SHARED / "tools/score.py"
    if not path.is_file():
        pytest.skip("the independent scorer is not here")
    spec = importlib.util.spec_from_file_location("referee", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(got: Scores, expected: dict[str, float]) -> None:
    names = {"P_all": "precision", "R_all": "recall", "F1_all": "f1", "AUPRC": "ap", "F1_best": "best_f1"}
    names |= {"threshold": "best_threshold", "truth": "n_truth", "picks": "n_picks", "hits": "hits"}
    for theirs, ours in names.items():
        value = getattr(got, ours)
        assert value == expected[theirs] if expected[theirs] is None else abs(value - expected[theirs]) < 1e-9, ours


@pytest.mark.parametrize("digits", [17, 1])
@pytest.mark.parametrize("radius", [4, 16, 60])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_independent_scorer(seed: int, radius: float, digits: int) -> None:
    truth, picks = fields(seed, digits)
    columns = {name: np.column_stack([xy, score]) for name, (xy, score) in picks.items()}
    same(score_picks(truth, picks, radius), referee().score(truth, columns, radius)[0])


def test_agrees_with_the_independent_scorer_on_real_truth() -> None:
    module = referee()
    folder = SHARED / "data/apoferritin/truth"
    if not folder.is_dir():
        pytest.skip("the shared data are not here")
    truth = {path.stem: read_coordinates(path).xy.astype(np.float64) for path in sorted(folder.glob("*.star"))}
    rng = np.random.default_rng(0)
    columns = {}
    for name, xy in truth.items():
        xy = np.concatenate([xy + rng.normal(0, 15, xy.shape), rng.uniform(0, 1200, (50, 2))])
        columns[name] = np.column_stack([xy, rng.uniform(size=len(xy))])
    picks = {name: (rows[:, :2], rows[:, 2]) for name, rows in columns.items()}
    got = score_picks(truth, picks, 32)
    same(got, module.score(truth, columns, 32)[0])
    assert got.n_truth == 1624


def test_a_small_case_in_numbers() -> None:
    truth = {"m": [[0, 0], [100, 0], [200, 0], [300, 0]]}
    picks = {"m": ([[1, 0], [50, 0], [103, 4], [200, 3]], [0.9, 0.8, 0.7, 0.6])}
    got = score_picks(truth, picks, 10)
    assert (got.precision, got.recall, got.f1, got.hits) == (0.75, 0.75, 0.75, 3)
    assert got.ap == pytest.approx(0.25 * (1 + 2 / 3 + 3 / 4))
    assert (got.best_f1, got.best_threshold) == (0.75, 0.6)
    assert got.centring == 3  # of 1, 5, 3


def test_ties_stand_together() -> None:
    """The order of picks of equal score must not matter to the curve."""
    hit = np.array([True, False, True, False])
    for order in ([0, 1, 2, 3], [1, 3, 0, 2]):
        curve = precision_recall(np.full(4, 0.5), hit[order], 2)
        assert curve.threshold.tolist() == [0.5]
        assert (curve.precision.tolist(), curve.recall.tolist()) == ([0.5], [1.0])
        assert curve.average_precision == 0.5


@pytest.mark.parametrize("score", [None, np.ones(3), np.array([1, np.nan, 0])])
def test_picks_without_usable_scores(score: np.ndarray | None) -> None:
    got = score_picks({"m": [[0, 0]]}, {"m": ([[0, 0], [50, 0], [60, 0]], score)}, 5)
    assert got.ap is None and got.best_threshold is None
    assert got.best_f1 == got.f1 == 0.5


def test_no_picks_and_no_truth() -> None:
    for truth, picks in (({"m": [[0, 0]]}, {}), ({"m": [[0, 0]]}, {"m": ([], [])}), ({}, {}), ({"m": []}, {})):
        got = score_picks(truth, picks, 5)
        assert (got.precision, got.recall, got.f1, got.best_f1, got.ap, got.centring) == (0, 0, 0, 0, None, None)
    got = score_picks({"m": []}, {"m": ([[1, 1], [2, 2]], [0.1, 0.2])}, 5)
    assert (got.precision, got.recall, got.n_picks, got.ap) == (0, 0, 2, 0)
    assert len(precision_recall([], [], 3).precision) == 0


def test_micrographs_without_truth_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    got = score_picks({"m": [[0, 0]]}, {"m": ([[0, 0]], [1]), "x": ([[0, 0]], [1])}, 5)
    assert (got.n_picks, got.precision) == (1, 1)
    assert "no truth for 1 micrographs with picks, such as x" in caplog.text


def test_f_measures() -> None:
    """F1 is that of the curve, F2 is the paper's 5PR / (4P + R), and nothing is divided by nothing."""
    rng = np.random.default_rng(0)
    hit = np.append(rng.random(50) < 0.5, False)
    curve = precision_recall(np.append(rng.random(50), 2.0), hit, 40)
    p, r = curve.precision, curve.recall
    np.testing.assert_allclose(curve.f_beta(1), curve.f1)
    assert p[0] == r[0] == curve.f_beta(2)[0] == 0
    np.testing.assert_allclose(curve.f_beta(2)[5:], 5 * p[5:] * r[5:] / (4 * p[5:] + r[5:]))
    assert len(precision_recall([], [], 3).f_beta(2)) == 0
