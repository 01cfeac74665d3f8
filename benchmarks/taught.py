"""The ceiling of a general model: the same after it has learnt further from the very structure that it is to find."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.io.weights import save_model
from relion_ext_picker.pickers.drpnet.network import REFERENCE_DIAMETER
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.simulation.clouds import structure_cloud
from relion_ext_picker.simulation.fields import FieldSource
from relion_ext_picker.training.batches import patch_batches, proposer_loss
from relion_ext_picker.training.loop import Schedule, fit
from relion_ext_picker.workflows.models import load_picker

TAUGHT = "drpnet-taught"  # the picker's name
STEPS, BATCH, RATE, SEED = 1000, 16, 1e-3, 5
RATIOS = (0.006, 0.6)  # signal-to-noise ratios at the size that the network sees: those of both kinds of sets


def taught(structure: Path, start: Path | None, model: Path) -> Path:
    """A model whose first network has learnt further from simulated fields of one structure alone.

    Parameters
    ----------
    structure : Path
        Atomic model or density map.
    start : Path, optional
        Model to go on from, instead of the shipped one.
    model : Path
        To be written; taken as it is where it is there already.

    Returns
    -------
    Path
        `model`.
    """
    if model.exists():
        return model
    torch.manual_seed(SEED)
    picker = load_picker("drpnet", "default", str(start) if start else "", torch.device("cpu"))
    assert isinstance(picker, DefaultPicker)
    fields = FieldSource(REFERENCE_DIAMETER, clouds=(structure_cloud(str(structure)),), procedural=0, snr=RATIOS)
    batches = patch_batches(fields, SEED, REFERENCE_DIAMETER, BATCH, workers=0)
    network = fit(picker.network("proposer"), batches, proposer_loss, Schedule(STEPS, RATE), picker.device, _told)
    model.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(model) as temporary:
        save_model(temporary, picker.card, {**picker.state(), "proposer": network.state_dict()})
    return model


def _told(line: str, _: nn.Module) -> None:
    print(line, file=sys.stderr)
