"""--diameter auto: the particle diameter of a picking job, estimated once and kept in the job."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from relion_ext_picker.errors import InputError, PickerError
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import AUTO_DIAMETER, PickOptions
from relion_ext_picker.pickers.size import Size, estimate_size
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.models import load_picker

NAME = "diameter.json"
LOOKED_AT = 3  # micrographs

_log = logging.getLogger(__name__)


def check_size(options: PickOptions, preset: str) -> None:
    """Refuse --diameter auto for published presets; `preset` is that of the model. Raises InputError."""
    if options.diameter == AUTO_DIAMETER and preset != "default":
        raise InputError(f"--diameter auto: only default presets estimate it, not {preset}; give the diameter in Å")


def with_diameter(
    job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph], device: torch.device
) -> PickOptions:
    """The options with the particle's diameter, which is estimated where --diameter is auto.

    The shipped DRPnet model judges in every mode: its scores hold at other sizes than the particle's as well. A job
    that is continued takes the diameter that it has.

    Parameters
    ----------
    job : JobDirectory
    options : PickOptions
    micrographs : sequence of Micrograph
    device : torch.device

    Raises
    ------
    InputError
        Nothing looks like a particle, or no micrograph can be read.
    JobAborted
        RELION asked for it.
    """
    if options.diameter != AUTO_DIAMETER:
        return options
    path = job.path / NAME
    if path.is_file():
        found = Size(**json.loads(path.read_text(encoding="utf-8")))
    else:
        found = _estimated(job, options, micrographs, device)
        job.write(NAME, lambda file: Path(file).write_text(json.dumps(asdict(found)) + "\n", encoding="utf-8"))
    doubt = "" if found.sure else "; this is not sure: look at logfile.pdf, and give --diameter if it is wrong"
    _log.info(
        "particle diameter: %.0f Å; from %.0f to %.0f Å would do nearly as well%s", found.diameter, found.low,
        found.high, doubt,
    )  # fmt: skip
    return replace(options, diameter=round(found.diameter, 1))


def _estimated(
    job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph], device: torch.device
) -> Size:
    alike = [item for item in micrographs if item.pixel_size == micrographs[0].pixel_size]
    places = np.unique(np.linspace(0, len(alike) - 1, min(LOOKED_AT, len(alike))).round().astype(int))
    images: list[Array] = []
    for place in places:
        try:
            images.append(read_micrograph(Path(alike[place].name)))
        except (PickerError, OSError) as error:
            _log.warning("not looked at: %s", error)
    if not images:
        raise InputError("--diameter auto: the micrographs that were to be looked at cannot be read; give --diameter")
    _log.info("--diameter auto: looking for particles of any size in %d micrographs", len(images))
    judge = load_picker("drpnet", "default", "", device, views=1)
    bright = options.contrast == "bright"
    found = estimate_size(judge, images, micrographs[0].pixel_size, bright, job.check_abort)
    if not found.diameter > 0:
        raise InputError(
            f"--diameter auto: nothing in {len(images)} micrographs looks like particles of any size: give the "
            f"diameter in Å, and check that --contrast {options.contrast} is right"
        )
    return found
