"""Windows to learn from: where they lie, and what is drawn how often."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from relion_ext_picker.errors import InputError
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import (
    Drawing,
    WindowSet,
    draw_windows,
    false_picks,
    far_places,
    near_places,
    window_batches,
)
from relion_ext_picker.types import Grid, ScoreMap

DIAMETER = 20.0
PLACES = np.array([[30.0, 40.0], [100.0, 120.0], [150.0, 30.0]])


def place_of_window(frame: ScoreMap, xy: np.ndarray) -> np.ndarray:
    """Stands for a picker's cut: a window of two pixels holds the row and the column of its centre in the image."""
    rows, cols = frame.grid.from_original(xy)
    return np.stack([rows, cols], axis=1)[:, None].astype(np.float32)


def labelled(xy=((40.0, 30.0), (120.0, 100.0), (30.0, 150.0)), grid=None, name="m") -> Labelled:
    return Labelled(name, ScoreMap(np.zeros((200, 240), np.float32), grid or Grid()), np.array(xy, np.float32))


def numbered(positives: int, negatives: int) -> WindowSet:
    count = positives + negatives
    windows = np.arange(count, dtype=np.float32)[:, None, None] + np.array([[0, 0.25], [0.5, 0.75]], np.float32)
    return WindowSet(windows[:positives], windows[positives:])


def test_random_places_keep_away_from_all_particles():
    found = far_places(PLACES, (200, 240), 30.0, 500, np.random.default_rng(0))
    assert found.shape == (500, 2)
    assert cdist(found, PLACES).min() >= 30
    assert (found >= 0).all() and found[:, 0].max() <= 199 and 230 < found[:, 1].max() <= 239


def test_a_full_micrograph_gives_fewer_random_places():
    assert far_places(PLACES, (200, 240), 500.0, 10, np.random.default_rng(0)).shape == (0, 2)
    assert far_places(np.zeros((0, 2)), (200, 240), 30.0, 10, np.random.default_rng(0)).shape == (10, 2)


def test_near_misses_lie_in_the_ring_and_in_the_image():
    corner = np.vstack([PLACES, [2.0, 3.0]])
    found = near_places(corner, (200, 240), DIAMETER, (0.35, 1.0), 400, np.random.default_rng(0))
    nearest = cdist(found, corner).min(axis=1)
    assert len(found) == 400
    assert nearest.min() >= 0.35 * DIAMETER and nearest.max() <= DIAMETER
    assert found.min() >= 0
    # Evenly by area: half of a ring's area lies beyond the root of the mean square of its radii.
    assert np.mean(nearest > DIAMETER * np.sqrt((0.35**2 + 1) / 2)) == pytest.approx(0.5, abs=0.08)
    assert near_places(np.zeros((0, 2)), (200, 240), DIAMETER, (0.35, 1.0), 5, np.random.default_rng(0)).size == 0


def test_positives_are_particles_with_the_jitter_asked_for():
    drawing = Drawing(jitter=0.05, repeats=200)
    found = draw_windows(place_of_window, [labelled()], DIAMETER, drawing, np.random.default_rng(0))
    assert len(found.positives) == len(found.negatives) == 600
    off = found.positives[:, 0].reshape(3, 200, 2) - PLACES[:, None]
    assert off.std() == pytest.approx(1.0, rel=0.1) and abs(off.mean()) < 0.1


def test_negatives_are_near_and_far_as_asked_for():
    drawing = Drawing(repeats=50, negatives=2.0, near=0.25, apart=1.5)
    found = draw_windows(place_of_window, [labelled()], DIAMETER, drawing, np.random.default_rng(0))
    nearest = cdist(found.negatives[:, 0], PLACES).min(axis=1)
    assert len(nearest) == 300
    assert np.sum(nearest <= DIAMETER) == 75 and nearest.min() >= 0.35 * DIAMETER - 1e-4
    assert nearest[75:].min() >= 1.5 * DIAMETER - 1e-4


def test_places_follow_the_grid_of_the_prepared_image():
    grid = Grid((2.0, 2.0), (10.0, 6.0))
    item = labelled(xy=((66.0, 50.0),), grid=grid)
    found = draw_windows(place_of_window, [item], DIAMETER, Drawing(negatives=40.0), np.random.default_rng(0))
    assert found.positives[0, 0] == pytest.approx([20.0, 30.0])
    assert cdist(found.negatives[:, 0], [[20.0, 30.0]]).min() >= 0.7 * DIAMETER - 1e-4


def test_a_limit_draws_from_all_micrographs_and_avoids_all_particles():
    many = [labelled(name="a"), labelled(name="b")]
    seen = set()
    for seed in range(20):
        found = draw_windows(place_of_window, many, DIAMETER, Drawing(limit=2), np.random.default_rng(seed))
        assert len(found.positives) == 2 and len(found.negatives) == 2
        assert cdist(found.negatives[:, 0], PLACES).min() >= 0.7 * DIAMETER - 1e-4
        seen.update(map(tuple, found.positives[:, 0]))
    assert len(seen) == 3


def test_no_particles_and_no_room_are_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="no particles"):
        draw_windows(place_of_window, [labelled(xy=np.zeros((0, 2)))], DIAMETER, Drawing(), rng)
    with pytest.raises(InputError, match="50 diameters away.*check the particle diameter"):
        draw_windows(place_of_window, [labelled()], DIAMETER, Drawing(apart=50), rng)


def test_false_picks_are_those_that_are_no_particles_best_first():
    # Micrograph px are two px of the prepared image; the second candidate is the same particle once more.
    grid = Grid((2.0, 2.0), (0.0, 0.0))
    rows, cols = np.array([30.0, 30.5, 90.0, 60.0, 10.0]), np.array([40.0, 41.0, 10.0, 70.0, 10.0])
    score = np.array([0.9, 0.8, 0.5, 0.7, 0.1], np.float32)
    picker = SimpleNamespace(
        card=SimpleNamespace(reference_diameter=DIAMETER),
        propose=lambda frame: frame,
        peaks=lambda score_map, distance, floor: (rows, cols, score),
    )
    xy, found = false_picks(picker, labelled(xy=((82.0, 60.0),), grid=grid), floor=0.3, distance=10.0)
    assert found == pytest.approx([0.8, 0.7, 0.5])
    assert xy.tolist() == [[82.0, 61.0], [140.0, 120.0], [20.0, 180.0]]


def test_batches_are_half_particles_and_show_every_window_equally_often():
    windows = numbered(10, 30)
    batches = window_batches(windows, 0, 20)
    shown = np.zeros(40, int)
    for _ in range(30):
        images, answers = next(batches)
        assert images.shape == (20, 1, 2, 2) and answers.tolist() == [1.0] * 10 + [0.0] * 10
        numbers = images.amin(dim=(1, 2, 3)).numpy().astype(int)
        assert (numbers[:10] < 10).all() and (numbers[10:] >= 10).all()
        np.add.at(shown, numbers, 1)
    assert (shown[:10] == 30).all() and (shown[10:] == 10).all()


@pytest.mark.parametrize(("mirror", "count"), [(False, 4), (True, 8)])
def test_batches_are_turned(mirror, count):
    batches = window_batches(numbered(1, 1), 0, 64, mirror)
    seen = {tuple(window.flatten().tolist()) for window in next(batches)[0][:32]}
    assert len(seen) == count


def test_sets_are_joined_turned_and_stacked():
    windows = numbered(2, 3)
    assert len(windows.joined(windows)) == 10 and len(windows.joined(windows).negatives) == 6
    turned = windows.turned()
    assert len(turned.positives) == 8 and len(turned.negatives) == 12
    assert (turned.positives[2] == np.rot90(windows.positives[0])).all()
    stacked, labels = windows.stacked()
    assert stacked.shape == (5, 2, 2) and labels.tolist() == [1, 1, 0, 0, 0]


def test_one_kind_of_window_is_not_enough():
    with pytest.raises(InputError, match="0 particles and 3 other windows"):
        next(window_batches(numbered(0, 3), 0, 4))
