"""The networks of the paper's Table 1, and one for particles of any size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from relion_ext_picker.errors import InputError

STEP = 20  # px between windows
RANGE2 = 40.0  # px, second pass of the local maximum
BOX_PER_DIAMETER = 1.4  # of the general preset; the four of the paper lie between 1.15 and 1.6


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network of three convolutions, each followed by a mean over blocks, and one full layer.

    Attributes
    ----------
    box : int
        Side of the window, px.
    kernels : (int, int, int)
        Sides of the kernels.
    pools : (int, int, int)
        Sides of the blocks.
    maps : (int, int, int)
        Maps that each convolution makes.

    Raises
    ------
    InputError
        A layer has nothing left to work on, or the blocks do not fill its maps.
    """

    box: int
    kernels: tuple[int, int, int]
    pools: tuple[int, int, int]
    maps: tuple[int, int, int] = (6, 12, 12)

    def __post_init__(self) -> None:
        lists = (self.kernels, self.pools, self.maps)
        if any(len(values) != 3 or min(values) < 1 for values in lists):
            raise InputError(
                "a DeepEM network has three kernels, three pools and three numbers of maps, each 1 or more"
            )
        for before, kernel, pool in zip((self.box, *self.pooled), self.kernels, self.pools, strict=False):
            if before < kernel:
                raise InputError(f"box {self.box}: a kernel of {kernel} px does not fit into a map of {before} px")
            if (before - kernel + 1) % pool:
                raise InputError(
                    f"box {self.box}: blocks of {pool} px do not fill a map of {before - kernel + 1} px; "
                    "change the kernel, the pool or the box"
                )

    @property
    def convolved(self) -> tuple[int, ...]:
        """Sides of the maps after each convolution (C1, C3, C5)."""
        return tuple(side * pool for side, pool in zip(self.pooled, self.pools, strict=True))

    @property
    def pooled(self) -> tuple[int, ...]:
        """Sides of the maps after each mean (S2, S4, S6)."""
        sides, side = [], self.box
        for kernel, pool in zip(self.kernels, self.pools, strict=True):
            side = (side - kernel + 1) // pool
            sides.append(side)
        return tuple(sides)

    @property
    def features(self) -> int:
        """Inputs of the full layer."""
        return self.maps[2] * self.pooled[2] ** 2

    def config(self) -> dict[str, Any]:
        """As the card of a model holds it; :func:`.network.architecture_of` reads it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Preset:
    """A network and how micrographs are scanned with it.

    Attributes
    ----------
    architecture : Architecture
    range1, range2 : float
        Reach of the two passes of the local maximum, px as the network sees them.
    diameter : float
        Particle diameter in px that micrographs are rescaled to; 0 takes them as stored.
    """

    architecture: Architecture
    range1: float
    range2: float = RANGE2
    diameter: float = 0.0


def _row(box: int, kernels: tuple[int, int, int], pools: tuple[int, int, int], range1: float = 0.0) -> Preset:
    return Preset(Architecture(box, kernels, pools), range1 or box / 4)


PRESETS = {
    "klh": _row(272, (51, 21, 10), (3, 2, 2), 70.0),
    "19s": _row(160, (20, 10, 4), (3, 2, 2), 100.0),
    "26s": _row(150, (31, 15, 10), (2, 2, 2)),
    "inflammasome": _row(112, (15, 10, 7), (2, 2, 2)),
    "paper": Preset(Architecture(112, (15, 10, 7), (2, 2, 2)), 28.0, diameter=112 / BOX_PER_DIAMETER),
}


def preset_of(name: str) -> Preset:
    """The preset called `name`.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: DeepEM has the presets {', '.join(PRESETS)}")
    return PRESETS[name]
