"""Kinds by size over a data set."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.pickers.deepcryopicker.find import Found
from relion_ext_picker.pickers.deepcryopicker.sizes import by_size, division
from relion_ext_picker.types import Grid


def found(radius: float, count: int, seed: int, kind: str = "side") -> Found:
    rng = np.random.default_rng(seed)
    good = np.ones(count, bool)
    good[-1] = False
    return Found(
        np.zeros((count, 2), np.float32), np.full(count, kind, "<U9"), radius * rng.normal(1, 0.05, count), good,
        np.ones(count), np.full(count, 9.0), "intensity", 1.0, np.zeros((0, 0), bool), Grid(),
    )  # fmt: skip


@pytest.mark.parametrize("usual", [90.0, 180.0])
def test_what_is_of_another_size_than_the_particle_is_irregular(usual: float) -> None:
    small, large = found(46, 40, 0), found(92, 20, 1)
    tops = found(92, 30, 2, "top")
    kinds = [set(each.kind.tolist()) for each in by_size([small, large, tops], [usual] * 3)]
    assert kinds[2] == {"top"}
    assert kinds[:2] == ([{"irregular"}, {"side"}] if usual == 180 else [{"side"}, {"irregular"}])


def test_one_size_stays_one() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 0.1, 200)
    assert division(one) is None and division(one[:20]) is None
    assert division(np.concatenate([one, one[:5] - 1])) is None  # five are dirt
    limit, larger = division(np.concatenate([one, one[:60] - 0.7])) or (9.0, False)
    assert -0.7 < limit < 0 and larger
    assert by_size([], []) == []
    alone = found(46, 40, 0)
    assert (by_size([alone], [90.0])[0].kind == "side").all()
