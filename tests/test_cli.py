from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relion_ext_picker import __version__
from relion_ext_picker.arguments import parse
from relion_ext_picker.cli import main
from relion_ext_picker.errors import InputError, JobAborted, UsageError
from relion_ext_picker.options import COMMANDS, PickOptions, TrainOptions
from relion_ext_picker.relion import markers
from relion_ext_picker.relion.job import JobDirectory

BASE = ["--o", "j/", "--diameter", "120"]
Workflow = Callable[[str, Callable[[Any], None]], None]


def picked(*words: str) -> PickOptions:
    options: PickOptions = parse([*BASE, *words]).options
    return options


def problems(*words: str) -> list[str]:
    with pytest.raises(UsageError) as error:
        parse(words)
    return str(error.value).splitlines()


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> Workflow:
    """Puts a function in the place of a workflow."""

    def put(name: str, run: Callable[[Any], None]) -> None:
        module = types.ModuleType(name)
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"relion_ext_picker.workflows.{name}", module)

    return put


def found_markers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("RELION_JOB"))


def test_the_command_of_relion() -> None:
    words = (
        "--o External/job001/ --in_movies m --in_mics X.star --in_parts p --in_coords c --in_3dref r --in_mask k "
        "--mode drpnet --diameter 120 --min_distance 0.7 --verify  --j 4 --pipeline_control External/job001/"
    )
    line = parse(words.split())
    assert line.command == "pick"
    assert line.options == PickOptions(
        o="External/job001/", in_movies="m", in_mics="X.star", in_parts="p", in_coords="c", in_3dref="r", in_mask="k",
        mode="drpnet", diameter=120.0, min_distance=0.7, verify=True, j=4, pipeline_control="External/job001/",
    )  # fmt: skip


def test_any_order_and_the_spelling_of_ccpem() -> None:
    line = parse(["--in_mics", "X.star", "--in_3Dref", "r", "--o", "j/", "--diameter", "120", "--j", "2"])
    assert line.options == PickOptions(o="j/", in_mics="X.star", in_3dref="r", diameter=120.0, j=2)


@pytest.mark.parametrize("spelling", ["--min-distance 0.7", "--min_distance 0.7", "--min_distance=0.7"])
def test_dashes_and_underscores(spelling: str) -> None:
    assert picked(*spelling.split()).min_distance == 0.7
    assert picked("--in-mics", "x").in_mics == "x"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--retrain-classifier"], True),
        (["--retrain_classifier", "Yes"], True),
        (["--retrain_classifier", "true"], True),
        (["--retrain_classifier="], True),
        (["--retrain_classifier", ""], True),
        (["--retrain_classifier", "No"], False),
        (["--retrain_classifier=FALSE"], False),
        (["--no-retrain-classifier"], False),
        (["--no_retrain_classifier"], False),
        (["--retrain_classifier", "--no-retrain-classifier"], False),
    ],
)
def test_yes_and_no(words: list[str], value: bool) -> None:
    assert picked(*words).retrain_classifier is value
    assert picked(*words, "--j", "3").j == 3


@pytest.mark.parametrize("text", ["-1", "-0.5", "-.5", "-1e-3", "0", "1e-1"])
def test_negative_numbers_are_values(text: str) -> None:
    assert picked("--threshold", text).threshold == float(text)


def test_values_with_blanks_stay_whole() -> None:
    assert picked("--mics", "two words/*.mrc").mics == "two words/*.mrc"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_word(command: str) -> None:
    words = [command, "--o", "x", *(["--diameter", "9"] if command == "pick" else [])]
    assert parse(words).command == command


def test_misspelt_option_gets_a_suggestion() -> None:
    assert problems("--o", "j/", "--diametr", "120") == ["unknown option --diametr: did you mean --diameter?"]
    assert problems(*BASE, "--min_dist=3") == ["unknown option --min_dist: did you mean --min-distance?"]
    assert problems(*BASE, "--in_mic", "x") == ["unknown option --in_mic: did you mean --in_mics?"]
    assert problems(*BASE, "--zzzzzz") == ["unknown option --zzzzzz"]
    assert problems(*BASE, "-x") == ["unknown option -x"]
    assert problems("pikc") == ["unknown command pikc: did you mean pick?; commands: " + ", ".join(COMMANDS)]


def test_options_are_not_abbreviated() -> None:
    assert problems(*BASE, "--thresh", "0.5") == ["unknown option --thresh: did you mean --threshold?"]


def test_dashes_in_a_label_of_relion() -> None:
    (problem,) = problems(*BASE, "---threshold", "1")
    assert "write the label as threshold, without dashes" in problem


def test_all_problems_are_named_at_once() -> None:
    line = "--o j/ --diameter abc --j 1.5 --threshold 7 --verify maybe --max-picks --foo 1 stray --mode x"
    assert problems(*line.split()) == [
        "unknown option --foo",
        "unexpected word 'stray': put quotes around values with blanks or wildcards",
        "--diameter abc: must be a number in Å",
        "--j 1.5: must be a whole number",
        "--verify maybe: must be Yes or No",
        "--max-picks: its value is missing",
        f"--mode x: must be one of {', '.join(PickOptions.__dataclass_fields__['mode'].metadata['info'].choices)}",
        "--threshold 7: must lie between -1 and 1",
    ]


def test_missing_values() -> None:
    assert problems() == [
        "--o is required: job directory; results, log and markers go there.",
        "--diameter is required: particle diameter: the longest extent of the particle.",
    ]
    assert problems("--o", "j/", "--diameter") == ["--diameter: its value is missing, a number in Å"]


def test_usage_error_leaves_failure_where_relion_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / markers.EXIT_SUCCESS).touch()
    assert main(["--o", str(tmp_path), "--diametr", "120"]) == 2
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]
    captured = capsys.readouterr()
    assert "did you mean --diameter?" in captured.err and captured.out == ""


@pytest.mark.parametrize("words", [["train"], ["pikc"], []])
def test_usage_error_of_jobs(tmp_path: Path, words: list[str]) -> None:
    assert main([*words, f"--o={tmp_path / 'new'}/", "--bad"]) == 2
    assert found_markers(tmp_path / "new") == [markers.EXIT_FAILURE]


def test_usage_error_of_other_commands_leaves_no_marker(tmp_path: Path) -> None:
    assert main(["simulate", "--o", str(tmp_path), "--bad"]) == 2
    assert found_markers(tmp_path) == []
    assert main(["simulate", "--o", str(tmp_path), "--bad", "--pipeline_control", "x"]) == 2  # RELION started it
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"{command} " in text and "--o DIR" in text and "example" in text
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {command} " in text for command in COMMANDS)
    assert "--min-distance" in text and "unit: Å; required" in text and "[Yes|No]" in text
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"relion_ext_picker {__version__}\n"


def test_the_workflow_gets_the_options(workflow: Workflow) -> None:
    seen: list[Any] = []
    workflow("train", seen.append)
    assert main(["train", "--o", "j/", "--steps", "5"]) == 0
    assert seen == [TrainOptions(o="j/", steps=5)]


def test_log_lines(workflow: Workflow, capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("relion_ext_picker.workflows.pick")

    def run(options: PickOptions) -> None:
        log.info("a.mrc: 12 picks")
        log.warning("b.mrc: cannot be read")

    workflow("pick", run)
    assert main(BASE) == 0
    captured = capsys.readouterr()
    assert captured.out == "a.mrc: 12 picks\n"
    assert captured.err == "WARNING: b.mrc: cannot be read\n"
    assert main(BASE) == 0
    assert capsys.readouterr().out == "a.mrc: 12 picks\n"  # once: handlers do not pile up


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize(
    ("error", "code", "marker", "said"),
    [
        (InputError("m.star: not there"), 1, markers.EXIT_FAILURE, "ERROR: m.star: not there\n"),
        (RuntimeError("boom"), 1, markers.EXIT_FAILURE, "Traceback"),
        (SystemExit(0), 1, markers.EXIT_FAILURE, "Traceback"),
        (JobAborted("stopped"), 3, markers.EXIT_ABORTED, "stopped\n"),
    ],
)
def test_errors(
    workflow: Workflow, tmp_path: Path, capsys: pytest.CaptureFixture[str], inside: bool, error: BaseException,
    code: int, marker: str, said: str,
) -> None:  # fmt: skip
    def run(options: PickOptions) -> None:
        if not inside and not isinstance(error, JobAborted):
            raise error
        with JobDirectory(options.o):
            raise error

    workflow("pick", run)
    assert main(["--o", str(tmp_path), "--diameter", "9"]) == code
    assert found_markers(tmp_path) == [marker]
    assert capsys.readouterr().err.startswith(said)


def test_failing_import_of_a_workflow_leaves_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "relion_ext_picker.workflows.pick", None)
    assert main(["--o", str(tmp_path), "--diameter", "9"]) == 1
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]


def test_sigterm_before_the_job_directory_is_entered(tmp_path: Path) -> None:
    code = (
        "import sys, time, types\nfrom pathlib import Path\n"
        "def run(options):\n    Path(options.o, 'started').touch()\n    time.sleep(60)\n"
        "sys.modules['relion_ext_picker.workflows.pick'] = types.SimpleNamespace(run=run)\n"
        "from relion_ext_picker.cli import main\nsys.exit(main(['--o', sys.argv[1], '--diameter', '9']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    for _ in range(300):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert found_markers(tmp_path) == [markers.EXIT_FAILURE]
    assert err == "ERROR: stopped by SIGTERM\n"


def test_the_installed_program_answers(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}  # a terminal without Å
    code = "import sys; from relion_ext_picker.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, env=environment, timeout=30
    )
    assert done.returncode == 0 and "\\xc5" in done.stdout
