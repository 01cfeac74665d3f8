"""What the report of a job shows of how its picker taught itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.report.statistics import Values
from relion_ext_picker.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """Loss of one network.

    Attributes
    ----------
    name : str
    at, loss : ndarray, shape (n,)
        Steps or epochs, and the mean loss up to there.
    """

    name: str
    at: Values
    loss: Values


@dataclass(frozen=True)
class Teaching:
    """From clustering to a trained network.

    Attributes
    ----------
    name : str
        Of the micrograph that is shown.
    image : ndarray, shape (h, w)
        Its picture, 0..1.
    xy, radius : ndarray, shape (n, 2) and (n,)
        What clustering found in it, px of the picture.
    kind : ndarray, shape (n,), str
    good : ndarray, shape (n,), bool
        Whether it serves as an example.
    facts : sequence of (name, value)
    examples : mapping of ndarray, shape (n, side, side)
        Windows by class.
    curves : sequence of Curve
    unit : str
        What the curves count: "step" or "epoch".
    """

    name: str
    image: Array
    xy: Array
    radius: NDArray[np.float64]
    kind: NDArray[np.str_]
    good: NDArray[np.bool_]
    facts: Sequence[tuple[str, str]]
    examples: Mapping[str, Array]
    curves: Sequence[Curve]
    unit: str

    def pages(self) -> list[Callable[[str], Figure]]:
        """What draws the pages, each given its footer."""
        from relion_ext_picker.report import plots  # matplotlib takes half a second to import

        drawn: list[Callable[[str], Figure]] = [
            partial(plots.found_page, self), partial(plots.examples_page, self.examples)
        ]  # fmt: skip
        return [*drawn, partial(plots.losses_page, self)] if self.curves else drawn
