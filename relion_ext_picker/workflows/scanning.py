"""What a picking job of the DeepEM mode may change of how micrographs are scanned, and its advice."""

from __future__ import annotations

import logging
import math
import re

from relion_ext_picker.errors import InputError
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.deepem.exact import Scan, StdWindow
from relion_ext_picker.pickers.deepem.paper import PaperDeepEM

ABSOLUTE = "abs:"
_NUMBER = r"([0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)"

_log = logging.getLogger(__name__)


def std_window(text: str) -> StdWindow:
    """The value of --std-window: "0.6-1.4" in units of the median, "abs:22-34" in grey values, or the usual one.

    Raises
    ------
    InputError
        It is something else, or empty as an interval.
    """
    if not text:
        return Scan().spread
    relative = not text.startswith(ABSOLUTE)
    found = re.fullmatch(f"{_NUMBER}-{_NUMBER}", text.removeprefix(ABSOLUTE).strip(), re.IGNORECASE)
    if not found or float(found[1]) >= float(found[2]):
        raise InputError(
            f"--std-window {text}: must be LOW-HIGH, in units of the median window of the micrograph (0.6-1.4), or "
            f"{ABSOLUTE}LOW-HIGH in its grey values ({ABSOLUTE}22-34), LOW below HIGH"
        )
    return StdWindow(float(found[1]), float(found[2]), relative)


def scanning(picker: Picker, options: PickOptions, pixel_size: float) -> Picker:
    """The picker with the --step, --std-window and --maxima that are asked for.

    Parameters
    ----------
    picker : Picker
    options : PickOptions
    pixel_size : float
        Å/px of the micrograph that is to be scanned.

    Raises
    ------
    InputError
        One of them was given for a picker that scans no windows, or cannot be.
    """
    given = {
        "--step": options.step > 0, "--std-window": bool(options.std_window), "--maxima": options.maxima != "two-pass"
    }  # fmt: skip
    if not any(given.values()):
        return picker
    if not isinstance(picker, PaperDeepEM):
        flag = next(name for name, value in given.items() if value)
        raise InputError(f"{flag}: only the published presets of --mode deepem judge windows one by one; leave it out")
    reference = picker.card.reference_diameter
    unit = options.diameter / reference if reference else pixel_size  # Å per px of what the network sees
    step = max(1, math.floor(options.step / unit + 0.5)) if options.step > 0 else picker.scan.step
    return picker.with_scan(Scan(step, std_window(options.std_window)), greedy=options.maxima == "greedy")


def advise(options: PickOptions) -> None:
    """Say in run.out that the general model of the DeepEM mode is no more than a beginning."""
    if options.mode == "deepem" and not options.model:
        micrographs = f"--in_mics {options.in_mics}" if options.in_mics else f"--mics {options.mics}"
        _log.info(
            "this is the general DeepEM model, made for a first look: one that is trained on your own picks is "
            "expected to do better. Pick about ten micrographs by hand, then: relion_ext_picker train --mode deepem %s "
            "--in_coords PICKS --diameter %g --o DIR, and pick with --model DIR/model.safetensors",
            micrographs, options.diameter,
        )  # fmt: skip
