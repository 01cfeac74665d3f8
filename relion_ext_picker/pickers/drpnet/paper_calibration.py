"""What a first network answers to a typical particle, and where: the constants that turn its response into a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from relion_ext_picker.pickers.drpnet.paper import PaperPicker, paper_card
from relion_ext_picker.pickers.drpnet.paper_training import Field
from relion_ext_picker.types import Array

FAINT = 1e-3  # response counted as typical before it is known: nothing is below the floor
REACH = 0.35  # half boxes within which a candidate belongs to a particle


def calibrate(
    state: Mapping[str, Tensor], fields: Sequence[Field], device: torch.device, preset: str = "paper-10017"
) -> dict[str, float]:
    """Measure the constants of a first network on images with known particles, never seen in training.

    Parameters
    ----------
    state : mapping of Tensor
        Of the first network.
    fields : sequence of Field
    device : torch.device
    preset : str
        Parameters of the peaks; those that smooth least tell places best.

    Returns
    -------
    dict of float
        "response": median response to the particles found; "shift_rows", "shift_cols": median of true minus found
        position, px as the network sees them. For the ``calibration`` of a card.
    """
    neutral = {"response": FAINT, "shift_rows": 0.0, "shift_cols": 0.0}
    picker = PaperPicker(paper_card(preset, neutral, {}), {"proposer": dict(state)}, device)
    responses: list[Array] = []
    shifts: list[NDArray[np.float64]] = []
    for field in fields:
        frame = field.frame
        score_map = picker.propose(frame)
        rows, cols, score = picker.peaks(score_map, 0.0, 0.0)
        if not len(rows) or not len(field.xy):
            continue
        xy = score_map.to_original(rows, cols)
        distance, nearest = cKDTree(field.xy).query(xy)
        near = distance <= REACH * frame.scales.radius * frame.grid.scale[0]
        responses.append(FAINT * score[near] / (1 - score[near]))
        pixel = frame.grid.scale[0] * frame.scales.reduction
        shifts.append((field.xy[nearest[near]] - xy[near]) / pixel)
    found = np.concatenate(responses) if responses else np.zeros(0, np.float32)
    if not len(found):
        return {"response": 1.0, "shift_rows": 0.5, "shift_cols": 0.5}
    dx, dy = np.median(np.concatenate(shifts), axis=0)
    return {"response": float(np.median(found)), "shift_rows": float(dy), "shift_cols": float(dx)}
