"""The feedback command on constructed results of RELION 3.0 to 5."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from jobs import DIAMETER, JOB, STAR, Simulated, markers, pick

from relion_ext_picker.cli import main
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.options import TrainOptions
from relion_ext_picker.relion.columns import StarColumns
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.relion.tables import table_text
from relion_ext_picker.workflows.exam import KEPT_FILE
from relion_ext_picker.workflows.feedback_outputs import read_feedback_rounds
from relion_ext_picker.workflows.training_marks import Reading
from relion_ext_picker.workflows.training_set import VERIFIED, marks_of, read_set, write_set
from relion_ext_picker.workflows.withdrawn import without_withdrawn

FEEDBACK = "External/job010/"
NODE = f"{JOB}autopick.star"
DATA = "Class2D/job009/run_it020_data.star"


@dataclass(frozen=True)
class Result:
    """A constructed Class2D job: its picks, and the class of each."""

    names: np.ndarray
    xy: np.ndarray
    score: np.ndarray
    kind: np.ndarray  # class, from 1


@pytest.fixture
def result(project: Simulated) -> Result:
    """Picks of the project and a Class2D job of them: 1 good, 2 bad, 3 small but well resolved."""
    assert pick("--threshold", "0") == 0
    found = read_coordinate_set(Path(NODE), read_micrographs(Path(STAR)))
    names = np.concatenate([[name] * len(picks) for name, picks in found.items()])
    xy = np.concatenate([picks.xy for picks in found.values()]).astype(float)
    score = np.concatenate([picks.score for picks in found.values()]).astype(float)
    truth = read_coordinate_set(Path("Truth/truth.star"), read_micrographs(Path(STAR)))
    gap = np.array([np.hypot(*(truth[n].xy - p).T).min() for n, p in zip(names, xy, strict=True)])
    kind = np.where(gap < 10, 1, 2)
    kind[np.flatnonzero(kind == 1)[:4]] = 3
    made = Result(names, xy, score, kind)
    write_class2d(made)
    return made


def write_class2d(made: Result, version: str = "30001", shift: float = 0.0, prefix: str = "MotionCorr/job002/") -> None:
    """Write data and model of an iteration; `shift` px to the right were found by alignment and are not undone."""
    folder = Path(DATA).parent
    folder.mkdir(parents=True, exist_ok=True)
    count = len(made.kind)
    rows: dict = {
        "rlnCoordinateX": made.xy[:, 0], "rlnCoordinateY": made.xy[:, 1],
        "rlnMicrographName": [prefix + n for n in made.names],
        "rlnImageName": [f"{i + 1:06d}@Extract/job008/x.mrcs" for i in range(count)], "rlnClassNumber": made.kind,
        "rlnMaxValueProbDistribution": np.full(count, 0.8), "rlnAnglePsi": np.zeros(count),
        "rlnAngleRot": np.zeros(count), "rlnAngleTilt": np.zeros(count), "rlnAutopickFigureOfMerit": made.score,
    }  # fmt: skip
    if version == "3.0":
        rows |= {"rlnOriginX": np.full(count, -shift / 2), "rlnOriginY": np.zeros(count),
                 "rlnDetectorPixelSize": np.full(count, 8.0), "rlnMagnification": np.full(count, 10000.0)}  # fmt: skip
        text = table_text("", rows)
    else:
        rows |= {"rlnOriginXAngst": np.full(count, -4.0 * shift), "rlnOriginYAngst": np.zeros(count),
                 "rlnOpticsGroup": np.ones(count, int)}  # fmt: skip
        optics = {
            "rlnOpticsGroup": [1],
            "rlnMicrographOriginalPixelSize": [1.0],
            "rlnImagePixelSize": [8.0],
            "rlnImageSize": [32],
        }
        text = "".join(
            f"\n# version {version}\n\n{table_text(n, t)}" for n, t in (("optics", optics), ("particles", rows))
        )
    Path(DATA).write_text(text)
    share = np.bincount(made.kind, minlength=4)[1:4] / count
    model = {
        "rlnReferenceImage": [f"{k}@c.mrcs" for k in (1, 2, 3)],
        "rlnClassDistribution": np.minimum(share, [1, 1, 0.009]),
        "rlnEstimatedResolution": [20.0, 50.0, 21.0], "rlnOverallFourierCompleteness": [1.0, 1.0, 1.0],
    }  # fmt: skip
    Path(DATA.replace("data", "model")).write_text(table_text("model_classes", model))


def feedback(*more: str, parts: str = DATA, coords: str = NODE, job: str = FEEDBACK) -> int:
    return main(["feedback", "--o", job, "--in_parts", parts, "--in_coords", coords, "--gpu", "cpu", *more])


def places(node: str) -> dict[str, np.ndarray]:
    found = read_coordinate_set(Path(node), read_micrographs(Path(STAR)))
    return {name: item.xy for name, item in found.items()}


def counts(made: Result) -> dict[str, int]:
    star = StarColumns(Path(FEEDBACK) / "feedback.star")
    names = ("True", "False", "Rare", "Open")
    return {name: int(star.number("feedback", f"picker{name}") or 0) for name in names}


@pytest.mark.parametrize("version", ["3.0", "30001", "50001"])
def test_labels_of_a_class2d(project: Simulated, result: Result, version: str) -> None:
    write_class2d(result, version, shift=3)
    assert feedback() == 0 and markers(FEEDBACK)[:1] == ["EXIT_SUCCESS"]
    told = counts(result)
    assert told["Rare"] == 4 and told["True"] > 80 and told["False"] > 5
    assert sum(told.values()) == len(result.kind)
    true, false = places(f"{FEEDBACK}true.star"), places(f"{FEEDBACK}false.star")
    assert sum(map(len, true.values())) == told["True"] and sum(map(len, false.values())) == told["False"]
    # True ones lie where alignment centred them, 3 px to the right of the pick; false ones where they were picked.
    for name, xy in true.items():
        mine = result.xy[(result.names == name) & (result.kind == 1)]
        gap = np.abs(xy[:, None] - mine[None] - [3, 0]).sum(-1).min(1)
        assert np.median(gap) == 0
    for name, xy in false.items():
        mine = result.xy[(result.names == name) & (result.kind == 2)]
        assert np.abs(xy[:, None] - mine[None]).sum(-1).min(1).max() == 0
    assert Path(FEEDBACK, "another_round").is_file()
    nodes = StarColumns(Path(FEEDBACK) / "RELION_OUTPUT_NODES.star").texts("output_nodes", "rlnPipeLineNodeName")
    assert f"{FEEDBACK}logfile.pdf" in nodes.values and Path(FEEDBACK, "logfile.pdf").read_bytes()[:5] == b"%PDF-"


def test_rare_views_are_no_negatives(project: Simulated, result: Result) -> None:
    assert feedback() == 0
    rare = {(n, *p) for n, p, k in zip(result.names, result.xy.tolist(), result.kind, strict=True) if k == 3}
    false = {(name, *xy) for name, places_of in places(f"{FEEDBACK}false.star").items() for xy in places_of.tolist()}
    assert len(rare) == 4 and not rare & false


def test_nodes_for_31_and_next_jobs(project: Simulated, result: Result) -> None:
    assert feedback("--relion_version", "3.1") == 0
    nodes = StarColumns(Path(FEEDBACK) / "RELION_OUTPUT_NODES.star")
    texts = nodes.texts("output_nodes", "rlnPipeLineNodeName")
    assert set(texts.values) >= {f"{FEEDBACK}coords_suffix_true.star", f"{FEEDBACK}coords_suffix_false.star"}
    assert Path(FEEDBACK, "coords_suffix_true.star").read_text() == f"{STAR}\n"
    told = {}
    for which in ("next_pick", "next_train"):
        star = StarColumns(Path(FEEDBACK) / which / "job.star")
        names, values = (star.texts("joboptions_values", f"rlnJobOption{x}") for x in ("Variable", "Value"))
        options = {names.values[n]: values.values[v] for n, v in zip(names.index, values.index, strict=True)}
        told[which] = {
            options[f"param{i}_label"]: options[f"param{i}_value"] for i in range(1, 11) if f"param{i}_label" in options
        }
        assert options["in_mic"] == STAR
    threshold = StarColumns(Path(FEEDBACK) / "feedback.star").number("feedback", "pickerThreshold")
    assert float(told["next_pick"]["threshold"]) == pytest.approx(threshold, abs=1e-4) and threshold > 0.02
    assert told["next_train"]["add_true"] == f"{FEEDBACK}coords_suffix_true.star"
    assert told["next_train"]["stage"] == "classifier" and float(told["next_train"]["diameter"]) == DIAMETER


def test_the_second_network_learns_and_the_rounds_are_found_again(project: Simulated, result: Result) -> None:
    assert feedback() == 0
    words = ["train", "--mode", "drpnet", "--stage", "classifier", "--o", "External/job011/", "--in_mics", STAR]
    words += ["--diameter", f"{DIAMETER:g}", "--gpu", "cpu", "--classifier-steps", "8"]
    learn = ["--add_true", f"{FEEDBACK}true.star", "--add_false", f"{FEEDBACK}false.star"]
    assert main([*words, *learn]) == 0
    told = json.loads(Path("External/job011/training.json").read_text())
    assert told["verified"] == {"true": f"{FEEDBACK}true.star", "false": f"{FEEDBACK}false.star"}
    assert told["marks"]["true"] > 80 and len(told["validation_micrographs"]) == 1
    assert 0.5 < told["validation"]["after"]["average_precision"] <= 1
    kept = Path("External/job011", KEPT_FILE).is_file()  # where the new model is no better, the one before
    assert Path("External/job011/training_set.star").is_file() != kept
    second = "External/job012/"
    assert pick("--model", "External/job011/model.safetensors", "--threshold", "0", job=second) == 0
    assert feedback(coords=f"{second}autopick.star", job="External/job013/") == 0
    rounds = read_feedback_rounds(Path("External/job013/rounds.star"))
    assert [row.round for row in rounds] == [1, 2] and rounds[0].picks == len(result.kind)
    assert rounds[1].picks_of == second.rstrip("/") and rounds[1].e_od is None and rounds[1].resolution == 20.0
    assert main([*words, "--preset", "paper", *learn]) == 1
    assert main([*[w if w != "classifier" else "both" for w in words], *learn]) == 1


def test_deepem_takes_the_sets(project: Simulated, result: Result) -> None:
    assert feedback() == 0
    words = [
        "train",
        "--mode",
        "deepem",
        "--o",
        "External/job011/",
        "--in_mics",
        STAR,
        "--in_coords",
        "Truth/truth.star",
    ]
    words += [
        "--add_true",
        f"{FEEDBACK}true.star",
        "--add_false",
        f"{FEEDBACK}false.star",
        "--steps",
        "3",
        "--batch",
        "4",
    ]
    assert main([*words, "--gpu", "cpu", "--diameter", f"{DIAMETER:g}"]) == 0
    source = StarColumns(Path("External/job011/training_set.star")).texts("training_set", "pickerSource")
    assert (np.array(source.values)[source.index] == "verified").sum() > 5


def test_marks_that_a_later_round_doubts_are_taken_back(project: Simulated, result: Result) -> None:
    """The model that picked again what it had learnt to be false: neither round is believed."""
    assert feedback() == 0
    first, model = places(f"{FEEDBACK}false.star"), Path("External/job011")
    model.mkdir(parents=True)
    marks = [marks_of(m, first[m.name], False, 1, VERIFIED) for m in read_micrographs(Path(STAR)) if m.name in first]
    write_set(model / "training_set.star", marks)
    settings = json.loads(Path(JOB, "settings.json").read_text()) | {"model": str(model / "model.safetensors")}
    Path(JOB, "settings.json").write_text(json.dumps(settings))
    assert feedback() == 0
    taken, count = places(f"{FEEDBACK}withdrawn.star"), sum(map(len, first.values()))
    assert count > 5 and counts(result)["False"] == 0 and sum(map(len, taken.values())) == count
    options = TrainOptions(o="x/", diameter=DIAMETER, add_true=f"{FEEDBACK}true.star")
    micrographs = read_micrographs(Path(STAR))
    reading = Reading(micrographs, lambda _: (512, 512), 2)
    found = read_set(model / "training_set.star", micrographs)
    assert not any(len(left) for left in without_withdrawn(found, options, reading).values())
    assert feedback(parts=_select([1, 0, 0])) == 0, "what a person chose is believed"
    assert counts(result)["False"] == count and not Path(FEEDBACK, "withdrawn.star").exists()


def swapped(made: Result) -> list[str]:
    """Labels that are all wrong, as files beside what the feedback job judged rightly."""
    for name, kind in (("true", 2), ("false", 1)):
        places_of = zip(made.names[made.kind == kind], made.xy[made.kind == kind].tolist(), strict=True)
        rows = "".join(f"{micrograph},{x},{y}\n" for micrograph, (x, y) in places_of)
        Path(FEEDBACK, f"wrong_{name}.csv").write_text(f"micrograph,x,y\n{rows}")
    return ["--add_true", f"{FEEDBACK}wrong_true.csv", "--add_false", f"{FEEDBACK}wrong_false.csv"]


def test_a_worse_second_network_does_not_replace_the_old_one(
    project: Simulated, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert feedback() == 0
    words = ["train", "--mode", "drpnet", "--stage", "classifier", "--o", "External/job011/", "--in_mics", STAR]
    words += ["--diameter", f"{DIAMETER:g}", "--gpu", "cpu", "--classifier-steps", "8", "--learning-rate", "0.02"]
    assert main([*words, *swapped(result)]) == 0
    assert "worse than the one before, which is kept" in capsys.readouterr().err
    told = json.loads(Path("External/job011/training.json").read_text())
    assert told["kept_model"] and told["exam"]["after"] < told["exam"]["before"]
    assert Path("External/job011/kept_old_model").is_file() and not Path("External/job011/training_set.star").exists()
    second = "External/job012/"
    assert pick("--model", "External/job011/model.safetensors", "--threshold", "0", job=second) == 0
    old, new = places(NODE), places(f"{second}autopick.star")
    assert all(np.array_equal(old[name], new[name]) for name in old), "it picks as before"
    assert feedback(coords=f"{second}autopick.star", job="External/job013/") == 0
    assert "another round does not pay: the last training brought a worse model" in capsys.readouterr().out


def test_a_worse_deepem_model_does_not_replace_the_old_one(project: Simulated, result: Result) -> None:
    assert feedback() == 0
    words = ["train", "--mode", "deepem", "--in_mics", STAR, "--diameter", f"{DIAMETER:g}", "--gpu", "cpu"]
    words += ["--batch", "4", "--folds", "1"]
    assert main([*words, "--o", "External/job011/", "--in_coords", "Truth/truth.star", "--steps", "3"]) == 0
    more = ["--model", "External/job011/model.safetensors", "--steps", "6", "--learning-rate", "0.05"]
    assert main([*words, *more, "--o", "External/job012/", *swapped(result)]) == 0
    first, second = (json.loads(Path(f"External/job{n}/training.json").read_text()) for n in ("011", "012"))
    assert second["kept_model"] and second["threshold"] == first["threshold"]
    same = [Path(f"External/job{n}/training_set.star").read_text() for n in ("011", "012")]
    assert same[0] == same[1]


def test_labels_that_the_picker_contradicts_end_the_loop(
    project: Simulated, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class2d(Result(result.names, result.xy, result.score, np.where(result.kind == 2, 1, 2)))
    assert feedback() == 0
    said = capsys.readouterr()
    assert "score higher than those they call true" in said.err and "another round does not pay" in said.out
    assert not Path(FEEDBACK, "another_round").exists()


def test_hardly_anything_good_is_told(project: Simulated, result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    kind = np.where(np.argsort(np.argsort(-result.score)) < 0.05 * len(result.score), 1, 2)
    write_class2d(Result(result.names, result.xy, result.score, kind))
    assert feedback("--class-resolution", "30") == 0
    assert "are in good classes: look at the class averages" in capsys.readouterr().err
    assert feedback() == 0  # so few that dirt sets the limit
    assert "all classes are good" in capsys.readouterr().err
    write_class2d(result)
    assert feedback() == 0
    assert "classes are good" not in (said := capsys.readouterr().err) and "are in good classes" not in said


def _select(chosen: list[int]) -> str:
    folder = Path("Select/job010")
    folder.mkdir(parents=True)
    (folder / "backup_selection.star").write_text(table_text("", {"rlnSelected": chosen}))
    options = {"rlnJobOptionVariable": ["fn_model"], "rlnJobOptionValue": [DATA.replace("data", "model")]}
    (folder / "job.star").write_text(table_text("joboptions_values", options))
    return "Select/job010/"


def test_a_persons_selection_decides(project: Simulated, result: Result) -> None:
    assert feedback(parts=_select([0, 1, 0])) == 0
    bad = int((result.kind == 2).sum())
    assert 0 < counts(result)["True"] <= bad and counts(result)["Rare"] == 4


def test_refinement_counts_views_and_labels_no_negatives(
    project: Simulated, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    good = result.kind == 1
    count = int(good.sum())
    rows = {
        "rlnCoordinateX": result.xy[good, 0], "rlnCoordinateY": result.xy[good, 1],
        "rlnMicrographName": result.names[good], "rlnImageName": ["1@x.mrcs"] * count,
        "rlnAngleRot": rng.uniform(-180, 180, count),
        "rlnAngleTilt": np.degrees(np.arccos(rng.uniform(-1, 1, count))), "rlnAnglePsi": np.zeros(count),
        "rlnRandomSubset": rng.integers(1, 3, count),
    }  # fmt: skip
    Path("Refine3D/job012").mkdir(parents=True)
    Path("Refine3D/job012/run_data.star").write_text(table_text("particles", rows))
    assert feedback(parts="Refine3D/job012/") == 0
    (row,) = read_feedback_rounds(Path(FEEDBACK) / "rounds.star")
    assert row.e_od is not None and 0 < row.e_od < 1 and row.views is not None and 10 < row.views <= count
    assert counts(result)["False"] == 0 and "views of good particles" in capsys.readouterr().out


def test_a_lost_class_is_refused_unless_forced(
    project: Simulated, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    """A large good class of low scores, as of a view that the picker does not know well."""
    view = np.flatnonzero(result.kind == 1)[::16]  # few enough for F2 to give them up
    score, kind = np.where(result.kind == 2, 0.3, 0.9), np.where(result.kind == 2, 2, 1)
    score[view], kind[view] = 0.2, 3
    write_class2d(Result(result.names, result.xy, score, kind))
    for name in {str(n) for n in result.names}:
        file = Path(JOB) / f"{name.removesuffix('.mrc')}_autopick.star"
        here = result.names == name
        columns = {"rlnCoordinateX": result.xy[here, 0], "rlnCoordinateY": result.xy[here, 1],
                   "rlnAutopickFigureOfMerit": score[here]}  # fmt: skip
        file.write_text(table_text("", columns))
    chosen = _select([1, 0, 1])

    def threshold() -> float | None:
        return StarColumns(Path(FEEDBACK) / "feedback.star").number("feedback", "pickerThreshold")

    assert feedback(parts=chosen) == 0
    said = capsys.readouterr().err
    assert "class 3" in said and "refused" in said and threshold() == pytest.approx(0.2, abs=1e-3)
    assert feedback("--force", parts=chosen) == 0
    assert "--force" in capsys.readouterr().err and threshold() == pytest.approx(0.9, abs=1e-3)


def test_a_fall_of_the_efficiency_of_views_is_refused_unless_forced(
    project: Simulated, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    """A preferred view that scores high, and all other directions, of which none alone is missed, that score low."""
    rng, count = np.random.default_rng(1), len(result.kind)
    kind = np.array(["cap", "rest", *["none"] * 10])[np.arange(count) % 12]
    score = np.select([kind == "cap", kind == "none"], [0.9, 0.5], 0.2) + rng.uniform(0, 0.05, count)
    for name in {str(n) for n in result.names}:
        here = result.names == name
        columns = {"rlnCoordinateX": result.xy[here, 0], "rlnCoordinateY": result.xy[here, 1],
                   "rlnAutopickFigureOfMerit": score[here]}  # fmt: skip
        (Path(JOB) / f"{name.removesuffix('.mrc')}_autopick.star").write_text(table_text("", columns))
    refined = kind != "none"
    tilt = np.where(kind == "cap", rng.uniform(0, 15, count), np.degrees(np.arccos(rng.uniform(-1, 1, count))))
    rows = {
        "rlnCoordinateX": result.xy[refined, 0], "rlnCoordinateY": result.xy[refined, 1],
        "rlnMicrographName": result.names[refined], "rlnImageName": ["1@x.mrcs"] * int(refined.sum()),
        "rlnAngleRot": rng.uniform(-180, 180, count)[refined], "rlnAngleTilt": tilt[refined],
        "rlnAnglePsi": np.zeros(int(refined.sum())),
    }  # fmt: skip
    Path("Refine3D/job012").mkdir(parents=True)
    Path("Refine3D/job012/run_data.star").write_text(table_text("particles", rows))

    def threshold() -> float:
        return StarColumns(Path(FEEDBACK) / "feedback.star").number("feedback", "pickerThreshold") or 0.0

    assert feedback(parts="Refine3D/job012/") == 0
    said = capsys.readouterr()
    assert "would lower the efficiency of the views" in said.err and "refused" in said.err
    assert threshold() == pytest.approx(0.2, abs=0.01)
    assert feedback("--force", parts="Refine3D/job012/") == 0
    said = capsys.readouterr()
    assert "as --force asks for" in said.err and threshold() == pytest.approx(0.9, abs=0.01)
    before, after = (float(word) for word in re.findall(r"from (-?[0-9.]+) to (-?[0-9.]+)", said.err)[0])
    assert after < before - 0.05


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("other picks", "lie at a pick of"),
        ("other micrographs", "other micrographs"),
        ("no model", "classes are missing"),
        ("no classes", "no classes yet"),
        ("another model", "they do not belong together"),
        ("cut off", "cut off"),
        ("nothing good", "no particle is good"),
        ("no particles", "use --in_parts"),
        ("no picks", "use --in_coords"),
    ],
)
def test_refused(
    project: Simulated, result: Result, capsys: pytest.CaptureFixture[str], how: str, message: str
) -> None:
    data, model = Path(DATA), Path(DATA.replace("data", "model"))
    parts, coords, more = DATA, NODE, []
    if how == "other picks":
        write_class2d(Result(result.names, result.xy + [70, 70], result.score, result.kind))
    elif how == "other micrographs":
        write_class2d(Result(np.array(["else/" + n.replace("mic", "foil") for n in result.names]), *_rest(result)))
    elif how == "no model":
        model.unlink()
    elif how == "no classes":
        write_class2d(Result(result.names, result.xy, result.score, np.zeros_like(result.kind)))
    elif how == "another model":
        write_class2d(Result(result.names, result.xy, result.score, result.kind + 5))
    elif how == "cut off":
        data.write_bytes(data.read_bytes()[:-300])
    elif how == "nothing good":
        more = ["--class-resolution", "5"]
    elif how == "no particles":
        parts = ""
    else:
        coords = ""
    assert feedback(*more, parts=parts, coords=coords) == 1
    assert message in capsys.readouterr().err
    assert markers(FEEDBACK) == ["EXIT_FAILURE"]


def _rest(result: Result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return result.xy, result.score, result.kind
