"""Networks made quick for picking say what the trained ones say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from relion_ext_picker.pickers.drpnet.network import Proposer, Verifier
from relion_ext_picker.pickers.inference import Inference, has_half


def trained(network: nn.Module) -> nn.Module:
    """A network whose normalisations do something."""
    generator = torch.Generator().manual_seed(3)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_var is not None and part.running_mean is not None
            for values in (part.weight.data, part.running_var):
                values.uniform_(0.5, 2.0, generator=generator)
            for values in (part.bias.data, part.running_mean):
                values.uniform_(-0.5, 0.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 0.1)])
def test_proposer(half: bool, tolerance: float) -> None:
    torch.manual_seed(0)
    network, image = trained(Proposer()), torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        expected, found = network(image), Inference(network, half)(image)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < tolerance * float(expected.std())
    assert any(isinstance(part, nn.BatchNorm2d) for part in network.modules()), "the trained network was changed"


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 0.1)])
def test_verifier(half: bool, tolerance: float) -> None:
    torch.manual_seed(0)
    network, windows, logits = trained(Verifier()), torch.randn(5, 1, 48, 48), torch.linspace(-6, 6, 5)
    assert isinstance(network, Verifier)
    network.decide.weight.data[0, :-1].normal_(std=0.1)
    with torch.inference_mode():
        expected, found = network(windows, logits), Inference(network, half)(windows, logits)
    assert float((found - expected).abs().max()) < tolerance


def test_a_gpu_keeps_32_bit() -> None:
    assert not has_half(torch.device("cuda", 0))
