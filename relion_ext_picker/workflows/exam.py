"""Whether a model that learnt from feedback is better than the one before, on micrographs that neither learnt from.

The feedback job leaves what the classes say of every pick in :data:`JUDGED`, also of those that it does not teach: what
is taught was chosen with the help of the old model's scores and would flatter it.
"""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from relion_ext_picker.evaluation.curves import precision_recall
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.job import JobDirectory
from relion_ext_picker.relion.tables import read_tables, write_table
from relion_ext_picker.types import Array, Micrograph
from relion_ext_picker.workflows.training_set import LABEL, NAME

JUDGED = "judged.star"  # beside the file of --add-true
KEPT_FILE = "kept_old_model"  # file of a training whose model was worse than the one before, which is kept
EXAM, KEPT = "exam", "kept_model"  # entries of a training.json: how it went, and whether the model before was kept
SHARE = 0.2  # of the micrographs are held out for it
CHANCE = 0.02  # of average precision: what two models differ by on a few hundred places, whichever is better
ENOUGH = 20  # places of either kind; fewer say nothing
REACH = 0.4  # diameters: a candidate nearer than this to a place stands for it

_log = logging.getLogger(__name__)

Judged = dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]  # by micrograph: px (n, 2), whether a particle
Finds = Callable[[Micrograph], tuple[Array, Array]]  # all candidates of a model, px (n, 2), and their scores


@dataclass(frozen=True)
class Exam:
    """Average precision of the judged places for the model before and after training; nan where nothing is known.

    Attributes
    ----------
    before, after : float
    places, micrographs : int
    """

    before: float
    after: float
    places: int
    micrographs: int

    @property
    def passed(self) -> bool:
        """Whether the new model is to be taken: it ranks the places no worse than chance would, or that is unknown."""
        return not self.after < self.before - CHANCE

    def tell(self) -> None:
        """Say how it went."""
        if not self.places:
            _log.info("it cannot be told whether the new model is better: too few judged picks are held out")
            return
        _log.info(
            "%d picks on %d held-out micrographs, as the classes judge them: average precision %.3f before, %.3f after",
            self.places, self.micrographs, self.before, self.after,
        )  # fmt: skip
        if not self.passed:
            _log.warning("the new model is worse than the one before, which is kept: another round does not pay")


def write_judged(path: Path, names: Sequence[str], xy: NDArray[np.float64], particle: NDArray[np.bool_]) -> None:
    """Write what the classes say of each pick: micrograph, px (n, 2), and whether it is a particle."""
    rows: dict[str, Sequence[object]] = {labels.MICROGRAPH_NAME: list(names), labels.COORDINATE_X: xy[:, 0].tolist()}
    rows |= {labels.COORDINATE_Y: xy[:, 1].tolist(), LABEL: particle.astype(int).tolist()}
    write_table(path, "judged", rows)


def read_judged(add_true: str) -> Judged:
    """What :func:`write_judged` left beside the coordinates of --add-true; empty where there is nothing."""
    path = Path(add_true).parent / JUDGED
    if not add_true or not path.is_file():
        return {}
    (table,) = read_tables(path, (labels.MICROGRAPH_NAME,)).values()
    names = np.array(table[labels.MICROGRAPH_NAME], np.str_)
    xy = np.array([table[labels.COORDINATE_X], table[labels.COORDINATE_Y]], np.float64).T
    particle = np.array(table[LABEL], np.int64) > 0
    return {name: (xy[names == name], particle[names == name]) for name in dict.fromkeys(names.tolist())}


def kept_for_exam(names: Iterable[str]) -> set[str]:
    """A fifth of some micrographs, the same ones in every round: by a checksum of their names."""
    ordered = sorted(names, key=lambda name: (zlib.crc32(name.encode()), name))
    return set(ordered[: round(SHARE * len(ordered))])


def examine(judged: Judged, micrographs: Iterable[Micrograph], diameter: float, before: Finds, after: Finds) -> Exam:
    """Rank the judged places of some micrographs by two models.

    Parameters
    ----------
    judged : Judged
    micrographs : iterable of Micrograph
        Held out from both.
    diameter : float
        Å.
    before, after : callable
    """
    held = [micrograph for micrograph in micrographs if micrograph.name in judged]
    particle = np.concatenate([np.zeros(0, np.bool_), *(judged[item.name][1] for item in held)])
    if min(int(particle.sum()), int((~particle).sum())) < ENOUGH:
        return Exam(float("nan"), float("nan"), 0, len(held))
    found = []
    for model in (before, after):
        score = np.concatenate([
            best_near(judged[item.name][0], *model(item), REACH * diameter / item.pixel_size) for item in held
        ])  # fmt: skip
        seen = score > 0
        found.append(precision_recall(score[seen], particle[seen], int(particle.sum())).average_precision)
    return Exam(found[0], found[1], len(particle), len(held))


def best_near(places: NDArray[np.float64], xy: Array, score: Array, reach: float) -> NDArray[np.float64]:
    """The highest score of a candidate within `reach` px of each place, shape (n,); 0 where there is none."""
    if not len(xy):
        return np.zeros(len(places))
    near = cKDTree(xy).query_ball_point(places, reach)
    return np.array([max((float(score[index]) for index in group), default=0.0) for group in near])


def say_whether_kept(job: JobDirectory, exam: Exam | None) -> dict[str, object]:
    """Leave or remove the marker for scripts; what the provenance of the model is to say."""
    (job.path / KEPT_FILE).unlink(missing_ok=True)
    if exam is None or not exam.places:
        return {}
    told = {"before": round(exam.before, 4), "after": round(exam.after, 4), "picks": exam.places}
    if exam.passed:
        return {EXAM: told}
    text = f"average precision {exam.before:.3f} before, {exam.after:.3f} after training\n"
    job.write(KEPT_FILE, lambda path: path.write_text(text, encoding="utf-8"))
    return {EXAM: told, KEPT: True}


def keep_training_set(job: JobDirectory, model: str) -> None:
    """The training set of the model that is kept, where it has one: it has learnt from nothing new."""
    path = Path(model).parent / NAME
    if model and path.is_file():
        job.write(NAME, lambda temporary: shutil.copyfile(path, temporary))
    else:
        (job.path / NAME).unlink(missing_ok=True)
