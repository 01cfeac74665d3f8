"""The evaluate command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jobs import DIAMETER, STAR, Simulated, markers, pick

from relion_ext_picker.cli import main
from relion_ext_picker.evaluation.fsc import shell_resolutions
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.tables import read_tables, write_tables
from relion_ext_picker.workflows.simulated_truth import TRUTH_DIR, write_mrc

ORACLES = Path(__file__).parents[3] / "shared/data/oracles"
needs_oracles = pytest.mark.skipif(not ORACLES.exists(), reason="no ../shared")
JOB = "External/job009/"


def evaluate(*words: str, job: str = JOB) -> int:
    return main(["evaluate", "--o", job, *words])


def report(job: str = JOB) -> dict:
    return json.loads((Path(job) / "report.json").read_text())


def half_maps(folder: Path, box: int = 32) -> None:
    rng = np.random.default_rng(0)
    distance = np.sqrt(sum(np.meshgrid(*[(np.arange(box) - box / 2) ** 2] * 3, indexing="ij")))
    signal = 3 * np.exp(-((distance - 7) ** 2) / 3)
    for half in (1, 2):
        noisy = signal + rng.normal(size=(box, box, box))
        write_mrc(folder / f"run_half{half}_class001_unfil.mrc", noisy.astype(np.float32), 4.0)
    write_mrc(folder / "mask.mrc", np.clip(13 - distance, 0, 1).astype(np.float32), 4.0)
    write_mrc(folder / "relion_locres.mrc", np.where(distance < 12, 8 + distance / 4, 0).astype(np.float32), 4.0)


def particles(path: Path, count: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    optics = {
        labels.OPTICS_GROUP_NAME: ["one"], labels.OPTICS_GROUP: [1], labels.MICROGRAPH_PIXEL_SIZE: [2.0],
        labels.IMAGE_PIXEL_SIZE: [4.0], labels.IMAGE_SIZE: [32],
    }  # fmt: skip
    rows = {
        labels.MICROGRAPH_NAME: [f"m{number % 7}.mrc" for number in range(count)],
        labels.COORDINATE_X: rng.uniform(0, 500, count).tolist(),
        labels.COORDINATE_Y: rng.uniform(0, 500, count).tolist(),
        labels.ANGLE_ROT: rng.uniform(-180, 180, count).tolist(),
        labels.ANGLE_TILT: np.degrees(np.arccos(rng.uniform(-1, 1, count))).tolist(),
        labels.ANGLE_PSI: [0.0] * count,
        labels.RANDOM_SUBSET: [1 + number % 2 for number in range(count)],
        labels.OPTICS_GROUP: [1] * count,
    }
    write_tables(path, {labels.OPTICS_TABLE: optics, labels.PARTICLES_TABLE: rows})


def postprocess(folder: Path, crossing_at: float, refinement: str = "") -> None:
    """A PostProcess job of 0.143 at a spatial frequency, without a mask."""
    folder.mkdir(parents=True)
    resolution = shell_resolutions(128, 1.0)
    resolution[0] = 999
    curve = np.clip(1 - (1 / resolution) / crossing_at * (1 - 0.143), -0.01, 1)
    general = {labels.FINAL_RESOLUTION: [1 / crossing_at]}
    if refinement:
        general[labels.UNFILTERED_HALF_MAPS[0]] = [f"{refinement}run_half1_class001_unfil.mrc"]
    fsc = {
        labels.SPECTRAL_INDEX: list(range(len(curve))), labels.ANGSTROM_RESOLUTION: resolution.tolist(),
        labels.FSC_UNMASKED: curve.tolist(),
    }  # fmt: skip
    write_tables(folder / "postprocess.star", {labels.GENERAL_TABLE: general, labels.FSC_TABLE: fsc})


def test_picks_against_simulated_truth(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    assert pick("--threshold", "0", job="External/job002/") == 0
    words = ["--in_mics", STAR, "--in_coords", "External/job002/autopick.star", "--truth", TRUTH_DIR]
    assert evaluate(*words, "--diameter", f"{DIAMETER:g}", "--threshold", "0.5") == 0
    found = report()["metrics"]["picks"]
    assert found["known"] == sum(len(truth.xy) for truth in project.truths)
    assert found["radius"] == pytest.approx(0.4 * DIAMETER)
    assert found["f1"] > 0.85 and found["ap"] > 0.85 and found["strict_f1"] <= found["f1"]
    hits, picks = found["found"], found["picks"]
    assert found["accuracy"] == pytest.approx(hits / (picks + found["known"] - hits))
    precision, recall = found["precision"], found["recall"]
    assert found["f2"] == pytest.approx(5 * precision * recall / (4 * precision + recall))
    assert found["centring_px"] == pytest.approx(found["centring"] / 4)
    table = read_tables(Path(JOB) / "evaluation.star", [])
    assert table["picks"]["pickerF1"][0] == pytest.approx(found["f1"], abs=1e-6)
    assert len(table["picks_curve"]["pickerThreshold"]) > 20
    assert (Path(JOB) / "logfile.pdf").read_bytes().startswith(b"%PDF")
    out = capsys.readouterr().out
    assert "precision" in out and "average precision" in out


def test_border_leaves_out_both_sides(project: Simulated) -> None:
    truth = project.truths[0]
    inside = ((truth.xy * 4 >= 200) & (truth.xy * 4 <= 511 * 4 - 200)).all(axis=1).sum()
    words = ["--in_mics", STAR, "--in_coords", TRUTH_DIR, "--truth", TRUTH_DIR, "--radius", "20"]
    assert evaluate(*words, "--border", "200") == 0
    found = report()["metrics"]["picks"]
    assert found["known"] == found["picks"] == found["found"] < sum(len(item.xy) for item in project.truths)
    assert found["known"] >= inside and found["ap"] is None


def test_maps_views_and_local_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Refine3D").mkdir()
    half_maps(Path("Refine3D"))
    particles(Path("Refine3D/run_data.star"), 500)
    words = ["--half1", "Refine3D/run_half1_class001_unfil.mrc", "--mask", "Refine3D/mask.mrc"]
    words += ["--local-resolution", "Refine3D", "--angles", "Refine3D/run_data.star", "--symmetry", "c2"]
    assert evaluate(*words) == 0
    found = report()["metrics"]
    assert set(found) == {"fsc", "local_resolution", "angular"}
    assert 8 < found["fsc"]["resolution_143"] < 40
    assert found["fsc"]["tables"]["curves"]["fsc_corrected"][0] == pytest.approx(1)
    assert found["local_resolution"]["median"] == pytest.approx(8 + 12 / 2 ** (1 / 3) / 4, abs=0.1)
    assert found["angular"]["e_od"] > 0.9 and found["angular"]["particles"] == 500
    assert any("C2" in note for note in found["angular"]["notes"])
    assert (Path(JOB) / "angles.bild").read_text().startswith(".color")
    log = (Path(JOB) / "angles.log").read_text().splitlines()
    worst = next(line for line in log if line.startswith("Worst PSF resolution:")).split()
    float(worst[3]), float(worst[8]), float(worst[11])  # where programs that read cryoEF's log look
    assert markers(JOB) == ["EXIT_SUCCESS"]
    assert evaluate(*words[:4]) == 0  # again, with less
    assert set(report()["metrics"]) == {"fsc"} and not (Path(JOB) / "angles.bild").exists()


def classes(folder: Path) -> None:
    """A Class2D job of four classes with 40, 30, 20 and 10 particles; scores rise with the number of the class."""
    folder.mkdir(parents=True)
    number = [1] * 40 + [2] * 30 + [3] * 20 + [4] * 10
    rows = {
        labels.MICROGRAPH_NAME: [f"m{k % 2}.mrc" for k in range(100)],
        labels.COORDINATE_X: [float(k) for k in range(100)],
        labels.COORDINATE_Y: [0.0] * 100,
        labels.CLASS_NUMBER: number,
        labels.FIGURE_OF_MERIT: [0.1 + 0.2 * k for k in number],
    }
    write_tables(folder / "run_it025_data.star", {labels.PARTICLES_TABLE: rows})
    model = {
        labels.CLASS_DISTRIBUTION: [0.4, 0.3, 0.2, 0.1], labels.ESTIMATED_RESOLUTION: [8.0, 11.0, 20.0, 9.0],
    }  # fmt: skip
    write_tables(folder / "run_it025_model.star", {labels.CLASSES_TABLE: model})


def test_good_classes_by_rule_by_choice_and_by_ranker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classes(Path("Class2D/job006"))

    def good(*words: str) -> tuple[int, int]:
        assert evaluate(*words, job="e/") == 0
        found = report("e/")["metrics"]["classes"]
        return found["good_classes"], found["good_particles"]

    wide = ("--class-relative", "1.5")
    assert good("--class2d", "Class2D/job006/", *wide) == (3, 80)
    assert good("--class2d", "Class2D/job006/", *wide, "--class-share", "0.15") == (2, 70)
    assert report("e/")["metrics"]["classes"]["rare_classes"] == 1
    assert good("--class2d", "Class2D/job006/", "--class-relative", "1.2") == (2, 50)
    assert good("--class2d", "Class2D/job006/run_it025_model.star", "--class-resolution", "8.5") == (1, 40)
    tables = report("e/")["metrics"]["classes"]["tables"]
    assert tables["micrographs"]["good"] == [20, 20]
    assert [row for row in zip(tables["scores"]["particles"], tables["scores"]["good"], strict=True) if row[0]] == [
        (40, 40), (30, 0), (20, 0), (10, 0),
    ]  # fmt: skip
    Path("Select/job007").mkdir(parents=True)
    shutil.copy("Class2D/job006/run_it025_data.star", "Select/job007/particles.star")
    write_tables(Path("Select/job007/backup_selection.star"), {"": {labels.SELECTED: [0, 0, 1, 1]}})
    assert good("--class2d", "Class2D/job006/", "--select", "Select/job007/") == (2, 30)
    ranked = {labels.CLASS_DISTRIBUTION: [0.4, 0.3, 0.2, 0.1], labels.CLASS_SCORE: [0.9, 0.45, 0.2, 0.1]}
    write_tables(Path("Select/job007/rank_model.star"), {labels.CLASSES_TABLE: ranked})
    assert good("--class2d", "Class2D/job006/", "--select", "Select/job007/") == (1, 40)
    assert good("--class2d", "Class2D/job006/", "--select", "Select/job007/", "--class-score", "0.4") == (2, 70)
    write_tables(Path("Select/job007/backup_selection.star"), {"": {labels.SELECTED: [0, 1]}})
    Path("Select/job007/rank_model.star").unlink()
    assert evaluate("--class2d", "Class2D/job006/", "--select", "Select/job007/", job="e/") == 1


def test_half_maps_of_a_refinement_with_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half maps of the job are found; with a PostProcess job its own curves count."""
    monkeypatch.chdir(tmp_path)
    Path("Refine3D").mkdir()
    half_maps(Path("Refine3D"))
    particles(Path("Refine3D/run_data.star"), 100)
    assert evaluate("--refine3d", "Refine3D/", "--mask", "Refine3D/mask.mrc") == 0
    assert set(report()["metrics"]) == {"fsc", "angular"}
    assert report()["missing"][0]["what"] == "resolution of the refinement"
    postprocess(Path("PostProcess/job001"), 0.1)
    words = ["--refine3d", "Refine3D/", "--mask", "Refine3D/mask.mrc", "--postprocess", "PostProcess/job001/"]
    assert evaluate(*words) == 0
    assert set(report()["metrics"]) == {"postprocess", "angular"}


def test_views_of_relion_30_and_5_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One table without optics and with shifts in px; and the version line of RELION 5."""
    monkeypatch.chdir(tmp_path)
    particles(Path("new.star"), 200)
    new = Path("new.star").read_text()
    Path("five.star").write_text(new.replace("# version 30001", "# version 50001"))
    rows = new.partition("data_particles")[2].replace("_rlnOpticsGroup ", "_rlnMagnification ")
    Path("old.star").write_text(f"\ndata_images{rows}")
    found = []
    for name in ("new", "five", "old"):
        assert evaluate("--angles", f"{name}.star", job=f"{name}/") == 0
        found.append({key: value for key, value in report(f"{name}/")["metrics"]["angular"].items() if key != "notes"})
    assert found[0] == found[1] == found[2] and found[0]["particles"] == 200


def test_series_of_postprocess_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for number, count in enumerate((1000, 2000, 4000, 8000)):
        refinement = f"Refine3D/job00{number}/"
        Path(refinement).mkdir(parents=True)
        particles(Path(refinement) / "run_data.star", count)
        postprocess(Path(f"PostProcess/job01{number}"), np.sqrt(0.05 + np.log(count / 1000) * 2 / 100), refinement)
        names.append(f"PostProcess/job01{number}/")
    assert evaluate("--postprocess", *names) == 0
    found = report()["metrics"]
    assert found["b_factor"]["b_factor"] == pytest.approx(100, abs=1)
    assert found["b_factor"]["tables"]["points"]["particles"] == [1000, 2000, 4000, 8000]
    assert found["postprocess"]["interpolated_143"] == pytest.approx((0.05 + np.log(8) * 0.02) ** -0.5, abs=0.02)
    shutil.rmtree("Refine3D")
    assert evaluate("--postprocess", *names, job="External/job010/") == 0  # the resolution of the last one remains
    missing = report("External/job010/")["missing"]
    assert missing[0]["what"] == "B-factor" and ":10000" in missing[0]["why"]
    counted = [f"{name}:{count}" for name, count in zip(names, (1000, 2000, 4000, 8000), strict=True)]
    assert evaluate("--postprocess", ",".join(counted), job="External/job011/") == 0
    assert report("External/job011/")["metrics"]["b_factor"]["b_factor"] == pytest.approx(100, abs=1)


def test_what_cannot_be_read_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    particles(Path("run_data.star"), 200)
    assert evaluate("--angles", "run_data.star", "--class2d", "Class2D/job001/", "--half1", "a_half1.mrc") == 0
    found = report()
    assert set(found["metrics"]) == {"angular"}
    assert [item["what"] for item in found["missing"]] == ["2D classes", "half maps"]
    done = capsys.readouterr()
    assert "Class2D/job001: no such file" in done.err and "Not evaluated" in done.out


def test_nothing_to_evaluate_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = f"{tmp_path}/job/"
    assert evaluate(job=job) == 1
    assert evaluate("--class2d", f"{tmp_path}/none/", job=job) == 1
    assert "nothing could be evaluated" in capsys.readouterr().err
    assert markers(job) == ["EXIT_FAILURE"]


PIPELINE = """
data_pipeline_general

_rlnPipeLineJobCounter 9

data_pipeline_input_edges

loop_
_rlnPipeLineEdgeFromNode #1
_rlnPipeLineEdgeProcess #2
{0}

data_pipeline_output_edges

loop_
_rlnPipeLineEdgeProcess #1
_rlnPipeLineEdgeToNode #2
{1}

"""


def test_comparison_with_what_follows_in_the_pipeline(project: Simulated, capsys: pytest.CaptureFixture[str]) -> None:
    """Two jobs and Topaz's text; one of the jobs has been refined."""
    for job, threshold in (("External/job002/", "0.5"), ("External/job003/", "0.97")):
        assert pick("--threshold", threshold, job=job) == 0
    topaz = ["image_name\tx_coord\ty_coord\tscore"]
    for truth in project.truths:
        topaz += [f"{Path(truth.micrograph.name).stem}\t{x:.0f}\t{y:.0f}\t0.5" for x, y in truth.xy[:10]]
    Path("topaz.txt").write_text("\n".join(topaz) + "\n")
    Path("Refine3D/job005").mkdir(parents=True)
    particles(Path("Refine3D/job005/run_data.star"), 300)
    postprocess(Path("PostProcess/job006"), 0.1)
    Path("LocalRes/job007").mkdir(parents=True)
    half_maps(Path("LocalRes/job007"))
    into = ("External/job002/autopick.star Extract/job004/", "Extract/job004/particles.star Refine3D/job005/",
            "Refine3D/job005/run_half1_class001_unfil.mrc PostProcess/job006/",
            "Refine3D/job005/run_half1_class001_unfil.mrc LocalRes/job007/")  # fmt: skip
    out = ("External/job002/ External/job002/autopick.star", "Extract/job004/ Extract/job004/particles.star")
    Path("default_pipeline.star").write_text(PIPELINE.format("\n".join(into), "\n".join(out)))
    capsys.readouterr()
    names = ["External/job002/", "External/job003/autopick.star", "topaz.txt"]
    assert evaluate("--compare", *names, "--truth", TRUTH_DIR, "--in_mics", STAR) == 0
    found = report()["metrics"]["comparison"]
    jobs = found["tables"]["jobs"]
    assert jobs["name"] == names
    assert jobs["recall"][0] > jobs["recall"][1] and jobs["precision"][2] == 1
    assert jobs["picks"][2] == 30 and jobs["centring"][2] < 3
    assert jobs["local_resolution"][0] == pytest.approx(10.4, abs=0.1)
    assert jobs["refined"] == [300, None, None] and jobs["resolution"][0] == pytest.approx(10, abs=0.8)
    places = found["tables"]["found"]
    everything = dict(zip(places["by"], places["places"], strict=True))
    assert sum(everything.values()) == found["places"]
    overlap = found["tables"]["overlap"]
    assert overlap["in_1"][1] == 1  # a higher threshold leaves a part of the same picks
    assert overlap["in_2"][0] == pytest.approx(jobs["picks"][1] / jobs["picks"][0])
    assert sum(found["tables"]["micrographs"]["picks_1"]) == jobs["picks"][0]
    out_text = capsys.readouterr().out
    assert "average precision" in out_text and "resolution, Å" in out_text and "angular views" in out_text


def test_comparison_finds_micrographs_and_diameter_in_the_jobs(project: Simulated) -> None:
    assert pick("--threshold", "0.5", job="External/job002/") == 0
    assert evaluate("--compare", "External/job002/", TRUTH_DIR) == 0
    found = report()["metrics"]["comparison"]
    assert found["radius"] == pytest.approx(0.4 * DIAMETER)
    shutil.copytree("External/job002", "other", ignore=shutil.ignore_patterns("settings.json", "coords_suffix*"))
    assert evaluate("--compare", "other", TRUTH_DIR, job="External/job010/") == 1
    assert evaluate("--compare", "other", TRUTH_DIR, "--in_mics", STAR, job="External/job010/") == 1


@needs_oracles
def test_oracles(tmp_path: Path) -> None:
    job = f"{tmp_path}/job/"
    words = ["--class2d", f"{ORACLES}/relion4_class2d", "--class-resolution", "15"]
    words += ["--refine3d", f"{ORACLES}/relion31_refine3d", "--postprocess", f"{ORACLES}/relion30_postprocess"]
    assert evaluate(*words, job=job) == 0
    found = report(job)["metrics"]
    classes = found["classes"]
    assert (classes["classes"], classes["good_classes"]) == (48, 8)
    assert (classes["particles"], classes["good_particles"]) == (4786, 2124)
    assert classes["pmax_good"] == pytest.approx(0.853, abs=5e-4)
    assert classes["pmax_other"] == pytest.approx(0.727, abs=5e-4)
    assert sum(classes["tables"]["micrographs"]["good"]) == sum(classes["tables"]["scores"]["good"]) == 2124
    assert found["refine3d"]["resolution_143"] == pytest.approx(2.870971)
    assert found["refine3d"]["interpolated_143"] == pytest.approx(2.8520, abs=1e-4)
    views = found["angular"]
    assert (views["views"], views["particles"]) == (2069, 4748)
    assert views["e_od"] == pytest.approx(0.956, abs=0.01) and views["e_od_cells"] == pytest.approx(0.801, abs=0.01)
    assert views["scf"] == pytest.approx(0.934, abs=0.01)
    post = found["postprocess"]
    assert post["resolution_143"] == post["relion_resolution"] == 16.363636
    assert any("rises above 0.143 again" in note for note in post["notes"])
