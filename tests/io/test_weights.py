from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.io import weights
from relion_ext_picker.io.weights import builtin_model, load_model, read_cnet1, save_model
from relion_ext_picker.types import ModelCard

CARD = ModelCard(
    mode="drpnet",
    preset="default",
    reference_diameter=32.0,
    networks={"proposer": {"architecture": "unet", "config": {"width": 8}}, "classifier": {"architecture": "cnn"}},
    threshold=0.4,
    calibration={"scale": 1.5},
    provenance={"data": ["shell", "barrel"], "seed": 3},
)


def networks() -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    base = torch.randn(8, 8)
    return {
        "proposer": {"conv.weight": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4).half()},
        # Views of one memory, not contiguous: both are legal in a state dict.
        "classifier": {"a": base.t(), "b": base[2:4], "norm.num_batches_tracked": torch.tensor(7)},
    }


def saved(tmp_path: Path, card: ModelCard = CARD) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, card, networks())
    return path


def raw(path: Path, card: dict[str, Any] | None, **tensors: torch.Tensor) -> Path:
    """A safetensors file with any card."""
    save_file(tensors or {"proposer.w": torch.ones(2)}, path, {"card": json.dumps(card)} if card else None)
    return path


def header(**changes: Any) -> dict[str, Any]:
    base = {"format": 1, "mode": "drpnet", "preset": "default", "reference_diameter": 32, "threshold": 0.5}
    return {**base, "networks": {"proposer": {}}, **changes}


def test_round_trip(tmp_path: Path) -> None:
    card, stored = load_model(saved(tmp_path), "drpnet")
    assert card == CARD
    given = networks()
    assert {n: set(s) for n, s in stored.items()} == {n: set(s) for n, s in given.items()}
    for network, state in given.items():
        for name, tensor in state.items():
            assert stored[network][name].dtype == tensor.dtype
            assert torch.equal(stored[network][name], tensor)


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    first = saved(tmp_path).read_bytes()
    other = replace(CARD, provenance={"seed": 3, "data": ["shell", "barrel"]})
    swapped = dict(reversed([(n, dict(reversed(s.items()))) for n, s in networks().items()]))
    save_model(tmp_path / "again.safetensors", other, swapped)
    assert (tmp_path / "again.safetensors").read_bytes() == first


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_model(path, replace(CARD, threshold=0.9), networks())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["other", "pro.poser"])
def test_networks_without_a_card_are_not_saved(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        save_model(tmp_path / "m.safetensors", CARD, {name: {"w": torch.ones(2)}})


def test_other_types_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"proposer\.w: torch.float64"):
        save_model(tmp_path / "m.safetensors", CARD, {"proposer": {"w": torch.ones(2).double()}})


def test_card_without_optional_fields(tmp_path: Path) -> None:
    card, _ = load_model(raw(tmp_path / "m.safetensors", header()))
    assert card.calibration == {} and card.provenance == {}


def test_card_with_a_field_of_a_later_time(tmp_path: Path) -> None:
    assert load_model(raw(tmp_path / "m.safetensors", header(colour="red")))[0].mode == "drpnet"


def test_wrong_mode(tmp_path: Path) -> None:
    path = saved(tmp_path, replace(CARD, mode="deepem"))
    with pytest.raises(WeightsError, match=r"model\.safetensors is a deepem model; --mode drpnet needs a drpnet model"):
        load_model(path, "drpnet")
    assert load_model(path)[0].mode == "deepem"


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (None, "another program"),
        ({"format": 2}, "format 2, .*update"),
        ({"mode": "drpnet"}, "card cannot be read"),
        ({"format": 1, "mode": "drpnet"}, "has no 'preset'"),
        (header(threshold="high"), "wrong 'threshold'"),
        (header(threshold=float("nan")), "wrong 'threshold'"),
        (header(networks={"other": {}}), "'proposer.w' belongs to no network"),
    ],
)
def test_bad_cards(tmp_path: Path, card: dict[str, Any] | None, words: str) -> None:
    path = raw(tmp_path / "m.safetensors", card)
    with pytest.raises(WeightsError, match=words) as caught:
        load_model(path, "drpnet")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_values_that_are_not_finite(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    path = raw(tmp_path / "m.safetensors", header(), **{"proposer.w": torch.tensor([1.0, value], dtype=dtype)})
    with pytest.raises(WeightsError, match="'proposer.w' holds values that are not finite"):
        load_model(path)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("truncated", "damaged or incomplete"),
        ("half a header", "damaged or incomplete"),
        ("text", "not a safetensors model file"),
        ("pickle", "can run code"),
        ("renamed pickle", "not a safetensors model file"),
    ],
)
def test_damaged_files(tmp_path: Path, fault: str, words: str) -> None:
    path = saved(tmp_path)
    if fault == "missing":
        path = tmp_path / "none.safetensors"
    elif fault == "folder":
        path = tmp_path
    elif fault in ("empty", "truncated", "half a header"):
        path.write_bytes(path.read_bytes()[: {"empty": 0, "truncated": -10, "half a header": 60}[fault]])
    elif fault == "text":
        path.write_text("hello " * 100)
    else:
        path = tmp_path / ("model.pth" if fault == "pickle" else "model.safetensors")
        path.write_bytes(pickle.dumps({"proposer.w": [1.0] * 100}))
    with pytest.raises(WeightsError, match=words) as caught:
        load_model(path, "drpnet")
    assert str(path) in str(caught.value)


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path)
    monkeypatch.setattr(weights, "safe_open", refuse)
    with pytest.raises(WeightsError, match="Permission denied"):
        load_model(path)


def test_builtin_model_is_in_the_package() -> None:
    assert builtin_model("drpnet") == Path(weights.__file__).parents[1] / "weights/drpnet.safetensors"


# ---- the DRPnet authors' first network

SHAPES = [(32, 1, 9, 9), (32, 32, 3, 3), (32, 32, 1, 7), (32, 32, 7, 1), (1, 32, 3, 3)]


def write_cnet1(path: Path, layout: str = "{number}", skip: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """An HDF5 file as MATLAB writes it: hidden names, (out, in, column, row), doubles and other objects around."""
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=s).astype("f4"), rng.normal(size=s[0]).astype("f4")) for s in SHAPES]
    with h5py.File(path, "w", userblock_size=512) as out:
        out["#subsystem#/MCOS"] = np.arange(12, dtype="u4")
        out["net"] = np.zeros((1, 6), "u4")
        for number, (weight, bias) in enumerate(layers, start=1):
            group = "#refs#/" + layout.format(number="abcde"[5 - number])  # not in the order of the network
            disk = weight.swapaxes(2, 3)
            if number != skip:
                out[f"{group}/Weights/Value"] = disk[0] if number == 5 else disk
            out[f"{group}/Weights/LearnRateFactor"] = np.ones((1, 1))
            out[f"{group}/Bias/Value"] = bias.reshape(-1, 1, 1)
            out[f"{group}/Bias/LearnRateFactor"] = np.full((1, 1), 2.0)
            out[f"{group}/PaddingSize"] = np.ones((4, 1))
    return layers


@pytest.mark.parametrize("layout", ["{number}", "deep/er/{number}/inner"])
def test_cnet1(tmp_path: Path, layout: str) -> None:
    layers = write_cnet1(tmp_path / "cnet_1.mat", layout)
    state = read_cnet1(tmp_path / "cnet_1.mat")
    assert list(state) == [f"conv{n}.{kind}" for n in range(1, 6) for kind in ("weight", "bias")]
    for number, (weight, bias) in enumerate(layers, start=1):
        np.testing.assert_array_equal(state[f"conv{number}.weight"].numpy(), weight)
        np.testing.assert_array_equal(state[f"conv{number}.bias"].numpy(), bias)
    assert sum(t.numel() for t in state.values()) == 26561


def test_cnet1_fits_a_network(tmp_path: Path) -> None:
    write_cnet1(tmp_path / "cnet_1.mat")
    net = torch.nn.Module()
    for number, (out, into, rows, cols) in enumerate(SHAPES, start=1):
        net.add_module(f"conv{number}", torch.nn.Conv2d(into, out, (rows, cols)))
    net.load_state_dict(read_cnet1(tmp_path / "cnet_1.mat"))


def test_cnet1_faults(tmp_path: Path) -> None:
    path = tmp_path / "cnet_1.mat"
    with pytest.raises(InputError, match="no such file"):
        read_cnet1(path)
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    with pytest.raises(InputError, match=r"cnet_1\.mat: not a MATLAB 7\.3 file"):
        read_cnet1(path)
    write_cnet1(path, skip=3)
    with pytest.raises(InputError, match="no candidates for the weights of convolution 3"):
        read_cnet1(path)


def test_cnet1_with_two_networks_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "cnet_1.mat"
    layers = write_cnet1(path)
    with h5py.File(path, "a") as out:
        out["#refs#/z/Weights/Value"] = layers[1][0].swapaxes(2, 3)
    assert read_cnet1(path)["conv2.weight"].shape == (32, 32, 3, 3)  # the same numbers twice are no question
    with h5py.File(path, "a") as out:
        out["#refs#/y/Weights/Value"] = 1 + layers[1][0]
    with pytest.raises(InputError, match="3 candidates for the weights of convolution 2"):
        read_cnet1(path)


def test_cnet1_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match="pip install h5py"):
        read_cnet1(tmp_path / "cnet_1.mat")
