"""The pages on what a DeepCryoPicker job taught itself."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.report.plots.teaching import examples_page


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_examples_of_every_class_fit_on_the_page(classes: int) -> None:
    names = ("top", "side", "irregular", "background", "negative")[:classes]
    windows = np.random.default_rng(0).random((28, 16, 16), np.float32)
    figure = examples_page(dict.fromkeys(names, windows), "footer")
    assert len(figure.axes) >= classes
    assert min(axes.get_position().y0 for axes in figure.axes) > 0.06  # above the footer
