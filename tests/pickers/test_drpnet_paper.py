"""The published DRPnet as a picker, with a hand-made first network: the darkness of a place of 9 x 9 px."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from relion_ext_picker import options
from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.io.weights import builtin_model, load_model
from relion_ext_picker.pickers.base import Examples, Picker, Request, pick_micrograph
from relion_ext_picker.pickers.drpnet import paper as module
from relion_ext_picker.pickers.drpnet.paper import PaperPicker, paper_card, screen
from relion_ext_picker.pickers.drpnet.paper_networks import Fcrn
from relion_ext_picker.pickers.drpnet.paper_settings import SETTINGS, Detection, settings_of
from relion_ext_picker.types import Grid, ScoreMap

CPU = torch.device("cpu")
DIAMETER = 34.0  # px: a box of 54 px, half box 27, no reduction


def darkness() -> dict[str, Tensor]:
    """State of a network whose response is how much darker than 0.55 the mean of 9 x 9 px is."""
    state = {name: torch.zeros_like(value) for name, value in Fcrn().state_dict().items()}
    state["conv1.weight"][0] = -1 / 81
    state["conv1.bias"][0] = 0.55
    for name in ("conv2", "conv3", "conv4", "conv5"):
        weight = state[f"{name}.weight"]
        weight[0, 0, weight.shape[2] // 2, weight.shape[3] // 2] = 1
    return state


def picker(preset: str = "paper-10017", response: float = 0.15, shift: float = 0.5) -> PaperPicker:
    calibration = {"response": response, "shift_rows": shift, "shift_cols": shift}
    return PaperPicker(paper_card(preset, calibration, {}), {"proposer": darkness()}, CPU)


def micrograph(
    shape: tuple[int, int], noise: float = 1.0, seed: int = 0, diameter: float = DIAMETER
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Dark discs on a jittered lattice, and their centres (x, y)."""
    rng = np.random.default_rng(seed)
    step = 2.2 * diameter
    lattice = [
        (x, y) for y in np.arange(step, shape[0] - step / 2, step) for x in np.arange(step, shape[1] - step / 2, step)
    ]
    xy = np.array(lattice) + rng.uniform(-0.2, 0.2, (len(lattice), 2)) * diameter
    rows, cols = np.indices(shape, np.float32)
    image = rng.normal(100, noise, shape).astype(np.float32)
    for x, y in xy:
        distance = np.hypot(rows - y, cols - x)
        image -= 4 * expit((0.3 * diameter - distance) / (0.05 * diameter))
    return image.astype(np.float32), xy


def errors(found: NDArray[np.float32], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vector from the nearest true place, for every pick."""
    nearest = np.argmin(((found[:, None] - truth[None]) ** 2).sum(2), axis=1)
    return np.asarray(found - truth[nearest])


def test_it_is_a_picker() -> None:
    typed: Picker = picker()
    assert typed.card.mode == "drpnet"


def test_every_paper_preset_has_settings() -> None:
    assert set(SETTINGS) == set(options.PRESETS_OF["drpnet"]) - {"default"}
    with pytest.raises(InputError, match="paper-10061"):
        settings_of("paper-9")


def test_settings_of_the_text_and_of_the_files() -> None:
    text, file = SETTINGS["paper"], SETTINGS["paper-10017"]
    assert (text.detect.sigma, text.detect.height) == (9, 10)
    assert (text.positives.sigma, text.positives.height) == (9, 15)
    assert (text.negatives.sigma, text.negatives.height) == (9, 5)
    assert (file.detect, file.cutoff, file.filter_candidates) == (Detection(4, 4, 1), 0.975, True)
    assert file.threshold == pytest.approx(0.025)
    assert replace(file, cutoff=0.3).threshold == 0.5


@pytest.mark.parametrize(("shape", "diameter"), [((500, 700), 34.0), ((640, 900), 64.0), ((700, 500), 40.0)])
def test_places_on_an_oblong_micrograph(shape: tuple[int, int], diameter: float) -> None:
    # Diameters of 34, 64 and 40 px: as stored, halved before, and halved for the first network only.
    image, truth = micrograph(shape, diameter=diameter)
    xy, score = pick_micrograph(picker(), image, 2.0, Request(2 * diameter))
    half = 0.8 * diameter
    inside = np.all((truth > 1.6 * half) & (truth < np.array(shape[::-1]) - 1 - 1.6 * half), axis=1)
    assert inside.sum() >= 8
    off = errors(xy, truth)
    assert np.hypot(*off.T).max() < 0.1 * diameter
    assert np.abs(off.mean(0)).max() < 0.4
    assert inside.sum() <= len(xy) <= len(truth)
    assert np.all(np.diff(score) <= 0) and score.min() > 0 and score.max() < 1
    margin = 1.5 * np.floor(half) - 2
    assert np.all((xy > margin) & (xy < np.array(shape[::-1]) - margin))


def test_the_shift_of_the_pooling_is_corrected() -> None:
    image, truth = micrograph((600, 800), noise=0.3)
    found = [pick_micrograph(p, image, 1.0, Request(DIAMETER))[0] for p in (picker(shift=0.5), picker(shift=0.0))]
    means = [errors(xy, truth).mean(0) for xy in found]
    np.testing.assert_allclose(means[0] - means[1], 0.5, atol=0.05)
    assert np.abs(means[0]).max() < np.abs(means[1]).max()


def test_literal_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = micrograph((300, 300))
    literal = picker()
    monkeypatch.setattr(literal, "settings", replace(literal.settings, literal_shifts=True))
    assert literal.propose(literal.prepare(image, 1.0, DIAMETER)).grid.offset == (-0.5, -0.5)
    assert picker().propose(literal.prepare(image, 1.0, DIAMETER)).grid.offset == (0.5, 0.5)


def shipped(preset: str) -> PaperPicker:
    card, networks = load_model(builtin_model("drpnet_paper"), "drpnet")
    return PaperPicker(replace(card, preset=preset), networks, CPU)


@pytest.mark.parametrize("preset", sorted(SETTINGS))
def test_no_picks_without_particles(preset: str) -> None:
    noise = np.random.default_rng(0).normal(100, 5, (400, 500)).astype(np.float32)
    slope = noise + np.linspace(0, 50, 500, dtype=np.float32)[None]
    for image in (noise, slope, np.full((400, 500), 3, np.float32)):
        xy, _ = pick_micrograph(shipped(preset), image, 1.0, Request(DIAMETER, threshold=0.0))
        assert len(xy) == 0


def test_the_shipped_network_finds_particles() -> None:
    image, truth = micrograph((500, 700), noise=3)
    xy, _ = pick_micrograph(shipped("paper"), image, 1.0, Request(DIAMETER))
    off = np.hypot(*errors(xy, truth).T)
    assert len(xy) > 20
    assert (off[:20] < 0.1 * DIAMETER).all()  # best first


def test_the_card_of_the_shipped_network_says_where_it_comes_from() -> None:
    card = shipped("paper").card
    assert {"data", "command", "seed", "steps", "validation", "versions"} <= set(card.provenance)
    assert set(card.calibration) == {"response", "shift_rows", "shift_cols"}


def test_bright_particles() -> None:
    image, _ = micrograph((400, 500))
    dark, _ = pick_micrograph(picker(), image, 1.0, Request(DIAMETER))
    bright, _ = pick_micrograph(picker(), 200 - image, 1.0, Request(DIAMETER, bright=True))
    assert len(dark) > 4
    assert abs(len(bright) - len(dark)) <= 1
    assert np.hypot(*errors(bright, dark.astype(np.float64)).T).max() < 3


def test_score_one_half_is_a_typical_particle() -> None:
    image, _ = micrograph((400, 500))
    neutral = picker(response=1.0)
    _, score = pick_micrograph(neutral, image, 1.0, Request(DIAMETER, threshold=0.0))
    if not len(score):
        neutral.settings = replace(neutral.settings, floor=0.0)
        _, score = pick_micrograph(neutral, image, 1.0, Request(DIAMETER, threshold=0.0))
    typical = float(np.median(score / (1 - score)))
    _, score = pick_micrograph(picker(response=typical), image, 1.0, Request(DIAMETER))
    assert np.median(score) == pytest.approx(0.5, abs=0.02)


def test_without_a_second_network_the_first_decides() -> None:
    image, truth = micrograph((400, 500))
    first = picker()
    frame = first.prepare(image, 1.0, DIAMETER)
    assert first.verify(frame, truth.astype(np.float32), np.ones(len(truth), np.float32)) is None


def test_frames_of_others_are_refused() -> None:
    plain = ScoreMap(np.zeros((80, 80), np.float32), Grid())
    with pytest.raises(TypeError, match="prepare"):
        picker().propose(plain)
    with pytest.raises(TypeError, match="propose"):
        picker().peaks(plain, 1, 0)


def test_screen() -> None:
    patches = np.zeros((20, 2, 2), np.float32)
    patches[:, 0] = np.arange(20)[:, None]  # mean and deviation rise together
    kept = np.flatnonzero(screen(patches, (10, 25)))
    np.testing.assert_array_equal(kept, np.arange(5, 19))
    assert screen(patches[:9], (50, 50)).all()  # too few to tell
    assert screen(patches[:0], (50, 50)).shape == (0,)


def test_examples_of_high_and_low_confidence() -> None:
    image, truth = micrograph((700, 800), noise=2)
    faint, _ = micrograph((700, 800), noise=2, seed=7, diameter=22)
    own = picker(response=0.05)
    own.settings = replace(own.settings, positives=Detection(4, 20, 3), negatives=Detection(4, 4, 1))
    frame = own.prepare(image + 0.25 * (faint - 100), 1.0, DIAMETER)
    found = own.examples(frame, np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    assert found.positives.shape[1:] == found.negatives.shape[1:] == (64, 64)
    assert 3 < len(found.positives) <= len(truth)
    assert len(found.negatives) > 0
    centre = np.s_[:, 24:40, 24:40]
    assert found.positives[centre].mean() < found.negatives[centre].mean() - 10


def test_second_network_trained_in_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    training = replace(module.ClassifierTraining(), epochs=1, kernel=9, width=8)
    monkeypatch.setattr(module, "ClassifierTraining", lambda: training)
    rng = np.random.default_rng(0)
    rows, cols = np.indices((64, 64))
    disc = -60 * np.exp(-0.5 * ((rows - 32) ** 2 + (cols - 32) ** 2) / 100).astype(np.float32)
    noise = rng.normal(140, 20, (24, 64, 64)).astype(np.float32)
    examples = [Examples(noise[:6] + disc, noise[6:12]), Examples(noise[12:18] + disc, noise[18:])]
    lines: list[str] = []
    first = picker()
    second = first.retrained(examples, 3, lines.append)
    assert len(lines) == 1 and "accuracy" in lines[-1]
    assert second.card.threshold == pytest.approx(0.025)
    assert second.card.networks["classifier"]["config"] == {"kernel": 9, "width": 8}
    assert set(second.state()) == {"proposer", "classifier"} and set(first.state()) == {"proposer"}
    image, truth = micrograph((400, 500))
    frame = second.prepare(image, 1.0, DIAMETER)
    places = np.concatenate([truth, truth + DIAMETER * 1.1]).astype(np.float32)
    score = second.verify(frame, places, np.ones(len(places), np.float32))
    assert score is not None and score.shape == (len(places),) and score.dtype == np.float32
    assert np.all((score >= 0) & (score <= 1))
    assert (score == 0).any()  # what the screen discards
    again = PaperPicker(second.card, second.state(), CPU)
    np.testing.assert_array_equal(again.verify(frame, places, np.ones(len(places), np.float32)), score)
    nothing = second.verify(frame, np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    assert nothing is not None and nothing.shape == (0,)


def test_too_few_examples_say_what_to_do() -> None:
    few = Examples(np.zeros((3, 64, 64), np.float32), np.zeros((30, 64, 64), np.float32))
    with pytest.raises(InputError, match="3 candidates of high and 30 of low.*--no-verify"):
        picker().retrained([few], 0, lambda line: None)
    with pytest.raises(InputError, match="0 candidates"):
        picker().retrained([], 0, lambda line: None)


def test_the_authors_network() -> None:
    authors = PaperPicker.from_cnet1(darkness(), preset="paper-10005")
    assert authors.card.preset == "paper-10005"
    image, truth = micrograph((500, 700))
    xy, _ = pick_micrograph(authors, image, 1.0, Request(DIAMETER))
    assert len(xy) > 5
    assert np.hypot(*errors(xy, truth).T).max() < 5


def test_wrong_weights() -> None:
    card = paper_card("paper", {}, {})
    with pytest.raises(WeightsError, match="no network 'proposer'"):
        PaperPicker(card, {}, CPU)
    state = darkness()
    state["conv2.weight"] = state["conv2.weight"][:, :8]
    with pytest.raises(WeightsError, match="'proposer'.*--preset paper"):
        PaperPicker(card, {"proposer": state}, CPU)
