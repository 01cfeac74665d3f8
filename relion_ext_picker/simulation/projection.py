"""Projections of a volume in RELION's Euler convention, by central slices of its Fourier transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from relion_ext_picker.types import Array

PADDING = 2
BATCH = 16  # projections computed together: bounds the memory of the sampling positions


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


def uniform_orientations(count: int, rng: np.random.Generator) -> Array:
    """Euler angles of orientations uniform over all rotations, shape (count, 3), degrees."""
    rot = rng.uniform(-180, 180, count)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, count)))
    psi = rng.uniform(-180, 180, count)
    return np.stack([rot, tilt, psi], axis=1).astype(np.float32)


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

    def __call__(self, angles: NDArray[np.floating]) -> Array:
        """Project along given directions.

        Parameters
        ----------
        angles : ndarray, shape (m, 3)
            rot, tilt, psi in degrees.

        Returns
        -------
        ndarray, shape (m, n, n), float32
            Sums of voxels along the viewing direction, centred on pixel n // 2.
        """
        matrices = euler_matrix(angles)
        batches = [self._slices(matrices[first : first + BATCH]) for first in range(0, len(matrices), BATCH)]
        return np.concatenate(batches) if batches else np.zeros((0, self.side, self.side), np.float32)

    def _slices(self, matrices: NDArray[np.float64]) -> Array:
        side, half = self.side, self.side // 2
        kx = np.arange(half + 1)[None, :] + np.zeros((side, 1))
        ky = np.fft.fftfreq(side, 1 / side)[:, None] + np.zeros((1, half + 1))
        inside = np.hypot(kx, ky) < half - 1
        frequency = np.stack([kx[inside], ky[inside]])  # (2, samples); the slice has kz = 0
        # A projection's frequency (kx, ky, 0) is found at A^T (kx, ky, 0) in the volume's transform.
        x, y, z = np.moveaxis(np.einsum("mij,ik->mjk", matrices[:, :2], frequency) * PADDING, 1, 0)
        mirrored = x < 0  # only half of the transform is stored; the other half is its complex conjugate
        sign = np.where(mirrored, -1.0, 1.0)
        centre = PADDING * half
        position = np.stack([z * sign + centre, y * sign + centre, x * sign])
        sampled = ndimage.map_coordinates(self._spectrum, position, order=1, prefilter=False)
        sampled = np.where(mirrored, sampled.conj(), sampled)
        plane = np.zeros((len(matrices), side, half + 1), np.complex64)
        plane[:, inside] = sampled
        # This one frequency lies on the grid for all orientations, so interpolation has not lowered it.
        plane[:, 0, 0] = self._total
        images = fft.irfft2(plane, s=(side, side))
        return np.asarray(fft.fftshift(images, axes=(1, 2)), np.float32)
