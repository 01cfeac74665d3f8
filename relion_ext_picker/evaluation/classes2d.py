"""Which 2D classes are good, and how many particles are in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.types import ClassTable


@dataclass(frozen=True)
class GoodClassRule:
    """When a class counts as good.

    A class average of particles shows detail; one of noise or of dirt does not, or only few images are in it. Neither
    alone decides: small classes fit their own noise and so seem well resolved.

    Attributes
    ----------
    resolution : float
        A good class is resolved better than this, in Å; 0 takes `relative` instead.
    relative : float
        A good class is resolved better than this many times what the best-resolved tenth of the particles reaches. A
        single class says little: a small one fits its own noise, and which one is best is chance.
    share : float
        A good class holds more than this share of the particles.
    score : float
        Where a class ranker has judged the classes, its score from which a class is good, and nothing else counts.
    """

    resolution: float = 0.0
    relative: float = 1.3
    share: float = 0.01
    score: float = 0.5

    #: A class that misses the limit by less than this factor is neither good nor bad.
    MARGIN: ClassVar[float] = 1.15

    #: Share of the particles in resolved classes whose resolution sets the limit.
    BEST: ClassVar[float] = 0.1


@dataclass(frozen=True)
class ClassVerdict:
    """Which classes are good, and why.

    Attributes
    ----------
    good : ndarray, shape (k,), bool
    rare : ndarray, shape (k,), bool
        Not good for its size alone: as well resolved as a good class, but with few particles. It may be a rare view.
    unsure : ndarray, shape (k,), bool
        Not good, but so close to the limit that it is not bad either; none where a person chose.
    limit : float
        Å (or the score, or 0.5) that decided.
    by : str
        "resolution", "score" or "selection".
    """

    good: NDArray[np.bool_]
    rare: NDArray[np.bool_]
    unsure: NDArray[np.bool_]
    limit: float
    by: str


@dataclass(frozen=True)
class ClassCounts:
    """Numbers of good classes and of the particles in them.

    Attributes
    ----------
    classes, good_classes : int
        Classes that hold particles, and the good ones.
    particles, good_particles : int
    share_classes, share_particles : float
        0 where there are none.
    """

    classes: int
    good_classes: int
    particles: int
    good_particles: int

    @property
    def share_classes(self) -> float:
        """Share of the classes that is good."""
        return self.good_classes / self.classes if self.classes else 0.0

    @property
    def share_particles(self) -> float:
        """Share of the particles that is in good classes."""
        return self.good_particles / self.particles if self.particles else 0.0


def judge_classes(
    classes: ClassTable, rule: GoodClassRule | None = None, selection: NDArray[np.bool_] | None = None
) -> ClassVerdict:
    """Which classes are good: chosen by a person, or by the class ranker's score, or by resolution and share.

    Parameters
    ----------
    classes : ClassTable
    rule : GoodClassRule
    selection : ndarray, shape (k,), bool, or None
        A person's choice; then it decides alone.

    Raises
    ------
    ValueError
        The selection is of another number of classes.
    """
    rule = rule or GoodClassRule()
    limit = _limit(classes, rule)
    resolved = _better(classes, limit)
    close = np.zeros(len(classes), np.bool_)
    if selection is not None:
        if len(selection) != len(classes):
            raise ValueError(f"a selection of {len(selection)} classes for {len(classes)}")
        good, decided, by = np.asarray(selection, np.bool_), 0.5, "selection"
    elif classes.score is not None:
        good, decided, by = classes.score >= rule.score, rule.score, "score"
        close = ~good & (classes.score >= rule.score / rule.MARGIN)
    else:
        good, decided, by = resolved & (classes.distribution > rule.share), limit, "resolution"
        close = ~resolved & _better(classes, limit * rule.MARGIN)
    rare = resolved & ~good & (classes.distribution <= rule.share)
    return ClassVerdict(good, rare, close & ~rare, float(decided), by)


def _limit(classes: ClassTable, rule: GoodClassRule) -> float:
    """Å that a good class must be resolved better than; 0 where no class can be good."""
    if rule.resolution > 0:
        return rule.resolution
    resolved = np.flatnonzero(_better(classes, np.inf))
    if not len(resolved):
        return 0.0
    order = resolved[np.argsort(classes.resolution[resolved], kind="stable")]
    share = np.cumsum(classes.distribution[order])
    return rule.relative * float(classes.resolution[order[np.searchsorted(share, rule.BEST * share[-1])]])


def _better(classes: ClassTable, limit: float) -> NDArray[np.bool_]:
    """Which classes are resolved better than a limit in Å."""
    resolution = np.nan_to_num(classes.resolution, nan=np.inf)
    return np.asarray((resolution < limit) & (resolution > 0), np.bool_)


def count_good(verdict: ClassVerdict, class_number: NDArray[np.int64]) -> ClassCounts:
    """Numbers of good classes and particles.

    Parameters
    ----------
    verdict : ClassVerdict
    class_number : ndarray, shape (n,), int
        Class of every particle, from 1; 0 is none.

    Raises
    ------
    ValueError
        A particle is in a class that the verdict does not know.
    """
    count = np.bincount(class_number, minlength=len(verdict.good) + 1)
    if len(count) > len(verdict.good) + 1:
        raise ValueError(f"a particle is in class {len(count) - 1}, but there are {len(verdict.good)} classes")
    count = count[1:]
    used = count > 0
    return ClassCounts(
        int(used.sum()), int((used & verdict.good).sum()), int(count.sum()), int(count[verdict.good].sum())
    )
