"""One micrograph: counts, contrast, placement, depth, contaminants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from relion_ext_picker.simulation.contaminants import contaminate
from relion_ext_picker.simulation.micrograph import (
    MicrographSettings,
    SimulatedMicrograph,
    capacity,
    ice_spectrum,
    simulate_micrograph,
)
from relion_ext_picker.simulation.structures import Structure, load_structure

SETTINGS = MicrographSettings(
    shape=(300, 400), pixel_size=3.0, particles=30, contaminants=0, defocus=(20000, 20000), thickness=300
)


@pytest.fixture(scope="module")
def structure() -> Structure:
    return load_structure("shell", 3.0, 130.0, np.random.default_rng(0))


def simulate(structure: Structure, seed: int = 1, **changes: object) -> SimulatedMicrograph:
    return simulate_micrograph(structure, replace(SETTINGS, **changes), np.random.default_rng(seed))  # type: ignore[arg-type]


def test_shape_truth_and_repeatability(structure: Structure) -> None:
    made, again, other = simulate(structure), simulate(structure), simulate(structure, 2)
    assert made.image.shape == made.contaminated.shape == (300, 400)
    assert made.image.dtype == np.float32 and made.xy.dtype == np.float32
    assert len(made.xy) == len(made.angles) == len(made.defocus_offset) > 15
    assert (made.xy >= 0).all() and (made.xy <= [399, 299]).all() and (made.xy == np.rint(made.xy)).all()
    assert np.array_equal(made.image, again.image) and np.array_equal(made.xy, again.xy)
    assert not np.array_equal(made.image, other.image)


def test_dose_gives_the_counts(structure: Structure) -> None:
    empty = simulate(structure, particles=0, dose=40.0)
    expected = 40.0 * 9 * np.exp(-300 / 3000)
    assert empty.image.mean() == pytest.approx(expected, rel=0.05)
    # Thin ice and a weak beam leave counting statistics, damped by the camera.
    thin = simulate(structure, particles=0, dose=0.5, thickness=1.0)
    assert 0.4 < thin.image.var() / thin.image.mean() < 1.0


def test_particles_are_dark(structure: Structure) -> None:
    made = simulate(structure, dose=400.0)
    y, x = np.indices(made.image.shape)
    near = np.zeros(made.image.shape, bool)
    for px, py in made.xy:
        near |= (x - px) ** 2 + (y - py) ** 2 < (60 / 3) ** 2
    away = ~near
    assert made.image[near].mean() < made.image[away].mean() - 0.01 * made.image.mean()


def test_image_agrees_with_truth_coordinates(structure: Structure) -> None:
    """The average of patches cut at the true places is centred: a shift of a pixel would show."""
    made = simulate(structure, dose=2000.0, particles=25)
    patches = [
        made.image[int(y) - 30 : int(y) + 31, int(x) - 30 : int(x) + 31]
        for x, y in made.xy
        if 30 <= x < 369 and 30 <= y < 269
    ]
    mean = np.mean(patches, axis=0)
    mean -= np.median(mean)
    scores = {
        (dy, dx): float(
            (mean[1 + dy : 60 + dy, 1 + dx : 60 + dx] * mean[1 + dy : 60 + dy, 1 + dx : 60 + dx][::-1, ::-1]).sum()
        )
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert max(scores, key=lambda shift: scores[shift]) == (0, 0)


def test_depth_changes_defocus(structure: Structure) -> None:
    offsets = simulate(structure, thickness=800.0).defocus_offset
    assert len(np.unique(offsets)) > 3 and abs(offsets).max() < 400
    assert not simulate(structure, thickness=50.0).defocus_offset.any()


def test_particles_keep_apart(structure: Structure) -> None:
    made = simulate(structure, particles=capacity((300, 400), 3.0, 130.0))
    distances = pdist(made.xy) * 3.0 / 130.0
    assert distances.min() >= 0.5
    assert np.mean(distances < 0.9) < 0.05


def test_contaminants_are_dark_avoided_and_masked(structure: Structure) -> None:
    covered = 0
    for seed in range(6):
        made = simulate(structure, seed, contaminants=4)
        mask = made.contaminated
        covered += mask.any()
        if mask.any():
            x, y = made.xy.astype(int).T
            assert not mask[y, x].any()
            assert made.image[mask].mean() < made.image[~mask].mean()
    assert covered >= 5
    assert not simulate(structure, contaminants=0).contaminated.any()


def test_number_of_contaminants_grows_with_the_mean() -> None:
    rng = np.random.default_rng(3)
    few, many = (
        np.mean([contaminate((256, 256), 4.0, 130.0, n, rng).mask.mean() for _ in range(12)]) for n in (0.3, 5)
    )
    assert many > 2 * few


def test_nothing_wraps_from_one_border_to_the_other(structure: Structure) -> None:
    """Opposite borders of noise-free images of cut particles are unrelated."""
    made = [simulate(structure, seed, dose=5e4, thickness=1.0, particles=40).image for seed in range(12)]
    left, right = (np.concatenate([image[:, column] / image.mean() - 1 for image in made]) for column in (0, -1))
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.25


def test_ice_has_a_ring_that_movement_takes_away() -> None:
    s = np.array([0.05, 0.15, 1 / 3.7, 0.4], np.float32)
    short, long = ice_spectrum(s, 0.01), ice_spectrum(s, 40.0)
    assert short[2] > short[3] > short[1] and short[2] > 10 * short[1]
    assert long[2] / short[2] < 0.2 < long[0] / short[0]


def test_pixel_size_must_fit(structure: Structure) -> None:
    with pytest.raises(ValueError, match="Å/px"):
        simulate(structure, pixel_size=2.0)
