"""The words agree with the program: links, options, commands, tables, code."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from relion_ext_picker import __version__
from relion_ext_picker.arguments import parse
from relion_ext_picker.options import COMMANDS, PickOptions, flag_of, info_of
from relion_ext_picker.relion.tables import read_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
OTHERS = {  # options that are not ours, and mistakes that are shown as such
    "--help", "--version", "--addJob", "--addJobFromStar", "--addJobOptions", "--RunJobs", "--sec_wait_after",
    "--diamter", "---diameter", "--option", "--no-NAME", "--data", "--sets", "--pickers", "--calibration", "--runs",
    "--no-deps", "--ignore-requires-python", "--devel",
    "--i", "--ctf", "--sym", "--symmetry", "--bin", "--stages", "--simulate", "--classes",
    "--schedule", "--set_var", "--value", "--run",
    "--only", "--threads", "--picture", "--micrograph",
}  # fmt: skip
LARGEST_PICTURE = 400_000  # bytes

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(plain.replace(" ", "-"))
    return found


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists() and file.is_relative_to(ROOT), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}; there are {sorted(anchors(file))}"


@pages
def test_options_exist(page: Path) -> None:
    known = set(OTHERS)
    for table in COMMANDS.values():
        for item in fields(table):
            known |= {flag_of(item), *info_of(item).aliases}
            if isinstance(item.default, bool):
                known.add(f"--no-{flag_of(item)[2:]}")
    named = set(re.findall(r"(?<![\w-])--+[A-Za-z][\w-]*", page.read_text(encoding="utf-8")))
    assert named <= known, f"{page.name}: {sorted(named - known)}"


@pages
def test_commands_are_understood(page: Path) -> None:
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == "relion_ext_picker" and words[1:] != ["--version"]:
                parse(words[1:])


@pages
def test_tables_have_as_many_cells_in_every_row(page: Path) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", prose(page), re.MULTILINE)
    assert len(re.findall(r"^\|", prose(page), re.MULTILINE)) == sum(table.count("\n") for table in tables)
    for table in tables:
        rows = table.splitlines()
        counts = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
        assert len(counts) == 1, f"{page.name}: {rows[0]}"
        assert re.fullmatch(r"[|:\- ]+", rows[1]), f"{page.name}: no rule below {rows[0]}"


@pages
def test_python_imports_what_there_is(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relion_ext_picker"):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), f"{page.name}: {node.module}"


def test_the_form_in_the_readme_is_the_template() -> None:
    rows = re.findall(
        r"^\| Param(\d+) \| `(\w+)` \| `([^`]+)` \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE
    )
    table = read_tables(ROOT / "templates/relion/pick_drpnet/job.star", ["rlnJobOptionValue"])["joboptions_values"]
    job = dict(zip(table["rlnJobOptionVariable"], table["rlnJobOptionValue"], strict=True))
    assert rows
    for number, label, value in rows:
        assert label in {item.name for item in fields(PickOptions)}
        assert (job[f"param{number}_label"], job[f"param{number}_value"]) == (label, value)
    assert f"param{len(rows) + 1}_label" not in job


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs/images").iterdir())
    assert pictures
    assert all(picture.stat().st_size < LARGEST_PICTURE for picture in pictures), pictures


def test_versions_agree() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
