"""Where the training set of the DeepEM mode comes from: picks, verified picks, and what a model was trained on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from relion_ext_picker.errors import InputError
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.training_set import (
    NAME,
    PICKED,
    VERIFIED,
    Set,
    divided,
    join,
    marks_of,
    reach_of,
    read_set,
)

OUTSIDE = 0.05  # of the marks of a micrograph may lie outside of it, and are left out

_log = logging.getLogger(__name__)

Shape = Callable[[Micrograph], tuple[int, int]]  # rows and columns; InputError where it cannot be read


@dataclass(frozen=True)
class Reading:
    """What coordinates are read for.

    Attributes
    ----------
    micrographs : sequence of Micrograph
    shape : callable
        Rows and columns of a micrograph; raises InputError where it cannot be used, which leaves it out.
    round : int
        Number of the round that they are read for.
    """

    micrographs: Sequence[Micrograph]
    shape: Shape
    round: int


def first_set(options: TrainOptions, reading: Reading) -> Set:
    """What there is to train on without the verified picks: --in_coords, and the set beside the model of --from.

    Raises
    ------
    InputError
        There is none of either, all picks are on one micrograph, too few, or outside of the micrographs.
    """
    found: Set = {}
    earlier = Path(options.model).parent / NAME if options.model else None
    if earlier is not None and earlier.is_file():
        found = read_set(earlier, reading.micrographs)
    elif not options.in_coords:
        raise InputError(
            f"{earlier} does not exist, so it is not known what the model was trained on: give picks with --in_coords"
            if earlier
            else "no coordinates to train on: use --in_coords, or --simulated for simulated particles"
        )
    if options.in_coords:
        picked = read_marks(options.in_coords, True, PICKED, reading)
        found = join(found, picked, options.diameter)
    return divided(found, options)


def verified(options: TrainOptions, reading: Reading) -> Set:
    """The picks of --add-true and --add-false.

    Raises
    ------
    InputError
        A place is in both.
    """
    true, false = (
        read_marks(path, particle, VERIFIED, reading) if path else {}
        for path, particle in ((options.add_true, True), (options.add_false, False))
    )
    for name in true.keys() & false.keys():
        reach = reach_of(true[name].micrograph, options.diameter)
        both = np.isfinite(cKDTree(true[name].xy).query(false[name].xy, distance_upper_bound=reach)[0])
        if both.any():
            x, y = false[name].xy[both][0]
            raise InputError(
                f"{name}: {both.sum()} places, the first at {x:.0f}, {y:.0f}, are in both --add-true "
                f"{options.add_true} and --add-false {options.add_false}: leave them out of one"
            )
    return join(true, false, options.diameter)


def read_marks(path: str, particle: bool, source: str, reading: Reading) -> Set:
    """A coordinate file, folder or node as marks; micrographs that cannot be read are left out with a warning.

    Raises
    ------
    InputError
        As :func:`~relion_ext_picker.io.coordinates.read_coordinate_set`, or many places lie outside.
    """
    coordinates = read_coordinate_set(Path(path), reading.micrographs)
    found: Set = {}
    failures = []
    for micrograph in reading.micrographs:
        given = coordinates.get(micrograph.name)
        if given is None or not len(given.xy):
            continue
        try:
            shape = reading.shape(micrograph)
        except InputError as error:
            _log.warning("left out: %s", error)
            failures.append(str(error))
            continue
        xy = _inside(path, micrograph, given.xy, shape)
        found[micrograph.name] = marks_of(micrograph, xy, particle, reading.round, source)
    if failures and not found:
        raise InputError(f"{path}: none of the {len(failures)} micrographs with picks can be used; {failures[0]}")
    return found


def _inside(path: str, micrograph: Micrograph, xy: Array, shape: tuple[int, int]) -> Array:
    inside = np.all((xy > -1) & (xy < np.array(shape[::-1])), axis=1)
    outside = int((~inside).sum())
    if outside > OUTSIDE * len(xy):
        x, y = xy[~inside][0]
        raise InputError(
            f"{path}: {outside} of {len(xy)} places lie outside of {micrograph.name} ({shape[1]} x {shape[0]} px), the "
            f"first at {x:.0f}, {y:.0f}: give coordinates in px of these micrographs, not of binned or other ones"
        )
    if outside:
        _log.warning("%s: %d places outside of %s are left out", path, outside, micrograph.name)
    return xy[inside]
