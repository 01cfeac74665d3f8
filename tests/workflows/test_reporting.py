"""summary.star and logfile.pdf of jobs of every kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jobs import JOB, Simulated, markers, pick, star_of, summary

from relion_ext_picker.options import PickOptions
from relion_ext_picker.report.overlay import Overlay
from relion_ext_picker.report.pdf import Heading
from relion_ext_picker.workflows import reporting


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Overlay], Heading]]:
    """What was drawn."""
    drawn: list[tuple[list[Overlay], Heading]] = []
    real = reporting.write_report

    def write(path, summaries, scores, overlays, heading, teaching):  # type: ignore[no-untyped-def]
        drawn.append((list(overlays), heading))
        real(path, summaries, scores, overlays, heading, teaching)

    monkeypatch.setattr(reporting, "write_report", write)
    return drawn


def test_the_best_the_median_and_the_worst(project: Simulated, reports: list[tuple[list[Overlay], Heading]]) -> None:
    assert pick("--report", "Yes", "--border", "0.5", "--threshold", "0.4") == 0
    ((overlays, heading),) = reports
    table = summary()
    merit = [n * s for n, s in zip(table["rlnGroupNrParticles"], table["rlnAutopickFigureOfMerit"], strict=True)]
    order = sorted(range(3), key=lambda i: -merit[i])
    places = [re.split(r"[ :]", overlay.title)[0] for overlay in overlays]
    assert places == ["Best", "Median", "Worst"]
    assert [overlay.title.split()[-1] for overlay in overlays] == [project.names[i] for i in order]
    assert [len(overlay.xy) for overlay in overlays] == [table["rlnGroupNrParticles"][i] for i in order]
    assert overlays[0].radius == pytest.approx(130 / 4 / 2)
    assert heading.settings["diameter"] == "130 Å" and heading.settings["border"] == "0.5"
    assert heading.settings["threshold"] == "0.4" and heading.settings["micrographs"] == "micrographs_ctf.star"
    assert "max picks" not in heading.settings


@pytest.mark.parametrize(("count", "drawn"), [(1, 1), (2, 2)])
def test_few_micrographs(
    project: Simulated, reports: list[tuple[list[Overlay], Heading]], count: int, drawn: int
) -> None:
    star_of(project.names[:count])
    assert pick("--report", "Yes") == 0
    assert len(reports[0][0]) == drawn and reports[0][1].settings["threshold"].endswith("(the model's own)")


def test_a_micrograph_that_is_gone_when_the_report_is_made(
    project: Simulated, reports: list[tuple[list[Overlay], Heading]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pick() == 0
    Path(project.names[0]).unlink()
    assert pick("--report", "Yes") == 0
    assert markers() == ["EXIT_SUCCESS"] and len(reports[0][0]) == 2
    assert f"no picture of {project.names[0]} in the report" in capsys.readouterr().err
    assert summary()["pickerStatus"] == ["skipped"] * 3


def test_without_a_report(project: Simulated, reports: list[tuple[list[Overlay], Heading]]) -> None:
    assert pick() == 0
    assert not reports and not (Path(JOB) / "logfile.pdf").exists()
    assert PickOptions().report
