"""The training set of the DeepEM mode: which places of which micrographs are particles and which are not.

It is kept beside the model as training_set.star, so that a later job can add to it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.errors import InputError, StarError
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.tables import read_tables, write_table
from relion_ext_picker.types import Array, Micrograph

NAME = "training_set.star"
PICKED, VERIFIED, RANDOM = "picked", "verified", "random"  # where a mark comes from
SAME = 0.2  # diameters: marks closer than this mean the same place
FEWEST = 20  # particles to train on
FEW = 100  # from here on training is expected to work well
FOLDS, MANY = 5, 20  # parts of a cross-validation, and micrographs from whose number on some are held out instead

LABEL, ROUND, SOURCE, PART = "pickerLabel", "pickerRound", "pickerSource", "pickerPart"
_COLUMNS = (labels.MICROGRAPH_NAME, labels.COORDINATE_X, labels.COORDINATE_Y, LABEL, ROUND, SOURCE, PART)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Marks:
    """Marked places of one micrograph.

    Attributes
    ----------
    micrograph : Micrograph
    xy : ndarray, shape (n, 2), float32
        px of the micrograph.
    particle : ndarray of bool, shape (n,)
    round : ndarray of int, shape (n,)
        Round of training that they were added for, from 1.
    source : ndarray of str, shape (n,)
        "picked" (all particles of the micrograph are), "verified" or "random".
    part : int
        Part of the set that the micrograph belongs to, from 1: models are tested on a part that they were not trained
        on. 0 where it is trained on always.
    held_out : bool
        The micrograph is not trained on, see :func:`hold_out`.
    """

    micrograph: Micrograph
    xy: Array
    particle: NDArray[np.bool_]
    round: NDArray[np.int64]
    source: NDArray[np.str_]
    part: int = 0
    held_out: bool = False

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def complete(self) -> bool:
        """Whether what is not marked is no particle either."""
        return bool((self.source == PICKED).any())

    @property
    def particles(self) -> Array:
        """Places of the particles."""
        return self.xy[self.particle]

    def only(self, which: NDArray[np.bool_]) -> Marks:
        """Some of the marks."""
        return replace(
            self, xy=self.xy[which], particle=self.particle[which], round=self.round[which], source=self.source[which]
        )

    def plus(self, other: Marks, reach: float = 0.0) -> Marks:
        """These and others; where two are closer than `reach` px, the other one counts, and equal ones count once."""
        mine, theirs = np.ones(len(self), bool), np.ones(len(other), bool)
        if reach > 0 and len(self) and len(other):
            distance, nearest = cKDTree(self.xy).query(other.xy, distance_upper_bound=reach)
            close = np.isfinite(distance)
            known = close & (other.particle == self.particle[np.minimum(nearest, len(self) - 1)])
            theirs = ~known
            mine[nearest[close & ~known]] = False
        kept, added = self.only(mine), other.only(theirs)
        return replace(
            self,
            xy=np.concatenate([kept.xy, added.xy]),
            particle=np.concatenate([kept.particle, added.particle]),
            round=np.concatenate([kept.round, added.round]),
            source=np.concatenate([kept.source, added.source]),
        )


Set = dict[str, Marks]  # by name of the micrograph


def marks_of(micrograph: Micrograph, xy: Array, particle: bool, number: int, source: str) -> Marks:
    """Marks that are alike, of round `number`."""
    xy = np.asarray(xy, np.float32).reshape(-1, 2)
    count = len(xy)
    return Marks(micrograph, xy, np.full(count, particle), np.full(count, number, np.int64), np.full(count, source))


def reach_of(micrograph: Micrograph, diameter: float) -> float:
    """Distance in px below which two marks mean the same place; `diameter` in Å."""
    return SAME * diameter / micrograph.pixel_size


def parts_of(found: Set) -> int:
    """Number of parts: 1 where some micrographs are held out for good, more for cross-validation."""
    return max((marks.part for marks in found.values()), default=0)


def hold_out(found: Set, part: int) -> Set:
    """The same set with one part held out; 0 holds none out."""
    return {name: replace(marks, held_out=0 < marks.part == part) for name, marks in found.items()}


def join(first: Mapping[str, Marks], second: Mapping[str, Marks], diameter: float) -> Set:
    """Two sets as one; see :meth:`Marks.plus`. What is held out stays so."""
    joined = dict(first)
    for name, marks in second.items():
        known = joined.get(name)
        joined[name] = marks if known is None else known.plus(marks, reach_of(marks.micrograph, diameter))
    return joined


def divided(found: Set, options: TrainOptions) -> Set:
    """The micrographs in parts, unless they are already.

    Raises
    ------
    InputError
        All picks are on one micrograph, or too few.
    """
    names = sorted(name for name, marks in found.items() if marks.complete and len(marks.particles))
    where = options.in_coords or f"{Path(options.model).parent}/{NAME}"
    if len(names) < 2:
        count = sum(len(found[name].particles) for name in names)
        raise InputError(
            f"{where}: all {count} picks that can be used are on {len(names)} micrograph; training needs picks on 2 at "
            "least, one of them to validate on: pick on more micrographs"
        )
    order = [names[index] for index in np.random.default_rng(options.seed).permutation(len(names))]
    parts = parts_of(found) or min(options.folds or _folds(options, len(names)), len(names))
    if parts > 1:
        new = [name for name in order if not found[name].part]
        own = {name: index % parts + 1 for index, name in enumerate(new)}
    elif any(found[name].part for name in names):
        own = {}
    else:
        own = dict.fromkeys(order[: min(max(1, round(options.validation * len(names))), len(names) - 1)], 1)
    found = {name: replace(marks, part=own.get(name, marks.part)) for name, marks in found.items()}
    found = hold_out(found, 1 if parts == 1 else 0)
    count = sum(len(marks.particles) for marks in found.values() if not marks.held_out)
    held = sum(found[name].held_out for name in names)
    if count < FEWEST:
        raise InputError(
            f"{where}: {count} particles to train on"
            + (f" (those on the {held} held-out micrographs not counted)" if held else "")
            + f"; training needs {FEWEST} at least, and {FEW} are a good start: pick more"
        )
    if count < FEW:
        _log.warning("%s: only %d particles to train on; from %d on the picks get much better", where, count, FEW)
    return found


def _folds(options: TrainOptions, micrographs: int) -> int:
    """Parts where the user does not say: where micrographs are few, one of them says little of the others.

    The published networks take long to train, and a screen trains many.
    """
    return FOLDS if options.preset == "default" and not options.tune and micrographs <= MANY else 1


def limited(found: Set, most: int, seed: int) -> Set:
    """At most `most` particles and as many random places to train on, drawn over all micrographs; 0 keeps all.

    What is held out stays as it is.
    """
    if not most:
        return found
    rng = np.random.default_rng(seed)
    kept = {name: np.ones(len(marks), bool) for name, marks in found.items()}
    for particle in (True, False):
        places = [
            (name, int(index))
            for name, marks in found.items()
            if not marks.held_out
            for index in np.flatnonzero((marks.particle == particle) & (marks.source != VERIFIED))
        ]
        for index in rng.permutation(len(places))[most:]:
            name, place = places[index]
            kept[name][place] = False
    return {name: marks.only(kept[name]) for name, marks in found.items()}


def write_set(path: Path, found: Iterable[Marks]) -> None:
    """Write training_set.star: one row per mark."""
    rows: dict[str, list[object]] = {column: [] for column in _COLUMNS}
    for marks in found:
        values: tuple[Iterable[object], ...] = (
            [marks.micrograph.name] * len(marks), marks.xy[:, 0], marks.xy[:, 1], marks.particle.astype(int),
            marks.round, marks.source, [marks.part] * len(marks),
        )  # fmt: skip
        for column, column_values in zip(_COLUMNS, values, strict=True):
            rows[column] += list(column_values)
    write_table(path, "training_set", rows)


def read_set(path: Path, micrographs: Sequence[Micrograph]) -> Set:
    """Read what :func:`write_set` wrote; marks on micrographs that are not given are left out with a warning.

    Raises
    ------
    StarError
        It is another kind of file.
    """
    known = {micrograph.name: micrograph for micrograph in micrographs}
    (table,) = read_tables(path, (labels.MICROGRAPH_NAME, SOURCE)).values()
    missing = [column for column in _COLUMNS if column not in table]
    if missing:
        raise StarError(f"{path}: no column {missing[0]}: it is not the training set of a model of this program")
    names = np.array(table[labels.MICROGRAPH_NAME], np.str_)
    xy = np.array([table[labels.COORDINATE_X], table[labels.COORDINATE_Y]], np.float32).T
    particle, part = np.array(table[LABEL], bool), np.array(table[PART], np.int64)
    number, source = np.array(table[ROUND], np.int64), np.array(table[SOURCE], np.str_)
    found, lost = {}, 0
    for name in dict.fromkeys(names.tolist()):
        here = names == name
        if name not in known:
            lost += int(here.sum())
            continue
        found[name] = Marks(known[name], xy[here], particle[here], number[here], source[here], int(part[here][0]))
    if lost:
        _log.warning(
            "%s: %d of %d marks are on micrographs that were not given and are left out", path, lost, len(names)
        )
    return found
