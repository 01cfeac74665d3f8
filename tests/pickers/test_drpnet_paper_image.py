"""The image of the published DRPnet: scale rule, grey values, coordinates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from relion_ext_picker.errors import InputError
from relion_ext_picker.pickers.drpnet import paper_image as image
from relion_ext_picker.types import Array, Grid


def preprocess(picture: Array, scale: int, *, complement: bool = False) -> Array:
    return image.eight_bit(image.reduced(picture, scale), complement=complement)


@pytest.mark.parametrize(
    ("longest", "box", "scale", "radius", "reduction", "sigma", "seen"),
    [
        (3710, 192, 3, 32, 2, 4, 16),  # EMPIAR-10005
        (4096, 140, 3, 23, 1, 3, 23),  # EMPIAR-10017
        (7676, 768, 8, 48, 2, 4, 24),  # EMPIAR-10061
        (2048, 50, 2, 12, 1, 3, 12),  # OKT3: the size of the image decides
        (1240, 112, 2, 28, 1, 3, 28),
        (1000, 60, 1, 30, 1, 3, 30),
        (5760, 128, 4, 16, 1, 3, 16),  # both factors
    ],
)
def test_scale_factors(
    longest: int, box: int, scale: int, radius: int, reduction: int, sigma: float, seen: float
) -> None:
    scales = image.scale_factors(box, longest)
    assert scales == image.Scales(scale, radius, reduction, sigma)
    assert scales.seen_radius == seen


def test_the_box_follows_from_the_particle() -> None:
    assert image.box_of(146 / 1.2156) == 192  # EMPIAR-10005
    assert image.box_of(180 / 1.77, 1.4) in (140, 142)  # EMPIAR-10017


def test_the_published_sizes_are_reached() -> None:
    assert image.shrink(np.zeros((767, 742), np.float32), 8).shape == (96, 93)


def blobs(shape: tuple[int, int], centres: np.ndarray, sigma: float) -> np.ndarray:
    rows, cols = np.indices(shape)
    picture = np.zeros(shape, np.float32)
    for x, y in centres:
        picture += np.exp(-0.5 * ((rows - y) ** 2 + (cols - x) ** 2) / sigma**2)
    return picture


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_positions_survive_the_reduction_of_an_oblong_image(factor: int) -> None:
    centre = np.array([[140.3, 61.8]])
    small = image.shrink(blobs((130, 200), centre, 7), factor)
    row, col = ndimage.center_of_mass(small)
    found = Grid().coarser(factor).to_original(np.array([row]), np.array([col]))
    np.testing.assert_allclose(found, centre, atol=0.05)


def test_enlarging_undoes_the_reduction() -> None:
    picture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(101, 140)), 6).astype(np.float32)
    back = image.enlarge(image.shrink(picture, 2), 2, (101, 140))
    assert back.shape == picture.shape
    np.testing.assert_allclose(back[4:-4, 4:-4], picture[4:-4, 4:-4], atol=0.05 * picture.std())


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 255, 100 / 255), (0, 4000, 100 / 65025), (50, 70000, 50 / 69950)]
)
def test_grey_values_by_the_range_of_the_file(low: float, high: float, expected: float) -> None:
    assert image.to_unit(np.full((2, 2), 100, np.float32), low, high)[0, 0] == pytest.approx(expected)


def test_negative_values_are_not_cut_off() -> None:
    picture = np.random.default_rng(0).normal(0, 3, (100, 100)).astype(np.float32)
    unit = image.to_unit(picture, float(picture.min()), float(picture.max()))
    assert 0.4 < unit.mean() < 0.6
    assert (unit == 0).mean() < 0.01


@pytest.mark.parametrize("factor_and_offset", [(1, 0), (100, 0), (100, 5000), (1e-3, -5)])
def test_the_result_does_not_depend_on_the_unit_of_the_file(factor_and_offset: tuple[float, float]) -> None:
    factor, offset = factor_and_offset
    picture = ndimage.gaussian_filter(np.random.default_rng(0).normal(128, 50, (150, 120)), 2).astype(np.float32)
    reference = preprocess(picture, 1)
    again = preprocess((picture * factor + offset).astype(np.float32), 1)
    assert np.abs(reference - again).mean() < 1.5 / 255


def test_eight_bits_and_the_grey_level_of_the_paper() -> None:
    picture = np.random.default_rng(0).gamma(2.0, 10.0, (300, 260)).astype(np.float32)
    levels = preprocess(picture, 1) * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    assert 0.5 <= levels.mean() / 255 <= 0.6
    assert levels.min() >= 0 and levels.max() <= 255


def test_complement() -> None:
    picture = np.random.default_rng(0).normal(100, 10, (90, 80)).astype(np.float32)
    swapped = preprocess(picture, 1, complement=True)
    assert np.abs(swapped - preprocess(200 - picture, 1)).mean() < 1 / 255
    assert np.corrcoef(swapped.ravel(), preprocess(picture, 1).ravel())[0, 1] < -0.99


def test_flattening_removes_illumination_and_keeps_particles() -> None:
    slope = np.linspace(0, 100, 1000, dtype=np.float32)[None, :] * np.ones((900, 1), np.float32)
    particle = 50 * blobs((900, 1000), np.array([[500, 450]]), 8).astype(np.float32)
    flat = image.flatten(slope + particle)
    assert np.ptp(flat[200:700, 300:400]) < 2
    assert flat[450, 500] - flat[450, 560] == pytest.approx(50, abs=3)
    assert flat.mean() == pytest.approx((slope + particle).mean(), abs=0.5)


def test_flattening_is_equation_1() -> None:
    picture = ndimage.gaussian_filter(np.random.default_rng(1).normal(100, 200, (323, 410)), 8).astype(np.float32)
    local = ndimage.gaussian_filter(picture, 40, mode="nearest")
    wrong = image.flatten(picture, 40) - (picture - local + local.mean())
    assert np.abs(wrong[40:-40, 40:-40]).max() < 0.03 * picture.std()
    assert np.abs(wrong).max() < 0.2 * picture.std()


def test_constant_and_broken_values() -> None:
    assert np.ptp(preprocess(np.full((70, 80), 7, np.float32), 1)) == 0
    picture = np.random.default_rng(0).normal(100, 10, (90, 80)).astype(np.float32)
    broken = picture.copy()
    broken[3, 4], broken[50, 60] = np.nan, np.inf
    levels = preprocess(broken, 1)
    assert np.isfinite(levels).all()
    assert np.abs(levels - preprocess(picture, 1)).mean() < 0.02
    with pytest.raises(InputError, match="no finite value"):
        preprocess(np.full((70, 80), np.nan, np.float32), 1)


def test_a_read_only_image_is_accepted() -> None:
    picture = np.random.default_rng(0).normal(100, 10, (90, 80)).astype(np.float32)
    picture.flags.writeable = False
    preprocess(picture, 1)


def test_a_particle_larger_than_the_micrograph() -> None:
    with pytest.raises(InputError, match=r"--diameter.*280 px.*100 x 300 px.*smaller"):
        image.frame_of(np.zeros((300, 100), np.float32), 200, 1.4)


def test_patches_show_the_box() -> None:
    values = np.indices((120, 160)).sum(0).astype(np.float32) / 255
    frame = image.PaperFrame(values, Grid(), image.Scales(1, 32, 1, 3.0))
    patch = image.patches_of(frame, np.array([50.5]), np.array([70.5]))
    assert patch.shape == (1, 64, 64)
    np.testing.assert_allclose(patch[0], 255 * values[19:83, 39:103], atol=0.01)
    assert image.patches_of(frame, np.zeros(0), np.zeros(0)).shape == (0, 64, 64)
    assert np.isfinite(image.patches_of(frame, np.array([0.0, 119.0]), np.array([159.0, 0.0]))).all()


@pytest.mark.parametrize("diameter", [30.0, 60.0, 75.0, 120.0])
def test_noise_is_told_from_signal(diameter: float) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (500, 600)).astype(np.float32)
    frame = image.frame_of(noise, diameter, 1.6)
    assert frame.signal is not None and frame.signal.max() < 0.15
    rows, cols = np.indices(noise.shape)
    half = noise.copy()
    for x, y in rng.uniform(0.6 * diameter, 300 - 0.6 * diameter, (12, 2)):
        half -= 0.7 * (np.hypot(rows - y, cols - x) < diameter / 2)
    share = image.frame_of(half.astype(np.float32), diameter, 1.6).signal
    assert share is not None and np.median(share[:, : share.shape[1] // 3]) > 0.3
    if diameter < 70:  # the right end is farther from the particles than the map is smooth
        assert share[:, -share.shape[1] // 10 :].max() < 0.15


def test_a_constant_image_has_no_signal_and_a_smooth_one_has() -> None:
    assert not np.any(image.frame_of(np.full((300, 300), 5, np.float32), 40, 1.6).signal)
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(300, 300)), 6).astype(np.float32)
    share = image.frame_of(smooth, 40, 1.6).signal
    assert share is not None and share.min() > 0.7
