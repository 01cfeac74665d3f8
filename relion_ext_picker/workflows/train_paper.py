"""Training the first network of the published DRPnet on simulated particles: ``train --preset paper --simulated``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relion_ext_picker.pickers.drpnet.paper_settings import BOX_PER_DIAMETER
from relion_ext_picker.pickers.drpnet.paper_training import Field
from relion_ext_picker.simulation.fields import FieldGenerator

STEPS = 4000  # the authors: 7 epochs of 9751 patches, 16 at a time
HALF_BOX = (14.0, 64.0)  # px of the field; above 32 the scale rule halves it, as it does real micrographs
SIDE = 9.0  # of a field, half boxes
HIGHPASS = 100.0  # px of the reduced image: what equation 1 would take out of a whole micrograph
SNR = (0.05, 4.0)  # fainter particles cannot be told in a view of 20 px, and would teach it to answer nothing
HELD_OUT = 1_000_000  # added to the seed for fields that are never trained on


def simulated_fields(seed: int, count: int | None = None) -> Iterator[Field]:
    """Fields of particles of many kinds and sizes, each with its own microscope; endless without `count`."""
    rng = np.random.default_rng(seed)
    number = 0
    while count is None or number < count:
        half = float(np.exp(rng.uniform(*np.log(HALF_BOX))))
        diameter = 2 * half / BOX_PER_DIAMETER
        side = int(min(480, max(220, SIDE * half)))
        highpass = HIGHPASS * (2 if half > 32 else 1)
        drawn = FieldGenerator(int(rng.integers(2**31)), diameter, side, highpass=highpass, snr=SNR).draw()
        yield Field(drawn.image, drawn.xy, diameter)
        number += 1
