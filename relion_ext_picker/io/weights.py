"""Model files: safetensors whose header carries the :class:`~relion_ext_picker.types.ModelCard`.

A model file describes itself, so nothing outside it has to be known to use it; and it holds numbers and text only, so
reading one from a stranger cannot run code.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.types import ModelCard

FORMAT_VERSION = 1
CARD_KEY = "card"  # one metadata key only: the order of several is not fixed, and equal models must be equal files
SUFFIX = ".safetensors"

_DTYPES = (torch.float32, torch.float16, torch.int64)
_PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")
_MAKE_ONE = "make one with: relion_ext_picker train, or leave --model out to use the built-in model"
_CARD_TYPES: dict[str, type | tuple[type, ...]] = {
    "mode": str, "preset": str, "reference_diameter": (int, float), "networks": dict, "threshold": (int, float),
    "calibration": dict, "provenance": dict,
}  # fmt: skip

# Shapes of the convolutions of the DRPnet authors' first network in PyTorch order (out, in, rows, columns).
_CNET1_SHAPES = ((32, 1, 9, 9), (32, 32, 3, 3), (32, 32, 1, 7), (32, 32, 7, 1), (1, 32, 3, 3))


def builtin_model(name: str) -> Path:
    """Path of the shipped model `name`, e.g. "drpnet"; it need not exist (:func:`load_model` says so)."""
    return Path(__file__).resolve().parent.parent / "weights" / f"{name}{SUFFIX}"


def save_model(path: Path, card: ModelCard, networks: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    """Write a model file; equal input gives equal bytes, and a reader never sees half a file.

    Parameters
    ----------
    path : Path
        File to write, replaced if it exists; its folder must exist.
    card : ModelCard
    networks : mapping of mapping of Tensor
        Per network the state dict, stored as tensors ``NETWORK.tensor``; float32, float16 and int64 are kept as given.

    Raises
    ------
    ValueError
        A network is missing from the card or has a dot in its name, or a tensor has another type.
    OSError
        The file cannot be written; nothing is left behind.
    """
    tensors = {}
    for network, state in networks.items():
        if "." in network or network not in card.networks:
            raise ValueError(f"network {network!r}: the name must have no dot and must be described in the card")
        for name, tensor in state.items():
            if tensor.dtype not in _DTYPES:
                raise ValueError(f"tensor {network}.{name}: {tensor.dtype} is not one of {_DTYPES}")
            # A copy of its own, because safetensors refuses tensors that share memory.
            tensors[f"{network}.{name}"] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    header = {"format": FORMAT_VERSION, **asdict(card)}
    data = save(tensors, {CARD_KEY: json.dumps(header, sort_keys=True, allow_nan=False)})
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def load_model(path: Path, mode: str | None = None) -> tuple[ModelCard, dict[str, dict[str, torch.Tensor]]]:
    """Read a model file.

    Parameters
    ----------
    path : Path
    mode : str, optional
        Mode the model must be of.

    Returns
    -------
    card : ModelCard
    networks : dict of dict of Tensor
        Per network the state dict on the CPU, in the type stored.

    Raises
    ------
    WeightsError
        The file is missing, damaged, of another kind, version or mode, or holds values that are not finite.
    """
    check_model_file(path)
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            card = _card(path, metadata)
            if mode is not None and card.mode != mode:
                raise WeightsError(
                    f"{path} is a {card.mode} model; --mode {mode} needs a {mode} model: "
                    f"use --mode {card.mode}, another --model, or leave --model out to use the built-in model"
                )
            networks = _networks(path, card, {name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is not a safetensors model file, or it is damaged or incomplete ({error}): copy it again, or "
            + _MAKE_ONE
        ) from error
    except OSError as error:
        raise WeightsError(f"cannot read model file {path} ({error.strerror or error}): check the file") from error
    return card, networks


def check_model_file(path: Path) -> None:
    """Refuse what can be told from the outside: raises WeightsError."""
    if path.is_dir():
        raise WeightsError(f"model file {path} is a folder: name the {SUFFIX} file in it")
    if not path.exists():
        raise WeightsError(f"model file {path} does not exist: check the name, or {_MAKE_ONE}")
    if path.suffix.lower() in _PICKLED:
        raise WeightsError(
            f"{path} is a {path.suffix} file, which can run code when it is read and is therefore not accepted: "
            f"give a {SUFFIX} file; {_MAKE_ONE}"
        )
    if path.stat().st_size == 0:
        raise WeightsError(f"model file {path} is empty: copy it again, or {_MAKE_ONE}")


def _card(path: Path, metadata: Mapping[str, str]) -> ModelCard:
    """The card in the header of a safetensors file."""
    if CARD_KEY not in metadata:
        raise WeightsError(f"{path} is a safetensors file of another program (no model card in it): {_MAKE_ONE}")
    try:
        header = json.loads(metadata[CARD_KEY])
        version = int(header["format"])
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: the model card cannot be read ({error}): copy the file again") from error
    if version > FORMAT_VERSION:
        raise WeightsError(
            f"{path} has model format {version}, this version of relion_ext_picker reads up to {FORMAT_VERSION}: "
            "update relion_ext_picker"
        )
    values: dict[str, Any] = {}
    for item in fields(ModelCard):
        if item.name in header:
            values[item.name] = header[item.name]
        elif item.default is MISSING and item.default_factory is MISSING:
            raise WeightsError(f"{path}: the model card has no {item.name!r}: {_MAKE_ONE}")
    for name, value in values.items():
        if not isinstance(value, _CARD_TYPES[name]) or isinstance(value, float) and not math.isfinite(value):
            raise WeightsError(f"{path}: the model card has a wrong {name!r} ({value!r}): {_MAKE_ONE}")
    return ModelCard(**values)


def _networks(path: Path, card: ModelCard, tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Sort tensors named ``NETWORK.tensor`` by network and check them."""
    networks: dict[str, dict[str, torch.Tensor]] = {}
    for full, tensor in tensors.items():
        network, _, name = full.partition(".")
        if not name or network not in card.networks:
            raise WeightsError(f"{path}: tensor {full!r} belongs to no network of the model card: {_MAKE_ONE}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{path}: tensor {full!r} holds values that are not finite (a training that diverged?): {_MAKE_ONE}"
            )
        networks.setdefault(network, {})[name] = tensor
    if not networks:
        raise WeightsError(f"{path} holds no tensors: {_MAKE_ONE}")
    return networks


def read_cnet1(path: Path) -> dict[str, torch.Tensor]:
    """Read the first network of the DRPnet authors from their cnet_1.mat (MATLAB 7.3, that is HDF5).

    The layers are found by their shapes, because MATLAB hides the objects' names. On disk the axes are
    (out, in, column, row), and the last layer is stored without its single output axis.

    Returns
    -------
    dict of Tensor
        ``conv1.weight``, ``conv1.bias`` ... ``conv5.bias``, float32, axes (out, in, row, column).

    Raises
    ------
    InputError
        h5py is not installed, or the file is missing, not MATLAB 7.3, or does not hold the five layers.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: reading a MATLAB file needs h5py: pip install h5py") from error
    if not path.is_file():
        raise InputError(f"{path}: no such file: give the cnet_1.mat of the DRPnet distribution")
    found: dict[str, NDArray[np.float32]] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.dtype.itemsize == 4:
            found[name] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(path, "r") as stored:
            stored.visititems(collect)
    except OSError as error:
        raise InputError(f"{path}: not a MATLAB 7.3 file ({error}): give the cnet_1.mat of DRPnet") from error
    state = {}
    for number, shape in enumerate(_CNET1_SHAPES, start=1):
        on_disk = (shape[0], shape[1], shape[3], shape[2])
        forms = (on_disk, on_disk[1:]) if on_disk[0] == 1 else (on_disk,)
        name = _only(
            path, f"weights of convolution {number}", {n: 0 for n, a in found.items() if a.shape in forms}, found
        )
        biases = {n: _nearness(n, name) for n, a in found.items() if a.size == shape[0] and n != name}
        bias = _only(path, f"bias of convolution {number}", biases, found)
        weight = np.ascontiguousarray(found[name].reshape(on_disk).swapaxes(2, 3))
        state[f"conv{number}.weight"] = torch.from_numpy(weight)
        state[f"conv{number}.bias"] = torch.from_numpy(found[bias].reshape(-1).copy())
    return state


def _nearness(name: str, weight: str) -> int:
    """How well a dataset fits as the bias of the layer that `weight` belongs to: shared folders, then its name."""
    shared = len(os.path.commonprefix([name.split("/")[:-1], weight.split("/")[:-1]]))
    return 2 * shared + ("bias" in name.lower())


def _only(path: Path, what: str, ranks: Mapping[str, int], found: Mapping[str, NDArray[np.float32]]) -> str:
    """The best-ranked dataset; several with the same numbers count as one."""
    best = sorted(name for name, rank in ranks.items() if rank == max(ranks.values()))
    if not best or any(not np.array_equal(found[best[0]], found[name]) for name in best[1:]):
        count = len(best) or "no"
        raise InputError(f"{path}: {count} candidates for the {what}: give the cnet_1.mat of the DRPnet distribution")
    return best[0]
