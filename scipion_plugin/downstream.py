"""What Scipion knows of particles after picking, as files that the program reads: classes, views, curves, half maps."""

from __future__ import annotations

import shutil
from pathlib import Path

import mrcfile
import numpy as np
from pwem.constants import ALIGN_PROJ
from pwem.convert.transformations import euler_from_matrix, translation_from_matrix

from scipion_plugin.constants import LABELS, SCORE
from scipion_plugin.convert import read_table, table_of

DATA, MODEL = "run_it000_data.star", "run_it000_model.star"
SELECTION = "backup_selection.star"
NO_RESOLUTION = 999.0  # Å, as RELION writes it
_CURVES = (  # words in the label of a curve -> column; the first that fits counts
    ("random", "FSC_RANDOMISED"), ("corrected", "FSC_CORRECTED"), ("unmasked", "FSC_UNMASKED"),
    ("masked", "FSC_MASKED"),
)  # fmt: skip


def class_resolutions(classes):
    """Resolution of 2D classes.

    Parameters
    ----------
    classes : SetOfClasses2D

    Returns
    -------
    dict of float
        Object identifier -> Å, as far as it is known: from the class itself, as RELION's protocol that selects classes
        leaves it, or from the model file beside the class averages.
    """
    found, models = {}, {}
    for item in classes.iterItems():
        own = getattr(item, "_" + LABELS["ESTIMATED_RESOLUTION"], None)
        value = own.get() if own is not None else None
        if value is None and item.hasRepresentative():
            index, file = item.getRepresentative().getLocation()
            model = str(file).replace("_classes.mrcs", "_model.star")
            if model != str(file) and Path(model).is_file():
                if model not in models:
                    models[model] = read_table(model, "model_classes")
                rows = models[model]
                if 0 < index <= len(rows):
                    value = rows[index - 1].get(LABELS["ESTIMATED_RESOLUTION"])
        if value is not None and np.isfinite(float(value)):
            found[item.getObjId()] = float(value)
    return found


def write_classes(folder, classes, names=None):
    """Write 2D classes as an iteration of RELION's Class2D, numbered from 1 in the order of their identifiers.

    Parameters
    ----------
    folder : Path
        Is made.
    classes : SetOfClasses2D
    names : mapping of tuple, optional
        Name of a micrograph in Scipion, or its object identifier for particles that do not know the name -> the name to
        write, and its number of rows if the program reads it upside down (TIFF), else None. Particles of other
        micrographs are left out. By default all names are written as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {item.getObjId(): item.getSize() for item in classes.iterItems()}
    pixel_size = classes.getImages().getSamplingRate()
    numbers = {identifier: number for number, identifier in enumerate(sorted(sizes), 1)}
    rows, scored = [], True
    for item in classes.iterItems():
        number = numbers[item.getObjId()]
        for particle in item.iterItems():
            place = _place(particle, pixel_size, names)
            if place is not None:
                scored = scored and place[-1] is not None
                rows.append((number, *place))
    columns = ["CLASS_NUMBER", "MICROGRAPH_NAME", "COORDINATE_X", "COORDINATE_Y", "ORIGIN_X_ANGSTROM",
               "ORIGIN_Y_ANGSTROM", "OPTICS_GROUP", "FIGURE_OF_MERIT"]  # fmt: skip
    if not scored:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    with (folder / DATA).open("w") as file:
        _optics(classes.getImages()).writeStar(file, LABELS["OPTICS_TABLE"])
        table_of(columns, rows).writeStar(file, LABELS["PARTICLES_TABLE"])
    resolution = class_resolutions(classes)
    total = max(1, sum(sizes.values()))
    model = [(sizes[i] / total, resolution.get(i, NO_RESOLUTION)) for i in sorted(sizes)]
    with (folder / MODEL).open("w") as file:
        table_of(("PIXEL_SIZE",), [(pixel_size,)]).writeStar(file, LABELS["MODEL_TABLE"], singleRow=True)
        table_of(("CLASS_DISTRIBUTION", "ESTIMATED_RESOLUTION"), model).writeStar(file, "model_classes")


def write_selection(folder, classes, chosen, result):
    """Write which classes were chosen, as RELION's Select does.

    Parameters
    ----------
    folder : Path
        Is made.
    classes, chosen : SetOfClasses2D
        All, and those that are good.
    result : str
        Folder of :func:`write_classes`, as the program is to find it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    good = chosen.getIdSet()
    rows = [(int(identifier in good),) for identifier in sorted(classes.getIdSet())]
    table_of(("SELECTED",), rows).write(str(folder / SELECTION))
    columns = ("JOB_OPTION_VARIABLE", "JOB_OPTION_VALUE")
    table_of(columns, [("fn_model", f"{result}/{MODEL}")]).write(str(folder / "job.star"), "joboptions_values")


def write_views(path, particles):
    """Write the angles of refined particles.

    Parameters
    ----------
    path : Path
    particles : SetOfParticles
        With projection alignment.
    """
    rows = []
    for number, particle in enumerate(particles.iterItems(), 1):
        matrix = np.linalg.inv(particle.getTransform().getMatrix())
        angles = -np.rad2deg(euler_from_matrix(matrix, axes="szyz"))
        coordinate = particle.getCoordinate()
        name = (coordinate.getMicName() if coordinate is not None else None) or "micrograph"
        rows.append((f"{number:06d}@particles", _one_word(name), 1, *map(float, angles)))
    columns = ("IMAGE_NAME", "MICROGRAPH_NAME", "OPTICS_GROUP", "ANGLE_ROT", "ANGLE_TILT", "ANGLE_PSI")
    with path.open("w") as file:
        _optics(particles).writeStar(file, LABELS["OPTICS_TABLE"])
        table_of(columns, rows).writeStar(file, LABELS["PARTICLES_TABLE"])


def write_curves(path, curves):
    """Write Fourier shell correlations as RELION's PostProcess does.

    Parameters
    ----------
    path : Path
    curves : list of FSC
        Over the same frequencies. A label tells which is unmasked, masked, of random phases or corrected; without such
        labels the first counts as unmasked.
    """
    frequencies = np.array([float(value) for value in curves[0].getData()[0]])
    columns = {}
    for curve in curves:
        label = str(curve.getObjLabel() or "").lower()
        name = next((column for word, column in _CURVES if word in label), None)
        if name is not None:
            columns.setdefault(name, [float(value) for value in curve.getData()[1]])
    if "FSC_UNMASKED" not in columns:
        columns["FSC_UNMASKED"] = [float(value) for value in curves[0].getData()[1]]
    if frequencies[0] > 0:  # the program's first shell is that of frequency 0
        frequencies = np.concatenate([[0.0], frequencies])
        columns = {name: [1.0, *values] for name, values in columns.items()}
    shells = [NO_RESOLUTION if value <= 0 else float(1 / value) for value in frequencies]
    rows = list(zip(shells, *columns.values()))
    table_of(("ANGSTROM_RESOLUTION", *columns), rows).write(str(path), LABELS["FSC_TABLE"])


def copy_map(volume_file, pixel_size, path):
    """Copy a map, with the pixel size that Scipion knows in its header: the program reads it there.

    Parameters
    ----------
    volume_file : str
        MRC file; a trailing ``:mrc`` is what some programs add.
    pixel_size : float
        Å.
    path : Path
    """
    shutil.copy(str(volume_file).replace(":mrc", ""), str(path))
    with mrcfile.open(str(path), mode="r+", permissive=True) as file:
        file.voxel_size = pixel_size


def _place(particle, pixel_size, names):
    """Micrograph, x, y (px), shifts (Å), optics group and score of a particle; None if it is not wanted."""
    coordinate = particle.getCoordinate()
    if coordinate is None:
        return None
    name, height = coordinate.getMicName() or coordinate.getMicId(), None
    if names is not None:
        if name not in names:
            return None
        name, height = names[name]
    x, y = map(float, coordinate.getPosition())
    shift_x = shift_y = 0.0
    if particle.hasTransform():
        matrix = particle.getTransform().getMatrix()
        shift_x, shift_y = (float(value) * pixel_size for value in translation_from_matrix(matrix)[:2])
    if height is not None:
        y, shift_y = height - 1 - y, -shift_y
    score = getattr(coordinate, SCORE, None)
    return _one_word(name), x, y, shift_x, shift_y, 1, None if score is None else score.get()


def _one_word(name):
    return str(name).replace(" ", "_")


def _optics(images):
    dimensions = images.getDim() or (0,)
    row = (1, "opticsGroup1", images.getSamplingRate(), int(dimensions[0]))
    return table_of(("OPTICS_GROUP", "OPTICS_GROUP_NAME", "IMAGE_PIXEL_SIZE", "IMAGE_SIZE"), [row])


def is_projected(particles):
    """Whether particles have angles of a 3D refinement."""
    return particles.getAlignment() == ALIGN_PROJ
