"""Who may import whom, and that the command line starts quickly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "torch", "matplotlib", "pandas", "scipy", "starfile", "skimage")

pytest.importorskip("importlinter", reason="import-linter is not installed")


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], cache_dir=None))"
    return subprocess.run(
        [sys.executable, "-c", code, str(config)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_import_rules() -> None:
    done = lint(ROOT / ".importlinter")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_rule_is_found(tmp_path: Path) -> None:
    config = tmp_path / "rules"
    config.write_text(
        "[importlinter]\nroot_package = relion_ext_picker\ninclude_external_packages = True\n\n"
        "[importlinter:contract:x]\nname = x\ntype = forbidden\nsource_modules = relion_ext_picker.arguments\n"
        "forbidden_modules =\n    relion_ext_picker.errors\n    argparse\n"
    )
    done = lint(config)
    assert done.returncode == 1
    assert "relion_ext_picker.arguments -> argparse" in done.stdout


def loaded_after(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint('LOADED', *sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.partition("LOADED")[2].split())


@pytest.mark.parametrize("words", [["--help"], ["pick", "--help"], ["train", "--help"], ["--version"], ["--o", "x"]])
def test_the_command_line_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    words = [word.replace("x", str(tmp_path)) for word in words]
    assert not loaded_after(f"from relion_ext_picker.cli import main\nmain({words!r})") & set(HEAVY)


def test_importing_star_loads_no_pandas() -> None:
    assert "pandas" not in loaded_after("import relion_ext_picker.relion.star")


def test_help_answers_at_once() -> None:
    """The processor time of the program, which other programs on the machine do not change much."""
    code = "import time; from relion_ext_picker.cli import main; main(['--help']); print('CPU', time.process_time())"
    took = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        took.append(min(time.perf_counter() - start, float(done.stdout.rpartition("CPU")[2])))
    assert min(took) < 0.3
