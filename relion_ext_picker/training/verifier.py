"""Training the second network on what the first one proposes, with the truth at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.pickers.comparer import to_logit
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker, cut_windows
from relion_ext_picker.training.calibration import logistic
from relion_ext_picker.training.loop import Batch
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.types import Array, Grid, ScoreMap

Draw = Callable[[], tuple[Array, Array]]
HIT_RADIUS = 0.3  # of the diameter: nearer than this to a free centre a candidate is a particle
HARDEST = 24  # candidates of one patch that are used at most, drawn at random
POOL = 20_000
PATIENCE = 500  # rounds of patches in which enough candidates for a batch must have turned up


@dataclass(frozen=True)
class Candidates:
    """Candidates with the answer.

    Attributes
    ----------
    windows : ndarray, shape (n, 48, 48), float32
    logits : ndarray, shape (n,)
        Of the proposer.
    labels : ndarray, shape (n,)
        1 for a particle, 0 for anything else.
    """

    windows: Array
    logits: Array
    labels: Array


def label_candidates(picker: DefaultPicker, frame: ScoreMap, truth: Array, distance: float) -> Candidates:
    """Candidates of a prepared image, labelled one-to-one against true centres.

    Parameters
    ----------
    picker : DefaultPicker
    frame : ScoreMap
        Prepared image.
    truth : ndarray, shape (n, 2)
        Centres in px of the micrograph.
    distance : float
        Smallest distance of two candidates, px of the micrograph.
    """
    score_map = picker.propose(frame)
    rows, cols, score = picker.peaks(score_map, distance, 0.0)
    xy = score_map.to_original(rows, cols)
    radius = HIT_RADIUS * picker.card.reference_diameter * frame.grid.scale[0]
    hits, _ = match(truth, xy, score, radius)
    return Candidates(cut_windows(frame, xy), to_logit(score), hits.astype(np.float32))


def calibrated(picker: DefaultPicker, labelled: Sequence[Labelled], radius: float) -> DefaultPicker:
    """A picker whose second network, or first where that is all, says the probability that a candidate is a particle.

    The best line through the log odds of its candidates becomes part of the network's last layer (Platt 1999,
    "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers, 61).

    Parameters
    ----------
    picker : DefaultPicker
    labelled : sequence of Labelled
        Not learnt from.
    radius : float
        Within which a candidate is a particle, in diameters.
    """
    odds, labels = [], []
    for item in labelled:
        diameter = picker.card.reference_diameter * item.frame.grid.scale[0]
        score_map = picker.propose(item.frame)
        rows, cols, score = picker.peaks(score_map, 0.5 * diameter, 0.0)
        xy = score_map.to_original(rows, cols)
        verified = picker.judge(cut_windows(item.frame, xy), score)
        odds.append(to_logit(score if verified is None else verified))
        labels.append(match(item.xy, xy, score if verified is None else verified, radius * diameter)[0])
    known = np.concatenate(labels)
    if known.all() or not known.any():
        return picker
    slope, intercept = logistic(np.concatenate(odds).astype(np.float64), known.astype(np.float64))
    state = picker.state()
    name = "classifier" if "classifier" in state else "proposer"
    layer = "decide" if name == "classifier" else "head"
    state[name][f"{layer}.weight"] = state[name][f"{layer}.weight"].float() * slope
    state[name][f"{layer}.bias"] = state[name][f"{layer}.bias"] * slope + intercept
    return DefaultPicker(picker.card, state, picker.device, len(picker.turns))


UNKNOWN = -1.0  # label of a candidate of which nobody knows whether it is a particle


def marked_candidates(
    picker: DefaultPicker, frame: ScoreMap, true: Array, false: Array, floor: float
) -> tuple[Candidates, Array]:
    """Candidates of a prepared image of which some places were verified.

    Within 0.3 diameters of a true place a candidate is a particle (one to one), near a false one it is none. Of the
    others, those that the picker itself scores below `floor` were not worth a pick and are none; the rest is unknown.

    Parameters
    ----------
    picker : DefaultPicker
    frame : ScoreMap
        Prepared image.
    true, false : ndarray, shape (n, 2)
        Verified places, px of the micrograph.
    floor : float

    Returns
    -------
    Candidates
    xy : ndarray, shape (n, 2), float32
        Where they are, px of the micrograph.
    """
    diameter = picker.card.reference_diameter * frame.grid.scale[0]
    score_map = picker.propose(frame)
    rows, cols, score = picker.peaks(score_map, 0.5 * diameter, 0.0)
    xy = score_map.to_original(rows, cols)
    verified = picker.verify(frame, xy, score)
    labels = np.where((score if verified is None else verified) < floor, 0.0, UNKNOWN)
    for places, label in ((false, 0.0), (true, 1.0)):
        near, _ = match(places, xy, score, HIT_RADIUS * diameter)
        labels[near] = label
    return Candidates(cut_windows(frame, xy), to_logit(score), labels.astype(np.float32)), xy


def marked_batches(known: Candidates, seed: int, batch: int) -> Iterator[Batch]:
    """Endless batches as of :func:`candidate_batches` from labelled candidates, turned, mirrored, of varied contrast.

    Both kinds are drawn as often as they occur, so that the score stays the share of such candidates that are real.
    """
    rng = np.random.default_rng(seed)
    while True:
        chosen = rng.choice(len(known.labels), batch, replace=len(known.labels) < batch)
        stack = np.rot90(known.windows[chosen], int(rng.integers(4)), axes=(1, 2))
        if rng.random() < 0.5:
            stack = stack[:, :, ::-1]
        stack = stack * rng.uniform(0.85, 1.2, (batch, 1, 1)).astype(np.float32)
        logits, labels = torch.from_numpy(known.logits[chosen]), torch.from_numpy(known.labels[chosen])
        yield torch.from_numpy(np.ascontiguousarray(stack))[:, None], logits, labels


def candidate_batches(picker: DefaultPicker, draw: Draw, seed: int, batch: int, fresh: int = 4) -> Iterator[Batch]:
    """Endless batches (windows (b, 1, 48, 48), logits (b,), labels (b,)) from patches with known centres.

    `fresh` new patches are proposed per batch; their candidates join a pool from which the batch is drawn. Raises
    InputError when hardly anything is proposed.
    """
    rng = np.random.default_rng(seed)
    windows: list[Array] = []
    facts: list[tuple[float, float]] = []
    rounds = 0
    while True:
        rounds += 1
        for _ in range(fresh):
            image, truth = draw()
            found = label_candidates(picker, ScoreMap(image, Grid()), truth, 0.5 * picker.card.reference_diameter)
            for index in rng.permutation(len(found.labels))[:HARDEST]:
                entry = (float(found.logits[index]), float(found.labels[index]))
                if len(windows) < POOL:
                    windows.append(found.windows[index])
                    facts.append(entry)
                else:
                    place = int(rng.integers(POOL))
                    windows[place], facts[place] = found.windows[index], entry
        if len(windows) < 4 * batch:
            if rounds >= PATIENCE:
                raise InputError(
                    f"the first network proposes too little to train the second: {len(windows)} candidates in "
                    f"{rounds * fresh} patches; train the first network longer, or check the coordinates"
                )
            continue
        chosen = rng.choice(len(windows), batch, replace=False)
        stack = np.rot90(np.stack([windows[i] for i in chosen]), int(rng.integers(4)), axes=(1, 2))
        known = torch.tensor([facts[i] for i in chosen])
        yield torch.from_numpy(np.ascontiguousarray(stack))[:, None], known[:, 0], known[:, 1]


def verifier_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy over candidates as they come, so that the score is the share of such candidates that are real."""
    windows, logits, labels = batch
    out = network(windows.contiguous(memory_format=torch.channels_last), logits)
    return nn.functional.binary_cross_entropy_with_logits(out.float(), labels)
