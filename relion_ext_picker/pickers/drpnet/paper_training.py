"""Training of the two networks of the published DRPnet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.base import Progress
from relion_ext_picker.pickers.drpnet.paper_image import PaperFrame, network_input
from relion_ext_picker.pickers.drpnet.paper_networks import Fcrn, ParticleClassifier
from relion_ext_picker.pickers.drpnet.paper_settings import ClassifierTraining, FcrnTraining
from relion_ext_picker.types import Array

LABEL_RADIUS = 32 / 3.5  # px, half box over 3.5: half the radius of a label of the authors
POOL = 512  # patches from which a batch is drawn, so that it mixes many fields
PER_FIELD = 24  # patches cut around particles of a field each time it comes
REPORT = 100  # steps between progress lines


@dataclass(frozen=True)
class Field:
    """An image with known particles.

    Attributes
    ----------
    frame : PaperFrame
        Prepared for their size.
    xy : ndarray, shape (n, 2)
        Centres, px of the image as stored.
    """

    frame: PaperFrame
    xy: Array


@dataclass(frozen=True)
class Patches:
    """A batch for the first network.

    Attributes
    ----------
    images : ndarray, shape (b, side, side), float32
        As the network sees them, 0..1.
    labels : ndarray, shape (b, side, side), float32
        See :func:`distance_labels`.
    """

    images: Array
    labels: Array


def distance_labels(shape: tuple[int, int], centres: Array, radius: float, *, plain: bool = False) -> Array:
    """What the first network is to answer: cones or paraboloids at the particles.

    The particle is the set of px nearer than half of `radius` to a disc of half of `radius`. Its label is the squared
    distance to its border, clipped at 255 for the authors' radius of 18 px; other sizes are scaled to the same height.

    Parameters
    ----------
    shape : (int, int)
    centres : ndarray, shape (n, 2)
        Rows and columns.
    radius : float
        Radius of the label, px.
    plain : bool
        Distance instead of its clipped square: the text instead of the code.

    Returns
    -------
    ndarray, shape `shape`, float32
        0..1.
    """
    if not len(centres):
        return np.zeros(shape, np.float32)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    cells = np.zeros(shape, bool)
    for row, col in np.asarray(centres, np.float64):
        cells |= (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    distance = ndimage.distance_transform_edt(np.pad(cells, 1, mode="edge"))[1:-1, 1:-1] / radius
    if plain:
        return np.asarray(np.minimum(distance, 1), np.float32)
    return np.asarray(np.minimum((distance * 2 * LABEL_RADIUS) ** 2 / 255, 1), np.float32)


def training_patches(fields: Iterable[Field], settings: FcrnTraining, seed: int) -> Iterator[Patches]:
    """Endless batches for :func:`train_fcrn`, prepared exactly as micrographs are when they are picked.

    Parameters
    ----------
    fields : iterable of Field
        Read on as patches are needed, a few patches of each; when it ends, the patches at hand are used over and over.
    settings : FcrnTraining
    seed : int

    Yields
    ------
    Patches
        Turned and mirrored at random.

    Raises
    ------
    InputError
        No field holds a patch.
    """
    rng = np.random.default_rng(seed)
    pool: list[tuple[Array, Array]] = []
    source: Iterator[Field] | None = iter(fields)
    while True:
        # New patches replace old ones at random once the pool is full; each is used about twice.
        fresh = 0
        while source is not None and (len(pool) < POOL or fresh < settings.batch // 2):
            field = next(source, None)
            if field is None:
                source = None
                break
            for patch in _cut(field, settings, rng):
                fresh += 1
                if len(pool) < POOL:
                    pool.append(patch)
                else:
                    pool[int(rng.integers(POOL))] = patch
        if not pool:
            raise InputError("no training patch: every micrograph is smaller than 64 px at the size the network sees")
        drawn = [_turned(pool[int(i)], rng) for i in rng.integers(len(pool), size=settings.batch)]
        yield Patches(np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn]))


def train_fcrn(
    patches: Iterator[Patches],
    settings: FcrnTraining,
    steps: int,
    device: torch.device,
    seed: int,
    progress: Progress,
) -> dict[str, Tensor]:
    """Train the first network from random weights: Adam, mean squared error.

    Parameters
    ----------
    patches : iterator of Patches
        At least `steps` batches, e.g. of :func:`training_patches`.
    settings : FcrnTraining
    steps : int
        Optimiser steps; the authors take about 4300.
    device : torch.device
    seed : int
        Of the first weights.
    progress : callable
        Takes one line of text; may raise to stop.

    Returns
    -------
    dict of Tensor
        State of :class:`.paper_networks.Fcrn`, on the CPU.
    """
    network = Fcrn()
    network.reset(torch.Generator().manual_seed(seed), literal=settings.literal_init)
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    running, start = 0.0, time.perf_counter()
    for step in range(steps):
        if step == round(settings.drop * steps):
            optimiser.param_groups[0]["lr"] *= 0.1
        batch = next(patches)
        images = torch.from_numpy(batch.images)[:, None].to(device)
        labels = torch.from_numpy(batch.labels)[:, None].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.low_precision):
            loss = nn.functional.mse_loss(network(images).float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        running += (float(loss.detach()) - running) * max(0.01, 1 / (step + 1))
        if (step + 1) % REPORT == 0 or step + 1 == steps:
            pace = (time.perf_counter() - start) / (step + 1)
            progress(f"step {step + 1}/{steps}: loss {running:.5f}, {pace:.2f} s per step")
    return _state(network)


def train_classifier(
    positives: Array,
    negatives: Array,
    settings: ClassifierTraining,
    device: torch.device,
    seed: int,
    progress: Progress,
) -> dict[str, Tensor]:
    """Train the second network from random weights: Adam, cross-entropy, as many patches of either class.

    The authors balance by the first n patches, which takes one class from the first micrographs alone; here they are
    drawn at random.

    Parameters
    ----------
    positives, negatives : ndarray, shape (n, 64, 64), float32
        Grey levels 0..255.
    settings : ClassifierTraining
    device : torch.device
    seed : int
        Of the draw, the weights, the order and the dropout.
    progress : callable
        Takes one line per epoch; may raise to stop.

    Returns
    -------
    dict of Tensor
        State of :class:`.paper_networks.ParticleClassifier`, on the CPU.

    Raises
    ------
    InputError
        A class has fewer than ``settings.least`` patches.
    """
    count = min(len(positives), len(negatives), settings.most)
    if count < settings.least:
        raise InputError(
            f"the second network cannot be trained: {len(positives)} candidates of high and {len(negatives)} of low "
            f"confidence were found, {settings.least} of each are needed; use more micrographs, or --no-verify "
            "to pick with the first network alone"
        )
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(len(group))[:count] for group in (positives, negatives)]
    patches = torch.from_numpy(np.concatenate([positives[chosen[0]], negatives[chosen[1]]]).astype(np.float32))
    labels = torch.from_numpy(np.repeat([1, 0], count))
    order = torch.from_numpy(rng.permutation(2 * count))
    held = max(1, round(settings.validation * 2 * count))
    test, train = order[:held], order[held:]
    network = ParticleClassifier(settings.kernel, settings.width)
    network.reset(torch.Generator().manual_seed(seed))
    network.mean.copy_(patches[train].mean(0))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate, fused=True)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(settings.epochs):
            network.train()
            start, total = time.perf_counter(), 0.0
            shuffled = train[torch.from_numpy(rng.permutation(len(train)))]
            for part in torch.split(shuffled, settings.batch):
                loss = nn.functional.cross_entropy(network(patches[part].to(device)), labels[part].to(device))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += float(loss.detach()) * len(part)
            network.eval()
            said = network.probability(patches[test].to(device)).cpu() > 0.5
            accuracy = float((said == (labels[test] == 1)).float().mean())
            progress(
                f"second network, epoch {epoch + 1}/{settings.epochs}: {2 * count} patches, loss "
                f"{total / len(train):.4f}, held-out accuracy {accuracy:.3f}, {time.perf_counter() - start:.1f} s"
            )
    return _state(network)


def _cut(field: Field, settings: FcrnTraining, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Patches of one field: some around particles, some anywhere."""
    image, scales = network_input(field.frame), field.frame.scales
    side, (height, width) = settings.patch, image.shape
    if min(height, width) < side:
        return []
    grid = field.frame.grid.coarser(scales.reduction)
    centres = np.stack(grid.from_original(field.xy), axis=1)
    radius = scales.seen_radius * 2 / 3.5
    count = min(len(centres), max(2, round(2 * height * width / side**2)), PER_FIELD)
    share = settings.background / (1 - settings.background)
    anywhere = int(rng.poisson(share * count)) if count else 2
    places = np.concatenate(
        [centres[rng.permutation(len(centres))[:count]], rng.uniform(0, image.shape, (anywhere, 2))]
    )
    corners = np.clip(np.rint(places - side / 2), 0, np.array(image.shape) - side).astype(int)
    margin = int(np.ceil(radius)) + 1  # so that particles cut by the border of the patch have their whole label
    cut = []
    for top, left in corners:
        inner = centres - (top, left) + margin
        near = np.all((inner > -radius) & (inner < side + 2 * margin + radius), axis=1)
        wide = (side + 2 * margin, side + 2 * margin)
        label = distance_labels(wide, inner[near], radius, plain=settings.plain_labels)
        cut.append((image[top : top + side, left : left + side].copy(), label[margin:-margin, margin:-margin].copy()))
    return cut


def _turned(patch: tuple[Array, Array], rng: np.random.Generator) -> tuple[Array, Array]:
    turn, mirror = int(rng.integers(4)), bool(rng.integers(2))
    image, label = (np.rot90(part.T if mirror else part, turn) for part in patch)
    return image, label


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
