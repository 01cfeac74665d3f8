"""From scores to picks in the DeepCryoPicker mode: scale, large areas, overlapping boxes, classes, places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.pickers.base import Picker, Request, class_numbers, pick_micrograph
from relion_ext_picker.pickers.deepcryopicker import paper as paper_module
from relion_ext_picker.pickers.deepcryopicker.classes import class_numbers_of
from relion_ext_picker.pickers.deepcryopicker.cleaning import (
    WINDOW,
    best_boxes,
    overlap,
    scale_factor,
    without_large_areas,
)
from relion_ext_picker.pickers.deepcryopicker.network import Shape
from relion_ext_picker.pickers.deepcryopicker.paper import PaperDeepCryoPicker
from relion_ext_picker.pickers.deepcryopicker.picker import (
    ClassMap,
    DefaultDeepCryoPicker,
    darkness_of,
    untrained,
    usual_darkness,
)
from relion_ext_picker.pickers.registry import build_picker
from relion_ext_picker.types import Grid, ModelCard, ScoreMap

SMALL = Shape(widths=(4, 6, 6), holes=(2, 4), hidden=8)
CPU = torch.device("cpu")


class DarkAndBright(torch.nn.Module):
    """Stands for a trained network: dark places are top views, bright ones side views, the rest is background."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.margin = (window - 12) // 2

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = image[:, :, self.margin : -self.margin, self.margin : -self.margin]
        level = torch.nn.functional.avg_pool2d(inner, 12, 2)
        return torch.cat([-6 * level - 6, 6 * level - 6, torch.zeros_like(level)], 1)


def standing_in() -> DefaultDeepCryoPicker:
    picker = untrained(("top", "side", "background"), CPU, SMALL, views=2)
    picker._quick = DarkAndBright(SMALL.window)
    return picker


def spotted(shape, dark, bright, radius) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(0).normal(0, 3, shape)
    for sign, places in ((-1, dark), (1, bright)):
        for x, y in places:
            image += sign * 4 * np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / (radius / 2.5) ** 2)
    return image.astype(np.float32)


def with_fence(fence: list[float]) -> DefaultDeepCryoPicker:
    picker = standing_in()
    config = {**picker.card.networks["net"]["config"], "fence": fence}
    card = replace(picker.card, networks={"net": {**picker.card.networks["net"], "config": config}})
    fenced = DefaultDeepCryoPicker(card, picker.state(), CPU, 2)
    fenced._quick = DarkAndBright(SMALL.window)
    return fenced


def test_a_fence_lowers_scores_but_does_not_change_the_class():
    free, fenced = standing_in(), with_fence([20.0, 1.0, 0.0])
    frame = ScoreMap(spotted((128, 128), [(40, 40)], [(90, 90)], 16), Grid())
    places = np.array([[40.0, 40.0], [90.0, 90.0]], np.float32)
    assert free.classes(frame, places).tolist() == fenced.classes(frame, places).tolist() == [1, 2]
    windows = free.cut(frame, places)
    said, score = fenced.judge(windows, fenced=False), fenced.judge(windows)
    assert np.allclose(said, free.judge(windows)) and (said.argmax(1) == [0, 1]).all()
    assert score[0, 0] < 0.5 * said[0, 0]
    odds = np.log(score[:, :2] / score[:, 2:]) - np.log(said[:, :2] / said[:, 2:])
    assert np.allclose(odds, [[-20, -1], [-20, -1]], atol=1.0)  # of one view exactly, of the mean of two nearly
    whole, bare = fenced.probabilities(frame), free.probabilities(frame)
    assert whole[0].max() < bare[0].max() and np.allclose(whole.sum(0), 1, atol=1e-5)


def test_a_fence_of_too_few_classes_is_refused():
    with pytest.raises(WeightsError, match="3 classes, but 2"):
        with_fence([1.0, 2.0])


@pytest.mark.parametrize(
    ("particle", "factor"),
    [(94, 2.375), (187, 1.125), (221, 1.0), (320, 0.625), (188, 1.125)],
)
def test_scale_factors_of_table_4(particle, factor):
    assert scale_factor(particle) == factor
    assert particle * factor <= WINDOW < particle * (factor + 0.125)


def test_klh_is_scaled_by_its_larger_view():
    assert scale_factor(max(187, 221)) == 1.0


def test_factors_stay_above_zero():
    assert scale_factor(10_000) == 0.125


def test_large_areas_are_removed_and_small_ones_kept():
    score = np.zeros((40, 60), np.float32)
    score[5:9, 5:9] = 0.95
    score[20:35, 20:50] = 0.92
    score[35:37, 50:52] = 0.91  # touches the large area at a corner
    score[30, 5] = 0.5
    clean = without_large_areas(score, 0.9, 100)
    assert (clean[5:9, 5:9] == np.float32(0.95)).all() and clean[30, 5] == 0.5
    assert clean[20:37, 20:52].max() == 0
    assert np.array_equal(without_large_areas(score, 0.9, 1000), score)


def test_only_close_scores_are_connected():
    score = np.full((20, 20), 0.92, np.float32)
    score[:, 10] = 0.6
    assert without_large_areas(score, 0.5, 250).max() == 0
    assert without_large_areas(score, 0.5, 250, closeness=0.1).max() > 0


def test_overlap_of_boxes():
    found = overlap(np.array([[0.0, 0.0], [0.0, 5.0], [5.0, 5.0], [10.0, 0.0], [-5.0, 0.0]]), 10.0)
    assert np.allclose(found, [1, 1 / 3, 1 / 7, 0, 1 / 3])


def test_the_best_of_overlapping_boxes_is_kept():
    places = np.array([[0, 0], [0, 4], [0, 8], [30, 30], [30, 36]], float)
    score = np.array([0.7, 0.9, 0.8, 0.5, 0.6], np.float32)
    assert best_boxes(places, score, 10.0, 0.3).tolist() == [1, 4, 3]
    assert best_boxes(places, score, 10.0, 0.2).tolist() == [1, 4]
    assert best_boxes(np.zeros((0, 2)), score[:0], 10.0, 0.3).tolist() == []


def test_numbers_of_classes():
    names = ("side", "irregular", "background")
    found = class_numbers_of(names, np.array([[0.1, 0.2, 0.7], [0.4, 0.1, 0.5]], np.float32))
    assert found.tolist() == [3, 2]
    assert class_numbers_of(names, np.zeros((0, 3), np.float32)).tolist() == []


@pytest.mark.parametrize("shape", [(401, 640), (512, 303)])
def test_places_and_classes_are_right(shape):
    picker = standing_in()
    dark = np.array([[50.0, 55.0], [shape[1] - 60.0, 60.0], [150.0, 200.0]])
    bright = np.array([[62.0, shape[0] - 70.0], [200.0, 300.0]])
    image = spotted(shape, dark, bright, 30)
    request = Request(120.0, min_distance=0.8)
    xy, _ = pick_micrograph(picker, image, 2.0, request)
    truth = np.concatenate([dark, bright])
    assert len(xy) == 5
    gap = np.hypot(*(xy[:, None] - truth[None]).transpose(2, 0, 1))
    assert gap.min(axis=1).max() < 3
    numbers = class_numbers(picker, picker.prepare(image, 2.0, 120.0), xy)
    assert np.array_equal(numbers, np.where(gap.argmin(axis=1) < 3, 1, 2))


def test_bright_particles_are_dark_ones_inverted():
    picker = standing_in()
    image = spotted((300, 400), [(100, 120)], [], 30)
    dark = picker.prepare(image, 1.0, 60.0)
    bright = picker.prepare(-image, 1.0, 60.0, bright=True)
    assert np.allclose(dark.values, bright.values, atol=1e-5)


def test_a_large_dark_area_is_no_particle():
    picker = standing_in()
    image = spotted((400, 400), [(100, 100)], [], 30)
    image[200:, 200:] -= 8  # background removal leaves its rim
    frame = picker.prepare(image, 2.0, 120.0)
    kept = picker.propose(frame)
    rows, cols, _ = picker.peaks(kept, 30.0, 0.5)
    xy = kept.to_original(rows, cols)
    inside = (xy > 210).all(axis=1)
    unclean = picker.probabilities(frame)[0]
    assert unclean[60:, 60:].max() > 0.5
    assert not inside.any() and len(xy)


def test_what_is_far_darker_than_the_particles_is_ice():
    """Side views stand out less than top views: what the darker kind is like decides."""
    rows, cols = np.divmod(np.arange(18), 6)
    places = 20 + 40 * rows, 20 + 40 * cols
    values, dark = np.zeros((120, 240), np.float32), np.zeros((120, 240), np.float32)
    parts = np.zeros((2, 120, 240), np.float32)
    values[places] = 0.9
    parts[0][places], parts[1][places] = (rows < 2) * 0.9, (rows == 2) * 0.9
    dark[places] = np.where(rows < 2, 1.0, 0.4)
    dark[20, 20], dark[20, 60] = 3.5, 2.6
    picker = untrained(("top", "side", "background"), torch.device("cpu"))
    found = ClassMap(values, Grid(), parts, 16.0, dark)
    left = {(round(row), round(col)) for row, col in zip(*picker.peaks(found, 8.0, 0.5)[:2], strict=True)}
    assert len(left) == 17 and (20, 20) not in left
    assert len(picker.peaks(replace(found, darkness=None), 8.0, 0.5)[0]) == 18
    assert usual_darkness(dark[places][:4], np.zeros(4, np.int64)) == np.inf  # too few to say


def test_darkness_is_that_of_a_disc_in_its_ring():
    down, right = np.ogrid[:96, :128]
    disc = np.hypot(down - 39.5, right - 63.5) <= 16
    dark = darkness_of((3 - 2 * disc).astype(np.float32), 32.0)
    assert dark.shape == (48, 64) and np.unravel_index(dark.argmax(), dark.shape) == (19, 31)
    assert dark.max() == pytest.approx(2, abs=0.45) and dark[40, 5] == pytest.approx(0, abs=1e-5)


def test_particles_larger_than_the_micrograph_are_refused():
    for picker in (standing_in(), paper_picker()):
        with pytest.raises(InputError, match="check --diameter"):
            picker.prepare(np.zeros((100, 100), np.float32), 1.0, 150.0)


def test_pickers_without_classes_number_them_0():
    class Plain:
        pass

    assert class_numbers(Plain(), ScoreMap(np.zeros((4, 4), np.float32)), np.zeros((3, 2), np.float32)).tolist() == [
        0, 0, 0,
    ]  # fmt: skip


def test_no_picks_have_no_classes():
    picker = standing_in()
    frame = picker.prepare(np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32), 2.0, 120.0)
    assert picker.classes(frame, np.zeros((0, 2), np.float32)).shape == (0,)


def test_there_is_no_second_network():
    picker: Picker = standing_in()
    frame = ScoreMap(np.zeros((64, 64), np.float32), Grid())
    nothing = np.zeros((0, 2), np.float32)
    assert picker.verify(frame, nothing, nothing[:, 0]) is None
    with pytest.raises(InputError, match="teaches itself"):
        picker.examples(frame, nothing, nothing[:, 0])
    with pytest.raises(InputError, match="teaches itself"):
        picker.retrained([], 0, lambda line: None)


def test_a_model_file_gives_the_same_picker():
    torch.manual_seed(0)
    picker = untrained(("side", "background"), CPU, SMALL)
    again = build_picker(picker.card, picker.state(), CPU)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32), Grid())
    assert np.abs(picker.probabilities(frame) - again.probabilities(frame)).max() < 0.02


def test_tensors_must_fit_the_card():
    picker = untrained(("top", "background"), CPU, SMALL)
    card = picker.card
    entry = {"net": {"architecture": "compact", "config": {**SMALL.config(), "classes": ["top", "side", "background"]}}}
    with pytest.raises(WeightsError, match="does not fit"):
        build_picker(ModelCard(card.mode, card.preset, 32.0, entry, 0.5), picker.state(), CPU)
    entry["net"]["config"]["classes"] = ["dog", "cat"]
    with pytest.raises(WeightsError, match="names no class"):
        build_picker(ModelCard(card.mode, card.preset, 32.0, entry, 0.5), picker.state(), CPU)


def paper_picker(classes=("top", "side", "background")) -> PaperDeepCryoPicker:
    """With a network whose tensors have no values."""
    picker = object.__new__(PaperDeepCryoPicker)
    networks = {"net": {"architecture": "table9", "config": {"classes": list(classes)}}}
    picker.card = ModelCard("deepcryopicker", "paper", 227.0, networks, threshold=0.9)
    picker.device, picker.class_names = CPU, classes
    picker.scan, picker._dtype, picker._quick = paper_module.Scan(), torch.float32, None
    return picker


def test_the_paper_picker_puts_windows_where_they_are(monkeypatch):
    """With scores that are the darkness of the middle of the window, picks lie within half a step of the particle."""

    def darkness(_, image, step, batch):
        rows = (image.shape[0] - WINDOW) // step + 1
        cols = (image.shape[1] - WINDOW) // step + 1
        middle = WINDOW // 2
        found = []
        for row in range(rows):
            for col in range(cols):
                at = image[row * step + middle - 40 : row * step + middle + 41,
                           col * step + middle - 40 : col * step + middle + 41]  # fmt: skip
                found.append(1 - float(at.mean()))
        top = torch.tensor(found)
        yield torch.stack([top, torch.zeros_like(top), 1 - top], 1)

    monkeypatch.setattr(paper_module, "window_scores", darkness)
    picker = paper_picker()
    places = np.array([[80.0, 90.0], [230.0, 70.0], [150.0, 220.0]])
    frame = picker.prepare(spotted((300, 320), places, [], 47), 1.0, 94.0)
    assert frame.values.shape[0] % 2 == 0 and abs(frame.values.shape[0] - 300 * 2.375) <= 2
    assert frame.values.min() >= 0 and frame.values.max() <= 1
    clean = np.ones_like(frame.values)
    rows, cols = np.mgrid[: clean.shape[0], : clean.shape[1]]
    for row, col in zip(*frame.grid.from_original(places), strict=True):
        clean[(rows - row) ** 2 + (cols - col) ** 2 < 100**2] = 0
    score_map = picker.propose(ScoreMap(clean, frame.grid))
    found_rows, found_cols, score = picker.peaks(score_map, 47.0, 0.8)
    xy = score_map.to_original(found_rows, found_cols)
    assert len(xy) == 3 and score.min() > 0.9
    gap = np.abs(xy[:, None] - places[None]).max(axis=2)
    assert gap.min(axis=1).max() <= 0.5 * paper_module.STEP / 2.375 + 0.5 and len(set(gap.argmin(axis=1))) == 3


def test_frames_of_the_paper_picker_keep_the_place_of_particles():
    picker = paper_picker()
    places = np.array([[150.0, 150.0]])
    frame = picker.prepare(spotted((300, 320), places, [], 47), 1.0, 94.0)
    dark = frame.values < 0.25 * frame.values.max()
    rows, cols = np.nonzero(dark[250:470, 250:470])
    xy = frame.grid.to_original(np.array([np.median(rows) + 250]), np.array([np.median(cols) + 250]))
    assert np.abs(xy - places).max() < 12
