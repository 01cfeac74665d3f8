"""The training loop, its targets and its batches; that a network learns is tested on a small task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.pickers.drpnet.network import Proposer
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.simulation.fields import FieldGenerator, FieldSource
from relion_ext_picker.training.batches import patch_batches, proposer_loss, turned
from relion_ext_picker.training.calibration import quiet_density
from relion_ext_picker.training.loop import Schedule, fit, steps_done
from relion_ext_picker.training.patches import Labelled, MicrographSource
from relion_ext_picker.training.targets import heat_map
from relion_ext_picker.training.verifier import calibrated
from relion_ext_picker.types import Grid, ScoreMap
from relion_ext_picker.workflows.models import load_picker


class Spots:
    """Patches of bright spots in noise."""

    def draws(self, seed):
        rng = np.random.default_rng(seed)
        rows, cols = np.mgrid[:32, :32]

        def draw():
            xy = rng.uniform(4, 28, (2, 2)).astype(np.float32)
            image = rng.normal(0, 0.3, (32, 32))
            for x, y in xy:
                image += 3 * np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / 4)
            return image.astype(np.float32), xy

        return draw


def test_bumps_are_where_the_particles_are():
    target = heat_map(np.array([[11.5, 20.5], [40.0, 3.0]], np.float32), (48, 64), 2, 3.0)
    assert target.shape == (24, 32)
    assert target[10, 5] == pytest.approx(np.exp(-0.5 * (1**2 + 0**2) / 3**2), abs=0.01)
    assert np.unravel_index(target[:, :12].argmax(), (24, 12)) == (10, 5)
    assert target.max() <= 1


def test_where_bumps_meet_the_higher_one_counts():
    both = heat_map(np.array([[10.5, 10.5], [14.5, 10.5]], np.float32), (32, 32), 2, 3.0)
    one = heat_map(np.array([[10.5, 10.5]], np.float32), (32, 32), 2, 3.0)
    two = heat_map(np.array([[14.5, 10.5]], np.float32), (32, 32), 2, 3.0)
    assert (both == np.maximum(one, two)).all()


@pytest.mark.parametrize("which", range(8))
def test_image_and_target_turn_together(which):
    xy = np.array([[20.0, 9.0]], np.float32)
    image = torch.from_numpy(heat_map(xy, (48, 48), 1, 3.0))[None]
    target = torch.from_numpy(heat_map(xy, (48, 48), 2, 3.0))[None]
    image, target = turned(image, target, which)
    small = torch.nn.functional.avg_pool2d(image, 2)
    assert (small - target).abs().max() < 0.12
    assert small.argmax() == target.argmax()


def test_the_rate_rises_and_falls():
    schedule = Schedule(100, 1e-2, warmup=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-3) and max(rates) == pytest.approx(1e-2)
    assert rates[9] == max(rates) and rates[-1] < 1e-4


def test_a_network_learns_to_find_spots_and_training_repeats():
    answers = []
    for _ in range(2):
        torch.manual_seed(0)
        batches = patch_batches(Spots(), 0, 20.0, 8, workers=0)
        lines: list[str] = []
        schedule = Schedule(60, 5e-3, average=0.9, report=20)
        network = fit(
            Proposer((8, 8, 8, 8)), batches, proposer_loss, schedule, torch.device("cpu"),
            lambda line, averaged, lines=lines: lines.append(line),
        )  # fmt: skip
        image, xy = Spots().draws(99)()
        with torch.no_grad():
            answers.append(torch.sigmoid(network(torch.from_numpy(image)[None, None]))[0, 0].numpy())
        assert len(lines) == 3 and lines[-1].startswith("step 60/60")
    row, col = np.unravel_index(answers[0].argmax(), answers[0].shape)
    assert np.hypot(xy[:, 0] - (2 * col + 0.5), xy[:, 1] - (2 * row + 0.5)).min() < 3
    assert (answers[0] == answers[1]).all()


def test_progress_may_stop_the_training():
    def stop(line, averaged):
        raise KeyboardInterrupt

    batches = patch_batches(Spots(), 0, 20.0, 4, workers=0)
    with pytest.raises(KeyboardInterrupt):
        fit(Proposer((4, 4, 4, 4)), batches, proposer_loss, Schedule(5, report=1), torch.device("cpu"), stop)


def test_an_interrupted_training_goes_on_where_it_was(tmp_path):
    """Eight steps at once, or five, a stop, and the rest from what was kept: the same network."""

    def batches(first):
        for index in range(first, 8):
            torch.manual_seed(index)
            yield torch.randn(2, 1, 32, 32), torch.rand(2, 1, 16, 16)

    def trained(state, first=0, stop=9):
        torch.manual_seed(0)

        def progress(line, network):
            if f"step {stop}/" in line:
                raise KeyboardInterrupt

        schedule = Schedule(steps=8, learning_rate=1e-3, report=1, state=state)
        return fit(Proposer((4, 4)), batches(first), proposer_loss, schedule, torch.device("cpu"), progress)

    whole = trained(None).state_dict()
    state = tmp_path / "state.safetensors"
    assert steps_done(state) == steps_done(None) == 0
    with pytest.raises(KeyboardInterrupt):
        trained(state, stop=5)
    assert steps_done(state) == 5
    rest = trained(state, first=5).state_dict()
    assert steps_done(state) == 8
    for name, value in whole.items():
        torch.testing.assert_close(rest[name], value, rtol=0, atol=1e-6, msg=name)
    torch.testing.assert_close(trained(state, first=8).state_dict(), rest)  # nothing is left to do
    state.write_bytes(b"damaged")
    assert steps_done(state) == 0


def test_patches_of_a_micrograph_carry_its_particles():
    rng = np.random.default_rng(0)
    grid = Grid.resized((400, 640), (160, 256))
    xy = rng.uniform(0, 390, (30, 2)).astype(np.float32)
    image = np.zeros((160, 256), np.float32)
    rows, cols = (np.rint(part).astype(int) for part in grid.from_original(xy))
    inside = (rows < 160) & (cols < 256)
    image[rows[inside], cols[inside]] = 1
    draw = MicrographSource([Labelled("a", ScoreMap(image, grid), xy[inside])], side=96).draws(1)
    seen = 0
    for _ in range(20):
        patch, places = draw()
        assert patch.shape == (96, 96)
        at = np.clip(np.rint(places).astype(int), 0, 95)
        assert (patch[at[:, 1], at[:, 0]] > 0).all()
        seen += len(places)
    assert seen > 50


def test_simulated_fields_are_standard_and_repeat():
    first, second = (FieldSource(32.0).draws(5) for _ in range(2))
    count = 0
    for _ in range(12):
        (image, xy), (again, places) = first(), second()
        assert (image == again).all() and (xy == places).all()
        assert image.shape == (128, 128) and np.isfinite(image).all()
        assert 0.3 < image.std() < 3.5
        assert ((xy >= -0.5) & (xy < 127.5)).all()
        count += len(xy)
    assert count > 20


def test_particles_of_a_field_are_dark_where_the_truth_says():
    generator = FieldGenerator(11, 32.0, snr=(1.0, 4.0))
    rows, cols = np.mgrid[:128, :128]
    darker = []
    for _ in range(60):
        field = generator.draw()
        if len(field.xy):
            near = np.min([np.hypot(rows - y, cols - x) for x, y in field.xy], axis=0)
            ring = (near > 18) & (near < 26)
            darker.append(field.image[ring].mean() - field.image[near < 10].mean() if ring.any() else 0)
    assert np.median(darker) > 0.3


def test_a_picker_that_sees_particles_in_noise_expects_more_of_them():
    """Until it finds them in no more fields than allowed; one that is quiet stays as it is."""
    draw = FieldSource(32.0, 384, empty=1.0, soiled=False).draws(6)
    noise = [ScoreMap(draw()[0], Grid()) for _ in range(12)]
    picker = load_picker("drpnet", "default", "", torch.device("cpu"))
    state = picker.state()
    del state["comparer"]  # which takes the place of the density
    state["classifier"]["decide.bias"] += 0.7
    plain = DefaultPicker(replace(picker.card, calibration={}), state, picker.device)

    def fields_with_picks(density):
        card = replace(plain.card, calibration={"density": density})
        loud = DefaultPicker(card, state, picker.device)
        found = [pick_prepared(loud, item, (384, 384), 1.0, Request(32.0, 0.5))[0] for item in noise]
        return sum(len(xy) > 0 for xy in found)

    assert fields_with_picks(0.15) > 2
    density = quiet_density(plain, noise, 0.15, 0.5, 1 / 6)
    assert 0.15 < density < 0.6 and fields_with_picks(density) <= 2
    assert quiet_density(plain, noise, density, 0.5, 1 / 6) == density


def test_calibrated_scores_are_the_share_of_hits():
    """A second network that is made too sure of itself is brought back, and nothing but the line is changed."""
    source = FieldSource(32.0, 256)
    draw, other = source.draws(3), source.draws(4)
    learnt, fresh = (
        [Labelled("field", ScoreMap(image, Grid()), xy) for image, xy in (draws() for _ in range(25))]
        for draws in (draw, other)
    )
    picker = load_picker("drpnet", "default", "", torch.device("cpu"))
    state = picker.state()
    del state["comparer"]  # which learns after the second network was calibrated
    state["classifier"]["decide.bias"] += 2.0
    wrong = DefaultPicker(picker.card, state, picker.device)
    right = calibrated(wrong, learnt, 0.4)

    def errors(judge):
        score, hit = [], []
        for item in fresh:
            score_map = judge.propose(item.frame)
            rows, cols, first = judge.peaks(score_map, 16.0, 0.0)
            xy = score_map.to_original(rows, cols)
            score.append(judge.verify(item.frame, xy, first))
            hit.append(match(item.xy, xy, score[-1], 0.4 * 32)[0])
        return float(np.concatenate(score).mean() - np.concatenate(hit).mean()), np.concatenate(score)

    (before, sure), (after, scores) = errors(wrong), errors(right)
    assert before > 0.1 and abs(after) < 0.05
    assert np.corrcoef(np.argsort(np.argsort(sure)), np.argsort(np.argsort(scores)))[0, 1] > 0.99
