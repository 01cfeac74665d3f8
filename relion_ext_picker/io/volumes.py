"""Three-dimensional maps in: half maps, masks, local resolution."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from relion_ext_picker.errors import InputError
from relion_ext_picker.types import Array


def read_volume(path: Path) -> tuple[Array, float]:
    """Read a map.

    Parameters
    ----------
    path : Path
        MRC file (.mrc, .map) with a cube of numbers.

    Returns
    -------
    values : ndarray, shape (box, box, box), float32
        Index z, y, x.
    pixel_size : float
        Å/px as the header has it, which is what RELION goes by.

    Raises
    ------
    InputError
        The file is missing, damaged, no cube, has no pixel size, or values that are not finite.
    """
    import mrcfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            with mrcfile.open(path, permissive=False) as mrc:
                values = np.array(mrc.data, np.float32)
                pixel_size = float(mrc.voxel_size.x)
    except FileNotFoundError as error:
        raise InputError(f"map {path} does not exist: check the name") from error
    except (OSError, ValueError) as error:
        raise InputError(f"map {path} is no MRC file that can be read ({error}): give another file") from error
    if values.ndim != 3 or len(set(values.shape)) != 1:
        raise InputError(f"map {path} is no cube (shape {values.shape}): give a map of three equal sides")
    if pixel_size <= 0:
        raise InputError(f"map {path} has no pixel size in its header: set it, e.g. with relion_image_handler --angpix")
    if not np.isfinite(values).all():
        raise InputError(f"map {path} has values that are not finite: make it again")
    return values, pixel_size
