"""What a job remembers of its finished micrographs, one line each, so that a later run need not pick them again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.errors import PickerError
from relion_ext_picker.report.summary import MicrographSummary
from relion_ext_picker.types import Array, Micrograph, Picks

NAME = "finished.jsonl"


@dataclass(frozen=True)
class Entry:
    """A finished micrograph.

    Attributes
    ----------
    summary : MicrographSummary
    coordinates : str
        Coordinate file, relative to the job directory.
    xy : ndarray, shape (n, 2)
    score : ndarray, shape (n,)
    kind : ndarray, shape (n,), int
        Class numbers, 0 where the mode knows none.
    """

    summary: MicrographSummary
    coordinates: str
    xy: Array
    score: Array
    kind: NDArray[np.int64]


class Record:
    """The file of finished micrographs of a job.

    A line is added only when the coordinate file is in place. A run that is killed can leave half a line, which is
    dropped when the file is next opened; that micrograph is picked again.

    Parameters
    ----------
    folder : Path
        Job directory.
    keep : bool
        Take over what an earlier run left.
    """

    def __init__(self, folder: Path, keep: bool) -> None:
        self._path = folder / NAME
        self.entries: dict[str, Entry] = {}
        lines = self._read(folder) if keep and self._path.is_file() else []
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")

    def _read(self, folder: Path) -> list[str]:
        """Take over the entries that hold; their lines."""
        found: dict[str, tuple[str, Entry]] = {}  # by coordinate file: the last micrograph written to it owns it
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = _entry(json.loads(line))
            except (ValueError, KeyError, TypeError, PickerError):
                continue  # half a line, or of another version: the micrograph is picked again
            if (folder / entry.coordinates).is_file():
                found[entry.coordinates] = (line, entry)
        self.entries = {entry.summary.name: entry for _, entry in found.values()}
        return [line for line, _ in found.values()]

    def finished(self, micrograph: Micrograph) -> Entry | None:
        """The entry of a micrograph, if it was finished with the same pixel size."""
        entry = self.entries.get(micrograph.name)
        same = entry is not None and abs(entry.summary.pixel_size - micrograph.pixel_size) < 1e-6
        return entry if same else None

    def add(self, picks: Picks, summary: MicrographSummary, coordinates: str) -> None:
        """Remember a micrograph whose coordinate file is in place."""
        xy, score = np.round(picks.xy, 1), np.round(picks.score, 4)  # a later run must not read anything else
        self.entries[summary.name] = Entry(summary, coordinates, xy, score, picks.class_number)
        line = {
            "summary": summary.to_json(), "coordinates": coordinates, "xy": xy.astype(float).tolist(),
            "score": score.astype(float).tolist(),
        }  # fmt: skip
        if picks.class_number.any():
            line["kind"] = picks.class_number.tolist()
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _entry(data: Any) -> Entry:
    """Undo what :meth:`Record.add` writes; any of several errors where it is something else."""
    summary = replace(MicrographSummary.from_json(data["summary"]), status="skipped")
    xy = np.array(data["xy"], np.float32).reshape(-1, 2)
    score = np.array(data["score"], np.float32)
    kind = np.array(data.get("kind", [0] * len(score)), np.int64)
    if not len(xy) == len(score) == len(kind) == summary.picks:
        raise ValueError("the numbers of coordinates, scores and picks differ")
    return Entry(summary, data["coordinates"], xy, score, kind)
