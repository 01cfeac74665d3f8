"""From what a DeepCryoPicker job keeps to the pages of its report on how it taught itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relion_ext_picker.errors import PickerError
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.deepcryopicker.classes import BACKGROUND, KINDS
from relion_ext_picker.pickers.deepcryopicker.find import Found
from relion_ext_picker.pickers.deepcryopicker.paper import PaperDeepCryoPicker
from relion_ext_picker.pickers.deepcryopicker.picker import DefaultDeepCryoPicker
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.report.overlay import make_overlay
from relion_ext_picker.report.teaching import Curve, Teaching
from relion_ext_picker.training.windows import far_places
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.deepcryopicker_candidates import kept_candidates

SHOWN = 28  # windows of each class
READ = 4  # micrographs that they come from, at most

_log = logging.getLogger(__name__)


def teaching_of(
    job: JobDirectory, options: PickOptions, micrographs: Sequence[Micrograph], picker: Picker
) -> Teaching | None:
    """What the report shows; None where the job has taught nothing, or nothing of it can be read.

    Parameters
    ----------
    job : JobDirectory
    options : PickOptions
        With the diameter that the job uses.
    micrographs : sequence of Micrograph
    picker : Picker
        The one that was trained.
    """
    if options.model or not isinstance(picker, (DefaultDeepCryoPicker, PaperDeepCryoPicker)):
        return None
    found = kept_candidates(job, options)
    mine = sorted((item for item in micrographs if item.name in found), key=lambda item: -found[item.name].good.sum())
    windows: dict[str, list[Array]] = {}
    shown: tuple[Micrograph, Array] | None = None
    rng = np.random.default_rng(options.seed)
    # The one with most good particles, and others: kinds may come from different micrographs.
    for item in [mine[place] for place in np.unique(np.linspace(0, len(mine) - 1, min(READ, len(mine))).astype(int))]:
        try:
            image = read_micrograph(Path(item.name))
        except PickerError as error:
            _log.warning("not in the report: %s", error)
            continue
        shown = shown or (item, image)
        for name, places in _windows(picker, options, (item, image), found[item.name], rng).items():
            windows.setdefault(name, []).append(places)
    if shown is None:
        return None
    item, image = shown
    each, size = found[item.name], options.diameter / item.pixel_size
    overlay = make_overlay(image, each.xy, each.quality, size, item.name, item.pixel_size)
    card = picker.card.provenance
    names = [name for name in picker.class_names if name in windows]
    examples = {name: np.concatenate(windows[name])[:SHOWN] for name in names}
    curves = [_curve(entry, int(card.get("every", 0))) for entry in card.get("trainings", [])]
    return Teaching(
        name=item.name, image=overlay.image, xy=overlay.xy, radius=each.radius * overlay.radius / (0.5 * size),
        kind=each.kind, good=each.good, facts=_facts(options, found, card), examples=examples, curves=curves,
        unit="step" if card.get("every") else "epoch",
    )  # fmt: skip


def _windows(
    picker: DefaultDeepCryoPicker | PaperDeepCryoPicker, options: PickOptions, pair: tuple[Micrograph, Array],
    found: Found, rng: np.random.Generator,
) -> dict[str, Array]:  # fmt: skip
    """Windows of good candidates, by the class that the network learned to put them in, and of places far from all."""
    item, image = pair
    frame = picker.prepare(image, item.pixel_size, options.diameter, bright=options.contrast == "bright")
    good = found.xy[found.good]
    number = picker.classes(frame, good)
    windows = {
        kind: picker.cut(frame, good[number == index][: SHOWN // 2])
        for index, kind in enumerate(KINDS, start=1) if (number == index).any()
    }  # fmt: skip
    diameter, shape = picker.card.reference_diameter, frame.values.shape
    places = np.stack(frame.grid.from_original(found.xy), axis=1)
    far = far_places(places, (shape[0], shape[1]), 0.8 * diameter, SHOWN // 4, rng)
    return {**windows, BACKGROUND: picker.cut(frame, frame.grid.to_original(*far.T))}


def _facts(options: PickOptions, found: Mapping[str, Found], card: Mapping[str, Any]) -> list[tuple[str, str]]:
    everything = sum(len(each) for each in found.values())
    good = np.concatenate([each.kind[each.good] for each in found.values()])
    methods = [each.method for each in found.values()]
    facts = [
        ("Diameter", f"{options.diameter:.0f} Å"),
        ("Micrographs", f"{len(found)}"),
        ("Clustering", ", ".join(f"{name} {methods.count(name)}" for name in sorted(set(methods)))),
        ("Found", f"{everything:,}"),
        ("Good", ", ".join(f"{np.count_nonzero(good == kind):,} {kind}" for kind in KINDS if (good == kind).any())),
    ]
    for name, key in (("Halves agree", "agreement"), ("Test windows right", "test_accuracy")):
        if card.get(key) is not None:
            facts.append((name, f"{100 * float(card[key]):.1f} %"))
    last = card["trainings"][-1]["examples"] if card.get("trainings") else {}
    facts += [("Last examples" if not index else "", f"{count:,} {name}") for index, (name, count) in
              enumerate(last.items())]  # fmt: skip
    return facts


def _curve(entry: Mapping[str, Any], every: int) -> Curve:
    loss = np.array(entry["loss"], np.float64)
    return Curve(str(entry["name"]), np.arange(1.0, len(loss) + 1) * (every or 1), loss)
