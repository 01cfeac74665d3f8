"""The networks of Table 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import InputError, WeightsError
from relion_ext_picker.pickers.deepem.network import DeepEM, architecture_of, load, normalised, parameters
from relion_ext_picker.pickers.deepem.presets import BOX_PER_DIAMETER, PRESETS, Architecture, preset_of

# Box, then the sides of C1, S2, C3, S4, C5 and S6, what the last layer sees, and the number of parameters.
TABLE = {
    "klh": (272, (222, 74, 54, 27, 18, 9), 972, 62_761),
    "19s": (160, (141, 47, 38, 19, 16, 8), 768, 12_703),
    "26s": (150, (120, 60, 46, 23, 14, 7), 588, 36_985),
    "inflammasome": (112, (98, 49, 40, 20, 14, 7), 588, 16_225),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small operations shared out to threads cost more than they are worth, on a busy machine far more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", TABLE)
def test_sizes_are_those_of_the_table(name: str) -> None:
    box, sides, features, count = TABLE[name]
    architecture = PRESETS[name].architecture
    assert architecture.box == box
    assert architecture.maps == (6, 12, 12)
    assert (architecture.convolved, architecture.pooled) == (sides[0::2], sides[1::2])
    assert architecture.features == features
    assert parameters(DeepEM(architecture)) == count


@pytest.mark.parametrize("name", TABLE)
def test_maps_of_a_forward_pass(name: str) -> None:
    network = DeepEM(PRESETS[name].architecture)
    seen = []
    for layer in (network.conv1, network.conv2, network.conv3):
        layer.register_forward_hook(lambda _, given, made: seen.append((tuple(given[0].shape), tuple(made.shape))))
    with torch.no_grad():
        score = network(torch.zeros(2, 1, TABLE[name][0], TABLE[name][0]))
    c1, s2, c3, s4, c5, _ = TABLE[name][1]
    box = TABLE[name][0]
    assert seen == [
        ((2, 1, box, box), (2, 6, c1, c1)),
        ((2, 6, s2, s2), (2, 12, c3, c3)),
        ((2, 12, s4, s4), (2, 12, c5, c5)),
    ]
    assert score.shape == (2,)
    assert torch.all((score > 0) & (score < 1))


def test_by_hand() -> None:
    """One map per layer and kernels of one px: the score can be written down."""
    network = DeepEM(Architecture(2, (1, 1, 1), (2, 1, 1), (1, 1, 1)))
    with torch.no_grad():
        for value, layer in zip((2.0, 3.0, -1.5, 0.7), network.children(), strict=True):
            layer.weight.fill_(value)
            layer.bias.fill_(0.1 * value)
        found = float(network(torch.tensor([[[[1.0, -2.0], [0.5, 0.0]]]])))

    def sigmoid(x: float) -> float:
        return float(1 / (1 + np.exp(-x)))

    s2 = np.mean([sigmoid(2 * x + 0.2) for x in (1.0, -2.0, 0.5, 0.0)])
    expected = sigmoid(0.7 * sigmoid(-1.5 * sigmoid(3 * s2 + 0.3) - 0.15) + 0.07)
    assert found == pytest.approx(expected, abs=1e-6)


def test_general_preset_has_a_window_of_a_fixed_multiple_of_the_particle() -> None:
    preset = preset_of("paper")
    assert preset.diameter * BOX_PER_DIAMETER == pytest.approx(preset.architecture.box)
    assert all(PRESETS[name].diameter == 0 for name in TABLE)
    with pytest.raises(InputError, match="nonsense.*klh, 19s"):
        preset_of("nonsense")


def test_first_weights() -> None:
    network = DeepEM(PRESETS["19s"].architecture)
    network.reset(torch.Generator().manual_seed(3))
    for layer, inputs, outputs in ((network.conv1, 400, 2400), (network.conv2, 600, 1200), (network.output, 768, 1)):
        limit = np.sqrt(6 / (inputs + outputs))
        assert 0.99 * limit < float(layer.weight.detach().abs().max()) <= limit
        assert not layer.bias.detach().any()
    again = DeepEM(PRESETS["19s"].architecture)
    again.reset(torch.Generator().manual_seed(3))
    assert torch.equal(network.conv2.weight, again.conv2.weight)


def test_literal_first_weights_have_no_gradient() -> None:
    network = DeepEM(PRESETS["inflammasome"].architecture)
    network.reset(torch.Generator().manual_seed(0), literal=True)
    windows = normalised(torch.randn(4, 1, 112, 112, generator=torch.Generator().manual_seed(1)))
    loss = 0.5 * torch.mean((network(windows) - torch.tensor([1.0, 0.0, 1.0, 0.0])) ** 2)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.25)
    assert all(not p.grad.any() for p in network.parameters())


def test_normalised() -> None:
    windows = torch.randn(3, 1, 9, 9) * 5 + 100
    windows[1] = 7
    found = normalised(windows)
    torch.testing.assert_close(found.mean((-2, -1)), torch.zeros(3, 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[[0, 2]].std((-2, -1)), torch.ones(2, 1))  # n - 1
    assert not found[1].any()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="do not fill a map of 222 px"):
        Architecture(272, (51, 21, 10), (4, 2, 2))
    with pytest.raises(InputError, match="kernel of 60 px does not fit into a map of 49 px"):
        Architecture(112, (15, 60, 7), (2, 2, 2))
    with pytest.raises(InputError, match="three kernels"):
        Architecture(112, (15, 10, 0), (2, 2, 2))


def test_card_and_tensors() -> None:
    architecture = PRESETS["26s"].architecture
    assert architecture_of(architecture.config()) == architecture
    network = DeepEM(architecture)
    again = load(architecture.config(), network.state_dict())
    assert torch.equal(again.conv3.weight, network.conv3.weight)
    assert not again.training
    with pytest.raises(WeightsError, match="do not fit"):
        load(PRESETS["klh"].architecture.config(), network.state_dict())
    with pytest.raises(WeightsError, match="describes no network"):
        architecture_of({"box": 112, "kernels": [15, 10]})
