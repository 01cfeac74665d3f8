"""Particles without labels: whole micrographs, drawn and real."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from deepcryopicker_scenes import Scene, disc, shape_scene

from relion_ext_picker.errors import InputError
from relion_ext_picker.evaluation.matching import match
from relion_ext_picker.io.coordinate_files import read_coordinates
from relion_ext_picker.io.mrc import read_micrograph
from relion_ext_picker.pickers.deepcryopicker.diameter import (
    LONGEST,
    Estimate,
    estimate_diameter,
    extents,
    search_diameter,
)
from relion_ext_picker.pickers.deepcryopicker.find import Found, find_particles, preferred, preferred_for_all, trials
from relion_ext_picker.pickers.deepcryopicker.preprocess import trace, working_image
from relion_ext_picker.pickers.deepcryopicker.settings import ClusterSettings, UnsupervisedSettings
from relion_ext_picker.report.plots.steps import steps_figure

DATA = Path(os.environ.get("REP_SHARED", Path(__file__).parents[3] / "shared")) / "data"


@pytest.fixture(scope="module")
def discs() -> Scene:
    return shape_scene(("top",))


@pytest.fixture(scope="module")
def views() -> Scene:
    return shape_scene(("top", "side"), seed=1)


def hits(scene: Scene, found: Found, radius: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    return match(scene.xy, found.xy, found.quality, radius)


@pytest.mark.parametrize("diameter", [80.0, None])
def test_discs_are_found_as_top_views(discs: Scene, diameter: float | None) -> None:
    found = find_particles(discs.image, diameter_px=diameter)
    hit, _ = hits(discs, found, 6.0)
    assert found.method == "intensity" and hit.all() and len(found) >= 0.9 * len(discs.xy)
    assert (found.kind == "top").all()
    assert found.good.mean() > 0.7
    assert (np.diff(found.quality) <= 0).all()
    estimate = estimate_diameter([found])
    assert estimate.diameter == pytest.approx(80, rel=0.08) and estimate.spread < 5


def test_top_and_side_views_are_told_apart(views: Scene) -> None:
    found = find_particles(views.image, diameter_px=80.0)
    hit, index = hits(views, found)
    assert hit.all() and len(found) >= 0.9 * len(views.xy)
    right = found.kind == views.kind[index]
    assert right.mean() > 0.9
    assert right[found.good].all() and set(found.kind[found.good].tolist()) == {"top", "side"}


def test_bright_particles_are_found_when_asked_for(discs: Scene) -> None:
    dark = find_particles(discs.image, diameter_px=80.0)
    bright = find_particles(-discs.image, UnsupervisedSettings(bright=True), 80.0)
    np.testing.assert_allclose(bright.xy, dark.xy, atol=0.01)
    wrong = find_particles(-discs.image, diameter_px=80.0)
    assert wrong.good.sum() < 0.3 * dark.good.sum()


def test_places_are_those_of_the_stored_image(discs: Scene) -> None:
    """Neither a scale factor nor a transposed axis: an image that is not square, at an odd scale."""
    image = discs.image[:450, :]
    inside = discs.xy[:, 1] < 400
    found = find_particles(image, diameter_px=77.0)
    _, index = match(discs.xy[inside], found.xy, found.quality, 6.0)
    matched = index >= 0
    assert matched.sum() >= 0.8 * inside.sum()
    shift = found.xy[matched] - discs.xy[inside][index[matched]]
    assert np.abs(shift.mean(axis=0)).max() < 0.7
    rows, cols = found.grid.from_original(found.xy[matched])
    assert found.mask[rows.astype(int), cols.astype(int)].mean() > 0.95


@pytest.mark.parametrize("diameter", [80.0, 40.0])
def test_ice_alone_gives_nothing_good(diameter: float) -> None:
    image = np.random.default_rng(5).normal(size=(500, 600)).astype(np.float32)
    found = find_particles(image, diameter_px=diameter)
    assert not found.good.any() and len(found) <= 5


def test_constant_and_tiny_images_give_nothing() -> None:
    for shape in ((300, 300), (20, 30)):
        found = find_particles(np.full(shape, 7.0, np.float32), diameter_px=40.0)
        assert len(found) == 0 and found.xy.shape == (0, 2) and found.consistency == 0
    assert len(find_particles(np.random.default_rng(0).normal(size=(24, 24)).astype(np.float32))) <= 1
    assert estimate_diameter([]) == Estimate(0.0, 0.0, 0) and not Estimate().sure


def test_nothing_is_good_inside_a_crystal(discs: Scene) -> None:
    rng = np.random.default_rng(0)
    crystal = disc(discs.image.shape, 200, 200, 150)
    lumps = sum(disc(discs.image.shape, *place, 40).astype(float) for place in rng.uniform(100, 300, (6, 2)))
    found = find_particles((discs.image - crystal * (4 + 0.7 * lumps)).astype(np.float32), diameter_px=80.0)
    col, row = np.rint(found.xy[found.good]).astype(int).T
    assert len(col) >= 5 and not crystal[row, col].any()


def test_the_clustering_can_be_chosen(discs: Scene) -> None:
    irregular = find_particles(discs.image, UnsupervisedSettings(cluster=ClusterSettings(method="superpixel")), 80.0)
    assert irregular.method == "superpixel" and set(irregular.kind.tolist()) == {"irregular"}
    hit, _ = hits(discs, irregular)
    assert hit.mean() > 0.9 and len(irregular) > 0.8 * len(discs.xy)
    regular = find_particles(discs.image, UnsupervisedSettings(cluster=ClusterSettings(method="intensity")), 80.0)
    assert preferred([irregular, regular], 1.15) is regular
    assert preferred([irregular, regular], 0.01) is irregular
    both = trials(discs.image, diameter_px=80.0)
    assert [each.method for each in both] == ["intensity", "superpixel"]
    poor = replace(regular, consistency=irregular.consistency)
    for tried, methods in (
        ([both, [poor, irregular]], ["intensity", "intensity"]),
        ([both, both, [replace(poor, consistency=0.1), irregular]], ["intensity", "intensity", "superpixel"]),
    ):
        assert [each.method for each in preferred_for_all(tried, 1.15)] == methods
    with pytest.raises(InputError, match="must be one of auto, intensity, superpixel"):
        find_particles(discs.image, UnsupervisedSettings(cluster=ClusterSettings(method="fuzzy")))


def test_larger_kind_decides_the_diameter_unless_rare(views: Scene) -> None:
    found = find_particles(views.image, diameter_px=80.0)
    both = estimate_diameter([found]).diameter
    tops = found.radius[found.good & (found.kind == "top")]
    sides = found.radius[found.good & (found.kind == "side")]
    assert both == pytest.approx(2 * max(np.median(tops), np.median(sides)))


def test_the_diameter_of_irregular_particles_is_their_longest_extent(views: Scene) -> None:
    use = UnsupervisedSettings(cluster=ClusterSettings(method="superpixel"))
    found = find_particles(views.image, use, 80.0)
    assert found.good.sum() > 5 and set(found.kind.tolist()) == {"irregular"}
    extent = extents(views.image, found, 80.0, use)
    estimate = estimate_diameter([found], extent)
    assert estimate.diameter == np.percentile(extent, LONGEST) == pytest.approx(np.hypot(80, 48), rel=0.12)
    assert estimate.kind == "irregular" and estimate_diameter([found]).diameter < 0.9 * estimate.diameter


def test_an_estimate_is_sure_only_where_a_second_look_agreed() -> None:
    assert Estimate(100.0, 5.0, 40).sure and Estimate(100.0, 5.0, 40, "side").longest == 100
    irregular = Estimate(100.0, 5.0, 400, "irregular")
    assert not irregular.sure and irregular.longest == 125
    assert not Estimate(100.0, 5.0, 40, "irregular", settled=False).sure and not Estimate(100.0, 11.0, 40).sure


def test_the_diameter_is_found_by_trying(discs: Scene) -> None:
    estimate = search_diameter([discs.image])
    assert estimate.diameter == pytest.approx(80, rel=0.08) and estimate.kind == "top" and estimate.settled
    noise = np.random.default_rng(2).normal(size=(400, 400)).astype(np.float32)
    assert search_diameter([noise]).count == 0


def test_figure_of_the_steps(discs: Scene) -> None:
    frame = working_image(discs.image, 80.0)
    steps = list(trace(frame.values))
    figure = steps_figure(steps, (slice(20, 120), slice(20, 140)))
    assert [axes.get_title() for axes in figure.axes] == [name for name, _ in steps]


def test_real_apoferritin_without_labels() -> None:
    folder = DATA / "apoferritin"
    if not folder.exists():
        pytest.skip("no shared data here (REP_SHARED)")
    hit, good, total = [], [], 0
    for path in sorted((folder / "Micrographs").glob("*.mrc"))[:2]:
        truth = read_coordinates(folder / "truth" / f"{path.stem}.star").xy
        found = find_particles(read_micrograph(path), diameter_px=80.0)
        hit.append(match(truth, found.xy, found.quality, 32.0)[0])
        good.append(found.good)
        total += len(truth)
    hits, goods = np.concatenate(hit), np.concatenate(good)
    assert hits.mean() > 0.92 and hits.sum() / total > 0.85
    assert hits[goods].mean() > 0.97 and goods.sum() / total > 0.5


def test_real_ice_crystal() -> None:
    folder = DATA / "contaminated_ice"
    if not folder.exists():
        pytest.skip("no shared data here (REP_SHARED)")
    crystal = read_micrograph(folder / "contamination_mask.mrc") > 0.5
    found = find_particles(read_micrograph(folder / "micrograph.mrc"), diameter_px=40.0)
    col, row = np.rint(found.xy).astype(int).T
    assert len(found) and not crystal[row, col][found.good].any()
