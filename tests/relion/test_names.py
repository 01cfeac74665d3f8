from __future__ import annotations

import pytest

from relion_ext_picker.errors import InputError
from relion_ext_picker.relion.names import coordinate_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # all but job0004.mrc as found by the Extract program of RELION 3.1.3
        ("Micrographs/a.mrc", "Micrographs/a_autopick.star"),
        ("MotionCorr/job002/Movies/a/x.mrc", "Movies/a/x_autopick.star"),
        ("MotionCorr/job002/job003/z.mrc", "job003/z_autopick.star"),
        ("job012/MotionCorr/job003/y.mrc", "y_autopick.star"),
        ("job012/x.mrc", "x_autopick.star"),
        ("job12/w.mrc", "job12/w_autopick.star"),
        ("Import/job001_b/q.mrc", "q_autopick.star"),
        ("a/b.c/0001.mrc", "a/b.c/0001_autopick.star"),
        ("/data/project/job005/v.mrc", "v_autopick.star"),
        ("/job005/v.mrc", "job005/v_autopick.star"),
        ("./M/u.mrc", "M/u_autopick.star"),
        ("Micrographs/two words.mrc", "Micrographs/two words_autopick.star"),
        ("Micrographs/job0004.mrc", "Micrographs/job0004_autopick.star"),
    ],
)
def test_the_rule(name: str, expected: str) -> None:
    assert str(coordinate_path(name)) == expected


def test_other_suffix() -> None:
    assert str(coordinate_path("M/a.tif", "deepem")) == "M/a_deepem.star"


@pytest.mark.parametrize("name", ["../x.mrc", "M/../../x.mrc", "MotionCorr/job001/../../../x.mrc", "", "/"])
def test_names_that_climb_out_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="inside the project"):
        coordinate_path(name)
