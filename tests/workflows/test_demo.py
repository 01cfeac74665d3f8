"""The demo command, smaller."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jobs import markers

from relion_ext_picker.cli import main
from relion_ext_picker.workflows import demo
from relion_ext_picker.workflows.simulate import SimulateOptions


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def smaller(**given: object) -> SimulateOptions:
        return SimulateOptions(**given, size="512x512", pixel_size=4.0, particles=40)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "SimulateOptions", smaller)
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--o", "demo", "--micrographs", "2", "--j", "1"]) == 0
    told = capsys.readouterr().out
    scores = re.findall(r"within (\d+) Å of the truth: precision ([\d.]+), recall ([\d.]+), F1 ([\d.]+)", told)
    assert len(scores) == 2 and float(scores[0][3]) > 0.7 and float(scores[0][0]) > float(scores[1][0])
    assert Path.cwd() == tmp_path
    job = Path("demo") / demo.JOB
    assert markers(str(job)) == ["EXIT_SUCCESS"]
    assert sorted(path.name for path in job.glob("Micrographs/*")) == ["mic0001_autopick.star", "mic0002_autopick.star"]
    assert (job / "logfile.pdf").read_bytes().startswith(b"%PDF")
    assert Path("demo/overlay.png").read_bytes().startswith(b"\x89PNG")
    assert main(["demo", "--o", "demo", "--micrographs", "1", "--j", "1"]) == 0  # again, over the first


def test_a_folder_that_holds_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").touch()
    assert main(["demo", "--o", str(tmp_path)]) == 1
    assert "the folder holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
