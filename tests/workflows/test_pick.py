"""The pick command as RELION and people start it: results, resume, options."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jobs import (
    DIAMETER,
    JOB,
    STAR,
    Simulated,
    agreement,
    all_picks,
    crops,
    image_of,
    markers,
    pick,
    picks_of,
    put,
    scores,
    star_of,
    summary,
)

from relion_ext_picker.relion.names import coordinate_path
from relion_ext_picker.relion.star import read_micrographs, write_micrographs
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.types import Micrograph
from relion_ext_picker.workflows import pick as pick_workflow


def times(names: list[str]) -> dict[str, int]:
    return {name: (Path(JOB) / coordinate_path(name)).stat().st_mtime_ns for name in names}


def nodes(job: str = JOB) -> dict[str, list[str]]:
    return read_tables(Path(job) / "RELION_OUTPUT_NODES.star", ())["output_nodes"]


def test_a_job_finds_the_particles(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--report", "Yes", "--views", "4") == 0
    assert markers() == ["EXIT_SUCCESS"]
    found = scores(project)
    assert found.f1 > 0.7 and found.ap is not None and found.ap > 0.7
    assert found.centring is not None and found.centring < 3
    job = Path(JOB)
    assert json.loads((job / "settings.json").read_text())["diameter"] == DIAMETER
    lines = [json.loads(line) for line in (job / "finished.jsonl").read_text().splitlines()]
    assert [line["summary"]["name"] for line in lines] == project.names
    table, picks = summary(), all_picks(project.names)
    assert table["rlnMicrographName"] == project.names
    assert table["rlnGroupNrParticles"] == [len(picks[name].xy) for name in project.names]
    assert table["pickerStatus"] == ["picked"] * 3
    assert (job / "logfile.pdf").read_bytes().startswith(b"%PDF")
    assert nodes()["rlnPipeLineNodeName"] == [f"{JOB}autopick.star", f"{JOB}logfile.pdf"]
    listed = read_tables(job / "autopick.star", ("rlnMicrographName",))["coordinate_files"]
    assert listed["rlnMicrographName"] == project.names
    assert all(Path(name).is_file() for name in listed["rlnMicrographCoordinates"])
    assert (job / "coords_suffix_autopick.star").read_text() == f"{STAR}\n"
    told = capsys.readouterr()
    assert told.out.count("Micrographs/mic") == 3 and told.err == ""


def test_a_second_run_picks_nothing_and_reports_everything(project: Simulated) -> None:
    assert pick() == 0
    before, first = times(project.names), summary()
    assert pick("--report", "Yes") == 0
    assert times(project.names) == before and markers() == ["EXIT_SUCCESS"]
    again = summary()
    assert again["pickerStatus"] == ["skipped"] * 3
    for column in ("rlnGroupNrParticles", "rlnAutopickFigureOfMerit", "pickerSeconds"):
        assert again[column] == first[column]
    assert (Path(JOB) / "logfile.pdf").stat().st_size > 10_000
    assert f"{JOB}logfile.pdf" in nodes()["rlnPipeLineNodeName"]


def test_a_grown_star_file_is_picked_where_it_has_grown(project: Simulated) -> None:
    all_of_them = read_micrographs(Path(STAR))
    write_micrographs(Path(STAR), all_of_them[1:])
    assert pick() == 0
    before = times(project.names[1:])
    write_micrographs(Path(STAR), all_of_them)
    assert pick() == 0
    assert times(project.names[1:]) == before
    assert summary()["pickerStatus"] == ["picked", "skipped", "skipped"]
    listed = read_tables(Path(JOB) / "autopick.star", ("rlnMicrographName",))["coordinate_files"]
    assert listed["rlnMicrographName"] == project.names


@pytest.mark.parametrize("change", [("--diameter", "120"), ("--threshold", "0.6"), ("--min-distance", "0.8")])
def test_other_settings_redo_everything(project: Simulated, change: tuple[str, str]) -> None:
    star_of(project.names[:2])
    assert pick() == 0
    before = times(project.names[:2])
    assert pick(*change) == 0
    assert all(times([name])[name] > before[name] for name in before)
    assert summary()["pickerStatus"] == ["picked"] * 2


def test_another_pixel_size_redoes_its_micrographs(project: Simulated) -> None:
    assert pick() == 0
    listed = read_micrographs(Path(STAR))
    write_micrographs(Path(STAR), [*listed[:2], Micrograph(listed[2].name, 4.4)])
    assert pick() == 0
    assert summary()["pickerStatus"] == ["skipped", "skipped", "picked"]


def test_half_a_line_of_a_killed_run_is_healed(project: Simulated) -> None:
    assert pick() == 0
    record, whole = Path(JOB) / "finished.jsonl", all_picks(project.names)
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:2]) + lines[2][: len(lines[2]) // 2])
    assert pick() == 0
    assert summary()["pickerStatus"] == ["skipped", "skipped", "picked"]
    assert [json.loads(line)["summary"]["name"] for line in record.read_text().splitlines()] == project.names
    for name, found in all_picks(project.names).items():
        np.testing.assert_array_equal(found.xy, whole[name].xy)


def test_a_coordinate_file_that_was_deleted_is_made_again(project: Simulated) -> None:
    assert pick() == 0
    (Path(JOB) / coordinate_path(project.names[1])).unlink()
    assert pick() == 0
    assert summary()["pickerStatus"] == ["skipped", "picked", "skipped"]
    assert len(picks_of(project.names[1])) == summary()["rlnGroupNrParticles"][1]


def test_two_micrographs_with_one_coordinate_file(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that was there first keeps it, also when the other comes before it in a grown STAR file."""
    for name in ("A/job001/m.mrc", "B/job002/m.mrc"):
        Path(name).parent.mkdir(parents=True)
    shutil.copy(project.names[0], "A/job001/m.mrc")
    shutil.copy(project.names[1], "B/job002/m.mrc")
    star_of(["A/job001/m.mrc"])
    assert pick() == 0
    before = picks_of("A/job001/m.mrc").xy
    star_of(["B/job002/m.mrc", "A/job001/m.mrc"])
    assert pick() == 0
    assert summary()["pickerStatus"] == ["failed", "skipped"]
    assert "B/job002/m.mrc: its coordinate file m_autopick.star is that of A/job001/m.mrc" in capsys.readouterr().err
    np.testing.assert_array_equal(picks_of("A/job001/m.mrc").xy, before)


def test_limits(project: Simulated) -> None:
    star_of(project.names[:1])
    name = project.names[0]
    runs = {"all": [], "three": ["--max-picks", "3"], "inner": ["--border", "0.6"], "apart": ["--min-distance", "1.2"],
            "each": ["--threshold", "0"]}  # fmt: skip
    found = {}
    for job, more in runs.items():
        assert pick(*more, job=job) == 0
        found[job] = picks_of(name, job)
    assert found["all"].score is not None
    middle = float(np.median(found["all"].score))
    assert pick("--threshold", f"{middle:.4f}", job="sure") == 0
    found["sure"] = picks_of(name, "sure")
    places = {job: {tuple(place) for place in item.xy.tolist()} for job, item in found.items()}
    np.testing.assert_array_equal(found["three"].xy, found["all"].xy[:3])
    margin = 0.6 * DIAMETER / 4
    inside = [p for p in places["all"] if all(margin - 0.5 <= c <= 511.5 - margin for c in p)]
    assert places["inner"] <= places["all"] and abs(len(places["inner"]) - len(inside)) <= 1
    assert found["inner"].xy.min() >= margin - 1 and found["inner"].xy.max() <= 511 - margin + 1
    gaps = np.hypot(*(found["apart"].xy[:, None] - found["apart"].xy[None]).transpose(2, 0, 1))
    assert gaps[gaps > 0].min() >= 1.2 * DIAMETER / 4 - 1.5 and len(found["apart"]) < len(found["all"])
    # All candidates: some more, and what is above the threshold among them.
    assert len(found["each"]) > len(found["all"]) + 5
    assert places["all"] <= places["each"] and places["sure"] < places["all"]
    assert found["sure"].score is not None and found["sure"].score.min() >= middle - 1e-3


def test_bright_particles(project: Simulated) -> None:
    name = project.names[0]
    put("Micrographs/negative.mrc", -image_of(name))
    assert pick(star=star_of([name], star="dark.star")) == 0
    assert pick("--contrast", "bright", job="b", star=star_of(["Micrographs/negative.mrc"], star="bright.star")) == 0
    assert agreement(picks_of(name).xy, picks_of("Micrographs/negative.mrc", "b").xy) > 0.98


def test_abort_before_the_first_micrograph(project: Simulated) -> None:
    Path(JOB).mkdir(parents=True)
    (Path(JOB) / "RELION_JOB_ABORT_NOW").touch()
    assert pick() == 3
    assert markers() == ["EXIT_ABORTED"] and not list(Path(JOB).rglob("*_autopick.star"))


def test_abort_between_micrographs_and_continue(project: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pick_workflow.pick_prepared

    def then_abort(*given):  # type: ignore[no-untyped-def]
        (Path(JOB) / "RELION_JOB_ABORT_NOW").touch()
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pick_workflow, "pick_prepared", then_abort)
        assert pick() == 3
    assert markers() == ["EXIT_ABORTED"]
    assert [path.name for path in Path(JOB).rglob("*_autopick.star")] == ["mic0001_autopick.star"]
    assert pick() == 0
    assert markers() == ["EXIT_SUCCESS"] and summary()["pickerStatus"] == ["skipped", "picked", "picked"]


def test_an_empty_micrograph_has_no_picks(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"Micrographs/noise{seed}.mrc" for seed in range(6)]
    for seed, name in enumerate(names):
        put(name, np.random.default_rng(seed).normal(20, 3, (512, 512)).astype(np.float32))
    star_of(names)
    assert pick("--views", "2", job="own/") == 0
    assert sum(len(picks_of(name, "own/")) for name in names) == 0
    put("Micrographs/noise.mrc", np.random.default_rng(1).normal(20, 3, (512, 512)).astype(np.float32))
    star_of(["Micrographs/noise.mrc"])
    capsys.readouterr()
    assert pick("--report", "Yes", "--threshold", "0.95") == 0
    assert len(picks_of("Micrographs/noise.mrc")) == 0 and markers() == ["EXIT_SUCCESS"]
    assert "no particles were found in 1 micrographs: check --diameter" in capsys.readouterr().err
    assert f"{JOB}autopick.star" in nodes()["rlnPipeLineNodeName"]


def test_one_bad_micrograph_among_ten(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    names = crops(10)
    broken = Path(names[6])
    broken.write_bytes(broken.read_bytes()[:50_000])
    assert pick("--report", "Yes", star="crops.star") == 0
    assert markers() == ["EXIT_SUCCESS"]
    error = capsys.readouterr().err
    assert f"WARNING: [ 7/10] {names[6]}: failed: micrograph {names[6]} is truncated" in error
    table = summary()
    assert table["pickerStatus"] == ["failed" if name == names[6] else "picked" for name in names]
    assert "is truncated" in table["pickerMessage"][6]
    good = [name for name in names if name != names[6]]
    assert all(len(found) for found in all_picks(good).values())
    assert not (Path(JOB) / coordinate_path(names[6])).exists()
    listed = read_tables(Path(JOB) / "autopick.star", ("rlnMicrographName",))["coordinate_files"]
    assert listed["rlnMicrographName"] == good


def test_a_mended_micrograph_is_picked_by_the_next_run(project: Simulated) -> None:
    whole = Path(project.names[1]).read_bytes()
    Path(project.names[1]).write_bytes(whole[:5000])
    assert pick() == 0
    Path(project.names[1]).write_bytes(whole)
    assert pick() == 0
    assert summary()["pickerStatus"] == ["skipped", "picked", "skipped"]


def test_generations(project: Simulated) -> None:
    """The node that fits the RELION which wrote job.star, or the one asked for."""
    star_of(project.names[:1])
    old = "data_job\n\n_rlnJobType 99\n_rlnJobIsContinue 0\n"
    new = "\n# version {}\n\ndata_job\n\n_rlnJobTypeLabel relion.external\n_rlnJobIsContinue 0\n_rlnJobIsTomo 0\n"
    suffix, table = "coords_suffix_autopick.star", "autopick.star"
    expected = {
        "3.1": ("rlnPipeLineNodeType", suffix, 2),
        "4.0": ("rlnPipeLineNodeTypeLabel", table, "MicrographsCoords.star.relion.autopick"),
        "5.0": ("rlnPipeLineNodeTypeLabel", table, "MicrographCoordsGroup.star.relion.autopick"),
    }
    Path(JOB).mkdir(parents=True)
    texts = {"3.1": old, "4.0": new.format(30001), "5.0": new.format(50001)}
    for generation, (column, name, kind) in expected.items():
        (Path(JOB) / "job.star").write_text(texts[generation])
        assert pick() == 0
        assert nodes()["rlnPipeLineNodeName"][0] == JOB + name
        assert nodes()[column][0] == kind
        assert (Path(JOB) / suffix).is_file() and (Path(JOB) / table).is_file()
    assert pick("--relion-version", "3.1") == 0
    assert nodes()["rlnPipeLineNodeType"][0] == 2
