"""From a model file's card to a picker: one line per mode and preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.deepcryopicker.paper import PaperDeepCryoPicker
from relion_ext_picker.pickers.deepcryopicker.picker import DefaultDeepCryoPicker
from relion_ext_picker.pickers.deepem.default import DefaultDeepEM
from relion_ext_picker.pickers.deepem.paper import PaperDeepEM
from relion_ext_picker.pickers.deepem.presets import PRESETS as PUBLISHED_DEEPEM
from relion_ext_picker.pickers.drpnet.paper import PaperPicker
from relion_ext_picker.pickers.drpnet.picker import DefaultPicker
from relion_ext_picker.types import ModelCard

Networks = Mapping[str, Mapping[str, Tensor]]
Build = Callable[[ModelCard, Networks, torch.device, int], Picker]

BUILDERS: dict[tuple[str, str], Build] = {
    ("drpnet", "default"): lambda card, networks, device, views: DefaultPicker(card, networks, device, views),
    ("drpnet", "paper"): lambda card, networks, device, views: PaperPicker(
        card, {name: dict(tensors) for name, tensors in networks.items()}, device
    ),
    ("deepcryopicker", "default"): lambda card, networks, device, views: DefaultDeepCryoPicker(
        card, networks, device, views
    ),
    ("deepcryopicker", "paper"): lambda card, networks, device, views: PaperDeepCryoPicker(card, networks, device),
    ("deepem", "default"): lambda card, networks, device, views: DefaultDeepEM(card, networks, device, views),
    **{
        ("deepem", preset): lambda card, networks, device, views: PaperDeepEM(card, networks, device)
        for preset in PUBLISHED_DEEPEM
    },
}
BUILTIN = {("drpnet", "default"): "drpnet", ("drpnet", "paper"): "drpnet_paper", ("deepem", "default"): "deepem"}


def family(preset: str) -> str:
    """Presets that share networks: "paper-10017" belongs to "paper"."""
    return preset.partition("-")[0]


def builtin_name(mode: str, preset: str) -> str:
    """Name of the shipped model of a mode and preset.

    Raises
    ------
    InputError
        None is shipped: the networks of the published DeepEM learn from the user's picks.
    """
    name = BUILTIN.get((mode, family(preset)))
    if name is None:
        raise InputError(
            f"--preset {preset} of --mode {mode} has no built-in model, since it has to learn from your picks: pick "
            f"about ten micrographs by hand, train with relion_ext_picker train --mode {mode} --preset {preset} "
            "--in_coords PICKS ..., and give the model that makes with --model"
        )
    return name


def build_picker(card: ModelCard, networks: Networks, device: torch.device, preset: str = "", views: int = 2) -> Picker:
    """A picker from what a model file holds.

    Parameters
    ----------
    card : ModelCard
    networks : mapping of mapping of Tensor
    device : torch.device
    preset : str
        Preset asked for; must belong to the family of the card's. Empty takes the card's.
    views : int
        Rotations averaged by the default preset.

    Raises
    ------
    InputError
        The model belongs to another preset.
    WeightsError
        The tensors do not fit, or the card is of an unknown mode.
    """
    preset = preset or card.preset
    if family(preset) != family(card.preset):
        raise InputError(
            f"the model is one of preset {card.preset}, but --preset {preset} was asked for: leave out --model or "
            f"use --preset {family(card.preset)}"
        )
    key = (card.mode, family(preset))
    if key not in BUILDERS:
        raise WeightsError(f"no picker for mode {card.mode}, preset {preset}: was the model made by a later version?")
    return BUILDERS[key](replace(card, preset=preset), networks, device, views)
