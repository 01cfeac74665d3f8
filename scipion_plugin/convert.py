"""Scipion's sets to the STAR files of the program and back.

A micrograph is handed over as a link named ``000012_name.mrc``: its object identifier and what is harmless in its file
name. So names that RELION's files cannot hold are no obstacle, no two micrographs share a name, and the identifier in
a result says whose it is.

Coordinates are centres in px with the origin in the first row of the file, in Scipion as in RELION. Only TIFF files are
read the other way up by RELION, and so by the program; their y is turned here, both ways.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from emtable import Table
from pwem.emlib.image import ImageHandler
from pwem.objects import Acquisition, Coordinate
from pyworkflow.object import Float, Integer

from scipion_plugin.constants import BOX, LABELS, SCORE, SHAPE

MICROGRAPHS = "micrographs"  # folder with the links
_TIFF = (".tif", ".tiff")
_HARMLESS = re.compile(r"[^A-Za-z0-9._-]")  # what is not, becomes "_"


def link_micrographs(micrographs, folder):
    """Link micrographs into a folder, under names with their object identifiers.

    Parameters
    ----------
    micrographs : iterable of Micrograph
        With files relative to the working directory, or absolute.
    folder : str
        Gets a sub-folder `MICROGRAPHS` with the links, which are relative.

    Returns
    -------
    dict of str
        Object identifier -> name of the link, relative to `folder`.
    """
    links = Path(folder, MICROGRAPHS)
    links.mkdir(parents=True, exist_ok=True)
    names = {}
    for micrograph in micrographs:
        source = Path(micrograph.getFileName())
        name = f"{micrograph.getObjId():06d}_{_HARMLESS.sub('_', source.name)}"
        replace_link(links / name, source.resolve())
        names[micrograph.getObjId()] = f"{MICROGRAPHS}/{name}"
    return names


def replace_link(link, target):
    """Make a relative link, in place of an earlier one.

    Parameters
    ----------
    link, target : Path
    """
    text = os.path.relpath(target.resolve(), link.parent.resolve())
    if link.is_symlink():
        if os.readlink(link) == text:  # noqa: PTH115 - Path.readlink is of Python 3.9
            return
        link.unlink()
    link.symlink_to(text)


def id_of(name):
    """Object identifier in the name of a link."""
    return int(Path(name).name.partition("_")[0])


def write_micrographs(path, micrographs, names):
    """Write a micrographs STAR file, with an optics group for each kind of acquisition.

    Parameters
    ----------
    path : str
    micrographs : iterable of Micrograph
    names : mapping of str
        Object identifier -> name to write.
    """
    groups = {}
    rows = []
    for micrograph in micrographs:
        acquisition = micrograph.getAcquisition() or Acquisition()
        optics = (
            micrograph.getSamplingRate(), acquisition.getVoltage() or 0.0, acquisition.getSphericalAberration() or 0.0,
            acquisition.getAmplitudeContrast() or 0.0,
        )  # fmt: skip
        rows.append((names[micrograph.getObjId()], groups.setdefault(optics, len(groups) + 1)))
    columns = ("OPTICS_GROUP_NAME", "OPTICS_GROUP", "MICROGRAPH_PIXEL_SIZE", "VOLTAGE", "SPHERICAL_ABERRATION",
               "AMPLITUDE_CONTRAST")  # fmt: skip
    optics_rows = [(f"opticsGroup{number}", number, *optics) for optics, number in groups.items()]
    with Path(path).open("w") as file:
        table_of(columns, optics_rows).writeStar(file, LABELS["OPTICS_TABLE"])
        table_of(("MICROGRAPH_NAME", "OPTICS_GROUP"), rows).writeStar(file, LABELS["MICROGRAPHS_TABLE"])


def write_coordinates(folder, node, coordinates, names, scale=1.0):
    """Write coordinates as a picking job of RELION 4 and 5 leaves them: a file for each micrograph, and a node.

    Parameters
    ----------
    folder : str
        What the names in the node are relative to: the working directory of the program.
    node : str
        Name of the node below `folder`, such as ``true/coordinates.star``; the files go beside it.
    coordinates : mapping
        Object identifier of a micrograph -> list of (x, y, score): px in Scipion's sense; the score may be None.
    names : mapping of str
        Object identifier -> name of the micrograph's link.
    scale : float
        Pixel size of the micrographs that the coordinates were picked on, divided by that of those linked.
    """
    beside = Path(node).parent
    Path(folder, beside).mkdir(parents=True, exist_ok=True)
    rows = []
    for identifier, places in coordinates.items():
        height = height_if_turned(Path(folder, names[identifier]))
        turned = [(x * scale, y * scale if height is None else height - 1 - y * scale, score) for x, y, score in places]
        scored = all(score is not None for _, _, score in turned)
        columns = ("COORDINATE_X", "COORDINATE_Y", "FIGURE_OF_MERIT")[: 3 if scored else 2]
        name = f"{beside}/{identifier:06d}_coordinates.star"
        with Path(folder, name).open("w") as file:
            if turned:
                table_of(columns, [row[: len(columns)] for row in turned]).writeStar(file)
            else:  # emtable would leave out the columns, and the program the file
                writer = Table.Writer(file)
                writer.writeTableName("")
                writer.writeHeader(table_of(columns, []).getColumns())
        rows.append((names[identifier], name))
    table = table_of(("MICROGRAPH_NAME", "MICROGRAPH_COORDINATES"), rows)
    table.write(str(Path(folder, node)), LABELS["COORDINATE_FILES_TABLE"])


def read_node(folder, node):
    """Coordinate files that a picking job lists.

    Parameters
    ----------
    folder : str
        Working directory of the program.
    node : str
        The job's ``autopick.star``, below `folder`.

    Returns
    -------
    dict of str
        Object identifier -> coordinate file, relative to `folder`. A micrograph that could not be read is not there.
    """
    rows = read_table(Path(folder, node), LABELS["COORDINATE_FILES_TABLE"])
    return {
        id_of(row.get(LABELS["MICROGRAPH_NAME"])): row.get(LABELS["MICROGRAPH_COORDINATES"]) for row in rows
    }  # fmt: skip


def read_coordinates(path, micrograph):
    """The picks of one micrograph.

    Parameters
    ----------
    path : str
        Coordinate file of the program.
    micrograph : Micrograph

    Returns
    -------
    list of Coordinate
        With the score and the class of shapes as further attributes, in the order of the file.
    """
    height = height_if_turned(Path(micrograph.getFileName()))
    found = []
    for row in read_table(path):
        x, y = float(row.get(LABELS["COORDINATE_X"])), float(row.get(LABELS["COORDINATE_Y"]))
        coordinate = Coordinate()
        coordinate.setMicrograph(micrograph)
        coordinate.setPosition(int(round(x)), int(round(y if height is None else height - 1 - y)))
        setattr(coordinate, SCORE, Float(float(row.get(LABELS["FIGURE_OF_MERIT"], 0))))
        setattr(coordinate, SHAPE, Integer(int(float(row.get(LABELS["CLASS_NUMBER"], 0)))))
        found.append(coordinate)
    return found


def read_table(path, name=""):
    """The rows of a table of a STAR file, all values as text; none where the table has none."""
    with Path(path).open() as file:
        return Table.Reader(file, tableName=name, guessType=False).readAll()


def places_of(coordinates):
    """Coordinates by micrograph.

    Parameters
    ----------
    coordinates : SetOfCoordinates

    Returns
    -------
    dict of list
        Name of the micrograph -> (x, y, score or None) of each particle. Names, not identifiers, join sets of
        micrographs in Scipion.
    """
    names = {micrograph.getObjId(): micrograph.getMicName() for micrograph in coordinates.getMicrographs()}
    places = {}
    for coordinate in coordinates.iterItems(orderBy="_micId"):
        score = getattr(coordinate, SCORE, None)
        place = (*coordinate.getPosition(), None if score is None else score.get())
        places.setdefault(names[coordinate.getMicId()], []).append(place)
    return places


def diameter_by_box(coordinates):
    """Diameter of the particles in Å by the box size, which is usually 1.5 times as wide; 0 where there is none."""
    return (coordinates.getBoxSize() or 0) * coordinates.getMicrographs().getSamplingRate() / BOX


def height_if_turned(path):
    """Number of rows of a TIFF file, None for other files."""
    return ImageHandler().getDimensions(str(path.resolve()))[1] if path.suffix.lower() in _TIFF else None


def table_of(columns, rows):
    """A table of texts; numbers keep all their digits."""
    table = Table(columns=[LABELS[column] for column in columns])
    for row in rows:
        table.addRow(*[repr(value) if isinstance(value, float) else str(value) for value in row])
    return table
