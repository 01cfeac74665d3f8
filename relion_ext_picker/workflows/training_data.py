"""What a training learns from and what it is measured on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from relion_ext_picker.options import TrainOptions
from relion_ext_picker.pickers.drpnet.network import REFERENCE_DIAMETER
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.simulation.procedural import PointCloud
from relion_ext_picker.training.batches import Source
from relion_ext_picker.training.patches import Labelled, MicrographSource
from relion_ext_picker.workflows.labelled import read_labelled, split
from relion_ext_picker.workflows.simulated_training import DRAWN, divided, fields

VALIDATION_FIELDS = 300
TEST_FIELDS = 60  # of each structure
VALIDATION_SIDE = 256
VALIDATION_SEED = 987_654
DENSITY_FIELDS = 400
BLANK_FIELDS = 120
BLANK_SIDE = 512  # of the order of a micrograph, since scores depend on what else there is in it
CANDIDATE_SIDE = 192
CANDIDATE_EMPTY = 0.25  # the second network sees more fields without a particle: rejecting is its task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What a training learns from and what it is measured on.

    Attributes
    ----------
    source : Source
        For the first network.
    candidates : Source
        For the second network.
    validation : list of Labelled
        Never trained on; the threshold and the calibration come from it.
    blank : list of Labelled
        Fields of noise alone, in which nothing should be picked; may be none.
    density : float
        Particles per square of the diameter in what the last network learns from.
    told : dict
        For the model card.
    test : mapping of list of Labelled
        What nothing was decided on, by structure.
    clouds : sequence of PointCloud
        Simulated particles besides the procedural ones.
    """

    source: Source
    candidates: Source
    validation: list[Labelled]
    blank: list[Labelled]
    density: float
    told: dict[str, object]
    test: Mapping[str, list[Labelled]] = field(default_factory=dict)
    clouds: Sequence[PointCloud] = ()


def simulated(options: TrainOptions) -> Data:
    """Simulated particles without end, validation and test on structures that are not among them.

    Raises
    ------
    InputError
        See :func:`~relion_ext_picker.workflows.simulated_training.divided`.
    """
    seed = VALIDATION_SEED + options.seed
    structures = divided(options.structures, options.seed)
    training = tuple(structures.training.values())
    candidates = FieldSource(REFERENCE_DIAMETER, CANDIDATE_SIDE, training, empty=CANDIDATE_EMPTY, **DRAWN)
    counts = [len(item.xy) for item in fields(candidates, seed + 2, DENSITY_FIELDS)]
    known = tuple(structures.validation.values())
    held_out = FieldSource(REFERENCE_DIAMETER, VALIDATION_SIDE, known, procedural=0, **DRAWN)
    tests = {
        name: FieldSource(REFERENCE_DIAMETER, VALIDATION_SIDE, (cloud,), procedural=0, **DRAWN)
        for name, cloud in structures.test.items()
    }
    return Data(
        source=FieldSource(REFERENCE_DIAMETER, clouds=training, **DRAWN),
        candidates=candidates,
        validation=fields(held_out, seed, VALIDATION_FIELDS),
        blank=fields(FieldSource(REFERENCE_DIAMETER, BLANK_SIDE, empty=1.0, soiled=False), seed + 1, BLANK_FIELDS),
        density=float(np.mean(counts)) * (REFERENCE_DIAMETER / CANDIDATE_SIDE) ** 2,
        told=structures.told(),
        test={name: fields(source, seed + 3, TEST_FIELDS) for name, source in tests.items()},
        clouds=training,
    )


def from_coordinates(options: TrainOptions, picker: DefaultPicker) -> Data:
    """The user's micrographs, some of them held out.

    Raises
    ------
    InputError
        See :func:`~relion_ext_picker.workflows.labelled.read_labelled`.
    """
    training, validation = split(read_labelled(options, picker), options.validation, options.seed)
    told: dict[str, object] = {
        "data": f"{options.in_coords}, {sum(len(item.xy) for item in training)} particles, {options.diameter:g} Å",
        "training_micrographs": [item.name for item in training],
        "validation_micrographs": [item.name for item in validation],
    }
    _log.info("training on %d micrographs, validating on %d", len(training), len(validation))
    source = MicrographSource(training)
    area = sum(item.frame.values.size for item in training) / REFERENCE_DIAMETER**2
    density = sum(len(item.xy) for item in training) / area
    return Data(source, source, validation, [], density, told)
