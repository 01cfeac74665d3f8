"""Batches of patches for the proposer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from relion_ext_picker.pickers.drpnet.network import STRIDE
from relion_ext_picker.training.loop import Batch
from relion_ext_picker.training.targets import heat_map
from relion_ext_picker.types import Array

TARGET_SIGMA = 0.10  # of the particle diameter: bumps of touching particles stay apart
POOL = 2048  # patches kept for reuse
REUSE = 2  # how often a patch is used on average, each time in another orientation


class Source(Protocol):
    """Where patches come from; sent to worker processes, so it must survive pickling."""

    def draws(self, seed: int) -> Callable[[], tuple[Array, Array]]:
        """An endless supply of (image (side, side), centres (n, 2)) for one seed."""
        ...


class PatchStream(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless patches with their target maps.

    Parameters
    ----------
    source : Source
        Each worker draws with a seed of its own.
    seed : int
    reference : float
        Particle diameter in px.
    """

    def __init__(self, source: Source, seed: int, reference: float) -> None:
        self._source, self._seed, self._sigma = source, seed, TARGET_SIGMA * reference

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        draw = self._source.draws(self._seed * 1009 + (worker.id if worker else 0))
        while True:
            image, xy = draw()
            shape = (image.shape[0], image.shape[1])
            yield torch.from_numpy(image)[None], torch.from_numpy(heat_map(xy, shape, STRIDE, self._sigma))[None]


def patch_batches(source: Source, seed: int, reference: float, batch: int, workers: int) -> Iterator[Batch]:
    """Endless batches of (images (b, 1, h, w), targets (b, 1, h / 2, w / 2)).

    Patches are kept in a pool and drawn from it about `REUSE` times, turned and mirrored, because making one costs
    more than learning from it.
    """
    rng = np.random.default_rng(seed)
    loader = DataLoader(
        PatchStream(source, seed, reference), batch_size=max(1, batch // REUSE), num_workers=workers,
        prefetch_factor=8 if workers else None,
    )  # fmt: skip
    images: list[Tensor] = []
    targets: list[Tensor] = []
    for fresh_images, fresh_targets in loader:
        for image, target in zip(fresh_images, fresh_targets, strict=True):
            if len(images) < POOL:
                images.append(image)
                targets.append(target)
            else:
                place = int(rng.integers(POOL))
                images[place], targets[place] = image, target
        if len(images) < min(POOL, 8 * batch):
            continue
        chosen = rng.choice(len(images), batch, replace=False)
        pairs = [turned(images[i], targets[i], int(rng.integers(8))) for i in chosen]
        yield torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])


def turned(image: Tensor, target: Tensor, which: int) -> tuple[Tensor, Tensor]:
    """One of the eight symmetries of the square, applied to both."""
    if which & 4:
        image, target = image.flip(-1), target.flip(-1)
    return torch.rot90(image, which & 3, (-2, -1)), torch.rot90(target, which & 3, (-2, -1))


def proposer_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy against the heat map: at the optimum the score of a place is the height to expect there."""
    image, target = batch
    logits = network(image.to(memory_format=torch.channels_last))
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
