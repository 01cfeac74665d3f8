"""Projections of a volume in RELION's Euler convention, by central slices of its Fourier transform."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from relion_ext_picker.types import Array

PADDING = 2


def euler_matrix(angles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotation matrices of Euler angles, convention ZYZ as in Heymann, Chagoyen & Belnap (2005), J. Struct. Biol. 151.

    The third row is the viewing direction in the frame of the volume; the first two are the axes x and y of the
    projection in that frame.

    Parameters
    ----------
    angles : ndarray, shape (n, 3)
        rot, tilt and psi in degrees.

    Returns
    -------
    ndarray, shape (n, 3, 3)
    """
    rot, tilt, psi = np.deg2rad(np.asarray(angles, np.float64).reshape(-1, 3)).T
    return _about_z(psi) @ _about_y(tilt) @ _about_z(rot)


def _about_z(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    c, s, o = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return np.stack([np.stack([c, s, o], -1), np.stack([-s, c, o], -1), np.stack([o, o, o + 1], -1)], -2)


def _about_y(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    c, s, o = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return np.stack([np.stack([c, o, -s], -1), np.stack([o, o + 1, o], -1), np.stack([s, o, c], -1)], -2)


class Projector:
    """Projections of one volume.

    The volume is padded to twice its side and its transform interpolated linearly; the fall-off that this
    interpolation causes in real space is divided out beforehand.

    Parameters
    ----------
    volume : ndarray, shape (n, n, n)
        Axes z, y, x; n even; what is projected lies around voxel n // 2 of each axis.
    """

    def __init__(self, volume: Array) -> None:
        side = volume.shape[0]
        if volume.shape != (side, side, side) or side % 2:
            raise ValueError(f"volume of shape {volume.shape}: an even cube is needed")
        self.side = side
        self._total = float(volume.sum(dtype=np.float64))
        padded = PADDING * side
        fall_off = np.sinc((np.arange(side) - side // 2) / padded) ** 2
        corrected = volume / (fall_off[:, None, None] * fall_off[None, :, None] * fall_off[None, None, :])
        frame = np.zeros((padded, padded, padded), np.float32)
        start = padded // 2 - side // 2
        frame[start : start + side, start : start + side, start : start + side] = corrected
        spectrum = fft.rfftn(fft.ifftshift(frame), overwrite_x=True)
        self._spectrum = np.ascontiguousarray(fft.fftshift(spectrum, axes=(0, 1)), np.complex64)
        self._centre = np.float32(padded // 2)
        kx, ky = np.broadcast_arrays(np.arange(side // 2 + 1)[None, :], np.fft.fftfreq(side, 1 / side)[:, None])
        self._inside = np.hypot(kx, ky) < side // 2 - 1
        # One column per sample of the slice; the third component is 0.
        self._frequency = np.stack([kx[self._inside], ky[self._inside]]).astype(np.float32)

    def __call__(self, angles: NDArray[np.floating], workers: int = 1) -> Array:
        """Project along given directions.

        Parameters
        ----------
        angles : ndarray, shape (m, 3)
            rot, tilt, psi in degrees.
        workers : int
            Threads.

        Returns
        -------
        ndarray, shape (m, n, n), float32
            Sums of voxels along the viewing direction, centred on pixel n // 2.
        """
        matrices = euler_matrix(angles)
        out = np.empty((len(matrices), self.side, self.side), np.float32)

        def fill(number: int) -> None:
            out[number] = self._project(matrices[number])

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fill, range(len(matrices))))
        return out

    def _project(self, matrix: NDArray[np.float64]) -> Array:
        side = self.side
        # A projection's frequency (kx, ky, 0) is found at A^T (kx, ky, 0) in the volume's transform.
        x, y, z = (PADDING * matrix[:2].T).astype(np.float32) @ self._frequency
        mirrored = x < 0  # only half of the transform is stored; the other half is its complex conjugate
        sign = np.where(mirrored, np.float32(-1), np.float32(1))
        sampled = self._sample(x * sign, y * sign + self._centre, z * sign + self._centre)
        np.negative(sampled.imag, out=sampled.imag, where=mirrored)
        plane = np.zeros(self._inside.shape, np.complex64)
        plane[self._inside] = sampled
        # This one frequency lies on the grid for all orientations, so interpolation has not lowered it.
        plane[0, 0] = self._total
        return np.asarray(fft.fftshift(fft.irfft2(plane, s=(side, side))), np.float32)

    def _sample(self, x: Array, y: Array, z: Array) -> NDArray[np.complex64]:
        """The transform at places between its samples, linearly interpolated along each axis; uses up its arguments."""
        _, rows, cols = self._spectrum.shape
        values = self._spectrum.reshape(-1)
        left, top, front = x.astype(np.intp), y.astype(np.intp), z.astype(np.intp)
        x -= left
        y -= top
        z -= front

        def between(low: NDArray[np.complex64], high: NDArray[np.complex64], part: Array) -> NDArray[np.complex64]:
            high -= low
            high *= part
            high += low
            return high

        def along_x(corner: NDArray[np.intp]) -> NDArray[np.complex64]:
            return between(values[corner], values[corner + 1], x)

        def along_y(corner: NDArray[np.intp]) -> NDArray[np.complex64]:
            return between(along_x(corner), along_x(corner + cols), y)

        corner = (front * rows + top) * cols + left
        return between(along_y(corner), along_y(corner + rows * cols), z)
