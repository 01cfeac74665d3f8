"""Circles, rectangles and other shapes of masks, and their grades."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deepcryopicker_scenes import disc, rectangle

from relion_ext_picker.pickers.deepcryopicker import grading
from relion_ext_picker.pickers.deepcryopicker.circles import find_circles
from relion_ext_picker.pickers.deepcryopicker.settings import GradeSettings
from relion_ext_picker.pickers.deepcryopicker.shapes import (
    Shape,
    circularity,
    feret,
    irregular_shapes,
    overlap,
    regular_shapes,
)

SHAPE = (200, 260)
RADII = (10.0, 25.0)


@pytest.mark.parametrize("radius", [12.0, 18.5, 23.0])
def test_a_circle_is_measured_to_a_fraction_of_a_pixel(radius: float) -> None:
    found = find_circles(disc(SHAPE, 90.3, 120.7, radius), RADII)
    assert len(found) == 1
    assert found.rows[0] == pytest.approx(90.3, abs=0.4) and found.cols[0] == pytest.approx(120.7, abs=0.4)
    assert found.radius[0] == pytest.approx(radius, abs=0.6)
    assert found.support[0] == 1


def test_a_ring_counts_by_its_outer_edge() -> None:
    found = find_circles(disc(SHAPE, 90, 120, 20) & ~disc(SHAPE, 90, 120, 13), RADII)
    assert len(found) == 1 and found.radius[0] == pytest.approx(20, abs=0.7)


def test_touching_circles_are_told_apart() -> None:
    mask = disc(SHAPE, 80, 100, 18) | disc(SHAPE, 80, 134, 18) | disc(SHAPE, 110, 117, 18)
    found = find_circles(mask, RADII)
    places = sorted(zip(found.cols.round(), found.rows.round(), strict=True))
    assert len(places) == 3
    np.testing.assert_allclose(places, [(100, 80), (117, 110), (134, 80)], atol=1.5)


def test_no_circle_in_nothing_in_a_line_and_beyond_the_radii() -> None:
    assert len(find_circles(np.zeros(SHAPE, bool), RADII)) == 0
    line = np.zeros(SHAPE, bool)
    line[90:96] = True
    assert len(find_circles(line, RADII)) == 0
    assert len(find_circles(disc(SHAPE, 100, 130, 60), RADII)) == 0


@pytest.mark.parametrize("angle", [0, 20, 45, 70, 115])
def test_feret_diameters_of_a_rectangle_are_its_sides(angle: float) -> None:
    area = rectangle(SHAPE, 100, 130, (60, 30), angle)
    box = feret(area)
    assert (box.width, box.length) == pytest.approx((30, 60), abs=2)
    assert box.longest == pytest.approx(np.hypot(30, 60), abs=2)
    assert (box.row, box.col) == pytest.approx((100, 130), abs=1)
    assert overlap(area, box.covers(SHAPE)) > 0.93


def test_circularity_is_one_for_a_disc_and_more_for_all_else() -> None:
    assert circularity(disc(SHAPE, 100, 130, 20)) == pytest.approx(1, abs=0.06)
    # Four directions of intersecting lines see 0.95 of the perimeter of an upright square, whose true value is 4 / pi.
    assert circularity(rectangle(SHAPE, 100, 130, (40, 40), 0)) == pytest.approx(0.95**2 * 4 / np.pi, abs=0.03)
    assert circularity(rectangle(SHAPE, 100, 130, (80, 10), 0)) > 2


def test_shapes_are_told_apart() -> None:
    mask = disc(SHAPE, 40, 40, 18) | rectangle(SHAPE, 40, 120, (40, 24), 30) | rectangle(SHAPE, 120, 60, (34, 34), 10)
    bent = rectangle(SHAPE, 140, 170, (60, 10), 0) | rectangle(SHAPE, 160, 145, (60, 10), 90)
    mask |= bent
    found = regular_shapes(mask, find_circles(mask, RADII), 250)
    kinds = sorted((shape.kind, round(shape.col)) for shape in found)
    assert [kind for kind, _ in kinds] == ["irregular", "side", "side", "top"]
    assert [place for _, place in kinds[1:]] == pytest.approx([60, 120, 40], abs=1)
    assert all(shape.whole for shape in found)
    slim = next(shape for shape in found if abs(shape.col - 120) < 2)
    assert slim.ratio == pytest.approx(0.6, abs=0.06) and slim.radius == pytest.approx(20, abs=1.5)


def test_touching_and_cut_objects_are_not_whole() -> None:
    mask = disc(SHAPE, 80, 100, 18) | disc(SHAPE, 80, 123, 18) | disc(SHAPE, 5, 200, 18)
    found = regular_shapes(mask, find_circles(mask, RADII), 250)
    assert len(found) == 3 and not any(shape.whole for shape in found)
    apart = disc(SHAPE, 80, 100, 18) | disc(SHAPE, 80, 135, 18)  # these only just touch
    assert all(shape.whole for shape in regular_shapes(apart, find_circles(apart, RADII), 250))


def test_every_area_is_an_irregular_object_of_its_own() -> None:
    mask = disc(SHAPE, 40, 40, 18) | rectangle(SHAPE, 140, 170, (60, 14), 0) | disc(SHAPE, 100, 100, 5)
    found = irregular_shapes(mask, 250)
    assert [shape.kind for shape in found] == ["irregular", "irregular"]
    assert found[1].col == pytest.approx(170, abs=0.6) and 2 * found[1].radius == pytest.approx(61.6, abs=2)
    assert irregular_shapes(np.zeros(SHAPE, bool), 250) == []


TOP = Shape("top", 50.0, 50.0, 18.0, 1000.0, 1.05, 1.0, 0.78, 0.98, 1.0, True)
SIDE = replace(TOP, kind="side", rectangle=0.9, ratio=0.6, fill=0.92, support=0.0)
ODD = replace(TOP, kind="irregular", support=0.0)


def spread(shapes: list[Shape]) -> list[Shape]:
    """The same shapes, far apart."""
    return [replace(shape, row=50.0, col=50.0 + 100 * index) for index, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    "bad",
    [
        replace(TOP, support=0.6), replace(TOP, fill=0.5), replace(TOP, radius=24.0), replace(TOP, circularity=2.0),
        replace(TOP, whole=False),
    ],
)  # fmt: skip
def test_a_bad_circle_is_bad(bad: Shape) -> None:
    shapes = spread([TOP] * 6 + [bad])
    good, quality = grading.grade(shapes, np.full(7, 9.0))
    np.testing.assert_array_equal(good, [True] * 6 + [False])
    assert quality[6] <= 0.5 < quality[0]


@pytest.mark.parametrize(
    "bad",
    [replace(SIDE, rectangle=0.65), replace(SIDE, ratio=0.9), replace(SIDE, radius=26.0), replace(SIDE, whole=False)],
)
def test_a_bad_rectangle_is_bad(bad: Shape) -> None:
    good, _ = grading.grade(spread([SIDE] * 6 + [bad]), np.full(7, 9.0))
    np.testing.assert_array_equal(good, [True] * 6 + [False])


def test_irregular_particles_are_good_near_the_mean_area() -> None:
    areas = [900.0, 1000.0, 1100.0, 950.0, 1050.0, 3000.0, 200.0]
    good, _ = grading.grade(spread([replace(ODD, area=area) for area in areas]), np.full(7, 9.0))
    np.testing.assert_array_equal(good, [True] * 5 + [False, False])
    strict, _ = grading.grade(
        spread([replace(ODD, area=area) for area in areas]), np.full(7, 9.0), GradeSettings(area=0.1)
    )
    np.testing.assert_array_equal(strict, [False, False, True] + [False] * 4)


def test_faint_very_dark_crowded_and_rare_particles_are_bad() -> None:
    shapes = spread([TOP] * 12)
    strength = np.full(12, 9.0)
    strength[0], strength[1] = 3.0, 50.0
    good, _ = grading.grade(shapes, strength)
    np.testing.assert_array_equal(good, [False, False] + [True] * 10)
    shapes[11] = replace(shapes[11], col=shapes[10].col + 20)
    assert not grading.grade(shapes, np.full(12, 9.0))[0][10:].any()
    rare = spread([TOP] * 12 + [SIDE])
    assert not grading.grade(rare, np.full(13, 9.0))[0][12]
    assert grading.grade(rare, np.full(13, 9.0), GradeSettings(share=0.05))[0][12]


def test_contrast_is_in_standard_errors() -> None:
    rng = np.random.default_rng(3)
    values = []
    for _ in range(40):
        image = rng.normal(0, 2.0, (120, 120)).astype(np.float32)
        values.append(grading.contrast(image, [replace(TOP, row=60.0, col=60.0)])[0])
    assert np.mean(values) == pytest.approx(0, abs=0.5) and np.std(values) == pytest.approx(1, abs=0.3)
    image -= 1.0 * disc(image.shape, 60, 60, 18)
    assert grading.contrast(image, [replace(TOP, row=60.0, col=60.0)])[0] > 8


def test_noise_level_sees_through_what_a_camera_does_to_single_pixels() -> None:
    rng = np.random.default_rng(0)
    white = rng.normal(0, 3.0, (400, 400)).astype(np.float32)
    assert grading.noise_level(white) == pytest.approx(3, rel=0.1)
    blurred = 0.25 * (white + np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1)))
    assert grading.noise_level(blurred) == pytest.approx(3, rel=0.2)
    assert grading.noise_level(blurred, block=1) < 1.8


def test_consistency_is_the_share_of_alike_objects() -> None:
    assert grading.consistency([], np.zeros(0, bool)) == 0
    assert grading.consistency([TOP] * 4, np.array([True] * 4)) == 1
    assert grading.consistency([TOP] * 4, np.array([True, True, False, False])) == 0.5
    crowded = [TOP, TOP, replace(TOP, whole=False)]
    assert grading.consistency(crowded, np.array([True, True, False])) == 1
    varied = [replace(TOP, area=area) for area in (500.0, 1000.0, 2000.0)]
    assert 0.5 < grading.consistency(varied, np.array([True] * 3)) < 0.8
