"""The published networks: size, field of view, and the strips in which the first one works."""

from __future__ import annotations

import torch

from relion_ext_picker.pickers.drpnet.paper_networks import STRIP, Fcrn, ParticleClassifier, parameters


def fresh(seed: int = 0) -> Fcrn:
    network = Fcrn().eval()
    network.reset(torch.Generator().manual_seed(seed), literal=True)
    return network


def test_size_of_the_first_network() -> None:
    assert parameters(Fcrn()) == 26_561
    assert Fcrn()(torch.zeros(2, 1, 37, 51)).shape == (2, 1, 37, 51)


def test_names_of_the_first_network() -> None:
    assert sorted(Fcrn().state_dict()) == [f"conv{n}.{part}" for n in range(1, 6) for part in ("bias", "weight")]
    assert Fcrn().conv3.weight.shape[2:] == (1, 7)
    assert Fcrn().conv4.weight.shape[2:] == (7, 1)


def test_receptive_field() -> None:
    network = Fcrn()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    image = torch.rand(1, 1, 61, 61, requires_grad=True)
    # The maximum passes the gradient to one of four px; over many places all of them are met.
    seen = torch.zeros(40, 40)
    for row in range(25, 36):
        for col in range(25, 36):
            gradient = torch.autograd.grad(network(image)[0, 0, row, col], image, retain_graph=False)[0][0, 0]
            seen += gradient[row - 20 : row + 20, col - 20 : col + 20].abs()
    rows, cols = torch.nonzero(seen.sum(1)).flatten() - 20, torch.nonzero(seen.sum(0)).flatten() - 20
    assert (int(rows.min()), int(rows.max())) == (-9, 10)
    assert (int(cols.min()), int(cols.max())) == (-9, 10)


def test_strips_change_nothing() -> None:
    network = fresh(1)
    image = torch.rand(2 * STRIP + 77, 90)
    with torch.inference_mode():
        whole = network(image[None, None])[0, 0]
    torch.testing.assert_close(network.respond(image), whole, rtol=1e-4, atol=1e-7)


def test_first_weights_are_those_of_the_authors_software() -> None:
    network = fresh()
    assert abs(float(network.conv2.weight.detach().std()) - 0.01) < 5e-4
    assert not network.conv2.bias.detach().any()
    assert torch.equal(fresh(5).conv1.weight, fresh(5).conv1.weight)
    assert not torch.equal(fresh(5).conv1.weight, fresh(6).conv1.weight)


def expected(kernel: int, width: int) -> int:
    layers = [(1, width, kernel), (width, 16, 7), (16, 32, 5), (32, 64, 3)]
    convolutions = sum(k * k * i * o + o + 2 * o for i, o, k in layers)  # + 2: batch normalisation
    return convolutions + 56 * 56 * 64 * 128 + 128 + 128 * 2 + 2


def test_size_of_the_second_network() -> None:
    network = ParticleClassifier()
    assert parameters(network) == expected(11, 16)
    assert network.full1.weight.numel() == 25_690_112
    assert parameters(ParticleClassifier(9, 8)) == expected(9, 8)
    network.eval()
    assert network.probability(torch.rand(3, 64, 64) * 255).shape == (3,)
    assert network.probability(torch.zeros(0, 64, 64)).shape == (0,)
