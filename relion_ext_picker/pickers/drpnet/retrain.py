"""Adapting the verifier to one data set without labels, as the paper does with its second network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.base import Examples, Progress
from relion_ext_picker.training.loop import Batch, Schedule, fit
from relion_ext_picker.types import Array

ENOUGH = 50  # examples of each kind
SCHEDULE = Schedule(steps=300, learning_rate=2e-4, average=0.99, report=50)
BATCH = 64


def adapt_verifier(
    network: nn.Module, examples: Sequence[Examples], seed: int, device: torch.device, progress: Progress
) -> nn.Module:
    """Train a verifier on the patches that the proposer is sure about.

    The proposer's score is withheld (its log odds are set to 0), because it decided what counts as an example: a
    network that sees it would learn nothing else.

    Parameters
    ----------
    network : nn.Module
        Starting point; changed in place.
    examples : sequence of Examples
        One entry per micrograph.
    seed : int
    device : torch.device
    progress : callable
        Takes one line of text.

    Returns
    -------
    nn.Module

    Raises
    ------
    InputError
        When there are fewer than 50 examples of a kind.
    """
    positives = np.concatenate([entry.positives for entry in examples])
    negatives = np.concatenate([entry.negatives for entry in examples])
    if min(len(positives), len(negatives)) < ENOUGH:
        raise InputError(
            f"--retrain-classifier found {len(positives)} sure particles and {len(negatives)} sure non-particles, "
            f"but needs {ENOUGH} of each: give more micrographs or leave the option out"
        )
    count = min(len(positives), len(negatives))
    rng = np.random.default_rng(seed)
    progress(f"second network: {count} examples of each kind")
    kept = [part[rng.choice(len(part), count, replace=False)] for part in (positives, negatives)]
    torch.manual_seed(seed)
    return fit(network, _batches(kept[0], kept[1], rng), _loss, SCHEDULE, device, lambda line, _: progress(line))


def _batches(positives: Array, negatives: Array, rng: np.random.Generator) -> Iterator[Batch]:
    half = BATCH // 2
    label = torch.cat([torch.ones(half), torch.zeros(half)])
    while True:
        chosen = [part[rng.integers(0, len(part), half)] for part in (positives, negatives)]
        windows = np.rot90(np.concatenate(chosen), int(rng.integers(4)), axes=(1, 2))
        if rng.random() < 0.5:
            windows = windows[:, :, ::-1]
        yield torch.from_numpy(np.ascontiguousarray(windows))[:, None], label


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    windows, label = batch
    logits = network(windows.contiguous(memory_format=torch.channels_last), torch.zeros_like(label))
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), label)
