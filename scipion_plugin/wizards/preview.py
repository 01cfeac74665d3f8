"""Candidates of one micrograph for a preview, and a picture of it; no window."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
import tifffile

from relion_ext_picker.options import PickOptions
from scipion_plugin import Plugin
from scipion_plugin.constants import SCORE
from scipion_plugin.convert import link_micrographs, read_coordinates, read_node, write_micrographs
from scipion_plugin.forms import messages, words


def find_candidates(protocol, micrograph, changes):
    """Pick one micrograph with what is entered in the form of a picking protocol.

    Parameters
    ----------
    protocol : RelionExtPickerProtPick
    micrograph : Micrograph
    changes : dict
        Options instead of those entered.

    Returns
    -------
    ndarray, shape (n, 3), float
        x, y in px, and the score.

    Raises
    ------
    RuntimeError
        What was entered cannot be used, or the program failed; the message says why.
    """
    values = {**protocol._values(), **changes}
    problems = messages(PickOptions, values)
    if problems:
        raise RuntimeError("\n".join(problems))
    folder = Path(tempfile.mkdtemp(prefix="preview", dir=str(Path(protocol.getProject().getTmpPath()).absolute())))
    try:
        names = link_micrographs([micrograph], folder)
        write_micrographs(folder / "input.star", [micrograph], names)
        model = protocol.inputModel.get()
        more = ["--model", str(Path(model.getPath()).absolute())] if model is not None else []
        gpu = str(protocol.getGpuList()[0]) if protocol.getGpuList() else "cpu"
        line = ["pick", "--o", "job", "--in_mics", "input.star", "--no-report", "--gpu", gpu, *more]
        Plugin.call([*line, *words(PickOptions, values)], folder)
        (file,) = read_node(folder, "job/autopick.star").values()
        found = read_coordinates(folder / file, micrograph)
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)
    return np.array([(*item.getPosition(), getattr(item, SCORE).get()) for item in found], float).reshape(-1, 3)


def picture(path, side):
    """A micrograph made small for a screen, its grey values cut at the first and the last percent.

    Parameters
    ----------
    path : str
        MRC or TIFF file. It is only read: pwem's own reader asks for the right to write.
    side : int
        Largest side of the result, in px.

    Returns
    -------
    image : ndarray, shape (h, w), float in 0 to 1
        Row 0 is the first of the file.
    factor : int
        Pixels of the micrograph per pixel of the result.
    """
    if Path(path).suffix.lower() in (".tif", ".tiff"):
        image = tifffile.imread(str(path))
    else:
        with mrcfile.open(str(path), permissive=True) as file:
            image = np.array(file.data)
    image = np.asarray(image.reshape(image.shape[-2:]), np.float32)
    factor = max(1, int(np.ceil(max(image.shape) / side)))
    rows, columns = (length // factor for length in image.shape)
    image = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    low, high = np.percentile(image, (1, 99))
    return np.clip((image - low) / max(high - low, 1e-12), 0, 1), factor
