"""The DeepCryoPicker teaches itself: mistakes of the clustering are not learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.base import Request, class_numbers, pick_prepared
from relion_ext_picker.pickers.deepcryopicker.network import Shape
from relion_ext_picker.pickers.deepcryopicker.preprocess import working_image
from relion_ext_picker.training.deepcryopicker import (
    Recipe,
    accuracy,
    halves,
    relabelled,
    resorted,
    self_train,
)
from relion_ext_picker.training.deepcryopicker_examples import Drawing, Marked, draw_examples, split
from relion_ext_picker.training.deepcryopicker_limits import Finds, Limits, limits_of, valley_of
from relion_ext_picker.training.deepcryopicker_paper import PaperRecipe, paper_set, variant
from relion_ext_picker.types import Grid, ScoreMap

CPU = torch.device("cpu")
TINY = Recipe(
    rounds=2, steps=60, last_steps=80, batch=48, learning_rate=5e-3, drawing=Drawing(per_class=800),
    shape=Shape(widths=(8, 12, 16, 16), holes=(2, 4, 6), hidden=16),
)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def field(seed: int, side: int = 320) -> tuple[ScoreMap, np.ndarray, np.ndarray]:
    """A prepared image with dark rings (top views) and dark rectangles (side views): frame, centres, kinds."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side].astype(np.float64)
    image = rng.normal(0, 1, (side, side))
    cells = np.stack(np.meshgrid(np.arange(28, side - 20, 48), np.arange(28, side - 20, 48)), -1).reshape(-1, 2)
    xy = cells[rng.random(len(cells)) < 0.7] + rng.uniform(-5, 5, (1, 2))
    kind = rng.integers(0, 2, len(xy))
    for (x, y), which in zip(xy, kind, strict=True):
        turn = rng.uniform(0, np.pi)
        along, across = (cols - x) * np.cos(turn) + (rows - y) * np.sin(turn), 0.0
        across = (rows - y) * np.cos(turn) - (cols - x) * np.sin(turn)
        inside = np.hypot(along, across) < 15 if which == 0 else (np.abs(along) < 14) & (np.abs(across) < 8)
        hollow = (np.hypot(along, across) < 8) & (which == 0)
        image -= 1.5 * (inside & ~hollow)
    return ScoreMap(image.astype(np.float32), Grid()), xy.astype(np.float32), kind


def clustered(seed: int) -> tuple[Marked, np.ndarray, np.ndarray]:
    """A field as a clustering sees it: half of the particles are missed, one in ten good ones is none."""
    frame, xy, kind = field(seed)
    rng = np.random.default_rng(seed)
    seen = rng.random(len(xy)) < 0.6
    false = rng.uniform(20, 300, (max(1, round(0.1 * seen.sum())), 2))
    places = np.concatenate([xy[seen] + rng.normal(0, 1.5, (seen.sum(), 2)), false]).astype(np.float32)
    kinds = np.concatenate([kind[seen], rng.integers(0, 2, len(false))])
    good = np.concatenate([rng.random(seen.sum()) < 0.85, np.ones(len(false), bool)])
    return Marked(f"m{seed}", frame, places, kinds, good), xy, kind


@pytest.fixture(scope="module")
def learned():
    torch.set_num_threads(1)
    lines: list[str] = []
    items = [clustered(seed) for seed in range(8)]
    return self_train([item for item, _, _ in items], TINY, CPU, 0, lines.append), lines, items


def test_particles_are_found_that_the_clustering_missed(learned):
    picker, _, items = learned
    right = found = true = alike = 0
    for item, xy, kind in items:
        shape = (item.frame.values.shape[0], item.frame.values.shape[1])
        picks, _ = pick_prepared(picker, item.frame, shape, 1.0, Request(32.0))
        hit, which = match(xy, picks, None, 10.0)
        numbers = class_numbers(picker, item.frame, picks)
        right, found, true = right + int(hit.sum()), found + len(picks), true + len(xy)
        alike += int((numbers[hit] == kind[which[hit]] + 1).sum())
    assert right / true > 0.9 and right / found > 0.9
    assert alike / right > 0.9


def test_windows_of_unseen_micrographs_are_classed_right(learned):
    picker, _, _ = learned
    frame, xy, kind = field(99)
    item = Marked("new", frame, xy, kind, np.ones(len(xy), bool))
    drawing = Drawing(jitter=0.0, near=0.0, repeats=1)
    examples = draw_examples(picker.cut, [item], picker.class_names, 32.0, drawing, np.random.default_rng(0))
    assert accuracy(picker, examples) > 0.85


def test_progress_and_card_tell_what_was_learned(learned):
    picker, lines, _ = learned
    assert any(line.startswith("round 1, first half: 4 micrographs") for line in lines)
    assert any("step 80/80" in line for line in lines)
    assert picker.card.networks["net"]["config"]["classes"] == ["top", "side", "background"]
    assert picker.card.provenance["micrographs"] == 8 and len(picker.card.provenance["trainings"]) == 3
    assert picker.card.threshold == 0.5


def test_progress_may_stop_the_training():
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        self_train([clustered(seed)[0] for seed in range(8)], TINY, CPU, 0, stop)


def test_one_micrograph_is_cut_in_two():
    frame, xy, kind = field(1)
    grid = Grid((2.0, 3.0), (0.5, 1.0))
    xy = grid.to_original(xy[:, 1], xy[:, 0])
    item = Marked("m", ScoreMap(frame.values[:, :300], grid), xy, kind, np.ones(len(xy), bool))
    first, second = halves(item)
    assert first.frame.values.shape == (160, 300) and second.frame.values.shape == (160, 300)
    assert len(first.xy) + len(second.xy) == len(xy) and len(first.xy) and len(second.xy)
    origin = second.frame.to_original(np.zeros(1), np.zeros(1))
    assert np.allclose(origin, grid.to_original(np.array([160]), np.zeros(1)))
    assert first.frame.grid.from_original(first.xy)[0].max() < 160
    assert second.frame.grid.from_original(second.xy)[0].min() >= -1e-3


def finds(particles: float, others: float, seed: int = 0, wrong: int = 0) -> Finds:
    rng = np.random.default_rng(seed)
    odds = np.concatenate([rng.normal(particles, 0.6, 300), rng.normal(others, 1.0, 900)])
    confirmed = np.arange(1200) < 150
    confirmed[300 : 300 + wrong] = True
    return Finds(np.zeros((1200, 2), np.float32), np.zeros(1200, np.int64), odds, confirmed)


@pytest.mark.parametrize(("particles", "others"), [(4.0, -4.0), (1.5, -3.5), (6.0, 0.0)])
@pytest.mark.parametrize("wrong", [0, 60])
def test_limits_lie_between_the_heaps(particles, others, wrong):
    found = finds(particles, others, wrong=wrong)
    limits = limits_of([found])[0]
    assert limits.doubtful < limits.valley <= limits.sure
    assert (found.odds[:300] >= limits.sure).mean() > 0.9 and (found.odds[300:] >= limits.sure).mean() < 0.02
    assert (found.odds[:300] >= limits.valley).mean() > 0.97 and (found.odds[300:] >= limits.valley).mean() < 0.05


def test_without_confirmed_finds_even_odds_decide():
    found = finds(4.0, -4.0)
    nothing = Finds(found.xy, found.kind, found.odds, np.zeros(1200, bool))
    assert limits_of([nothing])[0].valley == 0


def test_limits_of_scores_near_the_least_that_are_told_apart():
    """A kind that was taught hardly at all, beside one whose scores spread far."""
    wide, low = finds(0.0, -9.0), finds(-13.0, -13.5, seed=1)
    wide = replace(wide, odds=np.where(wide.odds > 0, 12 * wide.odds, wide.odds))
    limits = limits_of([wide, replace(low, kind=np.ones(1200, np.int64))])
    assert limits[1].valley <= limits[1].sure and np.isfinite(limits[1].doubtful)


def test_the_valley_is_where_values_are_fewest():
    odds = np.concatenate([np.random.default_rng(0).normal(-4, 0.5, 500), np.random.default_rng(1).normal(4, 0.5, 100)])
    assert -3 < valley_of(odds, 2.5, 2.5) <= 2.6
    assert valley_of(odds, -1.0, -1.0) < -1  # the heap above does not count


def test_the_fence_is_where_noise_ends_that_reaches_beyond_it():
    """Two heaps that touch: Tukey's fence of the upper one lies within the lower one."""
    apart, near = (limits_of([finds(4.0, low)])[0] for low in (-4.0, 0.9))
    found = finds(4.0, 0.9)
    assert near.sure > apart.sure + 0.1
    assert (found.odds[300:] < near.sure).mean() > 0.97 > (found.odds[300:] < apart.sure).mean()
    assert (found.odds[:300] >= near.sure).mean() > 0.9


def test_sure_finds_are_good_and_doubtful_ones_candidates():
    item, _, _ = clustered(0)
    odds = np.array([3.0, 1.5, 0.2, -3.0, 9.0])
    xy = 100 + np.arange(10, dtype=np.float32).reshape(5, 2)
    xy[4] = 2.0  # at the edge
    found = Finds(xy, np.array([0, 1, 0, 1, 0]), odds, np.zeros(5, bool))
    again = relabelled(item, found, dict.fromkeys(range(3), Limits(sure=1.0, valley=0.5, doubtful=-1.5)))
    assert again.good.tolist() == [True, True, False, False] and again.kind.tolist() == [0, 1, 0, 0]
    assert np.array_equal(again.xy, xy[[0, 1, 2, 4]])


def test_every_kind_has_limits_of_its_own():
    tops, sides = finds(5.0, -5.0, seed=1), finds(1.0, -5.0, seed=2)
    limits = limits_of([tops, replace(sides, kind=np.ones(1200, np.int64))])
    assert limits[0].sure > limits[1].sure + 2
    for found, limit in ((tops, limits[0]), (sides, limits[1])):
        assert (found.odds[:300] >= limit.sure).mean() > 0.9 and (found.odds[300:] >= limit.sure).mean() < 0.01


def test_outlines_tell_the_kinds_that_a_network_does_not_know():
    frame, xy, kind = field(3, side=400)
    item = Marked(
        "m", frame, xy, np.zeros(len(xy), np.int64), np.ones(len(xy), bool), working_image(frame.values, 32.0)
    )
    (sorted_out,) = resorted([item])
    assert (sorted_out.kind == kind).mean() > 0.85
    rare = kind.astype(bool) & (np.arange(len(kind)) > 3)
    few = replace(
        item,
        xy=xy[~rare],
        kind=np.zeros(np.count_nonzero(~rare), np.int64),
        good=np.ones(np.count_nonzero(~rare), bool),
    )
    assert not resorted([few])[0].kind.any()  # one or two rectangles are mistakes
    assert resorted([replace(item, shapes=None)])[0].kind.sum() == 0


def test_an_outline_of_another_size_does_not_change_the_kind():
    frame, xy, kind = field(3, side=400)
    shapes = working_image(frame.values, 32.0)
    item = Marked("m", frame, xy, kind, np.ones(len(xy), bool), shapes)
    larger = replace(shapes, values=np.repeat(np.repeat(shapes.values, 2, 0), 2, 1)[: len(shapes.values)])
    irregular = np.full(len(xy), 2)
    same, other = resorted([item, replace(item, kind=irregular, shapes=larger, xy=(2 * xy).clip(0, 399))])
    assert (same.kind == kind).mean() > 0.85 and (other.kind == 2).mean() > 0.85


def test_the_papers_training_set():
    items = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        frame = ScoreMap(rng.random((1400, 1500), np.float32), Grid())
        xy = np.array([[300.0, 300.0], [900.0, 300.0], [300.0, 900.0], [1200.0, 900.0]], np.float32)
        items.append(Marked(str(seed), frame, xy, np.array([0, 0, 1, 1]), np.ones(4, bool)))

    def cut(frame, xy):
        return np.stack([frame.values[:6, :6] for _ in xy]) if len(xy) else np.zeros((0, 6, 6), np.float32)

    examples = paper_set(cut, items, ("top", "side", "background"), (12, 0.3), np.random.default_rng(0))
    assert examples.counts() == {"top": 12, "side": 12, "background": 12}
    assert examples.windows.dtype == np.uint8 and examples.windows.shape == (36, 6, 6)
    tops = examples.windows[examples.labels == 0]
    assert sum(np.array_equal(window, np.rot90(tops[0])) for window in tops) >= 1


def test_variants_of_a_window_are_grey_levels():
    rng = np.random.default_rng(0)
    window = rng.random((40, 40), np.float32)
    shown = [variant(window, rng) for _ in range(20)]
    assert all(part.shape == (40, 40) and part.min() >= 0 and part.max() <= 1 for part in shown)
    assert len({round(float(part.std()), 3) for part in shown}) > 4


def test_the_paper_recipe_is_the_papers():
    recipe = PaperRecipe()
    assert (recipe.per_class, recipe.epochs, recipe.batch) == (1500, 20, 32)
    assert tuple(map(len, split(100, recipe.shares, 0))) == (64, 16, 20)
