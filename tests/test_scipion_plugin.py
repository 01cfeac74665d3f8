"""What can be told of the Scipion plugin without Scipion; the rest of its tests is in scipion_plugin/tests."""

from __future__ import annotations

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from relion_ext_picker.relion import labels

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = sorted((ROOT / "scipion_plugin").rglob("*.py"))


def core_imports(path: Path) -> set[str]:
    """Modules of the program that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "relion_ext_picker"}


def path_of(module: str) -> Path:
    """File of a module, which need not exist."""
    return (ROOT / module.replace(".", "/")).with_suffix(".py")


def table() -> list[Path]:
    """The files of the table of options: what importing it loads."""
    found = [path_of("relion_ext_picker.__init__"), path_of("relion_ext_picker.options")]
    for path in found:
        for module in sorted(core_imports(path)):
            if path_of(module).exists() and path_of(module) not in found:
                found.append(path_of(module))
    return found


def test_the_plugin_imports_the_table_of_options_alone() -> None:
    found = set().union(*map(core_imports, PLUGIN))
    assert {name for name in found if path_of(name).exists()} == {"relion_ext_picker.options"}
    packages = {name for name in found if (ROOT / name.replace(".", "/")).is_dir()}
    assert packages <= {"relion_ext_picker"}  # for its version


def test_the_plugin_spells_the_names_as_the_program_does() -> None:
    theirs = runpy.run_path(str(ROOT / "scipion_plugin" / "constants.py"))["LABELS"]
    assert theirs == {name: getattr(labels, name) for name in theirs}


def vermin(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Whether Python 3.8 can read files."""
    pytest.importorskip("vermin")
    command = [sys.executable, "-c", "from vermin import main; main()", "--target=3.8-", "--no-tips", "--violations"]
    return subprocess.run([*command, *map(str, paths)], capture_output=True, text=True)


@pytest.mark.parametrize("paths", [PLUGIN, table()], ids=["plugin", "table"])
def test_python_3_8_can_read_it(paths: list[Path]) -> None:
    """Scipion's installer brings Python 3.8."""
    done = vermin(*paths)
    assert done.returncode == 0, done.stdout


def test_newer_python_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "new.py"
    path.write_text("match 1:\n    case 1:\n        'x'.removeprefix('x')\n")
    assert vermin(path).returncode != 0
