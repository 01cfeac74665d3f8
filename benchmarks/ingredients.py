"""What an ingredient of the general training buys.

    python benchmarks/ingredients.py
    python benchmarks/ingredients.py --model earlier/model.safetensors

The first network of DRPnet goes on learning from simulated fields, once without and once with each ingredient. Average
precision of its candidates on fields of hand-made structures, which it never learns from: faint, clear, dirty with
small crystals, faint in contact. Mean over the seeds of training and the largest distance from it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tables import markdown
from torch import nn

from relion_ext_picker.evaluation.curves import score_picks
from relion_ext_picker.pickers.base import Request, pick_prepared
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.simulation.clouds import structure_cloud
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.training.batches import patch_batches, proposer_loss
from relion_ext_picker.training.loop import Schedule, fit
from relion_ext_picker.training.patches import Labelled
from relion_ext_picker.workflows.models import load_picker
from relion_ext_picker.workflows.simulated_training import VALIDATION, fields
from relion_ext_picker.workflows.training_data import DRAWN

REFERENCE, SIDE, HIT = 32.0, 256, 0.4  # px, px, diameters
INGREDIENTS: Mapping[str, Mapping[str, Any]] = {
    "none of them": {},
    "fainter particles": {"snr": DRAWN["snr"]},
    "particles in contact": {"in_contact": DRAWN["in_contact"]},
    "small crystals": {"facets": DRAWN["facets"]},
    "all three": DRAWN,
    "all three, but no dirt at all": {**DRAWN, "soiled": False},
}
TESTS: Mapping[str, Mapping[str, Any]] = {
    "faint": {"snr": (0.006, 0.03)},
    "clear": {"snr": (0.3, 3.0)},
    "crystals": {"snr": (0.03, 0.3), "facets": True},
    "in contact": {"snr": (0.006, 0.03), "in_contact": 1.0},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="", metavar="FILE", help="to go on from, instead of the shipped one")
    parser.add_argument("--steps", type=int, default=80, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=5e-4, metavar="X", help="learning rate (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", metavar="LIST", help="(default: %(default)s)")
    parser.add_argument("--fields", type=int, default=50, metavar="N", help="of each test (default: %(default)s)")
    parser.add_argument("--only", default="; ".join(INGREDIENTS), metavar="LIST", help="of: %(default)s")
    options = parser.parse_args(argv)
    clouds = tuple(structure_cloud(name) for name in VALIDATION)
    tests = {
        name: fields(FieldSource(REFERENCE, SIDE, clouds, procedural=0, **more), 31, options.fields)
        for name, more in TESTS.items()
    }
    begun = load_picker("drpnet", "default", options.model, torch.device("cpu"))
    assert isinstance(begun, DefaultPicker)
    begun.card = replace(begun.card, calibration={})
    rows: list[list[str | float]] = [["no further training", *scored(begun, tests), 0.0]]
    for name in options.only.split("; "):
        start = time.process_time()
        found = [
            scored(trained(begun, INGREDIENTS[name], options, int(seed)), tests) for seed in options.seeds.split(",")
        ]
        mean = np.mean(found, axis=0)
        spread = float(np.abs(np.array(found) - mean).max())
        rows.append([name, *map(float, mean), spread])
        print(f"{name}: {rows[-1][1:]}, {time.process_time() - start:.0f} CPU s", file=sys.stderr, flush=True)
    print(markdown(["learnt with", *tests, "scatter"], rows, (0, *[3] * len(tests), 3)))
    return 0


def trained(start: DefaultPicker, more: Mapping[str, Any], options: argparse.Namespace, seed: int) -> DefaultPicker:
    """The picker with its first network trained further."""
    torch.manual_seed(seed)
    batches = patch_batches(FieldSource(REFERENCE, **more), seed, REFERENCE, options.batch, workers=0)
    schedule = Schedule(options.steps, options.rate)
    network = fit(start.network("proposer"), batches, proposer_loss, schedule, start.device, _told)
    return DefaultPicker(start.card, {**start.state(), "proposer": network.state_dict()}, start.device)


def _told(line: str, _: nn.Module) -> None:
    print(line, file=sys.stderr)


def scored(picker: DefaultPicker, tests: Mapping[str, list[Labelled]]) -> list[float]:
    """Average precision of the first network on each test."""
    found = []
    for labelled in tests.values():
        truth = {item.name: item.xy for item in labelled}
        picks = {
            item.name: pick_prepared(picker, item.frame, (SIDE, SIDE), 1.0, Request(REFERENCE, 0.0, verify=False))
            for item in labelled
        }
        found.append(score_picks(truth, picks, HIT * REFERENCE).ap or 0.0)
    return found


if __name__ == "__main__":
    sys.exit(main())
