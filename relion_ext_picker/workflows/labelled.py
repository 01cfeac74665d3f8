"""Micrographs with coordinates, prepared for training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from relion_ext_picker.errors import InputError
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.workflows.sources import find_micrographs

FEWEST = 2  # micrographs: one to train on, one to validate on

_log = logging.getLogger(__name__)


def read_labelled(options: TrainOptions, picker: Picker) -> list[Labelled]:
    """Prepared micrographs that have coordinates; unreadable ones are reported and left out.

    Raises
    ------
    InputError
        No coordinates, no diameter, or fewer than two micrographs are left.
    """
    if not options.in_coords:
        raise InputError("no coordinates to train on: use --in_coords, or --simulated for simulated particles")
    if options.diameter <= 0:
        raise InputError("--diameter is required with --in_coords: the particle diameter in Å")
    micrographs = find_micrographs(options.in_mics, options.mics, options.pixel_size)
    coordinates = read_coordinate_set(Path(options.in_coords), micrographs)
    labelled = []
    for micrograph in micrographs:
        found = coordinates.get(micrograph.name)
        if found is None or not len(found.xy):
            continue
        try:
            image = read_micrograph(Path(micrograph.name))
            bright = options.contrast == "bright"
            frame = picker.prepare(image, micrograph.pixel_size, options.diameter, bright=bright)
        except InputError as error:
            _log.warning("left out: %s", error)
            continue
        labelled.append(Labelled(micrograph.name, frame, found.xy))
    if len(labelled) < FEWEST:
        raise InputError(
            f"{options.in_coords}: only {len(labelled)} of {len(micrographs)} micrographs have coordinates and can be "
            f"read; training needs {FEWEST} at least, one of them to validate on"
        )
    return labelled


def split(labelled: Sequence[Labelled], share: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Divide micrographs at random into those to train on and those held out, at least one of each.

    Parameters
    ----------
    labelled : sequence of Labelled
        Two or more.
    share : float
        To hold out, 0..1.
    seed : int

    Returns
    -------
    training, held_out : list of Labelled
        In the order of `labelled`.
    """
    order = np.random.default_rng(seed).permutation(len(labelled))
    held = min(max(1, round(share * len(labelled))), len(labelled) - 1)
    return [labelled[i] for i in sorted(order[held:])], [labelled[i] for i in sorted(order[:held])]
