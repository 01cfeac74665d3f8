"""Parameters of the published DRPnet: the text's and the authors' parameter files', as named sets.

Lengths are px of the reduced image (see :func:`.paper_image.scale_factors`), grey levels 0..255 of the micrograph's own
strongest response, as the authors count them.
"""

from __future__ import annotations

from dataclasses import dataclass

from relion_ext_picker.errors import InputError

# The authors' boxes are 1.4 times the longest extent of their particle for EMPIAR-10017 (140 px of 1.77 Å, 180 Å) and
# EMPIAR-10061, and about 1.7 times for EMPIAR-10005 (192 px of 1.2156 Å, about 140 Å), the set they trained on.
BOX_PER_DIAMETER = 1.6


@dataclass(frozen=True)
class Detection:
    """How candidates are found in the response of the first network.

    Attributes
    ----------
    sigma : float
        Standard deviation of the last smoothing of the response, px of the reduced image ("sigma").
    prominence : float
        Grey levels, of 255, that a peak must rise above its surroundings at level 1 ("threshold").
    level : int
        Confidence level: the prominence asked for is `level` times `prominence`.
    """

    sigma: float
    prominence: float
    level: int = 1

    @property
    def height(self) -> float:
        """Prominence asked for, grey levels of 255."""
        return self.prominence * self.level


@dataclass(frozen=True)
class PaperSettings:
    """One set of parameters.

    Attributes
    ----------
    detect : Detection
        Candidates that are picked.
    positives, negatives : Detection
        Candidates of high and of low confidence, of which the second network learns without labels.
    cutoff : float
        A candidate is rejected when the second network calls it false with at least this probability.
    train_percentiles, predict_percentiles : (float, float)
        Share of candidates, in %, with the lowest mean and the lowest standard deviation that are no positives, or
        that are not picked.
    filter_candidates : bool
        Use `predict_percentiles`.
    negative_stain : bool
        Particles are brighter than their surroundings; the image is complemented.
    box_per_diameter : float
        Side of the box over the particle diameter.
    floor : float
        Smallest response of a candidate as a fraction of the response to a particle. Prominence is relative to the
        micrograph's own maximum, so without this a micrograph without particles would yield picks.
    edge : float
        Candidates nearer to the border than this many half boxes are left out.
    literal_shifts : bool
        Leave the half-px shifts of the authors' pooling and of their even smoothing kernel uncorrected.
    """

    detect: Detection
    positives: Detection
    negatives: Detection
    cutoff: float
    train_percentiles: tuple[float, float]
    predict_percentiles: tuple[float, float]
    filter_candidates: bool
    negative_stain: bool = False
    box_per_diameter: float = BOX_PER_DIAMETER
    floor: float = 0.25
    edge: float = 1.5
    literal_shifts: bool = False

    @property
    def threshold(self) -> float:
        """Probability of being a particle from which the second network keeps a candidate."""
        return min(0.5, 1.0 - self.cutoff)


# The text states detection levels per data set; those of EMPIAR-10005, on which the first network was trained, are
# taken as the general ones. (Those of EMPIAR-10017, with positives smoothed by 16 px and negatives that may well be
# particles, found 10 positives among 640 particles of another data set.) What the text leaves open is as in the
# authors' file for the same data.
PAPER = PaperSettings(
    detect=Detection(9, 5, 2),
    positives=Detection(9, 5, 3),
    negatives=Detection(9, 5, 1),
    cutoff=0.85,
    train_percentiles=(25, 15),
    predict_percentiles=(25, 25),
    filter_candidates=False,
)

# The authors' parameter files, those that train the second network and then pick.
SETTINGS: dict[str, PaperSettings] = {
    "paper": PAPER,
    "paper-10005": PaperSettings(
        detect=Detection(6, 3, 1),
        positives=Detection(6, 3, 1),
        negatives=Detection(6, 3, 1),
        cutoff=0.85,
        train_percentiles=(25, 15),
        predict_percentiles=(25, 25),
        filter_candidates=False,
    ),
    "paper-10017": PaperSettings(
        detect=Detection(4, 4, 1),
        positives=Detection(4, 4, 1),
        negatives=Detection(4, 4, 1),
        cutoff=0.975,
        train_percentiles=(5, 10),
        predict_percentiles=(15, 10),
        filter_candidates=True,
    ),
    "paper-10061": PaperSettings(
        detect=Detection(6, 3, 1),
        positives=Detection(6, 3, 1),
        negatives=Detection(6, 3, 1),
        cutoff=0.95,
        train_percentiles=(15, 1),
        predict_percentiles=(15, 1),
        filter_candidates=True,
    ),
}


@dataclass(frozen=True)
class FcrnTraining:
    """How the first network is trained; the defaults are the authors' but for `background`, `drop` and `literal_init`.

    Attributes
    ----------
    learning_rate, weight_decay : float
        Of Adam; the decay is an L2 penalty on the weights.
    batch : int
        Patches per step.
    patch : int
        Side of a patch, px of the image as the network sees it.
    background : float
        Share of patches cut anywhere instead of around a particle. The authors use none; a network that never saw ice,
        carbon or plain background responds to all of them.
    plain_labels : bool
        Distance transform as the text says, instead of its square, clipped, as the code does.
    drop : float
        Share of the steps after which the learning rate falls to a tenth. (The authors' drop is set so that it never
        comes.)
    literal_init : bool
        First weights N(0, 0.01) as in the authors' software. On simulated fields such a network still answers with one
        number after 1600 steps, whereas He's first weights learn at once.
    low_precision : bool
        Compute in bfloat16 where that is possible; for devices on which it is fast.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch: int = 16
    patch: int = 64
    background: float = 0.25
    plain_labels: bool = False
    drop: float = 0.8
    literal_init: bool = False
    low_precision: bool = False


@dataclass(frozen=True)
class ClassifierTraining:
    """How the second network is trained; the defaults are the authors' except `most`.

    Attributes
    ----------
    kernel, width : int
        Side and number of the first layer's filters: 11 x 11 x 16, or 9 x 9 x 8 in another copy of the authors' code.
    learning_rate : float
        Of Adam.
    batch, epochs : int
    validation : float
        Share of the patches kept to measure the accuracy.
    most : int
        At most this many patches per class, drawn at random, so that a CPU ends in minutes.
    least : int
        With fewer patches per class there is nothing to learn.
    """

    kernel: int = 11
    width: int = 16
    learning_rate: float = 5e-5
    batch: int = 8
    epochs: int = 5
    validation: float = 0.1
    most: int = 1000
    least: int = 10


def settings_of(preset: str) -> PaperSettings:
    """Parameters of a preset.

    Raises
    ------
    InputError
        No set of parameters has this name.
    """
    try:
        return SETTINGS[preset]
    except KeyError:
        raise InputError(f"preset {preset}: DRPnet as published has the presets {', '.join(SETTINGS)}") from None
