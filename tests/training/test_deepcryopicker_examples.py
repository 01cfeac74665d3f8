"""The training set of the DeepCryoPicker mode: what may be drawn, and from where."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.errors import InputError
from relion_ext_picker.training.deepcryopicker_examples import (
    Drawing,
    Marked,
    TrainingSet,
    balanced_batches,
    classes_of,
    draw_examples,
    marked_of,
    split,
)
from relion_ext_picker.types import Grid, ScoreMap

DIAMETER = 32.0
TOP, SIDE, IRREGULAR = 0, 1, 2


def marked(xy, kind, good, shape=(300, 400), name="m") -> Marked:
    frame = ScoreMap(np.zeros(shape, np.float32), Grid((2.0, 2.0), (0.5, 0.5)))
    kinds = np.broadcast_to(np.asarray(kind, np.int64), len(xy))
    return Marked(name, frame, np.asarray(xy, np.float32), kinds, np.broadcast_to(np.asarray(good, bool), len(xy)))


def remember(places: list):
    """Stands for a picker's cut: notes where windows come from, in px of the frame."""

    def cut(frame, xy):
        rows, cols = frame.grid.from_original(xy)
        places.append(np.stack([rows, cols], axis=1))
        return np.zeros((len(xy), 4, 4), np.float32)

    return cut


def scattered(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 2)) * (800, 600)


def test_classes_need_enough_good_examples():
    item = marked(scattered(90), [TOP] * 40 + [SIDE] * 30 + [IRREGULAR] * 20, True)
    assert classes_of([item], fewest=25, fewer=25) == ("top", "side", "background")
    assert classes_of([item], fewest=35, fewer=31) == ("top", "background")
    assert classes_of([item], fewest=35) == ("top", "side", "irregular", "background")  # further ones need fewer
    poor = marked(scattered(90), [TOP] * 90, [True] * 40 + [False] * 50)
    assert classes_of([poor], fewest=30, negative=True) == ("top", "background", "negative")
    with pytest.raises(InputError, match="40 top, 0 side, 0 irregular"):
        classes_of([poor], fewest=41)


def test_background_keeps_away_from_every_candidate():
    good = np.array([[200.0, 200.0], [600.0, 400.0]])
    bad = np.array([[400.0, 300.0], [232.0, 200.0]])
    item = marked(np.concatenate([good, bad]), TOP, [True, True, False, False])
    drawing = Drawing(per_class=100, repeats=40, jitter=0.0, background=2.0)
    places: list[np.ndarray] = []
    found = draw_examples(
        remember(places), [item], ("top", "background"), DIAMETER, drawing, np.random.default_rng(0)
    )  # fmt: skip
    assert found.counts()["top"] == 80 and 120 < found.counts()["background"] <= 160
    known = np.stack(item.frame.grid.from_original(item.xy), axis=1)
    behind = places[-1]
    gap = np.hypot(*(behind[:, None] - known[None]).transpose(2, 0, 1))
    assert gap.min() >= drawing.ring[0] * DIAMETER
    near_bad = gap[:, 2] < drawing.apart * DIAMETER  # a bad one on its own: no near misses around it
    assert not near_bad.any()
    assert (gap[:, :2].min(axis=1) < drawing.apart * DIAMETER).any()  # but around good ones
    assert behind.min() >= 0.5 * DIAMETER - 1
    assert (behind <= np.array(item.frame.values.shape) - 0.5 * DIAMETER + 1).all()


def test_a_class_is_thinned_over_all_micrographs():
    items = [marked(scattered(60, seed), TOP, True) for seed in range(3)]
    found = draw_examples(
        remember([]), items, ("top", "background"), DIAMETER, Drawing(per_class=50, repeats=2), np.random.default_rng(0)
    )
    assert found.counts()["top"] == 50


def test_bad_examples_may_be_a_class():
    item = marked(scattered(40), TOP, [True] * 30 + [False] * 10)
    names = ("top", "background", "negative")
    found = draw_examples(remember([]), [item], names, DIAMETER, Drawing(repeats=1), np.random.default_rng(0))
    assert found.counts()["negative"] == 10


def test_no_room_for_background():
    crowd = np.stack(np.meshgrid(np.arange(0, 800, 20), np.arange(0, 600, 20)), -1).reshape(-1, 2)
    with pytest.raises(InputError, match="no place"):
        draw_examples(
            remember([]), [marked(crowd, TOP, True)], ("top", "background"), DIAMETER, Drawing(),
            np.random.default_rng(0),
        )  # fmt: skip


def test_batches_are_balanced_whatever_the_set():
    labels = np.repeat([0, 1, 2], [900, 30, 70])
    windows = np.broadcast_to(labels[:, None, None], (1000, 4, 4)).astype(np.float32)
    examples = TrainingSet(("top", "side", "background"), windows, labels)
    batches = balanced_batches(examples, 0, 200, particles=0.5)
    drawn = np.concatenate([next(batches)[1].numpy() for _ in range(10)])
    assert np.allclose(np.bincount(drawn) / 2000, [0.25, 0.25, 0.5], atol=0.04)
    shown, answers = next(batches)
    assert shown.shape == (200, 1, 4, 4) and np.array_equal(shown[:, 0, 0, 0].numpy(), answers.numpy())
    few = TrainingSet(examples.classes, windows[[0, 950]], labels[[0, 950]])  # no side view
    assert set(next(balanced_batches(few, 0, 100))[1].tolist()) == {0, 2}
    with pytest.raises(InputError, match="has 5 top, 0 side, 0 background"):
        next(balanced_batches(TrainingSet(examples.classes, windows[:5], labels[:5]), 0, 4))


def test_batches_show_all_eight_orientations():
    window = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    windows = np.concatenate([window, window])
    batches = balanced_batches(TrainingSet(("top", "background"), windows, np.array([0, 1])), 0, 200)
    assert len({tuple(part.ravel().tolist()) for part in next(batches)[0].numpy()}) == 8


@pytest.mark.parametrize(
    ("count", "sizes"), [(50, (32, 8, 10)), (10, (6, 2, 2)), (3, (1, 1, 1)), (2, (1, 1, 0)), (1, (1, 0, 0))]
)
def test_micrographs_are_split_64_16_20(count, sizes):
    parts = split(count, (0.16, 0.2), seed=1)
    assert tuple(map(len, parts)) == sizes
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert parts == split(count, (0.16, 0.2), seed=1)


def test_what_clustering_found_is_taken_over():
    class Clustered:
        xy = np.array([[1, 2], [3, 4]], np.float32)
        kind = np.array(["side", "irregular"])
        good = np.array([True, False])

    item = marked_of("a.mrc", ScoreMap(np.zeros((4, 4), np.float32)), Clustered())
    assert item.kind.tolist() == [SIDE, IRREGULAR] and item.good.tolist() == [True, False] and item.name == "a.mrc"
