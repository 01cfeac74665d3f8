"""Signals as exceptions, so that a stopped job can still say that it failed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Terminated(SystemExit):
    """The program was told to stop by a signal; `status` is 128 plus its number, as shells count.

    Not an ``Exception``, so that code which goes on after a bad micrograph does not go on after this.
    """

    def __init__(self, number: int) -> None:
        self.status = 128 + number
        super().__init__(self.status)
        self.signal = signal.Signals(number)

    def __str__(self) -> str:
        return f"stopped by {self.signal.name}"


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


@contextmanager
def _handlers(handler: Any) -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():  # others may not set handlers and get no signals
        for number in SIGNALS:
            present = signal.getsignal(number)
            # A shell starts background jobs with SIGINT ignored, nohup SIGHUP: Ctrl-C is not meant for them.
            if present is not signal.SIG_IGN and present is not None:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, present in before.items():
            signal.signal(number, present)


def raise_on_signals() -> Any:
    """Context: SIGTERM, SIGINT and SIGHUP raise :class:`Terminated` in the main thread. May be nested."""
    return _handlers(_raise)


def ignore_signals() -> Any:
    """Context: the same signals wait for nothing and stop nothing; for the last words of a job."""
    return _handlers(signal.SIG_IGN)
