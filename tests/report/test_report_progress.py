"""Lines for run.out, a bar for a terminal."""

from __future__ import annotations

import io
import logging

import pytest

from relion_ext_picker.report.progress import Progress, describe
from relion_ext_picker.report.summary import MicrographSummary

GOOD = MicrographSummary("Micrographs/a.mrc", 143, 0.834, 0.99, 0.42)
BAD = MicrographSummary("b.mrc", status="failed", message="no such\nfile")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, "relion_ext_picker"), Progress(120, stream) as progress:
        progress.done(GOOD)
        progress.done(BAD)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "[  1/120] Micrographs/a.mrc: 143 picks, mean score 0.83, 0.42 s"),
        ("WARNING", "[  2/120] b.mrc: failed: no such file"),
        ("INFO", "2 micrographs of 120 done, 143 picks, 1 failed"),
    ]
    assert stream.getvalue() == ""


def test_describe() -> None:
    assert describe(MicrographSummary("a", 1, 0.5, 0.5, 2)) == "a: 1 pick, mean score 0.50, 2.00 s"
    assert describe(MicrographSummary("a", 0, seconds=2)) == "a: 0 picks, 2.00 s"
    assert describe(MicrographSummary("a", 2, 0.5, 0.5, status="skipped")) == (
        "a: 2 picks, mean score 0.50, finished earlier"
    )
    assert "%d" in describe(MicrographSummary("100%d.mrc"))


def test_terminal_gets_a_bar_and_failures_are_still_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    with caplog.at_level(logging.INFO, "relion_ext_picker"), Progress(3, stream) as progress:
        for summary in (GOOD, BAD, GOOD):
            progress.done(summary)
    shown = stream.getvalue()
    assert "3/3" in shown and "286 picks, 1 failed" in shown
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_bar_is_taken_down_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress(3, stream) as progress:
        progress.done(GOOD)
        raise KeyboardInterrupt
    assert stream.getvalue().rfind("\x1b[?25h") > stream.getvalue().rfind("\x1b[?25l")  # the cursor is shown again
