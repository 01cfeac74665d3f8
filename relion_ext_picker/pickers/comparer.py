"""The last word on the candidates of a micrograph, once all of them are known.

The other networks see one place at a time. What their scores are worth depends on the rest of the micrograph: how many
other candidates there are, how sure ones and doubtful ones lie apart, whether the likely ones have a common look. From
such facts a small network, which has seen thousands of simulated micrographs of other particles, tells how much to
trust the scores and the likeness (:mod:`~relion_ext_picker.pickers.likeness`), and how common particles are. It takes
the place of the correction for how many there are (:mod:`~relion_ext_picker.pickers.density`), which knows only the
scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

from relion_ext_picker.errors import WeightsError
from relion_ext_picker.pickers.likeness import LIMIT, compared, log_ratio
from relion_ext_picker.types import Array, ModelCard

OPINIONS = 3  # both scores and the likeness
FACTS = 8  # about the micrograph
STRONGEST = 4.0  # log ratio: likeness counts no further
COMPARER = "comparer"  # name of the network and of its architecture
LOGIT_LIMIT = 1e-4
APART = 9.0  # deviations: nor does the distance of likely and unlikely candidates
MOST = 700  # candidates: of a micrograph with more, so many are counted, as many as it has learnt from
LITTLE = 1e-6


class Comparer(nn.Module):
    """What is known of a micrograph and three opinions on a candidate -> what to add to its log odds.

    Parameters
    ----------
    widths : tuple of int
        Of the two hidden layers.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 16)) -> None:
        super().__init__()
        one, two = widths
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(OPINIONS + FACTS))
        self.register_buffer("deviation", torch.ones(OPINIONS + FACTS))
        self.hidden = nn.Sequential(nn.Linear(FACTS, one), nn.SiLU(), nn.Dropout(0.1), nn.Linear(one, two), nn.SiLU())
        self.trust = nn.Linear(two, 1 + OPINIONS)
        nn.init.zeros_(self.trust.weight)
        nn.init.zeros_(self.trust.bias)

    def forward(self, known: Tensor) -> Tensor:
        """(n, OPINIONS + FACTS) -> (n,)."""
        usual = (known - self.mean) / self.deviation
        trust: Tensor = self.trust(self.hidden(usual[:, OPINIONS:]))
        return trust[:, 0] + (trust[:, 1:] * usual[:, :OPINIONS]).sum(dim=1)


def loaded(card: ModelCard, networks: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> Comparer | None:
    """The comparer of a model, in evaluation mode; None without one.

    Raises
    ------
    WeightsError
        Its tensors do not fit the card.
    """
    if COMPARER not in networks:
        return None
    try:
        comparer = Comparer(**card.networks[COMPARER]["config"])
        comparer.load_state_dict({name: value.float() for name, value in networks[COMPARER].items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"the comparer of this model does not fit its card: {str(error).splitlines()[-1].strip()}"
        ) from error
    return comparer.eval().to(device)


def without_comparer(card: ModelCard) -> ModelCard:
    """Card of a model whose networks learn from other data: what compares their scores no longer knows them."""
    return replace(card, networks={name: entry for name, entry in card.networks.items() if name != COMPARER})


def with_entry(card: ModelCard, entry: dict[str, Any]) -> ModelCard:
    """Card of a model that gets a comparer."""
    return replace(card, networks={**card.networks, COMPARER: entry})


def to_logit(score: Array) -> Array:
    """Log odds of scores, finite."""
    clipped = np.clip(score, LOGIT_LIMIT, 1 - LOGIT_LIMIT).astype(np.float64)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def settled(comparer: Comparer, windows: Array, first: Array, judged: Array) -> Array:
    """Probabilities of all candidates of a micrograph, shape (n,), float32; parameters as of :func:`facts`."""
    if not len(windows):
        return np.zeros(0, np.float32)
    known, odds = facts(windows, first, judged)
    with torch.inference_mode():
        added = comparer(torch.from_numpy(known).to(comparer.mean.device)).cpu().numpy()
    return np.asarray(expit(odds + added), np.float32)


def facts(windows: Array, first: Array, judged: Array) -> tuple[Array, Array]:
    """What a comparer goes by.

    Parameters
    ----------
    windows : ndarray, shape (n, 48, 48), float32
        Around all candidates of one micrograph, at least one.
    first, judged : ndarray, shape (n,), float32
        Scores of the first and of the second network; the same where there is one.

    Returns
    -------
    known : ndarray, shape (n, OPINIONS + FACTS), float32
        Log odds of `judged` and of `first` and the log ratio of the likeness; then how many of the others are likely,
        how strong their mean is against noise, how far likely and unlikely candidates are apart in likeness, how many
        are unlikely, mean and deviation of the log odds, the share of particles to expect, and the mean of the first.
    odds : ndarray, shape (n,), float32
        Log odds from which to start: those of `judged` and of the likeness.
    """
    chance = judged.astype(np.float64)
    likely, unlikely = chance + LITTLE, 1 - chance + LITTLE
    look = compared(windows, np.maximum(judged, LITTLE))
    middle = np.average(look.own, axis=0, weights=unlikely)
    noise = np.sqrt(np.average((look.own - middle) ** 2, axis=0, weights=unlikely)) + 1e-3
    strength = np.sqrt((np.square(look.mean / noise) * look.counts).sum(axis=1)) + LITTLE
    usual = np.average(look.likeness, weights=unlikely)
    spread = np.sqrt(np.average((look.likeness - usual) ** 2, weights=unlikely)) + 1e-9
    apart = np.clip((np.average(look.likeness, weights=likely) - usual) / spread, -APART, APART)
    ratio = log_ratio(look.likeness, chance)
    logits, proposed = to_logit(judged).astype(np.float64), to_logit(first).astype(np.float64)
    counted = min(1.0, MOST / len(windows))
    others = counted * (np.square(chance).sum() - np.square(chance))
    single = [logits, proposed, np.clip(ratio, -STRONGEST, STRONGEST), np.log1p(others), np.log(strength)]
    common = [apart, np.log1p(counted * unlikely.sum()), logits.mean(), logits.std(), chance.mean(), proposed.mean()]
    known = np.stack([*single, *(np.full(len(windows), value) for value in common)], axis=1)
    return known.astype(np.float32), (logits + np.clip(ratio, -LIMIT, LIMIT)).astype(np.float32)
