"""What a command costs: processor time, wall time and peak memory of the program and all it starts.

Only the standard library is imported: a child process begins as a copy of this one, and its peak memory counts that.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Cost:
    """Cost of one or several commands run one after the other.

    Attributes
    ----------
    cpu : float
        User and system seconds.
    wall : float
        Seconds.
    peak : float
        Largest resident memory of a process, MB (10⁶ bytes).
    """

    cpu: float
    wall: float
    peak: float

    def __add__(self, other: Cost) -> Cost:
        """Of both: times add up, of the peaks the higher one counts."""
        return Cost(self.cpu + other.cpu, self.wall + other.wall, max(self.peak, other.peak))


def run(command: Sequence[str | Path], folder: Path, log: Path, environment: Mapping[str, str]) -> Cost:
    """Run a command to its end and measure it.

    Parameters
    ----------
    command : sequence of str or Path
    folder : Path
        Where to run it.
    log : Path
        What it prints is added here.
    environment : mapping of str
        Variables set besides those of this process.

    Raises
    ------
    SystemExit
        It failed; the message ends with what it said last.
    """
    words = [str(word) for word in command]
    with log.open("ab") as stream:
        start = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )  # fmt: skip
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
    if process.returncode:
        last = log.read_text(errors="replace")[-1500:]
        raise SystemExit(f"{' '.join(words)}\nended with {process.returncode}; it said:\n{last}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024 / 1e6)


def middle(costs: Sequence[Cost]) -> Cost:
    """Median of each figure over repeated runs."""
    return Cost(*(median(getattr(cost, name) for cost in costs) for name in ("cpu", "wall", "peak")))
