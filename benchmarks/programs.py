"""Command lines of the programs that are compared, and where they are found."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOPAZ_DEFAULT = ROOT / "build" / "topaz-venv"
Command = list[str | Path]


@dataclass(frozen=True)
class Field:
    """Micrographs of one kind, all in one folder.

    Attributes
    ----------
    folder : Path
        Holds the .mrc files and nothing else of that suffix.
    pixel_size : float
        Å/px.
    diameter : float
        Of the particle, Å.
    """

    folder: Path
    pixel_size: float
    diameter: float

    @property
    def files(self) -> list[Path]:
        """The micrographs in order."""
        return sorted(self.folder.glob("*.mrc"))

    @property
    def diameter_px(self) -> float:
        """Diameter of the particle in px of the micrographs."""
        return self.diameter / self.pixel_size


def shared_data(given: str) -> Path:
    """The folder of the real micrographs: as given, of the variable REP_SHARED, or beside the repository."""
    if given:
        return Path(given).resolve()
    shared = Path(os.environ.get("REP_SHARED", ROOT.parent / "shared"))
    return shared / "data" / "apoferritin"


def add_options(parser: argparse.ArgumentParser, work: str) -> None:
    """Options that all benchmarks have."""
    parser.add_argument("--data", default="", metavar="DIR", help="folder with Micrographs/ of apoferritin "
                        "(default: data/apoferritin in $REP_SHARED or in ../shared)")  # fmt: skip
    parser.add_argument("--topaz-venv", type=Path, default=Path(os.environ.get("TOPAZ_VENV", TOPAZ_DEFAULT)),
                        metavar="DIR", help="virtual environment with Topaz (default: $TOPAZ_VENV or build/topaz-venv)"
                        )  # fmt: skip
    parser.add_argument("--picker", default="", metavar="FILE", help="relion_ext_picker to measure")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads for every program (default: 2)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / work, metavar="DIR",
                        help=f"where simulated micrographs and results go (default: build/{work})")  # fmt: skip


def linked(files: Sequence[Path], folder: Path, pixel_size: float, diameter: float, count: int = 0) -> Field:
    """A folder with links to some micrographs; to reach `count` they are linked again under further names."""
    place = folder / "Micrographs"
    shutil.rmtree(folder, ignore_errors=True)
    place.mkdir(parents=True)
    for index in range(max(count, len(files))):
        file, turn = files[index % len(files)], index // len(files)
        (place / (f"{turn}_{file.name}" if turn else file.name)).symlink_to(file.resolve())
    return Field(place, pixel_size, diameter)


def our_program(given: str = "") -> Path:
    """The relion_ext_picker to run: as given, else the one installed with this Python, else the one in the PATH.

    Raises
    ------
    SystemExit
        There is none.
    """
    beside = Path(sys.executable).with_name("relion_ext_picker")
    found = given or (str(beside) if beside.exists() else shutil.which("relion_ext_picker"))
    if not found:
        raise SystemExit("relion_ext_picker was not found: install the project, or name the program with --picker")
    return Path(found).absolute()


def topaz_python(environment: Path) -> Path:
    """The Python of Topaz's environment.

    Raises
    ------
    SystemExit
        It is not there.
    """
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"no Topaz in {environment}: make the environment as benchmarks/README.md says, name it with "
            "--topaz-venv, or leave Topaz out with --no-topaz"
        )
    return python


def our_pick(program: Path, field: Field, job: Path, threads: int, extra: Sequence[str] = ()) -> Command:
    """Pick the micrographs of a folder, on the CPU."""
    return [
        program, "pick", "--o", job, "--mics", field.folder.name, "--pixel-size", f"{field.pixel_size:g}",
        "--diameter", f"{field.diameter:g}", "--gpu", "cpu", "--j", str(threads), *extra,
    ]  # fmt: skip


@dataclass(frozen=True)
class Topaz:
    """Topaz with one of its pretrained models.

    Its commands are started as modules, not through the program `topaz`, which imports all other commands first and
    needs more packages: this is the faster way.

    Attributes
    ----------
    python : Path
    model : str
    scale : int
        Micrographs are reduced by this factor first.
    radius : int
        Of its non-maximum suppression, px of the reduced micrograph.
    threshold : float
        Log-likelihood ratio down to which candidates are written.
    """

    python: Path
    model: str
    scale: int
    radius: int
    threshold: float = -6.0

    def preprocess(self, field: Field, out: Path, threads: int) -> Command:
        """Reduce and normalise."""
        return [
            self.python, "-W", "ignore", "-m", "topaz.commands.preprocess", "-s", str(self.scale), "-j", str(threads),
            "-o", out, *field.files,
        ]  # fmt: skip

    def extract(self, prepared: Path, out: Path, threads: int) -> Command:
        """Score and find peaks."""
        return [
            self.python, "-W", "ignore", "-m", "topaz.commands.extract", "-t", f"{self.threshold:g}", "-m",
            f"{self.model}_u32", "-r", str(self.radius), "-x", str(self.scale), "-d", "-1", "-j", str(threads),
            "-o", out, *sorted(prepared.glob("*.mrc")),
        ]  # fmt: skip


def thread_limits(threads: int) -> dict[str, str]:
    """Environment that holds the numerical libraries of every program to the same number of threads.

    Waiting threads sleep in all of them. By default those of Topaz spin, which counts as processor time: little on an
    idle machine, several times as much beside other programs, and would measure the machine.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "passive"}
