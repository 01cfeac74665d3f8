"""Loading and saving pickers, and the device they run on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.io.weights import builtin_model, check_model_file, load_model, read_cnet1
from relion_ext_picker.pickers.base import Picker
from relion_ext_picker.pickers.drpnet.paper import PaperPicker
from relion_ext_picker.pickers.registry import build_picker, builtin_name, family


def choose_device(gpu: str, threads: int) -> torch.device:
    """Device for the value of --gpu; also sets the number of CPU threads.

    Raises
    ------
    InputError
        The device is not there, or the value is not understood.
    """
    torch.set_num_threads(max(1, threads))
    text = gpu.strip().lower()
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text in ("cpu", "-1"):
        return torch.device("cpu")
    if text in ("auto", ""):
        return torch.device("cuda", 0) if found else torch.device("cpu")
    if not text.isdigit():
        raise InputError(f"--gpu {gpu}: must be a device number, cpu or auto")
    if int(text) >= found:
        raise InputError(f"--gpu {gpu}: this machine has {found} CUDA device(s); use --gpu cpu or a smaller number")
    return torch.device("cuda", int(text))


def model_path(mode: str, preset: str, model: str) -> Path:
    """The model file that options ask for: the user's, or the shipped one."""
    return Path(model) if model else builtin_model(builtin_name(mode, preset))


def load_picker(mode: str, preset: str, model: str, device: torch.device, views: int = 2) -> Picker:
    """The picker that options ask for.

    Parameters
    ----------
    mode, preset : str
        Of :class:`~relion_ext_picker.options.PickOptions`; "default" takes the preset of the user's model.
    model : str
        Model file, the authors' cnet_1.mat for the presets of the paper, or empty for the shipped model.
    device : torch.device
    views : int

    Raises
    ------
    WeightsError, InputError
        See :func:`~relion_ext_picker.io.weights.load_model`.
    """
    path = model_path(mode, preset, model)
    if path.suffix.lower() == ".mat":
        if family(preset) != "paper":
            raise InputError(f"{path}: weights of the authors' DRPnet need --preset paper")
        return PaperPicker.from_cnet1(read_cnet1(path), device, preset)
    card, networks = load_model(path, mode)
    wanted = "" if model and preset == "default" else preset
    try:
        return build_picker(card, networks, device, wanted, views)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}: copy the file again or train another") from error


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, to notice that it has changed under the same name."""
    check_model_file(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check --model") from error
