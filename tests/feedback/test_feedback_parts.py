"""Joining particles to picks, labels, thresholds, views and the verdict on another round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from relion_ext_picker.evaluation.classes2d import GoodClassRule, judge_classes
from relion_ext_picker.evaluation.curves import precision_recall
from relion_ext_picker.evaluation.symmetry import point_group
from relion_ext_picker.feedback.join import PickTable, Places, join_particles
from relion_ext_picker.feedback.labels import (
    Earlier,
    Evidence,
    Label,
    LabelRule,
    agreement,
    excess,
    labels_of_classes,
    reconciled,
    second_look,
    settled,
)
from relion_ext_picker.feedback.rounds import FeedbackRound, another_pays
from relion_ext_picker.feedback.threshold import at_threshold, lost_groups, safe_threshold
from relion_ext_picker.feedback.views import count_views, view_groups
from relion_ext_picker.types import ClassTable


def picks(*xy: tuple[float, float], micrograph: int = 0) -> PickTable:
    count = len(xy)
    return PickTable(np.full(count, micrograph), np.array(xy, np.float64), np.linspace(1, 0.1, count))


def places(extracted: list, centre: list | None = None, micrograph: int = 0) -> Places:
    where = np.array(extracted, np.float64)
    return Places(np.full(len(where), micrograph), where, where if centre is None else np.array(centre, np.float64))


REACH = np.array([15.0, 15.0])


def test_particles_lie_on_their_picks():
    found = join_particles(picks((10, 10), (50, 50), (90, 10)), places([[90, 10], [10, 10]]), REACH)
    assert found.tolist() == [2, 0]


def test_centred_particles_are_found_by_their_distance_and_only_within_reach():
    # Extracted again and centred: the coordinate is 8 px from the pick; the neighbour is 14 px away, the last too far.
    found = join_particles(picks((10, 10), (32, 10)), places([[18, 10], [32, 40]]), REACH)
    assert found.tolist() == [0, -1]


def test_join_is_one_to_one_and_prefers_the_closest():
    found = join_particles(picks((10, 10)), places([[14, 10], [11, 10], [10, 20]]), REACH)
    assert found.tolist() == [-1, 0, -1]


def test_join_keeps_micrographs_apart():
    table = PickTable(np.array([0, 1]), np.array([[10.0, 10], [10, 10]]), np.array([0.5, 0.5]))
    found = join_particles(
        table, replace(places([[10, 10], [10, 10], [10, 10]]), micrograph=np.array([1, 0, -1])), REACH
    )
    assert found.tolist() == [1, 0, -1]


def test_rounds_that_disagree_teach_nothing():
    """False again although learnt as such, false where it was true, true where it was false, new, and open ones."""
    where = places(
        [[10, 10], [50, 50], [90, 90], [130, 10], [170, 10]], [[10, 10], [50, 50], [93, 90], [130, 10], [170, 10]]
    )
    label = np.array([Label.FALSE, Label.FALSE, Label.TRUE, Label.FALSE, Label.OPEN])
    marks = [(12, 10, False), (50, 55, True), (98, 90, False), (170, 10, False), (300, 300, False), (300, 350, True)]
    earlier = Earlier(
        np.zeros(6, np.int64), np.array([m[:2] for m in marks], float), np.array([m[2] for m in marks], bool)
    )
    found, withdrawn = reconciled(label, where, earlier, np.array([6.0, 6.0]))
    assert found.tolist() == [Label.OPEN, Label.OPEN, Label.TRUE, Label.FALSE, Label.OPEN]
    assert withdrawn.tolist() == [True, False, True, False, False, False]
    other = replace(earlier, micrograph=np.ones(6, np.int64))
    found, withdrawn = reconciled(label, where, other, np.array([6.0, 6.0]))
    assert found.tolist() == label.tolist() and not withdrawn.any()


def test_labels_of_classes():
    classes = ClassTable(np.array([0.6, 0.36, 0.004, 0.03]), np.array([10.0, 40.0, 11.0, 15.5]))
    verdict = judge_classes(classes, GoodClassRule(relative=1.5, share=0.01))
    assert verdict.unsure.tolist() == [False, False, False, True]  # 15.5 Å is close to the limit of 15
    label = labels_of_classes(verdict, np.array([1, 2, 3, 4, 0]))
    assert label.tolist() == [Label.TRUE, Label.FALSE, Label.RARE, Label.OPEN, Label.OPEN]


def test_a_small_but_well_resolved_class_is_never_negative():
    """Also where a person, or the ranker, did not choose it."""
    classes = ClassTable(np.array([0.8, 0.19, 0.005]), np.array([10.0, 10.5, 9.0]), score=np.array([0.9, 0.2, 0.1]))
    for selection in (None, np.array([True, False, False])):
        verdict = judge_classes(classes, GoodClassRule(share=0.01), selection)
        assert labels_of_classes(verdict, np.array([1, 2, 3])).tolist() == [Label.TRUE, Label.FALSE, Label.RARE]


def test_contradictions_are_open():
    # 0 and 1 centre on the same place; 2 is false but lies beside it; 3 is false elsewhere; 4 moved too far.
    where = places(
        [[10, 10], [20, 10], [18, 14], [80, 80], [120, 20]], [[14, 10], [15, 10], [18, 14], [80, 80], [150, 20]]
    )
    label = np.array([Label.TRUE, Label.TRUE, Label.FALSE, Label.FALSE, Label.TRUE])
    sure = np.array([0.4, 0.9, 0.9, 0.9, 0.9])
    found = settled(label, where, sure, np.full(5, 40.0), LabelRule())
    assert found.tolist() == [Label.OPEN, Label.TRUE, Label.OPEN, Label.FALSE, Label.OPEN]
    unsure = settled(label, where, sure, np.full(5, 40.0), LabelRule(pmax=0.95))
    assert Label.TRUE not in unsure.tolist()


def evidence(score: object, more: object = float("nan")) -> Evidence:
    value = np.asarray(score, np.float64)
    return Evidence(value, np.broadcast_to(np.asarray(more, np.float64), value.shape))


def test_false_is_what_class_and_picker_agree_on():
    label = np.array([Label.TRUE] * 4 + [Label.FALSE] * 3 + [Label.RARE])
    score = np.array([0.6, 0.7, 0.8, 0.9, 0.2, 0.85, np.nan, 0.1])
    rule = LabelRule(doubt=0.25)
    assert second_look(label, evidence(score), rule)[4:].tolist() == [Label.FALSE, Label.OPEN, Label.FALSE, Label.RARE]
    assert second_look(label, evidence(score), LabelRule(doubt=1.0)).tolist() == label.tolist()
    assert second_look(label[4:], evidence(score[4:]), rule).tolist() == label[4:].tolist()


def test_true_is_what_stands_alone():
    """The picker is not asked: what it doubts is what it must learn."""
    label = np.array([Label.TRUE] * 3 + [Label.FALSE] * 3)
    look = evidence([0.1, 0.9, 0.8, 0.0, 0.0, 0.0], [0.9, 1.2, np.nan, 0.5, -0.5, np.nan])
    found = second_look(label, look, LabelRule())
    assert found.tolist() == [Label.TRUE, Label.OPEN, Label.TRUE, Label.FALSE, Label.OPEN, Label.FALSE]


def test_excess_of_likelihood_is_told_per_micrograph():
    value = np.array([10.0, 11, 12, 13, 30, 110, 111, 112, 113, 130, 5, 50, 7, 7, 7, 7, 7])
    micrograph = np.repeat([0, 1, 2, 3], [5, 5, 2, 5])
    found = excess(value, micrograph)
    assert found[:5] == pytest.approx((value[:5] - 12) / 1.4826) and found[5:10] == pytest.approx(found[:5])
    assert np.isnan(found[10:]).all()  # two particles say nothing of what is usual, nor do equal ones


def test_agreement_of_classes_and_picker():
    label = np.array([Label.TRUE, Label.TRUE, Label.FALSE, Label.FALSE, Label.OPEN, Label.TRUE])
    assert agreement(label, np.array([0.9, 0.5, 0.5, 0.1, 0.0, np.nan])) == pytest.approx(3.5 / 4)
    assert agreement(label, np.array([0.1, 0.2, 0.5, 0.6, 0.0, 0.0])) == 0.0
    assert agreement(label[:2], np.array([0.1, 0.2])) is None


def test_best_f2():
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    true = np.array([True, True, False, True, False, False])
    curve = precision_recall(score, true, 3)
    best = at_threshold(curve, None)
    assert best.score == pytest.approx(0.6) and best.recall == 1 and best.precision == pytest.approx(0.75)
    assert best.f2 == pytest.approx(5 * 0.75 / (4 * 0.75 + 1))
    assert at_threshold(curve, 0.75).recall == pytest.approx(2 / 3)
    assert at_threshold(curve, 0.0).precision == pytest.approx(0.5)


def test_a_threshold_that_loses_a_class_is_lowered():
    rng = np.random.default_rng(1)
    score = np.concatenate([rng.uniform(0.5, 1.0, 400), rng.uniform(0.2, 0.4, 30)])
    group = np.repeat([1, 2], [400, 30])
    assert lost_groups(group, score, 0.45, 3).tolist() == [2]
    assert lost_groups(group, score, 0.1, 3).tolist() == []
    safe = safe_threshold(score, group, 0.45, 3)
    assert 0.2 < safe < 0.4 and not len(lost_groups(group, score, safe, 3))
    # Of a class of three the loss of two may be chance.
    assert not len(lost_groups(np.repeat([0, 1], [100, 3]), np.r_[np.linspace(0, 1, 100), 0.1, 0.2, 0.6], 0.5, 2))


def test_views():
    rng = np.random.default_rng(0)
    angles = np.stack(
        [rng.uniform(-180, 180, 3000), np.degrees(np.arccos(rng.uniform(-1, 1, 3000))), np.zeros(3000)], 1
    )
    everywhere = count_views(angles, point_group("C1"))
    one_sided = count_views(angles[angles[:, 1] < 40], point_group("C1"))
    assert everywhere.e_od > 0.9 > one_sided.e_od and everywhere.views > one_sided.views
    cells, count = view_groups(angles, point_group("C1"))
    assert count == 48 and cells.max() < count
    back = np.stack([angles[:, 0] + 180, 180 - angles[:, 1], angles[:, 2]], 1)  # the opposite views
    assert np.mean(view_groups(back, point_group("C1"))[0] == cells) > 0.99


ROUND = FeedbackRound(1, "External/job002", "Class2D/job004", 1000, 1000, 600, 20, 8, 12.0)


@pytest.mark.parametrize(
    ("changes", "pays", "word"),
    [
        ({"good_particles": 700}, True, "good particles 600 -> 700"),
        ({"particles": 800}, True, "share"),
        ({"resolution": 11.0}, True, "resolution"),
        ({"good_particles": 605}, False, "changed little"),
        ({"good_particles": 500, "particles": 600}, False, "lost good particles"),
    ],
)
def test_another_round(changes: dict, pays: bool, word: str):
    found, why = another_pays([ROUND, replace(ROUND, **changes)])
    assert found is pays and word in why
    assert another_pays([ROUND])[0]
