"""feedback as a job of real RELION 3.1, and the schedule that runs the loop."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from driver import CLASS2D, COORDINATES, EXECUTABLE, EXTERNAL, EXTRACT, SUCCEEDED, Pipeline
from jobs import STAR, Simulated

from relion_ext_picker.arguments import parse
from relion_ext_picker.io.coordinates import read_coordinate_set
from relion_ext_picker.relion.star import read_micrographs
from relion_ext_picker.relion.tables import read_tables

ROOT = Path(__file__).resolve().parents[2]
SCHEDULE = ROOT / "templates/relion/scheme_feedback"
SCRIPT = ROOT / "templates/relion/feedback_loop.sh"
NAME = "Schedules/feedback_loop/"
needs_relion = pytest.mark.skipif(
    shutil.which("relion_pipeliner") is None or not EXECUTABLE.exists(), reason="RELION or the program is not installed"
)


@needs_relion
@pytest.mark.slow
def test_feedback_of_a_class2d(project: Simulated) -> None:
    """Picks, particles, classes, labels; the labels are coordinates to RELION, which extracts them."""
    relion = Pipeline(project.folder)
    parameters = {"mode": "drpnet", "diameter": "130", "gpu": "cpu", "views": "1", "threshold": "0.1", "report": "No"}
    job = relion.run(EXTERNAL, relion.pick(STAR, parameters))
    node = f"{job}coords_suffix_autopick.star"
    cut = {"star_mics": STAR, "extract_size": "48", "bg_diameter": "36", "do_rescale": "Yes", "rescale": "16",
           "do_invert": "Yes", "do_norm": "Yes", "nr_mpi": "1"}  # fmt: skip
    extracted = relion.run(EXTRACT, {**cut, "coords_suffix": node})
    options = {"fn_img": f"{extracted}particles.star", "do_ctf_correction": "No", "nr_classes": "2", "nr_iter": "2",
               "particle_diameter": "160", "psi_sampling": "30", "offset_range": "2", "offset_step": "2",
               "do_preread_images": "Yes", "nr_mpi": "1", "nr_threads": "1"}  # fmt: skip
    classes = relion.run(CLASS2D, options)

    options = relion.pick("", {"class_resolution": "500"}, f"{EXECUTABLE} feedback", node)
    labels = relion.run(EXTERNAL, {**options, "in_part": f"{classes}run_it002_data.star"})
    assert relion.status(labels) == SUCCEEDED, relion.told(labels)
    true = f"{labels}coords_suffix_true.star"
    assert relion.nodes()[true] == relion.nodes()[f"{labels}coords_suffix_false.star"] == COORDINATES
    count = sum(len(item) for item in read_coordinate_set(Path(true), read_micrographs(Path(STAR))).values())
    again = relion.run(EXTRACT, {**cut, "coords_suffix": true})
    particles = read_tables(Path(again) / "particles.star", ("rlnMicrographName",))["particles"]
    assert len(particles["rlnImageName"]) == count > 50
    job = f"External/job{int(again[-4:-1]) + 1:03d}/"
    subprocess.run(["relion_pipeliner", "--addJobFromStar", f"{labels}next_pick/job.star"], check=True, timeout=60)
    assert (Path(job) / "job.star").is_file()


@needs_relion
def test_relion_reads_the_schedule(tmp_path: Path) -> None:
    (tmp_path / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n")
    shutil.copytree(SCHEDULE, tmp_path / NAME)
    words = ["relion_scheduler", "--schedule", "feedback_loop", "--set_var", "box", "--value", "80"]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=60, stdout=subprocess.DEVNULL)
    tables = read_tables(tmp_path / NAME / "schedule.star", ())
    floats = dict(zip(*list(tables["schedule_floats"].values())[:2], strict=True))
    assert floats["box"] == 80 and floats["max_rounds"] == 3
    assert len(tables["schedule_edges"]["rlnScheduleEdgeInputNodeName"]) == 11


def job(name: str) -> dict[str, str]:
    table = read_tables(SCHEDULE / name / "job.star", ["rlnJobOptionValue"])["joboptions_values"]
    return dict(zip(table["rlnJobOptionVariable"], table["rlnJobOptionValue"], strict=True))


def test_the_schedule_agrees_with_itself_and_with_the_program() -> None:
    tables = read_tables(SCHEDULE / "schedule.star", ())
    kinds = {"floats": "Float", "bools": "Boolean", "strings": "String"}
    variables = {
        name: value
        for table, word in kinds.items()
        for name, value in zip(
            tables[f"schedule_{table}"][f"rlnSchedule{word}VariableName"],
            tables[f"schedule_{table}"][f"rlnSchedule{word}VariableValue"],
            strict=True,
        )
    }
    jobs = tables["schedule_jobs"]["rlnScheduleJobNameOriginal"]
    nodes = {*jobs, *tables["schedule_operators"]["rlnScheduleOperatorName"]}
    edges = tables["schedule_edges"]
    for column in ("rlnScheduleEdgeInputNodeName", "rlnScheduleEdgeOutputNodeName"):
        assert set(edges[column]) <= nodes
    # Wherever a variable contains the name of a job, RELION 3.1 puts in what that job is called now; one that contains
    # two such names stops it.
    for value in variables.values():
        assert sum(name in str(value) for name in jobs) <= 1, value
    fed = read_tables(SCHEDULE / "schedule_pipeline.star", ())["pipeline_input_edges"]
    inputs = set(zip(fed["rlnPipeLineEdgeProcess"], fed["rlnPipeLineEdgeFromNode"], strict=True))
    for name in jobs:
        options = job(name)
        for value in options.values():
            for word in value.split():
                if word.startswith("$$"):
                    assert word[2:] in variables, f"{name}: {word}"
                if word.startswith(NAME):  # its job must be known to feed this one, or its name stays as it is
                    source = word[len(NAME) :].split("/")[0]
                    assert any(p == f"{NAME}{name}/" and n.startswith(f"{NAME}{source}/") for p, n in inputs), (
                        f"{name}: {word}"
                    )
        if options.get("fn_exe", "").startswith("$$program"):
            words = [*options["fn_exe"].split()[1:], "--o", "External/job001/"]
            for number in range(1, 11):
                if f"param{number}_label" in options:
                    value = options[f"param{number}_value"]
                    words += [
                        f"--{options[f'param{number}_label']}",
                        str(variables[value[2:]]) if "$$" in value else value,
                    ]
            assert parse(words).options is not None


def test_the_script_is_understood_by_a_shell() -> None:
    subprocess.run(["sh", "-n", SCRIPT], check=True, timeout=20)
    done = subprocess.run(["sh", SCRIPT], capture_output=True, text=True, timeout=20, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode != 0 and "DIAMETER" in done.stderr


def test_the_script_asks_every_relion_for_the_iterations_whose_files_it_reads() -> None:
    """RELION 4 and 5 call them nr_iter_em, and would run 200 mini-batches of VDAM unless told otherwise."""
    text = SCRIPT.read_text()
    for option in ("nr_iter $ITERATIONS", "nr_iter_em $ITERATIONS", "do_em Yes", "do_grad No"):
        assert f"\n{option}\n" in text
