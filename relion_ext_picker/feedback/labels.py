"""Which picks are particles and which are not, from what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.evaluation.classes2d import ClassVerdict
from relion_ext_picker.feedback.join import Places
from relion_ext_picker.image.peaks import thin

FEWEST = 5  # particles of a micrograph that say what is usual there
TO_DEVIATION = 1.4826  # of the median distance from the median, for a normal distribution


class Label(IntEnum):
    """What is known of a particle."""

    FALSE = 0
    TRUE = 1
    RARE = 2  # in a class that is small and well resolved: perhaps a rare view, so it teaches nothing
    OPEN = 3  # nobody knows


@dataclass(frozen=True)
class LabelRule:
    """When a particle is taken for what its class is.

    Attributes
    ----------
    shift : float
        A particle of a good class further from its pick than this is open: it may belong to a neighbour. In diameters.
    pmax : float
        A particle of a good class that is less sure of its class and orientation than this is open.
    same : float
        True particles closer than this are one, and false ones closer than this to a true one are open. In diameters.
    doubt : float
        A particle of a bad class is false only if it scores less than this share of the true ones.
    excess : float
        A particle of a good class is true only if its :func:`excess` is below this, one of a bad class false only if it
        is above 0.
    """

    shift: float = 0.3
    pmax: float = 0.0
    same: float = 0.5
    doubt: float = 0.1
    excess: float = 1.0


@dataclass(frozen=True)
class Evidence:
    """What is known of each particle besides its class; NaN where it is not.

    Attributes
    ----------
    score : ndarray, shape (n,)
        Of its pick.
    excess : ndarray, shape (n,)
        See :func:`excess`.
    """

    score: NDArray[np.float64]
    excess: NDArray[np.float64]


def excess(likelihood: NDArray[np.float64], micrograph: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much more likely than the others of its micrograph RELION calls each particle image, in robust deviations.

    RELION scales each image by the noise around the particle. Dirt or another particle beside it makes that larger and
    what is left inside smaller, so that the image seems *better* explained than others: an aggregate, the edge of a
    crystal. Where particles are alone, such images are rare, and what the classes say of them is seldom right.

    Parameters
    ----------
    likelihood : ndarray, shape (n,)
        Contribution to the logarithm of the likelihood (RELION's rlnLogLikeliContribution).
    micrograph : ndarray, shape (n,), int

    Returns
    -------
    ndarray, shape (n,)
        NaN on micrographs with fewer than `FEWEST` particles.
    """
    found = np.full(len(likelihood), np.nan)
    for index in np.unique(micrograph):
        here = np.flatnonzero((micrograph == index) & np.isfinite(likelihood))
        if len(here) < FEWEST:
            continue
        away = likelihood[here] - np.median(likelihood[here])
        spread = TO_DEVIATION * float(np.median(np.abs(away)))
        if spread > 0:
            found[here] = away / spread
    return found


def second_look(label: NDArray[np.int64], evidence: Evidence, rule: LabelRule) -> NDArray[np.int64]:
    """Labels without those that something else known of the particle speaks against: these are open.

    A large bad class gathers what found no better one, particles among it: false are only those that the picker doubted
    as well, that score less than a share of the true ones (:attr:`LabelRule.doubt`). A good class gathers what looks
    like a particle, members of aggregates among it: true are only those whose surroundings are like
    those of others. The picker is not asked about these: what it doubts is what it must learn.

    Parameters
    ----------
    label : ndarray, shape (n,)
    evidence : Evidence
        Where something is not known it changes nothing.
    rule : LabelRule
    """
    true, false = label == Label.TRUE, label == Label.FALSE
    scored = evidence.score[true & np.isfinite(evidence.score)]
    sure = evidence.score >= np.quantile(scored, rule.doubt) if len(scored) else np.zeros(len(label), np.bool_)
    against = false & (sure | (evidence.excess <= 0))
    against |= true & (evidence.excess >= rule.excess)
    return np.where(against, int(Label.OPEN), label)


def agreement(label: NDArray[np.int64], score: NDArray[np.float64]) -> float | None:
    """How often a true particle scores higher than a false one, 0..1, ties counted half; None without both."""
    true, false = (np.sort(score[(label == which) & np.isfinite(score)]) for which in (Label.TRUE, Label.FALSE))
    if not len(true) or not len(false):
        return None
    below = np.searchsorted(false, true, "left") + np.searchsorted(false, true, "right")
    return float(below.mean() / 2 / len(false))


@dataclass(frozen=True)
class Earlier:
    """Marks that the model which picked has learnt from.

    Attributes
    ----------
    micrograph : ndarray, shape (k,), int
        Index of the micrograph.
    xy : ndarray, shape (k, 2)
        px of the micrograph.
    particle : ndarray of bool, shape (k,)
    """

    micrograph: NDArray[np.int64]
    xy: NDArray[np.float64]
    particle: NDArray[np.bool_]


def reconciled(
    label: NDArray[np.int64], places: Places, earlier: Earlier, reach: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels after a look at those of the rounds before, and which of these are taken back.

    Classes call particles false when they find no better one, and the same ones again in every round. What a model
    picks although it has learnt that it is none is doubtful: where such a pick is false once more it is open, and
    either way the earlier mark is taken back. Where an earlier round said particle, it is open too. True ones stay
    true.

    Parameters
    ----------
    label : ndarray, shape (n,)
    places : Places
    earlier : Earlier
    reach : ndarray, shape (number of micrographs,)
        Closer than this, px of each micrograph, marks speak of the same place.

    Returns
    -------
    label : ndarray, shape (n,), int
    withdrawn : ndarray of bool, shape (k,)
    """
    label = label.copy()
    withdrawn = np.zeros(len(earlier.xy), np.bool_)
    for index in np.unique(earlier.micrograph):
        before = np.flatnonzero(earlier.micrograph == index)
        false = before[~earlier.particle[before]]
        here = np.flatnonzero((places.micrograph == index) & np.isin(label, (Label.TRUE, Label.FALSE)))
        if not len(here):
            continue
        where = np.where((label[here] == Label.TRUE)[:, None], places.centre[here], places.extracted[here])
        if len(false):
            withdrawn[false] = cKDTree(where).query(earlier.xy[false])[0] < reach[index]
        known = cKDTree(earlier.xy[before]).query(where)[0] < reach[index]
        label[here[known & (label[here] == Label.FALSE)]] = Label.OPEN
    return label, withdrawn


def labels_of_classes(verdict: ClassVerdict, class_number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label of each particle by its class, shape (n,); particles without a class (0) are open."""
    of_class = np.where(verdict.good, Label.TRUE, np.where(verdict.rare, Label.RARE, Label.FALSE))
    of_class = np.where(verdict.unsure, Label.OPEN, of_class)
    return np.concatenate([[int(Label.OPEN)], of_class]).astype(np.int64)[class_number]


def settled(
    label: NDArray[np.int64], places: Places, sure: NDArray[np.float64], diameter: NDArray[np.float64], rule: LabelRule
) -> NDArray[np.int64]:
    """Labels without those that contradict each other or are not certain.

    Parameters
    ----------
    label : ndarray, shape (n,)
        Of every particle.
    places : Places
    sure : ndarray, shape (n,), float64
        Probability of class and orientation; NaN where it is not known.
    diameter : ndarray, shape (n,), float64
        Of the particle, px of its micrograph.
    rule : LabelRule

    Returns
    -------
    ndarray, shape (n,), int
    """
    label = label.copy()
    shift = np.hypot(*(places.centre - places.extracted).T)
    label[(label == Label.TRUE) & ((shift > rule.shift * diameter) | (sure < rule.pmax))] = Label.OPEN
    for index in np.unique(places.micrograph):
        here = np.flatnonzero(places.micrograph == index)
        reach = rule.same * float(diameter[here[0]])
        true = here[label[here] == Label.TRUE]
        if not len(true):
            continue
        kept = true[thin(places.centre[true], np.nan_to_num(sure[true], nan=0.0), reach)]
        label[np.setdiff1d(true, kept)] = Label.OPEN
        false = here[label[here] == Label.FALSE]
        if len(false):
            distance, _ = cKDTree(places.centre[kept]).query(places.extracted[false], distance_upper_bound=reach)
            label[false[np.isfinite(distance)]] = Label.OPEN
    return label
