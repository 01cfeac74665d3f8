"""Marks of a training set that feedback takes back, because the rounds disagree on them."""

from __future__ import annotations

import logging
from pathlib import Path

from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.training.windows import distance_to
from relion_ext_picker.workflows.training_marks import Reading
from relion_ext_picker.workflows.training_set import VERIFIED, Set

WITHDRAWN = "withdrawn.star"  # coordinates beside the file of --add-true
VERY_SAME = 1.0  # px: how far a stored place may be from the mark that it means

_log = logging.getLogger(__name__)


def without_withdrawn(found: Set, options: TrainOptions, reading: Reading) -> Set:
    """A training set without the verified negatives that lie in :data:`WITHDRAWN`; what a person picked stays.

    Parameters
    ----------
    found : Set
        What was learnt from so far.
    options : TrainOptions
        The file is looked for beside that of `add_true`.
    reading : Reading
    """
    path = Path(options.add_true).parent / WITHDRAWN
    if not options.add_true or not path.is_file():
        return found
    kept, lost = dict(found), 0
    for name, places in read_coordinate_set(path, reading.micrographs).items():
        if name in found:
            marks = found[name]
            back = (distance_to(places.xy, marks.xy) < VERY_SAME) & (marks.source == VERIFIED) & ~marks.particle
            kept[name], lost = marks.only(~back), lost + int(back.sum())
    _log.info("%s: %d marks of earlier rounds are taken back", path, lost)
    return kept
