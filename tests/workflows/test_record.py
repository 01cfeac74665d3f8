"""What a job remembers of its finished micrographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from relion_ext_picker.report.summary import MicrographSummary
from relion_ext_picker.types import Micrograph, Picks
from relion_ext_picker.workflows.record import NAME, Record

RNG = np.random.default_rng(0)


def picks(name: str, count: int, pixel_size: float = 2.0) -> Picks:
    xy = RNG.uniform(0, 500, (count, 2)).astype(np.float32)
    score = np.sort(RNG.uniform(0.3, 1, count).astype(np.float32))[::-1]
    return Picks(Micrograph(name, pixel_size), xy, score, np.zeros(count, np.int64), (512, 640))


def filled(folder: Path, *all_picks: Picks) -> None:
    record = Record(folder, keep=True)
    for item in all_picks:
        name = f"{Path(item.micrograph.name).stem}_autopick.star"
        (folder / name).touch()
        record.add(item, MicrographSummary.of_picks(item, 0.5), name)
    record.close()


def known(folder: Path, keep: bool = True) -> Record:
    record = Record(folder, keep)
    record.close()
    return record


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    first, none = picks("Micrographs/a 1.mrc", 7), picks("b.mrc", 0)
    filled(tmp_path, first, none)
    record = known(tmp_path)
    assert list(record.entries) == ["Micrographs/a 1.mrc", "b.mrc"]
    entry = record.finished(first.micrograph)
    assert entry is not None and entry.coordinates == "a 1_autopick.star"
    assert entry.summary.status == "skipped" and entry.summary.picks == 7 and entry.summary.width == 640
    np.testing.assert_allclose(entry.xy, first.xy, atol=0.051)
    np.testing.assert_allclose(entry.score, first.score, atol=5.1e-5)
    empty = record.finished(none.micrograph)
    assert empty is not None and empty.xy.shape == (0, 2) and empty.score.shape == (0,)


def test_what_does_not_count(tmp_path: Path) -> None:
    """Another pixel size, a deleted coordinate file, other settings."""
    filled(tmp_path, picks("a.mrc", 3), picks("b.mrc", 3))
    assert known(tmp_path).finished(Micrograph("a.mrc", 2.1)) is None
    assert known(tmp_path).finished(Micrograph("c.mrc", 2.0)) is None
    (tmp_path / "a_autopick.star").unlink()
    assert list(known(tmp_path).entries) == ["b.mrc"]
    assert not known(tmp_path, keep=False).entries and (tmp_path / NAME).read_text() == ""


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) - 40],
        lambda text: text + '{"summary": {"name": "b.mrc"',
        lambda text: text + "\0\0\0\0\n",
        lambda text: text + '{"summary": 3}\n[]\n17\n',
        lambda text: text + '{"summary": {"name": "b.mrc", "mood": "good"}, "coordinates": "b", "xy": [], "score": []}',
        lambda text: text + text.splitlines()[1].replace('"score": [', '"score": [0.5, ') + "\n",
        lambda text: text + text.splitlines()[1].replace('"xy": [', '"xy": [[1, 2, 3], ') + "\n",
    ],
)
def test_damaged_lines_are_dropped_and_the_file_is_mended(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    filled(tmp_path, picks("a.mrc", 3), picks("b.mrc", 3))
    path = tmp_path / NAME
    path.write_text(damage(path.read_text()))
    entries = known(tmp_path).entries
    assert "a.mrc" in entries and all(len(entry.xy) == len(entry.score) for entry in entries.values())
    filled(tmp_path, picks("c.mrc", 2))
    assert set(known(tmp_path).entries) >= {"a.mrc", "c.mrc"}


def test_the_last_line_of_a_micrograph_counts(tmp_path: Path) -> None:
    filled(tmp_path, picks("a.mrc", 3), picks("a.mrc", 5, 2.5))
    record = known(tmp_path)
    assert len(record.entries["a.mrc"].xy) == 5 and record.finished(Micrograph("a.mrc", 2.5)) is not None


def test_a_coordinate_file_belongs_to_the_last_micrograph_written_to_it(tmp_path: Path) -> None:
    filled(tmp_path, picks("A/job001/m.mrc", 3))
    filled(tmp_path, picks("B/job002/m.mrc", 4))
    assert list(known(tmp_path).entries) == ["B/job002/m.mrc"]
