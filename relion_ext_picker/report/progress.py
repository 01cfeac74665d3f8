"""Progress: a bar for people at a terminal, one plain line per micrograph for run.out."""

from __future__ import annotations

import logging
import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from relion_ext_picker.report.summary import MicrographSummary, one_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

logger = logging.getLogger(__name__)


class Progress:
    """Tells how a job gets on; a context manager around its loop.

    On a terminal a bar with micrographs per second and the time left; elsewhere one log line (level INFO, which log
    handlers flush) per micrograph. A failed micrograph is a log line of level WARNING in both cases, and so lands in
    run.err. Closing logs the totals.

    Parameters
    ----------
    total : int
        Number of micrographs.
    stream : text stream
        Where the bar goes, if it is a terminal; default standard output.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.count = self.picks = self.failures = self.skipped = 0
        self._stream = sys.stdout if stream is None else stream
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            self._bar, self._task = _bar(self._stream, self.total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        logger.info("%s", self._total_line())

    def done(self, summary: MicrographSummary) -> None:
        """Count a micrograph as done and say what became of it."""
        self.count += 1
        self.picks += summary.picks
        self.failures += summary.failed
        self.skipped += summary.status == "skipped"
        text = f"[{self.count:{len(str(self.total))}d}/{self.total}] {describe(summary)}"
        if self._bar is None:
            logger.log(logging.WARNING if summary.failed else logging.INFO, "%s", text)
            return
        if self._task is not None:
            self._bar.update(self._task, advance=1, picks=self.picks, failed=self.failures)
        if summary.failed:
            self._bar.stop()  # a log line written through a live bar would be torn
            logger.warning("%s", text)
            self._bar.start()

    def _total_line(self) -> str:
        parts = [f"{_count(self.count, 'micrograph')} of {self.total} done", _count(self.picks, "pick")]
        parts += [f"{self.skipped} finished earlier"] if self.skipped else []
        parts += [f"{self.failures} failed"] if self.failures else []
        return ", ".join(parts)


def describe(summary: MicrographSummary) -> str:
    """One line on one micrograph, e.g. ``Micrographs/a.mrc: 143 picks, mean score 0.83, 0.42 s``."""
    if summary.failed:
        return one_line(f"{summary.name}: failed: {summary.message}")
    parts = [_count(summary.picks, "pick")]
    if math.isfinite(summary.mean_score):
        parts.append(f"mean score {summary.mean_score:.2f}")
    parts.append("finished earlier" if summary.status == "skipped" else f"{summary.seconds:.2f} s")
    return one_line(f"{summary.name}: {', '.join(parts)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _bar(stream: TextIO, total: int) -> tuple[Bar, TaskID]:
    """A rich progress bar that vanishes when it stops."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        """Micrographs per second, picks and failures."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            rate = "" if not speed else f"{speed:.2f}/s" if speed < 10 else f"{speed:.0f}/s"
            failed = f", {task.fields['failed']} failed" if task.fields["failed"] else ""
            return Text(f"{rate:>7}  {_count(task.fields['picks'], 'pick')}{failed}")

    bar = Bar(
        "micrographs", BarColumn(bar_width=None), MofNCompleteColumn(), Rate(), TimeRemainingColumn(),
        console=Console(file=stream), transient=True, expand=True,
    )  # fmt: skip
    return bar, bar.add_task("", total=total, picks=0, failed=0)
