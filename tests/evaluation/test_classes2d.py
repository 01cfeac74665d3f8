"""Which 2D classes are good."""

from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.evaluation.classes2d import GoodClassRule, count_good, judge_classes
from relion_ext_picker.relion.downstream import read_classes, read_particles
from relion_ext_picker.types import ClassTable

ORACLE = Path(__file__).parents[3] / "shared/data/oracles/relion4_class2d"

CLASSES = ClassTable(
    distribution=np.array([0.5, 0.3, 0.19, 0.005, 0.005]), resolution=np.array([10.0, 14.0, 25.0, 9.0, 30.0])
)


def test_relative_to_what_the_best_tenth_reaches():
    verdict = judge_classes(CLASSES, GoodClassRule(relative=1.5))
    assert verdict.limit == pytest.approx(15.0)  # 1.5 x 10 Å; the 9 Å of the small class do not count
    assert verdict.good.tolist() == [True, True, False, False, False]
    assert verdict.rare.tolist() == [False, False, False, True, False]
    assert verdict.by == "resolution"


def test_resolution_share_score_and_selection():
    assert judge_classes(CLASSES, GoodClassRule(resolution=12)).good.tolist() == [True, False, False, False, False]
    assert judge_classes(CLASSES, GoodClassRule(relative=1.5, share=0.001)).good.tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    scored = ClassTable(CLASSES.distribution, CLASSES.resolution, score=np.array([0.9, 0.2, 0.1, 0.3, 0.5]))
    verdict = judge_classes(scored)
    assert verdict.good.tolist() == [True, False, False, False, True] and verdict.by == "score"
    assert verdict.rare.tolist() == [False, False, False, True, False]
    chosen = np.array([False, True, False, False, False])
    verdict = judge_classes(scored, selection=chosen)
    assert verdict.good.tolist() == chosen.tolist() and verdict.by == "selection"
    with pytest.raises(ValueError, match="selection of 2 classes for 5"):
        judge_classes(CLASSES, selection=np.array([True, False]))


def test_a_small_class_that_fits_its_noise_does_not_set_the_limit():
    """What a tenth of the particles in resolved classes reaches does."""
    shares, resolution = np.array([0.5, 0.3, 0.12, 0.05, 0.03]), np.array([40.0, 44.0, 70.0, 24.0, 36.0])
    verdict = judge_classes(ClassTable(shares, resolution), GoodClassRule(relative=1.25))
    assert verdict.limit == pytest.approx(50.0) and verdict.good.tolist() == [True, True, False, True, True]
    unresolved = np.where(shares > 0.2, np.nan, resolution)
    assert judge_classes(ClassTable(shares, unresolved), GoodClassRule(relative=1.25)).limit == 30.0


def test_a_class_of_dirt_that_holds_most_does_not_set_the_limit():
    shares, resolution = np.array([0.16, 0.18, 0.66]), np.array([9.0, 10.0, 40.0])
    assert judge_classes(ClassTable(shares, resolution)).good.tolist() == [True, True, False]
    assert judge_classes(ClassTable(np.ones(1), np.array([9.0]))).good.tolist() == [True]


def test_no_class_is_good_where_none_is_resolved():
    unresolved = ClassTable(np.array([0.6, 0.4]), np.array([np.nan, np.nan]))
    assert not judge_classes(unresolved).good.any()


def test_counts():
    counts = count_good(judge_classes(CLASSES, GoodClassRule(relative=1.5)), np.array([1, 1, 2, 3, 3, 4, 0]))
    assert (counts.classes, counts.good_classes, counts.particles, counts.good_particles) == (4, 2, 6, 3)
    assert (counts.share_classes, counts.share_particles) == (0.5, 0.5)
    assert count_good(judge_classes(CLASSES), np.zeros(3, np.int64)).share_particles == 0
    with pytest.raises(ValueError, match="class 6, but there are 5"):
        count_good(judge_classes(CLASSES), np.array([6]))


@pytest.mark.skipif(not ORACLE.exists(), reason="no ../shared")
def test_oracle():
    """8 classes with 2124 of 4786 particles are better than 15 Å and larger than 1 %."""
    particles = read_particles(ORACLE / "run_it025_data.star")
    verdict = judge_classes(read_classes(ORACLE / "run_it025_model.star"), GoodClassRule(resolution=15, share=0.01))
    counts = count_good(verdict, particles.class_number)
    assert (counts.good_classes, counts.good_particles, counts.particles) == (8, 2124, 4786)
    assert particles.pmax[verdict.good[particles.class_number - 1]].mean() == pytest.approx(0.853, abs=5e-4)
