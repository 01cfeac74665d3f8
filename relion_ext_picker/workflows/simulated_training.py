"""What general models learn from and what they are tested on: simulated particles, divided by structure.

Training: procedural particles without end, and those of the user's structures that fall to it. Validation and test:
hand-made structures, and the rest of the user's. No structure is in two of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.clouds import structure_cloud
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.simulation.procedural import PointCloud
from relion_ext_picker.simulation.structures import ATOMIC_FILES, MAP_FILES
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.types import Grid, ScoreMap

VALIDATION, TEST = ("20s", "bgal", "small"), ("apoferritin", "klh", "ribosome", "trpv1")  # hand-made structures
SHARE = 0.2  # of the user's structures for validation, and as many for the test
DRAWN: Mapping[str, Any] = {"snr": (0.004, 3.0), "in_contact": 0.1, "facets": True}  # of simulated fields
FEWEST = 3  # structures that can be divided; fewer are all learnt from

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Divided:
    """Structures by what they are for; procedural ones beside those in `training`.

    Attributes
    ----------
    training, validation, test : mapping of PointCloud
        By name.
    """

    training: Mapping[str, PointCloud]
    validation: Mapping[str, PointCloud]
    test: Mapping[str, PointCloud]

    def told(self) -> dict[str, object]:
        """For the model card."""
        kinds = "simulated fields of procedural particles"
        files = f" and of {', '.join(self.training)}" if self.training else ""
        return {
            "data": kinds + files,
            "validation_structures": list(self.validation),
            "test_structures": list(self.test),
        }


def divided(folder: str, seed: int) -> Divided:
    """Structures to learn from, to validate on and to test on.

    Parameters
    ----------
    folder : str
        With atomic models and density maps; empty for none.
    seed : int
        Decides which of them are held out.

    Raises
    ------
    InputError
        The folder holds no structure, or one that cannot be read.
    """
    files = _files(folder) if folder else []
    order = [files[i] for i in np.random.default_rng(seed).permutation(len(files))]
    held = max(1, round(SHARE * len(files))) if len(files) >= FEWEST else 0
    parts = (order[2 * held :], order[:held], order[held : 2 * held])
    training, validation, test = ({path.name: structure_cloud(str(path)) for path in sorted(part)} for part in parts)
    hand_made = [{name: structure_cloud(name) for name in names} for names in (VALIDATION, TEST)]
    found = Divided(training, hand_made[0] | validation, hand_made[1] | test)
    also = f", {', '.join(training)}" if training else ""
    _log.info("structures to learn from: procedural ones%s", also)
    _log.info("held out for validation: %s; for the test: %s", ", ".join(found.validation), ", ".join(found.test))
    return found


def _files(folder: str) -> list[Path]:
    home = Path(folder)
    if not home.is_dir():
        raise InputError(f"--structures {folder}: no such folder; give one with atomic models or density maps")
    endings = (*ATOMIC_FILES, *(f"{suffix}.gz" for suffix in ATOMIC_FILES), *MAP_FILES)
    found = sorted(path for path in home.iterdir() if path.name.lower().endswith(endings) and path.is_file())
    if not found:
        raise InputError(f"--structures {folder}: holds none of {', '.join(endings)}; put structures there")
    return found


def fields(source: FieldSource, seed: int, count: int) -> list[Labelled]:
    """The first fields of a source, as prepared micrographs."""
    draw = source.draws(seed)
    drawn = [draw() for _ in range(count)]
    return [Labelled(f"field {index}", ScoreMap(image, Grid()), xy) for index, (image, xy) in enumerate(drawn)]
