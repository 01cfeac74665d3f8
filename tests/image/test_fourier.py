from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.image.fourier import bin_by, rescale


def _spot(shape: tuple[int, int], x: float, y: float, sigma: float) -> np.ndarray:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / sigma**2).astype(np.float32)


@pytest.mark.parametrize("factor", [0.09, 0.2, 0.37, 0.5, 1.0, 1.6])
@pytest.mark.parametrize("multiple", [1, 16])
def test_a_spot_stays_where_it_is(factor, multiple):
    image = _spot((301, 420), 250.3, 77.7, 18)
    small = rescale(image, factor, multiple=multiple)
    values = np.clip(small.values - np.median(small.values), 0.3 * small.values.max(), None)
    values = values - values.min()
    rows, cols = np.mgrid[: values.shape[0], : values.shape[1]]
    centre = np.array([(rows * values).sum(), (cols * values).sum()]) / values.sum()
    xy = small.to_original(centre[:1], centre[1:])[0]
    assert xy == pytest.approx([250.3, 77.7], abs=0.6)
    assert all(side % multiple == 0 for side in values.shape)


def test_grey_levels_are_kept_and_the_mean_goes():
    image = 100 + _spot((256, 256), 128, 128, 20)
    small = rescale(image, 0.25)
    assert np.ptp(small.values) == pytest.approx(1, abs=0.02)
    assert small.values.mean() == pytest.approx(0, abs=1e-5)


def test_white_noise_keeps_its_density():
    noise = np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32)
    assert rescale(noise, 0.2).values.std() == pytest.approx(0.2, rel=0.03)


def test_high_frequencies_do_not_fold_back():
    rows, cols = np.mgrid[:512, :512]
    wave = np.cos(2 * np.pi * 0.3 * cols).astype(np.float32)  # above the new Nyquist frequency of 0.125
    assert np.abs(rescale(wave, 0.25).values[8:-8, 8:-8]).max() < 0.1


def test_a_gradient_neither_rings_nor_survives_the_high_pass():
    ramp = np.linspace(0, 50, 400, dtype=np.float32)[None, :].repeat(300, axis=0)
    assert np.abs(rescale(ramp, 0.5).values[0] - np.linspace(-25, 25, 200)).max() < 0.5
    assert np.abs(rescale(ramp, 0.5, highpass=10).values).max() < 2.5


def test_high_pass_is_the_image_less_its_gaussian():
    from scipy import ndimage

    noise = np.random.default_rng(1).normal(size=(128, 160)).astype(np.float32)
    expected = noise - ndimage.gaussian_filter(noise, 6, mode="reflect")
    assert np.abs(rescale(noise, 1.0, highpass=6).values - expected).max() < 0.02


def test_binning_cuts_what_does_not_fill_a_block():
    image = np.arange(35, dtype=np.float32).reshape(5, 7)
    assert bin_by(image, 2).tolist() == [[4, 6, 8], [18, 20, 22]]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (17, 16)])
def test_small_images_are_no_error(shape):
    assert rescale(np.ones(shape, np.float32), 0.01).values.shape == (1, max(1, round(shape[1] * 0.01)))
