"""The last word on the candidates of a micrograph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import WeightsError
from relion_ext_picker.io.weights import load_model, save_model
from relion_ext_picker.pickers.base import Request, pick_micrograph
from relion_ext_picker.pickers.comparer import (
    COMPARER,
    FACTS,
    MOST,
    OPINIONS,
    Comparer,
    facts,
    settled,
    without_comparer,
)
from relion_ext_picker.pickers.drpnet.network import Proposer, Verifier
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.pickers.likeness import informed
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.training.comparer import Lesson, learnt, lesson_of
from relion_ext_picker.training.loop import Schedule
from relion_ext_picker.types import ModelCard
from tests.pickers.test_likeness import auc, candidates

WIDTHS = (4, 6, 8, 8)


def small_picker(comparer: Comparer | None = None, **card) -> DefaultPicker:
    torch.manual_seed(0)
    entries = {
        "proposer": {"architecture": "proposer", "config": {"widths": list(WIDTHS)}},
        "classifier": {"architecture": "verifier", "config": {"widths": list(WIDTHS)}},
    }
    networks = {"proposer": Proposer(WIDTHS).state_dict(), "classifier": Verifier(WIDTHS).state_dict()}
    if comparer is not None:
        entries[COMPARER] = {"architecture": COMPARER, "config": {"widths": [32, 16]}}
        networks[COMPARER] = comparer.state_dict()
    found = ModelCard("drpnet", "default", 32.0, entries, threshold=0.5, **card)
    return DefaultPicker(found, networks, torch.device("cpu"), 1)


def test_an_untrained_one_says_what_likeness_says():
    windows, score, truth = candidates(300, np.random.default_rng(1), strength=0.3)
    found = settled(Comparer(), windows, score, score)
    assert found == pytest.approx(informed(windows, score), abs=1e-3)
    assert auc(found, truth) > auc(score, truth) + 0.05


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("value", [0.0, 1e-6, 0.5, 1.0])
def test_facts_are_finite_whatever_the_candidates(count, value):
    windows = np.random.default_rng(2).normal(size=(count, 48, 48)).astype(np.float32)
    score = np.full(count, value, np.float32)
    known, odds = facts(windows, score, score)
    assert known.shape == (count, OPINIONS + FACTS) and odds.shape == (count,)
    assert np.isfinite(known).all() and np.isfinite(odds).all()
    assert np.isfinite(facts(np.zeros_like(windows), score, score)[0]).all(), "and of an empty image"
    assert settled(Comparer(), windows[:0], score[:0], score[:0]).shape == (0,)


def test_a_huge_micrograph_looks_like_a_part_of_it():
    """A comparer has learnt from micrographs of some hundred candidates; ten times as many must not lead it astray."""
    windows, score, _ = candidates(6000, np.random.default_rng(7), strength=0.3)
    whole, part = (facts(windows[:count], score[:count], score[:count])[0].mean(axis=0) for count in (6000, MOST))
    counts = [OPINIONS, OPINIONS + 3]
    assert whole[counts] == pytest.approx(part[counts], abs=0.1)
    assert np.log1p((1 - score).sum()) > whole[counts[1]] + 1.5, "which their plain number would be"


def test_it_learns_what_scores_are_worth_in_which_micrograph():
    """Scores mean what they say where candidates are many; where they are few, all of them are chance."""
    rng = np.random.default_rng(3)
    known = torch.from_numpy(rng.normal(size=(20_000, OPINIONS + FACTS)).astype(np.float32))
    many = known[:, OPINIONS + 3] > 0
    odds = known[:, 0].clone()
    share = torch.sigmoid(torch.where(many, odds, odds - 3))
    labels = (torch.from_numpy(rng.random(20_000).astype(np.float32)) < share).float()
    entry, comparer = learnt(Lesson(known, odds, labels), Schedule(600, 5e-3, average=0.98), lambda line, _: None, 0)
    assert entry["architecture"] == COMPARER
    assert small_picker().with_comparer(entry, comparer.state_dict()).card.networks[COMPARER] == entry
    with torch.inference_mode():
        found = torch.sigmoid(odds + comparer(known))
    for part in (many, ~many):
        assert float(found[part].mean()) == pytest.approx(float(labels[part].mean()), abs=0.02)
    assert float((found - share).abs().mean()) < 0.05 < float((torch.sigmoid(odds) - share).abs().mean())


def test_what_it_learns_from():
    rng, numbers = np.random.default_rng(6), []

    def candidates(image):
        xy = rng.uniform(0, image.shape[1], (200, 2)).astype(np.float32)
        score = rng.random(200).astype(np.float32)
        return xy, rng.normal(size=(200, 48, 48)).astype(np.float32), score, score

    sources = [(FieldSource(32.0, 96, empty=0.0), 1.0), (FieldSource(32.0, 128, sparse=True), 1.0)]
    lesson = lesson_of(candidates, sources, 4, 12.8, 5, numbers.append)
    assert numbers == [0, 1, 2, 3] and lesson is not None
    assert lesson.known.shape == (800, OPINIONS + FACTS) and lesson.odds.shape == lesson.labels.shape == (800,)
    assert 4 <= lesson.labels.sum() < 200, "one-to-one: most places near a particle are not it"
    empty = [(FieldSource(32.0, 96, empty=1.0), 1.0)]
    assert lesson_of(candidates, empty, 2, 12.8, 5) is None, "nothing is learnt where there is no particle"


def test_what_does_not_fit_the_card_is_refused():
    picker = small_picker(Comparer())
    networks = picker.state()
    networks[COMPARER]["trust.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match="comparer"):
        DefaultPicker(picker.card, networks, torch.device("cpu"), 1)


def test_its_scores_are_final(tmp_path: Path):
    """The correction for how many particles there are is not made on top of it, unless it is left out."""
    comparer = Comparer()
    torch.nn.init.constant_(comparer.trust.bias[:1], 1.5)  # type: ignore[arg-type]
    image = np.random.default_rng(4).normal(size=(256, 256)).astype(np.float32)
    scores = {}
    for name, picker in {
        "with": small_picker(comparer, calibration={"density": 4.0}),
        "plain": small_picker(comparer),
        "without": small_picker(calibration={"density": 4.0}),
    }.items():
        for verify in (True, False):
            scores[name, verify] = pick_micrograph(picker, image, 1.0, Request(32.0, 0.0, verify=verify))[1]
    assert scores["with", True] == pytest.approx(scores["plain", True])
    assert scores["with", True].mean() > 2 * scores["without", True].mean()
    assert scores["with", False] == pytest.approx(scores["without", False])
    picker = small_picker(comparer)
    save_model(tmp_path / "model.safetensors", picker.card, picker.state())
    card, networks = load_model(tmp_path / "model.safetensors", "drpnet")
    again = DefaultPicker(card, networks, torch.device("cpu"), 1)
    found = pick_micrograph(again, image, 1.0, Request(32.0, 0.0))[1]
    assert found.mean() == pytest.approx(scores["plain", True].mean(), abs=0.02), "kernels are kept with 16 bits"
    for name, value in comparer.state_dict().items():
        torch.testing.assert_close(networks[COMPARER][name].float(), value, rtol=1e-3, atol=1e-3)


def test_networks_that_learn_anew_lose_it():
    picker = small_picker(Comparer())
    card = without_comparer(picker.card)
    assert set(card.networks) == {"proposer", "classifier"} and COMPARER in picker.card.networks
    assert replace(card, networks=picker.card.networks) == picker.card
    networks = {name: state for name, state in picker.state().items() if name != COMPARER}
    assert DefaultPicker(picker.card, networks, torch.device("cpu"), 1).card == card
