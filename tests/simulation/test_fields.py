"""Small fields for training: what they are made of, their statistics, and that they repeat."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from relion_ext_picker.simulation.clouds import cloud_of, structure_cloud
from relion_ext_picker.simulation.dirt import Canvas, _facets, add_dirt
from relion_ext_picker.simulation.exposure import background, draw_transfer, noise, through_lens
from relion_ext_picker.simulation.fields import SNR, FieldGenerator, patches
from relion_ext_picker.simulation.procedural import SHAPES, point_cloud
from relion_ext_picker.simulation.scatter import discs, keep_apart, packed, places, project, rotations, splat
from relion_ext_picker.simulation.structures import load_structure


def test_patches_repeat_and_differ_between_seeds():
    first, second, other = patches(3), patches(3), patches(4)
    counts = []
    for (image, xy), (again, same), (different, _) in itertools.islice(zip(first, second, other, strict=False), 8):
        assert (image == again).all() and (xy == same).all()
        assert not np.array_equal(image, different)
        assert image.shape == (160, 160) and image.dtype == np.float32 and image.flags["C_CONTIGUOUS"]
        assert xy.dtype == np.float32 and xy.shape[1:] == (2,)
        counts.append(len(xy))
    assert len(set(counts)) > 3


def test_a_side_that_is_no_fast_length():
    image, xy = next(patches(0, side=127, reference=24.0))
    assert image.shape == (127, 127) and np.isfinite(image).all()
    assert ((xy >= -0.5) & (xy < 126.5)).all()


def test_own_particles_are_used_in_half_of_the_fields():
    rng = np.random.default_rng(0)
    own = point_cloud("ring", rng)
    generator = FieldGenerator(1, 32.0, 64, clouds=[own])
    drawn = [generator._particle() is own for _ in range(200)]
    assert 70 < sum(drawn) < 130


def test_density_snr_and_empty_fields_are_distributed_as_documented():
    generator = FieldGenerator(7, 32.0, 160, soiled=False)
    drawn = [generator.draw() for _ in range(250)]
    counts = np.array([len(field.xy) for field in drawn])
    area = 160**2 / 32**2
    assert 0.03 < (counts == 0).mean() < 0.17, "7 % are empty, and a few have none in the patch"
    assert 0.32 < counts.mean() / area < 0.50
    assert 0.9 < counts.max() / area < 1.25 / 0.72**2, (
        "1.25 to a square of one diameter, which is at least 0.72 of 32 px"
    )
    logarithm = np.log([field.snr for field in drawn])
    assert logarithm.mean() == pytest.approx(np.log(SNR).mean(), abs=0.3)
    assert logarithm.std() == pytest.approx(np.ptp(np.log(SNR)) / np.sqrt(12), rel=0.1)
    assert logarithm.min() >= np.log(SNR[0]) and logarithm.max() <= np.log(SNR[1])
    assert 0.85 < np.median([field.image.std() for field in drawn]) < 1.2


def test_empty_fields_without_dirt_are_noise():
    generator = FieldGenerator(2, 32.0, 128, empty=1.0, soiled=False)
    for _ in range(10):
        field = generator.draw()
        assert field.xy.shape == (0, 2)
        assert np.mean(np.abs(field.image) > 4) < 0.01


def test_particles_keep_apart_as_if_tried_one_after_the_other():
    rng = np.random.default_rng(5)
    tries = rng.uniform(0, 100, (300, 2)).astype(np.float32)
    expected: list[np.ndarray] = []
    for place in tries:
        if len(expected) < 40 and all(((place - other) ** 2).sum() >= 12.0**2 for other in expected):
            expected.append(place)
    assert 10 < len(expected) <= 40
    assert np.array_equal(keep_apart(tries, 12.0, 40), np.array(expected))
    assert len(keep_apart(tries, 12.0, 7)) == 7


def test_density_of_places():
    rng = np.random.default_rng(1)
    counts = [len(places(200, 32.0, rng)) for _ in range(300)]
    assert min(counts) >= 1
    assert max(counts) <= round(1.25 * (200 / 32) ** 2)
    assert 14 < np.mean(counts) < 22


def test_packed_particles_touch():
    rng = np.random.default_rng(1)
    nearest = []
    for _ in range(40):
        xy = packed(200, 32.0, rng)
        assert xy.dtype == np.float32 and ((xy >= 0) & (xy <= 199)).all()
        nearest.append(np.median(cKDTree(xy).query(xy, 2)[0][:, 1]))
    assert 0.7 * 32 < np.median(nearest) < 1.1 * 32


def test_small_crystals_are_dirt_where_they_are_asked_for(monkeypatch):
    drawn = []
    monkeypatch.setattr("relion_ext_picker.simulation.dirt._facets", lambda *given: drawn.append(_facets(*given)))
    for facets in (False, True):
        rng, covered = np.random.default_rng(3), []
        for _ in range(60):
            canvas = Canvas(np.zeros((100, 100), np.float32), np.zeros((100, 100), bool))
            add_dirt(canvas, 32.0, rng, facets)
            covered.append(canvas.mask.mean())
        assert bool(drawn) is facets and max(covered) > 0.05
    canvas = Canvas(np.zeros((100, 100), np.float32), np.zeros((100, 100), bool))
    _facets(canvas, 32.0, np.random.default_rng(0))
    assert canvas.values[canvas.mask].min() > 0.1 and canvas.mask.any()


def test_rotations_are_rotations_of_every_direction():
    rng = np.random.default_rng(2)
    turns = np.concatenate([rotations(20, rng) for _ in range(60)])
    assert np.allclose(turns @ np.moveaxis(turns, 1, 2), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(turns), 1)
    assert np.abs(turns.mean(axis=0)).max() < 0.15
    assert rotations(0, rng).shape == (0, 3, 3)


def test_a_structure_as_points_looks_like_its_projection():
    """Of a hollow sphere the rim is darkest, as far out as its diameter says."""
    structure = load_structure("apoferritin", 5.0, 0.0, np.random.default_rng(0))
    cloud = cloud_of(structure)
    assert cloud.weight.sum() == pytest.approx(1, rel=1e-5)
    assert np.linalg.norm(cloud.xyz, axis=1).max() == pytest.approx(0.5, abs=0.05)
    assert np.average(cloud.xyz, axis=0, weights=cloud.weight) == pytest.approx((0, 0, 0), abs=0.02)
    image = project(cloud, 32.0, np.array([[40.0, 40.0]]), 80, np.random.default_rng(1))
    rows, cols = np.mgrid[:80, :80]
    distance = np.hypot(rows - 40, cols - 40)
    rim, middle, outside = (image[(distance >= a) & (distance < b)].mean() for a, b in ((10, 14), (0, 4), (19, 30)))
    assert rim > 1.3 * middle > 0 and abs(outside) < 0.02 * rim
    assert structure_cloud("apoferritin").grain == pytest.approx(0.5 / 24)


def test_splat_keeps_weight_and_place():
    x, y = np.array([[10.25, 3.0]], np.float32), np.array([[7.5, 20.0]], np.float32)
    image = splat(x, y, np.array([2.0, 1.0], np.float32), 32)
    assert image.sum() == pytest.approx(3.0)
    assert image[20, 3] == pytest.approx(1.0)
    assert image[7:9, 10:12] == pytest.approx(np.array([[0.75, 0.25], [0.75, 0.25]]))


def test_splat_loses_what_lies_beyond_the_image_and_only_that():
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-30, 60, (2, 4, 500)).astype(np.float32)
    weight = rng.uniform(0.1, 1, 500).astype(np.float32)
    wide = splat(x + 40, y + 40, weight, 112)
    assert wide.sum() == pytest.approx(4 * weight.sum(), rel=1e-5)
    assert np.allclose(splat(x, y, weight, 32), wide[40:72, 40:72], atol=1e-5)


def test_projections_are_whole_and_where_they_should_be():
    rng = np.random.default_rng(4)
    for shape in SHAPES:
        cloud = point_cloud(shape, rng, 600)
        image = project(cloud, 32.0, np.array([[40.0, 50.0], [10_000.0, 0.0]]), 96, rng)
        assert image.sum() == pytest.approx(1.0, rel=1e-3), "one particle; the other is out of sight"
        assert ndimage.center_of_mass(image) == pytest.approx((50, 40), abs=0.02)
        rows, cols = np.mgrid[:96, :96]
        # A standard deviation of the grain is at most 0.035 diameters.
        assert image[np.hypot(rows - 50, cols - 40) > 16 + 4 * 0.035 * 32].max() < 0.01 * image.max()
    assert not project(cloud, 32.0, np.zeros((0, 2)), 96, rng).any()


def test_discs_are_those_of_the_distance_transform():
    rng = np.random.default_rng(6)
    xy = rng.uniform(-3, 82, (7, 2)).astype(np.float32)
    far = np.ones((80, 80), bool)
    column, row = np.clip(np.rint(xy).astype(int), 0, 79).T
    far[row, column] = False
    for diameter in (9.0, 16.0, 21.7):
        assert np.array_equal(discs(xy, diameter, 80), ndimage.distance_transform_edt(far) <= diameter / 2)


def test_noise_and_background_have_unit_variance():
    rng = np.random.default_rng(8)
    for size in (96, 105):
        transfer = draw_transfer(size, 5.0, rng)
        assert transfer.shape == (size, size // 2 + 1)
        for made in (noise(size, transfer, rng), background(size, rng)):
            assert made.shape == (size, size) and made.dtype == np.float32
            assert made.std() == pytest.approx(1, rel=1e-3)


def test_ice_and_electrons_share_the_noise_as_drawn():
    class Drawn:
        """Shares and exponents as wished, noise as it comes."""

        def __init__(self, share: float) -> None:
            self.rng, self.share = np.random.default_rng(0), share

        def uniform(self, low: float, high: float) -> float:
            return {0.8: self.share, 2.0: 0.0, 1.2: 0.0}[high]

        def random(self) -> float:
            return 0.0

        def standard_normal(self, shape, kind):
            return self.rng.standard_normal(shape, kind)

    # Of a transfer that passes low frequencies alone, high ones are left with the electrons' share.
    for size in (160, 161):
        frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
        transfer = (frequency < 0.2).astype(np.float32)
        power = np.abs(fft.rfft2(noise(size, transfer, Drawn(0.6)))) ** 2 / size**2
        assert power[frequency > 0.25].mean() == pytest.approx(0.4, rel=0.05)


def test_background_is_smooth():
    made = background(120, np.random.default_rng(9))
    spectrum = fft.dctn(made, type=2, norm="ortho")
    assert np.abs(spectrum[6:]).max() < 1e-3 * np.abs(spectrum).max()
    assert np.abs(spectrum[:, 6:]).max() < 1e-3 * np.abs(spectrum).max()
    assert abs(made.mean()) < 1e-5


def test_the_lens_is_a_product_of_spectra():
    rng = np.random.default_rng(10)
    matter = rng.standard_normal((48, 48), np.float32)
    transfer = draw_transfer(48, 4.0, rng)
    expected = np.fft.irfft2(np.fft.rfft2(matter) * transfer, s=(48, 48))
    assert np.allclose(through_lens(matter, transfer), expected, atol=1e-4)


def test_half_of_the_fields_are_clean_and_dirt_is_masked():
    rng = np.random.default_rng(11)
    dirty = 0
    for _ in range(200):
        canvas = Canvas(np.zeros((100, 100), np.float32), np.zeros((100, 100), bool))
        drawn = add_dirt(canvas, 32.0, rng)
        dirty += drawn
        assert np.isfinite(canvas.values).all() and canvas.values.dtype == np.float32
        assert drawn or not (canvas.values.any() or canvas.mask.any())
        assert np.abs(canvas.values).max() < 100
        if canvas.mask.any() and not canvas.mask.all():
            assert np.abs(canvas.values[canvas.mask]).mean() > np.abs(canvas.values[~canvas.mask]).mean()
    assert 75 < dirty < 125


def test_no_particle_lies_on_dirt(monkeypatch):
    def cover_half(canvas: Canvas, diameter: float, rng: np.random.Generator, facets: bool) -> bool:
        half = (slice(None), slice(0, canvas.mask.shape[1] // 2))
        canvas.values[half], canvas.mask[half] = 3.0, True
        return True

    monkeypatch.setattr("relion_ext_picker.simulation.fields.add_dirt", cover_half)
    generator = FieldGenerator(12, 32.0, 128, snr=(1.0, 4.0))
    found = 0
    for _ in range(30):
        field = generator.draw()
        found += len(field.xy)
        x, y = field.xy.T
        # The field may have been turned, so the clean half may be any.
        assert any(half.all() for half in (x > 62.5, x < 64.5, y > 62.5, y < 64.5))
        assert np.isfinite(field.image).all()
    assert found > 50
