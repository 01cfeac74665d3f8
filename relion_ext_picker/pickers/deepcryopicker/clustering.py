"""Clustering of grey levels: which pixels belong to particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from skimage.segmentation import slic

from relion_ext_picker.pickers.deepcryopicker.preprocess import disc
from relion_ext_picker.pickers.deepcryopicker.settings import ClusterSettings
from relion_ext_picker.types import Array

Mask = NDArray[np.bool_]


def intensity_mask(image: Array, settings: ClusterSettings | None = None) -> Mask:
    """Intensity-based clustering: pixels of the darkest cluster.

    Centres lie at equal distances up to the brightest level and every pixel goes to the nearest. As coded by the
    method's authors that is all, and pixels at exactly the lowest level are left out (they are refilled as holes); as
    published, centres then move to the mean of their pixels until none changes.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        Of the preprocessing chain, 0..1, particles dark.
    settings : ClusterSettings, optional
    """
    use = settings or ClusterSettings()
    low, high = float(image.min()), float(image.max())
    if not high > low:
        return np.zeros(image.shape, bool)
    if use.iterate:
        return _moved(image, use)
    step = (high - low) / use.clusters
    return np.asarray((image > low) & (image - low <= 1.5 * step))


def _moved(image: Array, use: ClusterSettings) -> Mask:
    """The published variant: centres at multiples of the first interval, moved until they rest."""
    values = np.asarray(image, np.float64).ravel()
    centres = float(image.min()) + use.interval * np.arange(1, use.clusters + 1)
    for _ in range(use.rounds):
        edges = 0.5 * (centres[1:] + centres[:-1])
        label = np.searchsorted(edges, values)
        count = np.bincount(label, minlength=use.clusters)
        total = np.bincount(label, values, use.clusters)
        new = np.where(count > 0, total / np.maximum(count, 1), centres)
        rest = np.abs(new - centres).max() < 1e-4
        centres = new
        if rest:
            break
    return np.asarray(image <= 0.5 * (centres[0] + centres[1]))


def superpixel_mask(image: Array, settings: ClusterSettings | None = None) -> Mask:
    """Super-pixel k-means: k-means of the super-pixels' mean levels, then the darkest cluster.

    Parameters
    ----------
    image : ndarray, shape (h, w)
        Of the preprocessing chain, 0..1, particles dark.
    settings : ClusterSettings, optional
    """
    use = settings or ClusterSettings()
    if not float(image.max()) > float(image.min()):
        return np.zeros(image.shape, bool)
    labels = slic(image, use.superpixels(image.size), compactness=use.compactness, channel_axis=None, start_label=0)
    means = ndimage.mean(image, labels, np.arange(labels.max() + 1))
    start = np.quantile(means, (np.arange(use.clusters) + 0.5) / use.clusters)
    centres, member = kmeans2(means[:, None], np.unique(start)[:, None], minit="matrix", iter=50)
    return np.asarray((member == np.argmin(centres[:, 0]))[labels])


def clean(mask: Mask, smallest: float, largest_hole: float) -> Mask:
    """Remove specks, spurs and holes.

    Parameters
    ----------
    mask : ndarray, shape (h, w), bool
    smallest : float
        Connected areas below this many px go.
    largest_hole : float
        Holes up to this many px are filled: larger ones are gaps between particles that touch.
    """
    cross = disc(1)
    # Filling comes before erosion too, which would otherwise open the specks that the clustering leaves out.
    kept = _without_small(~_without_small(~mask, largest_hole, connectivity=1), smallest)
    kept = ndimage.binary_erosion(kept, cross)
    kept = ~_without_small(~kept, largest_hole, connectivity=1)
    kept = ndimage.binary_closing(np.pad(kept, 1), cross)[1:-1, 1:-1]
    return np.asarray(ndimage.binary_dilation(kept, cross))


def _without_small(mask: Mask, smallest: float, connectivity: int = 2) -> Mask:
    labels, _ = ndimage.label(mask, ndimage.generate_binary_structure(2, connectivity))
    area = np.bincount(labels.ravel())
    keep = area >= smallest
    keep[0] = False
    return np.asarray(keep[labels])
