"""--diameter auto: that the estimate is near, is kept, says how sure it is, and is refused where it would be wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jobs import DIAMETER, JOB, Simulated, pick, scores, summary

from relion_ext_picker.pickers import size as size_module
from relion_ext_picker.pickers.size import Size, estimate_size
from relion_ext_picker.types import Array


def test_a_job_finds_the_diameter_itself(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--diameter", "auto") == 0
    kept = json.loads((Path(JOB) / "diameter.json").read_text())
    assert kept["diameter"] == pytest.approx(DIAMETER, rel=0.25)
    assert kept["low"] <= kept["diameter"] <= kept["high"]
    assert re.search(r"particle diameter: \d+ Å; from \d+ to \d+ Å", capsys.readouterr().out)
    assert scores(project).f1 > 0.65
    (Path(JOB) / "diameter.json").write_text(json.dumps({**kept, "diameter": 100.0}))
    assert pick("--diameter", "-1") == 0  # the same said in numbers; all is finished, and nothing is estimated anew
    assert summary()["pickerStatus"] == ["skipped"] * len(project.names)
    assert "particle diameter: 100 Å" in capsys.readouterr().out


def test_published_presets_want_a_diameter(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--preset", "paper", "--diameter", "auto") == 1
    assert "--diameter auto" in capsys.readouterr().err
    assert not (Path(JOB) / "diameter.json").exists()


def test_the_surest_size_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picker that finds many doubtful things at small sizes, and fewer but sure ones about 150 Å."""

    def pretended(_picker: object, _image: Array, _pixel: float, request: size_module.Request) -> tuple[Array, Array]:
        distance = np.log(request.diameter / 150)
        sure = np.full(60, 0.95 * np.exp(-(distance**2) / 0.5))
        doubtful = np.full(int(4e6 / request.diameter**2), 0.15)
        score = np.concatenate([sure, doubtful]).astype(np.float32)
        return np.zeros((len(score), 2), np.float32), score

    monkeypatch.setattr(size_module, "pick_micrograph", pretended)
    image = np.zeros((1024, 1024), np.float32)
    found = estimate_size(None, [image, image], 2.0)  # type: ignore[arg-type]
    assert found.diameter == pytest.approx(150, rel=0.1)
    assert found.low < 150 < found.high and found.sure
    assert not Size(150, 100, 200, particles=100).sure, "twice as large would do as well"
    assert not Size(150, 130, 170, particles=5).sure
    monkeypatch.setattr(size_module, "pick_micrograph", lambda *_: (np.zeros((0, 2)), np.zeros(0)))
    assert estimate_size(None, [image], 2.0).diameter == 0  # type: ignore[arg-type]
