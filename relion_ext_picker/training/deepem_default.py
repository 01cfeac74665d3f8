"""Training the default network of the DeepEM mode: on micrographs with coordinates, and on simulated fields.

The network judges windows, but it is trained on patches that hold hundreds of overlapping ones, computed together:
every place of a micrograph is an example, near misses and all that looks like a particle included, in every position of
the particle relative to the grid. What a window should answer falls with the distance of its centre from a particle's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.deepem.default import DefaultDeepEM, margins
from relion_ext_picker.pickers.deepem.default_network import Shape
from relion_ext_picker.training.batches import Source, turned
from relion_ext_picker.training.calibration import DENSITY, calibrated, uncalibrated, with_calibration
from relion_ext_picker.training.loop import Batch, Progress, Schedule, fit
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.training.targets import heat_map
from relion_ext_picker.training.windows import WindowSet, frame_places
from relion_ext_picker.types import Array, Grid, ScoreMap

PATCH = 128  # side, px
FIELD, EMPTY = 160, 0.15  # side that a simulated field should have, px, and share of fields without a particle
SIGMA = 0.10  # of the diameter: how far off centre a window may be
POOL, REUSE = 1024, 2.0  # simulated patches that are kept, and how often each is used
VERIFIED_WEIGHT = 0.1  # of the loss over verified windows; that over patches is small, for most of it is background
CALIBRATION_FIELDS, CALIBRATION_SEED = 300, 424_242

Draw = Callable[[], tuple[Array, Array]]  # a patch and its particles (n, 2), x and y in px of it


@dataclass(frozen=True)
class Course:
    """What may be varied besides the schedule.

    Attributes
    ----------
    batch : int
        Patches per step.
    verified : WindowSet or None
        Windows, as the picker cuts them, that are learnt from as well: verified picks of micrographs whose other
        particles are not known.
    """

    batch: int = 16
    verified: WindowSet | None = None


def train_default(
    picker: DefaultDeepEM,
    labelled: Sequence[Labelled],
    schedule: Schedule,
    progress: Progress,
    seed: int = 0,
    course: Course | None = None,
) -> DefaultDeepEM:
    """Go on training the network of a picker on micrographs with coordinates.

    Micrographs need not be picked completely. Where the marked particles are a random sample, learning the others as
    background lowers all scores alike and leaves their order (Elkan and Noto 2008); the calibration mends the level.

    Parameters
    ----------
    picker : DefaultDeepEM
        Left as it is.
    labelled : sequence of Labelled
        Micrographs that `picker` has prepared, and their particles.
    schedule : Schedule
    progress : callable
        See :func:`~relion_ext_picker.training.loop.fit`.
    seed : int
    course : Course, optional

    Returns
    -------
    DefaultDeepEM
        Its scores are calibrated on `labelled`: of candidates of score s a share of about s is particles.

    Raises
    ------
    InputError
        There are no particles.
    """
    if not sum(len(item.xy) for item in labelled):
        raise InputError("there are no particles to learn from: check the coordinates")
    course = course or Course()
    picker = uncalibrated(picker)
    network = picker.network()
    patches = Patches([_padded(item, picker.shape) for item in labelled], np.random.default_rng(seed))
    maps = _map_batches(patches.draw, picker, course.batch, seed, keep=0)
    windows = _verified_batches(course.verified, course.batch, seed)
    batches = ((*batch, *more) for batch, more in zip(maps, windows, strict=True))
    fitted = fit(network, batches, _loss(picker.shape.step), schedule, picker.device, progress)
    return calibrated(picker.with_network(fitted.state_dict()), labelled)


def train_general(
    picker: DefaultDeepEM, source: Source, schedule: Schedule, progress: Progress, seed: int = 0, batch: int = 16
) -> DefaultDeepEM:
    """Train the network of a picker on simulated fields.

    Parameters
    ----------
    picker : DefaultDeepEM
        Left as it is.
    source : Source
        Fields of `FIELD` px or so, a share of `EMPTY` empty, whose particles are as large as the picker expects.
    schedule : Schedule
    progress : callable
        See :func:`~relion_ext_picker.training.loop.fit`.
    seed : int
    batch : int
        Patches per step.

    Returns
    -------
    DefaultDeepEM
        See :func:`calibrated_on_fields`; the fields are others of the same source.
    """
    picker = uncalibrated(picker)
    network = picker.network()
    draw = _fields(picker, source, seed)
    maps = _map_batches(draw, picker, batch, seed, keep=POOL)
    fitted = fit(network, maps, _loss(picker.shape.step), schedule, picker.device, progress)
    return calibrated_on_fields(picker.with_network(fitted.state_dict()), source, CALIBRATION_SEED + seed)


def calibrated_on_fields(picker: DefaultDeepEM, source: Source, seed: int) -> DefaultDeepEM:
    """A picker whose scores are probabilities among simulated fields, and that knows how many particles those have."""
    fresh = source.draws(seed)
    fields, area = [], 0.0
    for index in range(CALIBRATION_FIELDS):
        image, xy = fresh()
        area += image.size / picker.card.reference_diameter**2
        fields.append(Labelled(f"field {index}", picker.normalised(ScoreMap(image, Grid())), xy))
    found = calibrated(picker, fields)
    density = sum(len(item.xy) for item in fields) / area
    return with_calibration(found, {**found.card.calibration, DENSITY: round(density, 4)})


class Patches:
    """Random patches of prepared micrographs.

    Parameters
    ----------
    micrographs : sequence of Labelled
        With their margins, so that every window of a patch is one that the picker judges.
    rng : Generator
    """

    def __init__(self, micrographs: Sequence[Labelled], rng: np.random.Generator) -> None:
        self._micrographs, self._rng = micrographs, rng
        self._side = min(PATCH, *(min(item.frame.values.shape) for item in micrographs))
        areas = np.array([item.frame.values.size for item in micrographs], np.float64)
        self._share = areas / areas.sum()

    def draw(self) -> tuple[Array, Array]:
        """A patch and its particles (n, 2), x and y in px of it; some lie outside."""
        index = int(self._rng.choice(len(self._micrographs), p=self._share))
        item, side = self._micrographs[index], self._side
        image = item.frame.values
        top, left = (int(self._rng.integers(whole - side + 1)) for whole in image.shape)
        places = frame_places(item) - (top, left)
        return image[top : top + side, left : left + side], np.ascontiguousarray(places[:, ::-1], np.float32)


def _padded(item: Labelled, sizes: Shape) -> Labelled:
    """A micrograph with the margins that a picker adds."""
    grid, values = item.frame.grid, item.frame.values
    rows, cols = margins((values.shape[0], values.shape[1]), sizes)
    offset = (grid.offset[0] - rows[0] * grid.scale[0], grid.offset[1] - cols[0] * grid.scale[1])
    return replace(item, frame=ScoreMap(np.pad(values, (rows, cols)), replace(grid, offset=offset)))


def _fields(picker: DefaultDeepEM, source: Source, seed: int) -> Draw:
    """Patches of simulated fields, some of which reach beyond the edge."""
    fresh, rng = source.draws(seed), np.random.default_rng(seed)

    def draw() -> tuple[Array, Array]:
        image, xy = fresh()
        padded = _padded(Labelled("field", picker.normalised(ScoreMap(image, Grid())), xy), picker.shape)
        return Patches([padded], rng).draw()

    return draw


def _map_batches(draw: Draw, picker: DefaultDeepEM, batch: int, seed: int, keep: int) -> Iterator[Batch]:
    """Endless batches (patches (b, 1, h, w), answers (b, rows, columns)).

    Patches are turned and mirrored. With `keep` above 0 so many are kept and used several times, because making them
    costs more than learning from them.
    """
    rng = np.random.default_rng(seed + 1)
    pool = [_example(draw(), picker) for _ in range(min(keep, 4 * batch))]
    while True:
        fresh = [_example(draw(), picker) for _ in range(round(batch / REUSE) if keep else batch)]
        if keep:
            pool = (pool + fresh)[-keep:]
            fresh = [pool[index] for index in rng.choice(len(pool), batch, replace=False)]
        pairs = [turned(image, answer, int(rng.integers(8))) for image, answer in fresh]
        yield torch.stack([image for image, _ in pairs]), torch.stack([answer[0] for _, answer in pairs])


def _example(drawn: tuple[Array, Array], picker: DefaultDeepEM) -> tuple[Tensor, Tensor]:
    """A patch (1, h, w) and the answers for its windows (1, rows, columns)."""
    image, particles = drawn
    window, step = picker.shape.window, picker.shape.step
    side = ((image.shape[0] - window) // step + 1) * step
    sigma = SIGMA * picker.card.reference_diameter
    answer = heat_map(particles - 0.5 * (window - step), (side, side), step, sigma)
    return torch.from_numpy(image)[None], torch.from_numpy(answer)[None]


def _verified_batches(windows: WindowSet | None, batch: int, seed: int) -> Iterator[Batch]:
    """Endless batches (windows (b, 1, window, window), answers (b,)), turned and mirrored; empty without windows."""
    rng = np.random.default_rng(seed + 2)
    while windows is None or not len(windows):
        yield ()
    images, answers = windows.stacked()
    while True:
        chosen = rng.integers(len(answers), size=batch)
        stack = np.rot90(images[chosen], int(rng.integers(4)), axes=(1, 2))
        stack = stack[..., ::-1] if rng.random() < 0.5 else stack
        yield torch.from_numpy(np.ascontiguousarray(stack))[:, None], torch.from_numpy(answers[chosen])


def _loss(step: int) -> Callable[[nn.Module, Batch], Tensor]:
    """Cross entropy over all windows of the patches, and over verified windows where there are any."""

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        image, answer, *verified = batch
        logits = network(image.contiguous(memory_format=torch.channels_last), step).float()
        total = nn.functional.binary_cross_entropy_with_logits(logits, answer)
        if verified:
            windows, known = verified
            total = total + VERIFIED_WEIGHT * nn.functional.binary_cross_entropy_with_logits(
                network(windows.contiguous(memory_format=torch.channels_last)).float(), known
            )
        return total

    return loss
