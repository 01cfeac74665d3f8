"""Micrographs in: MRC and TIFF files to float32 arrays, the way up that RELION sees them.

Only size, type and place of the data are taken from a header. Its pixel size, statistics and labels are often wrong and
are never read (the STAR file has the pixel size); the statistics serve one purpose, to tell unsigned from signed bytes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import tifffile
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from relion_ext_picker.errors import InputError
from relion_ext_picker.types import Array

log = logging.getLogger(__name__)

TIFF_SUFFIXES = (".tif", ".tiff")

_HEADER_BYTES = 1024
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}  # MRC mode -> type without byte order
_COMPLEX = (3, 4)
_KNOWN_MODES = (*_TYPES, *_COMPLEX, 5, 16, 101)  # the latter three exist, but not as micrographs
_IMOD_STAMP = 1146047817
_IMOD_SIGNED = 1
_LARGEST_SIDE = 2**20
_AGAIN = "copy or make the file again, or take it out of the micrographs STAR file"


@dataclass(frozen=True)
class _Layout:
    """Where the numbers of an MRC file lie."""

    shape: tuple[int, int]
    dtype: np.dtype[np.generic]
    offset: int


def read_micrograph(path: Path) -> Array:
    """Read a micrograph.

    Parameters
    ----------
    path : Path
        MRC file (mode 0, 1, 2, 6 or 12, either byte order) or greyscale TIFF (.tif, .tiff) with one image.

    Returns
    -------
    ndarray, shape (h, w), float32
        Row 0 is y = 0 of RELION's coordinates: the first row of an MRC file, the last one of a TIFF (RELION turns TIFF
        images upside down when it reads them, so that they agree with MRC files of the same camera). Pixels that are
        not finite are replaced by the median of the others, with a warning.

    Raises
    ------
    InputError
        The file is missing, unreadable, empty, truncated, no micrograph, a movie or stack, or without contrast.
    """
    image = _read_tiff(path) if _is_tiff(path) else _read_mrc(path)
    with np.errstate(invalid="ignore", over="ignore"):
        total = image.sum(dtype=np.float64)  # finite exactly if every pixel is, and needs no second array
    if not np.isfinite(total):
        _mend(image, path)
    if image.min() == image.max():
        raise InputError(f"micrograph {path} has no contrast (every pixel is {image.flat[0]:g}): {_AGAIN}")
    return image


def shape_of(path: Path) -> tuple[int, int]:
    """Rows and columns of a micrograph, from its header alone.

    Raises
    ------
    InputError
        As :func:`read_micrograph`, as far as the header and the size of the file tell.
    """
    if _is_tiff(path):
        return _tiff(path, with_data=False)[0]
    with _opened(path) as stream:
        return _layout(stream, path).shape


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFF_SUFFIXES


def _opened(path: Path) -> IO[bytes]:
    """Open a file, with errors for people."""
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(
            f"micrograph {path} does not exist: check the name in the STAR file, and that the program is started in "
            "the project folder"
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"micrograph {path} is a folder: name the image file") from error
    except OSError as error:
        raise InputError(
            f"micrograph {path} cannot be read ({error.strerror or error}): check the permissions of the file and of "
            "its folder, and the disk"
        ) from error
    if stream.seek(0, 2) == 0:
        stream.close()
        raise InputError(f"micrograph {path} is empty (0 bytes): {_AGAIN}")
    stream.seek(0)
    return stream


def _layout(stream: IO[bytes], path: Path) -> _Layout:
    """Read and check the header of an MRC file."""
    size = stream.seek(0, 2)
    stream.seek(0)
    raw = stream.read(_HEADER_BYTES)
    if len(raw) < _HEADER_BYTES:
        raise InputError(
            f"micrograph {path} is truncated ({size} bytes, the header alone has {_HEADER_BYTES}): {_AGAIN}"
        )
    # The machine stamp is wrong in many files; the byte order is the one in which the numbers make sense.
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        header = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0]
        width, height, depth, mode, extra = (int(header[key]) for key in ("nx", "ny", "nz", "mode", "nsymbt"))
        sides = 0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE and 0 < depth <= _LARGEST_SIDE
        if sides and mode in _KNOWN_MODES and extra >= 0:
            break
    else:
        raise InputError(f"micrograph {path} is neither an MRC nor a TIFF file (its header makes no sense): {_AGAIN}")
    if depth > 1:
        raise _stack(path, depth)
    if mode not in _TYPES:
        kind = (
            "complex numbers (a Fourier transform)" if mode in _COMPLEX else "a type that is not used for micrographs"
        )
        raise InputError(f"micrograph {path} holds {kind}, MRC mode {mode}: convert it to MRC mode 2")
    kind = "u1" if mode == 0 and _unsigned_bytes(raw, order) else _TYPES[mode]
    layout = _Layout((height, width), np.dtype(kind).newbyteorder(order), _HEADER_BYTES + extra)
    needed = layout.offset + height * width * layout.dtype.itemsize
    if size < needed:
        raise InputError(f"micrograph {path} is truncated ({size} bytes, its header asks for {needed}): {_AGAIN}")
    return layout


def _unsigned_bytes(raw: bytes, order: str) -> bool:
    """Whether mode 0 means 0..255, as IMOD wrote before MRC2014 and older programs did."""
    stamp, flags = (int(value) for value in np.frombuffer(raw, order + "i4", count=2, offset=152))
    if stamp == _IMOD_STAMP:
        return not flags & _IMOD_SIGNED
    low, high = (float(value) for value in np.frombuffer(raw, order + "f4", count=2, offset=76))
    return low >= 0 and 127 < high <= 255


def _read_mrc(path: Path) -> Array:
    """Data of an MRC file as float32; for mode 2 no second array is made."""
    with _opened(path) as stream:
        layout = _layout(stream, path)
        stream.seek(layout.offset)
        try:
            raw = np.fromfile(stream, layout.dtype, count=layout.shape[0] * layout.shape[1])
        except OSError as error:
            raise InputError(f"micrograph {path} cannot be read ({error}): check the disk") from error
    if raw.dtype.kind == "f" and raw.dtype.itemsize == 4 and not raw.dtype.isnative:
        raw = raw.byteswap(inplace=True).view(np.float32)
    return raw.astype(np.float32, copy=False).reshape(layout.shape)


def _read_tiff(path: Path) -> Array:
    """Image of a TIFF file as float32, last row first."""
    shape, raw = _tiff(path, with_data=True)
    assert raw is not None and raw.shape == shape
    return np.ascontiguousarray(raw[::-1], np.float32)


def _tiff(path: Path, with_data: bool) -> tuple[tuple[int, int], NDArray[np.generic] | None]:
    """Shape of the one image of a TIFF file and, on request, its values."""
    raw = None
    with _opened(path) as stream:
        try:
            with tifffile.TiffFile(stream) as tiff:
                pages, page = len(tiff.pages), tiff.pages.first
                shape, kind = tuple(int(side) for side in page.shape), np.dtype(page.dtype).kind
                usable = pages == 1 and len(shape) == 2 and kind in "iuf"
                if with_data and usable:
                    raw = page.asarray()
        except Exception as error:  # what a damaged file makes the library raise is not bounded
            remedy = "pip install imagecodecs, or convert it to MRC" if "imagecodecs" in str(error) else _AGAIN
            raise InputError(f"micrograph {path} is no TIFF file that can be read ({error}): {remedy}") from error
    if pages > 1:
        raise _stack(path, pages)
    if not usable:
        raise InputError(f"micrograph {path} is not a greyscale image (shape {shape}): convert it to greyscale or MRC")
    return (shape[0], shape[1]), raw


def _stack(path: Path, depth: int) -> InputError:
    return InputError(
        f"micrograph {path} holds {depth} images: movies must be motion-corrected first; "
        "give the motion-corrected micrographs, one image per file"
    )


def _mend(image: Array, path: Path) -> None:
    """Replace what is not finite by the median of the rest, in place."""
    bad = ~np.isfinite(image)
    count = int(bad.sum())
    if 2 * count > image.size:
        share = "every pixel" if count == image.size else f"{count} of {image.size} pixels"
        raise InputError(f"micrograph {path} is damaged ({share} NaN or infinite): {_AGAIN}")
    image[bad] = np.median(image[~bad])
    log.warning("micrograph %s: %d pixels are NaN or infinite; replaced by the median of the others", path, count)
