"""The PDF and the picture: written, complete, repeatable, for jobs of any size."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from relion_ext_picker.report import plots
from relion_ext_picker.report.overlay import Overlay, make_overlay
from relion_ext_picker.report.pdf import Heading, score_limits, write_overlay_png, write_report
from relion_ext_picker.report.summary import MicrographSummary

HEADING = Heading("External/job004: picks", {"diameter": "120 Å", "model": ""}, 0.5)


def _job(size: int, ctf: bool = True) -> tuple[list[MicrographSummary], list[np.ndarray]]:
    rng = np.random.default_rng(size)
    scores = [rng.beta(8, 2, rng.integers(0, 40)) for _ in range(size)]
    summaries = [
        MicrographSummary(
            f"Micrographs/{i}.mrc", len(score), float(score.mean()) if len(score) else np.nan, 1.0, 0.4,
            defocus=rng.uniform(8e3, 2e4) if ctf else np.nan,
        )
        for i, score in enumerate(scores)
    ]  # fmt: skip
    return summaries, scores


def _overlay(found: int = 12, shape: tuple[int, int] = (120, 160)) -> Overlay:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, shape[::-1], (found, 2))
    return make_overlay(rng.normal(0, 1, shape), xy, rng.random(found), 20, "Best: a.mrc", 1.5)


def _pages(path: Path) -> int:
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


@pytest.mark.parametrize("size", [0, 1, 2, 12])
def test_any_number_of_micrographs(tmp_path: Path, size: int) -> None:
    summaries, scores = _job(size, ctf=size != 2)
    path = tmp_path / "any.name"
    write_report(path, summaries, scores, [_overlay()] * min(size, 3), HEADING)
    assert path.read_bytes().startswith(b"%PDF") and _pages(path) == 3 + min(size, 3)


def test_no_picks_at_all(tmp_path: Path) -> None:
    summaries = [MicrographSummary("a", defocus=1e4), MicrographSummary("b", status="failed", message="why")]
    write_report(tmp_path / "a.pdf", summaries, [[], []], [_overlay(0)], HEADING)
    assert _pages(tmp_path / "a.pdf") == 4


def test_a_large_job_gives_a_small_file(tmp_path: Path) -> None:
    summaries, scores = _job(5000)
    path = tmp_path / "a.pdf"
    write_report(path, summaries, scores, [], HEADING)
    assert path.stat().st_size < 1_000_000


def test_equal_input_gives_equal_bytes_and_user_settings_of_matplotlib_change_nothing(tmp_path: Path) -> None:
    summaries, scores = _job(6)
    write_report(tmp_path / "a.pdf", summaries, scores, [_overlay()], HEADING)
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "image.origin": "lower"}):
        write_report(tmp_path / "b.pdf", summaries, scores, [_overlay()], HEADING)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert dict(matplotlib.rcParams) == before


def test_strange_names(tmp_path: Path) -> None:
    names = ["$x$_^{", "显微/1.mrc", "\udcff.mrc", "very/" * 80 + "long.mrc"]
    summaries = [MicrographSummary(name, status="failed", message=name * 3) for name in names] * 4
    heading = Heading(names[0] + names[2], {name: name for name in names} | {str(i): "v" for i in range(90)})
    write_report(tmp_path / "a.pdf", summaries, [], [], heading)
    assert _pages(tmp_path / "a.pdf") == 3


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_cover_says_what_failed_and_how_many_more() -> None:
    figure = plots.cover_page("Job", [("Failed", "11", "")], {"a": "b", "c": ""}, [("m", "why")] * 11, "foot")
    texts = _texts(figure)
    assert texts.count("why") == 8 and "and 3 more, see summary.star" in texts
    assert "a" in texts and "c" not in texts and "foot" in texts


def test_long_text_is_shortened_to_its_place() -> None:
    figure = plots.cover_page("Job", [], {"in_mics": "x" * 50 + "/" * 200 + "last.star"}, [], "foot")
    shown = next(text for text in figure.texts if "…" in text.get_text())
    assert shown.get_text().endswith("last.star")
    assert shown.get_window_extent().x1 < figure.bbox.width


def test_threshold_line_and_defocus_panel_only_where_they_are_known() -> None:
    n = np.arange(10.0)
    both = plots.scores_page(n / 10, n / 10, n * 1e3 + 1e4, n, (0.35, ""))
    assert len(both.axes) == 3
    assert 0.35 in [line.get_xdata()[0] for line in both.axes[0].lines]
    neither = plots.scores_page(n / 10, n / 10, n * np.nan, n, (np.nan, ""))
    assert len(neither.axes) == 2 and not neither.axes[0].lines


def test_counts_page_marks_failures_where_they_happened() -> None:
    figure = plots.counts_page(np.array([3, np.nan, 5, 4, 4, 6, np.nan]), "")
    marks = next(line for line in figure.axes[1].lines if line.get_label() == "failed (2)")
    assert list(marks.get_xdata()) == [2, 7]


@pytest.mark.parametrize(
    ("scores", "limits"),
    [([[]], (0, 1)), ([[0.31, 0.92]], (0.3, 0.95)), ([[0.5]], (0.4, 0.5)), ([[1.0, 1.0], [np.nan]], (0.9, 1.0))],
)
def test_score_limits(scores: list[list[float]], limits: tuple[float, float]) -> None:
    assert score_limits([np.asarray(item, np.float32) for item in scores]) == pytest.approx(limits)


def _is_colour(image: np.ndarray) -> np.ndarray:
    return image[..., :3].max(-1) - image[..., :3].min(-1) > 0.2


def test_picture_has_row_zero_on_top_and_circles_at_the_picks(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(200, dtype=np.float32)[:, None], (1, 300))  # dark at row 0
    overlay = make_overlay(ramp, np.array([[60.0, 150.0]]), np.array([0.9]), 40, "a")
    write_overlay_png(tmp_path / "a.png", overlay)
    shown = imread(tmp_path / "a.png")
    inside = shown[:, : int(shown.shape[1] * 0.85)]
    coloured = np.argwhere(_is_colour(inside)[: int(shown.shape[0] * 0.9)])
    centre = coloured.mean(axis=0) / inside.shape[:2]
    assert centre[0] > 0.6 and centre[1] < 0.3  # pick at three quarters of the height and a fifth of the width
    assert inside[int(0.12 * len(inside)), 300, 0] < 0.2 < 0.6 < inside[int(0.8 * len(inside)), 800, 0]


def test_picture_draws_misses_and_false_picks(tmp_path: Path) -> None:
    overlay = _overlay(5)
    write_overlay_png(tmp_path / "plain.png", overlay)
    write_overlay_png(tmp_path / "truth.png", overlay, np.array([[80.0, 60.0], [1.0, 1.0]]))
    cyan = {}
    for name in ("plain", "truth"):
        red, green, blue = np.moveaxis(imread(tmp_path / f"{name}.png")[..., :3], -1, 0)
        cyan[name] = int(((blue > red + 0.4) & (green > red + 0.3)).sum())
    assert cyan["plain"] == 0 and cyan["truth"] > 100


@pytest.mark.parametrize("shape", [(40, 900), (900, 40)])
def test_odd_formats(tmp_path: Path, shape: tuple[int, int]) -> None:
    write_overlay_png(tmp_path / "a.png", _overlay(4, shape))
    write_report(tmp_path / "a.pdf", *_job(1), [_overlay(4, shape)], HEADING)


def test_matplotlib_and_rich_are_not_imported_before_they_are_needed() -> None:
    code = (
        "import sys, relion_ext_picker.report.pdf, relion_ext_picker.report.progress;"
        "sys.exit('matplotlib' in sys.modules or 'rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
