"""What RELION's jobs after picking say: particles and classes, of RELION 3.0, 3.1, 4 and 5.

Files of 3.0 are one table without optics, with shifts in px and a pixel size that follows from the magnification; from
3.1 on there is an optics table and shifts are in Å. Columns are found by their names, so that it does not matter which
others a version adds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relion_ext_picker.errors import StarError
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.columns import StarColumns, Texts
from relion_ext_picker.types import ClassTable, ParticleTable

NOT_ESTIMATED = 999.0  # RELION's accuracy where there is none

Numbers = NDArray[np.float64]
_MICROGRAPH_PIXEL_SIZES = (labels.MICROGRAPH_PIXEL_SIZE, labels.MICROGRAPH_ORIGINAL_PIXEL_SIZE)
_NUMBERS = (
    labels.COORDINATE_X, labels.COORDINATE_Y, labels.ORIGIN_X_ANGSTROM, labels.ORIGIN_Y_ANGSTROM, labels.ORIGIN_X,
    labels.ORIGIN_Y, labels.CLASS_NUMBER, labels.ANGLE_ROT, labels.ANGLE_TILT, labels.ANGLE_PSI,
    labels.MAX_PROBABILITY, labels.LOG_LIKELIHOOD, labels.RANDOM_SUBSET, labels.FIGURE_OF_MERIT, labels.OPTICS_GROUP,
    labels.DETECTOR_PIXEL_SIZE, labels.MAGNIFICATION, labels.PIXEL_SIZE,
)  # fmt: skip
_USE_PARTICLES = "give particles.star or the run_itNNN_data.star of a Class2D, Class3D or Refine3D job"


def read_particles(path: Path) -> ParticleTable:
    """The particles of a particles.star, run_data.star, run_itNNN_data.star or rank_data.star.

    Parameters
    ----------
    path : Path

    Returns
    -------
    ParticleTable
        Where the optics table has no pixel size of the micrograph, that of the movie stands for it. Files of RELION 3.0
        know only the pixel size of the particle image.

    Raises
    ------
    StarError
        The file cannot be read, is of another kind, is cut off, or has no particles.
    """
    star = StarColumns(path)
    name = labels.PARTICLES_TABLE
    if name not in star.tables:
        plain = [table for table in star.tables if labels.MICROGRAPH_NAME in star.labels(table)]
        name = plain[0] if plain else star.tables[-1]
    if labels.MICROGRAPH_NAME not in star.labels(name):
        raise StarError(f"{path}: lists no particles: no column _{labels.MICROGRAPH_NAME}; {_USE_PARTICLES}")
    if labels.IMAGE_NAME not in star.labels(name) and labels.COORDINATE_X not in star.labels(name):
        raise StarError(f"{path}: lists micrographs, not particles; {_USE_PARTICLES}")
    columns, texts = star.read(name, _NUMBERS, (labels.MICROGRAPH_NAME,))
    micrographs = texts[labels.MICROGRAPH_NAME]
    if not len(micrographs.index):
        raise StarError(f"{path}: lists no particles; {_USE_PARTICLES}")
    if int(micrographs.index.max()) == len(micrographs.values) - 1:
        raise StarError(f"{path}: a particle has an empty _{labels.MICROGRAPH_NAME}; {_USE_PARTICLES}")
    group = _whole(columns.get(labels.OPTICS_GROUP))
    optics = _Optics(star, group, len(micrographs.index))
    pixel_size = optics.column(labels.IMAGE_PIXEL_SIZE)
    if pixel_size is None:
        pixel_size = _old_pixel_size(columns)
    of_micrograph = (optics.column(label) for label in _MICROGRAPH_PIXEL_SIZES)
    micrograph_pixel_size = next((values for values in of_micrograph if values is not None), None)
    return _table(micrographs, columns, group, (micrograph_pixel_size, pixel_size, optics.box))


def _table(
    micrographs: Texts,
    columns: dict[str, Numbers],
    group: NDArray[np.int64] | None,
    sizes: tuple[Numbers | None, Numbers | None, int | None],
) -> ParticleTable:
    origin = _stacked(columns, (labels.ORIGIN_X_ANGSTROM, labels.ORIGIN_Y_ANGSTROM))
    if origin is None and sizes[1] is not None:
        origin = _stacked(columns, (labels.ORIGIN_X, labels.ORIGIN_Y))
        origin = None if origin is None else origin * sizes[1][:, None]
    return ParticleTable(
        names=micrographs.values[:-1],
        micrograph=micrographs.index,
        xy=_stacked(columns, (labels.COORDINATE_X, labels.COORDINATE_Y)),
        origin=origin,
        micrograph_pixel_size=sizes[0],
        pixel_size=sizes[1],
        class_number=_whole(columns.get(labels.CLASS_NUMBER)),
        angles=_stacked(columns, (labels.ANGLE_ROT, labels.ANGLE_TILT, labels.ANGLE_PSI)),
        pmax=columns.get(labels.MAX_PROBABILITY),
        likelihood=columns.get(labels.LOG_LIKELIHOOD),
        subset=_whole(columns.get(labels.RANDOM_SUBSET)),
        figure_of_merit=columns.get(labels.FIGURE_OF_MERIT),
        optics_group=group,
        box=sizes[2],
    )


class _Optics:
    """The optics table, spread over the particles."""

    def __init__(self, star: StarColumns, group: NDArray[np.int64] | None, count: int) -> None:
        wanted = (labels.OPTICS_GROUP, labels.IMAGE_PIXEL_SIZE, labels.IMAGE_SIZE, *_MICROGRAPH_PIXEL_SIZES)
        table = labels.OPTICS_TABLE
        self._columns = star.numbers(table, wanted) if table in star.tables else {}
        numbers = _whole(self._columns.get(labels.OPTICS_GROUP))
        self._row = np.zeros(count, np.int64)
        if numbers is not None and group is not None:
            row_of = {int(number): row for row, number in enumerate(numbers)}
            missing = sorted({int(g) for g in np.unique(group)} - set(row_of))
            if missing:
                raise StarError(
                    f"{star.path}: optics group {missing[0]} of its particles is not in the optics table; add it"
                )
            known, inverse = np.unique(group, return_inverse=True)
            self._row = np.array([row_of[int(g)] for g in known])[inverse]
        sizes = self._columns.get(labels.IMAGE_SIZE)
        self.box = None if sizes is None or not np.isfinite(sizes[:1]).all() else int(sizes[0])

    def column(self, label: str) -> Numbers | None:
        values = self._columns.get(label)
        return None if values is None or not len(values) else values[self._row]


def _old_pixel_size(columns: dict[str, Numbers]) -> Numbers | None:
    """Å/px of the particle image in a file of RELION 3.0."""
    if labels.DETECTOR_PIXEL_SIZE in columns and labels.MAGNIFICATION in columns:
        return columns[labels.DETECTOR_PIXEL_SIZE] * 1e4 / columns[labels.MAGNIFICATION]
    return columns.get(labels.PIXEL_SIZE)


def _stacked(columns: dict[str, Numbers], names: tuple[str, ...]) -> Numbers | None:
    if not all(name in columns for name in names):
        return None
    return np.stack([columns[name] for name in names], axis=1)


def _whole(values: Numbers | None) -> NDArray[np.int64] | None:
    return None if values is None else np.nan_to_num(values, nan=0.0).astype(np.int64)


def read_classes(path: Path) -> ClassTable:
    """The classes of a run_itNNN_model.star, a rank_model.star or a class_averages.star.

    In a class_averages.star of a Select job the rows are the chosen classes only, and numbered anew: which classes they
    were is in the particles alone.

    Raises
    ------
    StarError
        The file cannot be read, is cut off, or lists no classes.
    """
    star = StarColumns(path)
    named = [table for table in star.tables if labels.CLASS_DISTRIBUTION in star.labels(table)]
    if not named:
        raise StarError(f"{path}: lists no classes; give a run_itNNN_model.star of a Class2D or Class3D job")
    general, table = labels.MODEL_TABLE, named[0]
    wanted = (
        labels.CLASS_DISTRIBUTION, labels.ESTIMATED_RESOLUTION, labels.FOURIER_COMPLETENESS, labels.ACCURACY_ROTATIONS,
        labels.ACCURACY_TRANSLATIONS_ANGSTROM, labels.ACCURACY_TRANSLATIONS, labels.CLASS_SCORE,
        labels.PREDICTED_CLASS_SCORE,
    )  # fmt: skip
    columns = star.numbers(table, wanted)
    distribution = columns[labels.CLASS_DISTRIBUTION]
    if not len(distribution):
        raise StarError(f"{path}: lists no classes; check the job that wrote it")
    pixel_size = star.number(general, labels.PIXEL_SIZE)
    translations = columns.get(labels.ACCURACY_TRANSLATIONS_ANGSTROM)
    if translations is None and labels.ACCURACY_TRANSLATIONS in columns and pixel_size is not None:
        translations = _estimated(columns[labels.ACCURACY_TRANSLATIONS])
        translations = None if translations is None else translations * pixel_size
    box = star.number(general, labels.ORIGINAL_IMAGE_SIZE)
    score = columns.get(labels.CLASS_SCORE)
    return ClassTable(
        distribution=distribution,
        resolution=columns.get(labels.ESTIMATED_RESOLUTION, np.full(len(distribution), np.nan)),
        completeness=columns.get(labels.FOURIER_COMPLETENESS),
        accuracy_rotations=_estimated(columns.get(labels.ACCURACY_ROTATIONS)),
        accuracy_translations=_estimated(translations),
        score=columns.get(labels.PREDICTED_CLASS_SCORE) if score is None else score,
        box=None if box is None else int(box),
        pixel_size=pixel_size,
    )


def _estimated(values: Numbers | None) -> Numbers | None:
    return None if values is None else np.where(values == NOT_ESTIMATED, np.nan, values)


def read_selection(path: Path) -> NDArray[np.bool_]:
    """Which classes a person or the class ranker chose: backup_selection.star, one row per class, shape (k,).

    Raises
    ------
    StarError
        It is another kind of file, or cut off.
    """
    star = StarColumns(path)
    for table in star.tables:
        if labels.SELECTED in star.labels(table):
            return np.asarray(star.numbers(table, (labels.SELECTED,))[labels.SELECTED] > 0, np.bool_)
    raise StarError(f"{path}: no column _{labels.SELECTED}; give the backup_selection.star of a Select job")
