from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from relion_ext_picker.arguments import parse
from relion_ext_picker.relion.tables import read_tables
from relion_ext_picker.relion.templates import generated, main

ROOT = Path(__file__).resolve().parents[2]
JOBS = [name for name in generated() if name.endswith("job.star")]


@pytest.mark.parametrize("name", generated())
def test_committed_files_are_the_generated_ones(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name], (
        "run: python -m relion_ext_picker.relion.templates"
    )


def test_main_writes_them(tmp_path: Path) -> None:
    main([str(tmp_path)])
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(generated())


@pytest.mark.parametrize("name", JOBS)
def test_the_command_of_a_template_is_understood(name: str, tmp_path: Path) -> None:
    (tmp_path / "job.star").write_text(generated()[name])
    table = read_tables(tmp_path / "job.star", ["rlnJobOptionValue"])["joboptions_values"]
    options = dict(zip(table["rlnJobOptionVariable"], table["rlnJobOptionValue"], strict=True))
    words = [*options["fn_exe"].split()[1:], "--o", "External/job001/", "--in_mics", options["in_mic"]]
    for number in range(1, 11):
        if f"param{number}_label" in options:
            words += [f"--{options[f'param{number}_label']}", options[f"param{number}_value"]]
    words += ["--j", options["nr_threads"], "--pipeline_control", "External/job001/"]
    parsed = parse(words).options
    assert parsed.diameter == (0 if getattr(parsed, "mode", "") == "deepcryopicker" else 120)
    assert parsed.pipeline_control == parsed.o == "External/job001/"


@pytest.mark.skipif(shutil.which("relion_pipeliner") is None, reason="RELION is not installed")
@pytest.mark.parametrize("name", JOBS)
def test_relion_makes_a_job_of_a_template(name: str, tmp_path: Path) -> None:
    (tmp_path / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n")
    subprocess.run(["relion_pipeliner", "--addJobFromStar", ROOT / name], cwd=tmp_path, check=True, timeout=60)
    written = read_tables(tmp_path / "External/job001/job.star", ["rlnJobOptionValue"])["joboptions_values"]
    given = read_tables(ROOT / name, ["rlnJobOptionValue"])["joboptions_values"]
    pairs = dict(zip(written["rlnJobOptionVariable"], written["rlnJobOptionValue"], strict=True))
    for variable, value in zip(given["rlnJobOptionVariable"], given["rlnJobOptionValue"], strict=True):
        assert pairs[variable] == value
