"""The micrographs whose particles are known, on which accuracy is measured: simulated ones and apoferritin.

Simulated sets hold structures that nothing shipped was trained on or chosen by; those of the development list are for
choosing. A set is named after its structure and signal-to-noise ratio, such as 1bxn-0.05.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from programs import Field, linked

from relion_ext_picker.io.coordinates import read_coordinates
from relion_ext_picker.types import Array

RATIOS = ("0.05", "0.01")
REAL = ("Micrographs", "SingleFrames")
HELD_OUT = (
    "May08_04.32.27", "May08_04.33.57", "May08_04.36.57", "May08_05.24.39", "May08_05.31.00", "May08_07.10.35",
)  # fmt: skip
DEVELOPMENT = ("May08_03.05.02", "May08_03.13.02", "May08_03.15.02", "May08_03.43.44")
REAL_PIXEL_SIZE, REAL_DIAMETER = 1.5, 120.0  # Å/px, Å
PIXEL_SIZE = 2.0  # Å/px of the simulated ones
SESSION = (  # of simulate, for every set: a usual microscope, ice of uneven quality
    "--preset", "ribosome", "--pixel-size", f"{PIXEL_SIZE:g}", "--contaminants", "1.5", "--contaminant-kinds",
    "carbon,hole,crystal,ethane,gold",
)  # fmt: skip
EDGE = 0.5  # diameters: particles with their centre nearer to the edge, which cuts them, count for nobody
MAKE_NO_PARTICLE = {"carbon": (1, 2), "ice": (3, 4), "gold": (5,)}  # labels of the simulation


@dataclass(frozen=True)
class Recipe:
    """A structure and how it is simulated; `diameter` is what a user would give, Å."""

    name: str
    file: str
    diameter: float
    side: int
    particles: int
    seed: int
    micrographs: int = 4


TEST = (
    Recipe("1bxn", "1bxn_rubisco.pdb", 138, 1536, 110, 101),
    Recipe("3cf3", "3cf3_p97.pdb", 179, 1536, 70, 102),
    Recipe("3j9i", "3j9i_T20S_proteasome.pdb", 185, 1536, 65, 103),
    Recipe("1qvr", "1qvr_ClpB.pdb", 239, 2048, 65, 104),
    Recipe("5gjv", "5gjv.pdb", 247, 2048, 65, 105),
    Recipe("6rd4", "6rd4_5A.mrc", 290, 2048, 45, 106),
    Recipe("3ipm", "3ipm_5A.mrc", 307, 2048, 40, 107),
)
TO_CHOOSE = (
    Recipe("1jts", "1jts_Dps.pdb", 108, 1536, 150, 201),
    Recipe("30s", "4v4r_30S.pdb", 276, 2048, 50, 202),
    Recipe("50s", "4v4r_50S_5A.mrc", 320, 2048, 40, 203),
)
GROUPS: Mapping[str, tuple[Recipe, ...]] = {"simulated": TEST, "development": TO_CHOOSE}
Simulate = Callable[[Path, Sequence[str]], None]  # project to write, options


@dataclass(frozen=True)
class Known:
    """A set of micrographs with the truth.

    Attributes
    ----------
    name : str
    field : Field
        The micrographs; `truth` and `labels` go by the stems of their names.
    truth : mapping of ndarray, shape (m, 2)
        Centres, px.
    edge : float
        Distance from the edge within which neither particles nor picks count, px.
    labels : mapping of ndarray of int, shape (h, w)
        Contaminants of simulated micrographs; empty for real ones.
    """

    name: str
    field: Field
    truth: Mapping[str, Array]
    edge: float = 0.0
    labels: Mapping[str, NDArray[np.integer]] = field(default_factory=dict)

    def counts(self, name: str, xy: Array) -> NDArray[np.bool_]:
        """Which places (n, 2) of a micrograph count."""
        if not self.edge:
            return np.ones(len(xy), bool)
        rows, cols = self.labels[name].shape
        last = np.array([cols - 1, rows - 1])
        return np.asarray(np.all((xy >= self.edge) & (xy <= last - self.edge), axis=1))

    @property
    def particles(self) -> Mapping[str, Array]:
        """The centres that count."""
        return {name: xy[self.counts(name, xy)] for name, xy in self.truth.items()}

    def soiled(self, name: str, xy: Array, labels: Sequence[int]) -> NDArray[np.bool_]:
        """Which places (n, 2) lie on a contaminant."""
        image = self.labels[name]
        col, row = np.rint(xy).astype(int).T.clip(0, np.array(image.shape[::-1])[:, None] - 1)
        return np.isin(image[row, col], labels)


def names_of(text: str) -> list[str]:
    """Names of the sets meant by --sets: groups, structures and sets, separated by commas.

    Raises
    ------
    SystemExit
        One is unknown.
    """
    every = {f"{recipe.name}-{ratio}": recipe for group in GROUPS.values() for recipe in group for ratio in RATIOS}
    found: list[str] = []
    for word in text.split(","):
        if word in GROUPS:
            found += [f"{recipe.name}-{ratio}" for ratio in RATIOS for recipe in GROUPS[word]]
        elif word in every or word in REAL:
            found.append(word)
        else:
            raise SystemExit(f"--sets {word}: must be of {', '.join((*GROUPS, *REAL, *every))}")
    return list(dict.fromkeys(found))


def recipe_of(name: str) -> tuple[Recipe, str]:
    """The structure and the signal-to-noise ratio of a simulated set."""
    structure, _, ratio = name.partition("-")
    return next(each for group in GROUPS.values() for each in group if each.name == structure), ratio


def simulated(name: str, models: Path, work: Path, run: Simulate, *, other: bool = False) -> Known:
    """A simulated set, made where it is not there yet.

    Parameters
    ----------
    name : str
    models : Path
        Folder of the structures.
    work : Path
        Where sets are kept.
    run : callable
    other : bool
        Other micrographs of the same kind, to learn from.

    Raises
    ------
    SystemExit
        The structure is not there.
    """
    recipe, ratio = recipe_of(name)
    project = work / (f"{name}-other" if other else name)
    if not (project / "simulation.star").exists():
        if not (models / recipe.file).exists():
            raise SystemExit(f"{name}: no {recipe.file} in {models}: check --models, or leave it out of --sets")
        seed = recipe.seed + 1000 * other
        run(project, [
            *SESSION, "--structure", str(models / recipe.file), "--size", f"{recipe.side}x{recipe.side}",
            "--snr", ratio, "--particles", str(recipe.particles), "--micrographs",
            str(recipe.micrographs), "--seed", str(seed),
        ])  # fmt: skip
    field = Field(project / "Micrographs", PIXEL_SIZE, recipe.diameter)
    places = project / "Truth" / "Micrographs"
    truth = {file.stem: read_coordinates(places / f"{file.stem}_truth.star").xy for file in field.files}
    labels = {file.stem: mrcfile.read(places / f"{file.stem}_contaminants.mrc") for file in field.files}
    return Known(name, field, truth, EDGE * field.diameter_px, labels)


def real(name: str, data: Path, only: Sequence[str], work: Path) -> Known:
    """Micrographs of apoferritin under links in `work`."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    field = linked([data / name / f"{each}.mrc" for each in only], folder, REAL_PIXEL_SIZE, REAL_DIAMETER)
    return Known(name, field, {each: read_coordinates(data / "truth" / f"{each}.star").xy for each in only})


def selected(which: str, known: Sequence[str]) -> list[str]:
    """Names of the real micrographs meant by --only.

    Raises
    ------
    SystemExit
        There are none, or a name is unknown.
    """
    groups = {"held-out": HELD_OUT, "development": DEVELOPMENT, "all": tuple(known)}
    if which in groups:
        names = list(groups[which])
    elif Path(which).is_file():
        names = Path(which).read_text(encoding="utf-8").split()
    else:
        names = [name.strip() for name in which.split(",")]
    names = [Path(name).name.removesuffix(".mrc") for name in names]
    if not names or (missing := [name for name in names if name not in known]):
        raise SystemExit(f"--only {which}: no truth for {missing[0] if names else 'it'}: check --data and the names")
    return names
