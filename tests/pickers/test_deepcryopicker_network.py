"""The networks of the DeepCryoPicker mode: sizes, and the map of a micrograph against its windows one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relion_ext_picker.errors import WeightsError
from relion_ext_picker.pickers.deepcryopicker.network import STRIDE, CompactNetwork, Shape
from relion_ext_picker.pickers.deepcryopicker.paper_network import WINDOW, PaperNetwork, window_scores
from relion_ext_picker.pickers.deepcryopicker.picker import untrained
from relion_ext_picker.types import Grid, ScoreMap

SMALL = Shape(widths=(4, 6, 6), holes=(2, 4), hidden=8)


@pytest.fixture(scope="module")
def paper() -> PaperNetwork:
    torch.manual_seed(0)
    return PaperNetwork(4).eval()


def test_window_of_the_default_network():
    assert Shape().window == 56
    torch.manual_seed(0)
    network = CompactNetwork(3).eval()
    image = torch.randn(1, 1, 96, 96, requires_grad=True)
    network(image)[0, 0, 5, 5].backward()
    touched = image.grad[0, 0].nonzero()
    assert touched.min(0).values.tolist() == [10, 10] and touched.max(0).values.tolist() == [65, 65]


def test_spacings_must_go_with_the_convolutions():
    with pytest.raises(WeightsError, match="spacings"):
        Shape(widths=(4, 4), holes=(1, 1))
    with pytest.raises(WeightsError, match="describes no network"):
        Shape.of_config({"widths": [4, 4]})
    assert Shape.of_config(SMALL.config()) == SMALL


@pytest.mark.parametrize("views", [1, 2, 4])
def test_the_map_of_a_micrograph_is_that_of_its_windows(views):
    torch.manual_seed(1)
    blank = untrained(("top", "side", "background"), torch.device("cpu"), views=views)
    network = blank.network()
    for part in network.modules():  # statistics as of a trained network
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    network.output.weight.data *= 3
    picker = type(blank)(blank.card, {"net": network.state_dict()}, blank.device, views, half=False)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(120, 150)).astype(np.float32), Grid())
    whole = picker.probabilities(frame)
    assert whole.shape == (3, 60, 75) and whole.std() > 0.01
    half = picker.shape.window // 2 // STRIDE
    rows, cols = np.mgrid[half : 60 - half : 3, half : 75 - half : 3]
    xy = frame.grid.coarser(STRIDE).to_original(rows.ravel(), cols.ravel())
    windows = picker.cut(frame, xy)
    assert np.abs(picker.judge(windows).T - whole[:, rows.ravel(), cols.ravel()]).max() < 1e-4


def test_tiles_change_nothing(monkeypatch):
    from relion_ext_picker.pickers.deepcryopicker import picker as module

    picker = untrained(("top", "background"), torch.device("cpu"), SMALL, views=4)
    frame = ScoreMap(np.random.default_rng(0).normal(size=(180, 122)).astype(np.float32), Grid())
    whole = picker.probabilities(frame)
    monkeypatch.setattr(module, "CORE", 64)
    assert np.abs(picker.probabilities(frame) - whole).max() < 1e-5


def test_parameters_of_the_papers_network(paper):
    count = sum(part.numel() for part in paper.parameters())
    assert count == 58_297_732
    one_more = torch.nn.Linear(paper.output.in_features, 5)
    assert count + sum(p.numel() for p in one_more.parameters()) - 4 * 4097 == 58_301_829  # five classes


def test_map_sizes_of_table_9(paper):
    sizes = []
    hooks = [
        part.register_forward_hook(lambda module, _, out: sizes.append(tuple(out.shape[1:])))
        for part in paper.modules()
        if isinstance(part, (torch.nn.Conv2d, torch.nn.MaxPool2d, torch.nn.Linear))
    ]
    with torch.inference_mode():
        # The first convolution is not called as a module.
        assert paper.look(torch.zeros(1, 3, WINDOW, WINDOW)).shape == (1, 96, 55, 55)
        paper(torch.zeros(1, 3, WINDOW, WINDOW))
    for hook in hooks:
        hook.remove()
    assert sizes == [
        (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
        (4096,), (4096,), (4,),
    ]  # fmt: skip


def test_grey_windows_count_as_three_equal_channels(paper):
    windows = torch.rand(2, 1, WINDOW, WINDOW)
    with torch.inference_mode():
        assert torch.allclose(paper(windows), paper(windows.expand(-1, 3, -1, -1)), atol=1e-4)


def test_sliding_windows_are_those_cut_out(paper):
    image = torch.rand(WINDOW + 2 * 28 + 5, WINDOW + 3 * 28)
    with torch.inference_mode():
        found = torch.cat(list(window_scores(paper, image, 28, 3)))
        cut = torch.stack(
            [image[top : top + WINDOW, left : left + WINDOW] for top in (0, 28, 56) for left in (0, 28, 56, 84)]
        )
        expected = torch.softmax(paper(cut[:, None]), 1)
    assert found.shape == (12, 4) and torch.allclose(found, expected, atol=1e-4)


def test_steps_must_share_the_first_maps(paper):
    with pytest.raises(ValueError, match="do not share"):
        next(window_scores(paper, torch.rand(WINDOW, WINDOW), 30, 1))


def test_the_printed_start_cannot_learn():
    """Sigmoids with weights from 0..1 are saturated: no window differs from another, and no gradient comes through."""
    torch.manual_seed(0)
    literal = PaperNetwork(4, sigmoid=True)
    logits = literal(torch.rand(2, 1, WINDOW, WINDOW))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert torch.equal(logits[0], logits[1])
    assert literal.first.weight.grad.abs().max() == 0
