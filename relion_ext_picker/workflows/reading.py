"""Reading ahead: while one micrograph is scored, the next ones are read and prepared."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from relion_ext_picker.errors import PickerError
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.options import PickOptions
from relion_ext_picker.pickers.base import Picker, Request
from relion_ext_picker.report.summary import MicrographSummary
from relion_ext_picker.types import Micrograph, ScoreMap
from relion_ext_picker.workflows.data_set_threshold import automatic, of_data_set

AHEAD = 2  # micrographs read and prepared before they are scored


@dataclass(frozen=True)
class Prepared:
    """A micrograph ready to be scored.

    Attributes
    ----------
    micrograph : Micrograph
    frame : ScoreMap
    shape : (int, int)
        Rows and columns of the micrograph as stored.
    seconds : float
        Time that reading and preparing took.
    """

    micrograph: Micrograph
    frame: ScoreMap
    shape: tuple[int, int]
    seconds: float


def request_of(options: PickOptions) -> Request:
    """What the options ask of a picker."""
    return Request(
        diameter=options.diameter,
        threshold=max(0.0, options.threshold) if of_data_set(options) else options.threshold,
        min_distance=options.min_distance,
        max_picks=options.max_picks,
        border=options.border,
        bright=options.contrast == "bright",
        verify=options.verify,
        corrected=not automatic(options),
    )


def prepared(
    picker: Picker, micrographs: Sequence[Micrograph], request: Request
) -> Generator[Prepared | MicrographSummary, None, None]:
    """Micrographs in order, read and prepared ahead in a thread; the summary of a failure for one that cannot be."""

    def prepare(micrograph: Micrograph) -> Prepared | MicrographSummary:
        start = time.perf_counter()
        try:
            image = read_micrograph(Path(micrograph.name))
            frame = picker.prepare(image, micrograph.pixel_size, request.diameter, bright=request.bright)
        except (PickerError, OSError, MemoryError, ValueError) as error:
            message = str(error) if micrograph.name in str(error) else f"{micrograph.name}: {error or 'out of memory'}"
            return MicrographSummary.of_failure(micrograph, message, time.perf_counter() - start)
        shape = (image.shape[0], image.shape[1])
        return Prepared(micrograph, frame, shape, time.perf_counter() - start)

    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        waiting: list[Future[Prepared | MicrographSummary]] = []
        try:
            for micrograph in micrographs:
                waiting.append(pool.submit(prepare, micrograph))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
