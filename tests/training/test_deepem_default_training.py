"""Training the default DeepEM: what it learns from few micrographs, and that scores are probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.pickers.deepem.default import INTERCEPT, SLOPE, DefaultDeepEM, untrained
from relion_ext_picker.pickers.deepem.default_network import Shape
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.training import deepem_default as module
from relion_ext_picker.training.calibration import (
    DENSITY,
    adjusted,
    calibrated,
    calibration_of,
    judged_candidates,
    logistic,
    quietened,
    uncalibrated,
    with_calibration,
)
from relion_ext_picker.training.deepem_default import Course, Patches, train_default, train_general
from relion_ext_picker.training.loop import Schedule
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.windows import WindowSet
from relion_ext_picker.types import Grid, ScoreMap

CPU = torch.device("cpu")
SMALL = Shape(maps=(6, 8, 8))
SCHEDULE = Schedule(steps=60, learning_rate=5e-3, average=0.9, report=30)


def silent(line: str, network: nn.Module) -> None:
    """No progress."""


def picker() -> DefaultDeepEM:
    torch.manual_seed(0)
    return untrained(CPU, SMALL, views=1)


def discs(seed: int, side: int = 256, count: int = 14) -> Labelled:
    """Noise with dark discs of 32 px."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1.0, (side, side))
    rows, cols = np.mgrid[:side, :side]
    places: list[np.ndarray] = []
    while len(places) < count:
        place = rng.uniform(4, side - 5, 2)
        if all(np.hypot(*(place - other)) > 36 for other in places):
            places.append(place)
            image -= 1.0 * (np.hypot(cols - place[0], rows - place[1]) < 16)
    frame = picker().normalised(ScoreMap(image.astype(np.float32), Grid()))
    return Labelled(f"m{seed}", frame, np.array(places, np.float32))


@pytest.fixture(scope="module")
def trained() -> DefaultDeepEM:
    return train_default(picker(), [discs(1), discs(2)], SCHEDULE, silent, course=Course(batch=8))


def found_in(model: DefaultDeepEM, item: Labelled, threshold: float) -> tuple[float, float]:
    found = judged_candidates(model, item)
    hit = found.marked[found.score >= threshold]
    return float(hit.mean()), float(hit.sum() / len(item.xy))


def scores_of_particles(model: DefaultDeepEM, items: list[Labelled]) -> np.ndarray:
    found = [judged_candidates(model, item) for item in items]
    return np.concatenate([each.score[each.marked] for each in found])


def test_it_finds_particles_of_micrographs_it_has_not_seen(trained):
    precision, recall = found_in(trained, discs(3), 0.5)
    assert precision > 0.9 and recall > 0.9


def test_peaks_are_in_the_middle_of_particles(trained):
    item = discs(3)
    found = judged_candidates(trained, item)
    gap = np.hypot(*(found.xy[found.marked, None] - item.xy[None]).transpose(2, 0, 1)).min(axis=1)
    assert np.median(gap) < 2


def test_progress_and_seed():
    lines: list[str] = []
    short = Schedule(steps=4, learning_rate=1e-3, report=2)

    def run(seed: int) -> torch.Tensor:
        found = train_default(picker(), [discs(1)], short, lambda line, _: lines.append(line), seed, Course(batch=2))
        return found.state()["net"]["first.0.weight"]

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    assert len(lines) == 8 and lines[0].startswith("step 2/4")


def test_the_picker_trained_from_stays_as_it_is():
    start = picker()
    before = start.propose(discs(1).frame).values
    train_default(start, [discs(1)], Schedule(steps=2, report=1), silent, course=Course(batch=2))
    assert (start.propose(discs(1).frame).values == before).all()
    assert not start.card.calibration


def test_patches_cover_the_edges_and_carry_their_particles():
    item = discs(1, side=192, count=6)
    padded = replace(item, frame=ScoreMap(np.pad(item.frame.values, 30), Grid((1.0, 1.0), (-30.0, -30.0))))
    patches = Patches([padded], np.random.default_rng(0))
    corners = set()
    for _ in range(100):
        image, xy = patches.draw()
        assert image.shape == (128, 128) and xy.shape == (6, 2)
        corner = item.xy[0] + 30 - xy[0]
        assert np.allclose(item.xy + 30 - xy, corner, atol=1e-4)
        left, top = np.rint(corner).astype(int)
        assert (image == padded.frame.values[top : top + 128, left : left + 128]).all()
        corners.add((left, top))
    assert min(min(pair) for pair in corners) < 8 and max(max(pair) for pair in corners) > 116


def test_verified_windows_are_learnt(trained):
    """A mark that discs may have makes them false, though all discs of the micrographs are called particles."""
    rng = np.random.default_rng(0)
    start, item = picker(), discs(1)
    windows = start.cut(item.frame, item.xy)
    marked = windows.copy()
    marked[:, 26:38, 26:38] = 4.0
    verified = WindowSet(windows, marked + rng.normal(0, 0.1, marked.shape).astype(np.float32))
    other = train_default(start, [item, discs(2)], SCHEDULE, silent, course=Course(8, verified))
    with torch.inference_mode():
        probe = discs(3)
        cut = start.cut(probe.frame, probe.xy)
        cut[:, 26:38, 26:38] = 4.0
        scores = [torch.sigmoid(each.network()(torch.from_numpy(cut)[:, None])).mean() for each in (trained, other)]
    assert float(scores[1]) < 0.1


def test_nothing_to_learn_from_is_an_error():
    empty = replace(discs(1), xy=np.zeros((0, 2), np.float32))
    with pytest.raises(InputError, match="no particles"):
        train_default(picker(), [empty], SCHEDULE, silent)


def test_simulated_fields_train_a_model_with_a_calibration(monkeypatch):
    monkeypatch.setattr(module, "CALIBRATION_FIELDS", 40)
    found = train_general(picker(), FieldSource(32.0, 128), Schedule(steps=3, report=1), silent, batch=2)
    assert {SLOPE, INTERCEPT, "density"} == set(found.card.calibration)
    assert 0.05 < found.card.calibration["density"] < 1.0


def test_scores_are_the_share_of_particles_among_candidates(trained):
    """Calibrated on micrographs of which a third of the particles is called none, scores say two thirds."""
    rng = np.random.default_rng(0)
    items = [discs(seed) for seed in range(10, 18)]
    thinned = [replace(item, xy=item.xy[rng.random(len(item.xy)) < 0.67]) for item in items]
    model = calibrated(uncalibrated(trained), thinned)
    assert scores_of_particles(model, items).mean() == pytest.approx(0.67, abs=0.1)


def test_micrographs_picked_in_part_do_not_make_scores_low(trained):
    items = [discs(seed) for seed in range(10, 18)]
    partly = [replace(item, xy=item.xy[:3]) for item in items]
    model = calibrated(uncalibrated(trained), partly)
    assert np.median(scores_of_particles(model, items)) > 0.7
    shares = calibration_of([judged_candidates(model, item) for item in partly]).marked
    assert list(shares) == [item.name for item in items]
    assert np.mean(list(shares.values())) == pytest.approx(3 / 14, abs=0.06)
    precision, recall = found_in(model, discs(3), 0.5)
    assert precision > 0.85 and recall > 0.8


def test_the_log_odds_that_were_put_in_come_out():
    rng = np.random.default_rng(0)
    value = rng.normal(0, 3, 20_000)
    true = rng.random(20_000) < 1 / (1 + np.exp(-(0.7 * value - 1.2)))
    assert logistic(value, true.astype(np.float64)) == pytest.approx((0.7, -1.2), abs=0.06)


def test_in_noise_a_quiet_picker_finds_little(trained):
    rng = np.random.default_rng(0)
    noise = [picker().normalised(ScoreMap(rng.normal(0, 1, (256, 256)).astype(np.float32))) for _ in range(10)]
    plain = with_calibration(trained, {SLOPE: 0.2, INTERCEPT: 1.0, DENSITY: 0.2})  # far too sure

    def picks(model: DefaultDeepEM, frame: ScoreMap, threshold: float = 0.5) -> np.ndarray:
        return pick_prepared(model, frame, (256, 256), 1.0, Request(32.0, threshold))[1]

    quiet = quietened(plain, noise, 0.5, 0.4)
    counts = [sum(len(picks(model, frame)) > 0 for frame in noise) for model in (plain, quiet)]
    assert counts[1] <= 4 < counts[0]
    assert 0.2 < quiet.card.calibration[DENSITY] < 0.8 and quiet.card.calibration[SLOPE] == 0.2
    assert quietened(quiet, noise, 0.5, 0.4).card == quiet.card


def test_one_calibration_on_another(trained):
    once = adjusted(uncalibrated(trained), (0.5, -1.0))
    twice = adjusted(once, (3.0, 0.5))
    assert (twice.card.calibration[SLOPE], twice.card.calibration[INTERCEPT]) == (1.5, -2.5)
    frame = discs(3).frame
    first, second = (each.propose(frame).values.astype(np.float64) for each in (once, twice))
    certain = (first > 0.05) & (first < 0.95)
    first, second = (np.log(each[certain] / (1 - each[certain])) for each in (first, second))
    assert np.allclose(second, 3 * first + 0.5, atol=0.01)


def test_without_both_kinds_of_candidates_nothing_is_calibrated(trained):
    none = replace(discs(3), xy=np.zeros((0, 2), np.float32))
    assert calibrated(uncalibrated(trained), [none]).card.calibration == {}
