"""One micrograph: counts, contrast, placement, depth, contaminants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from relion_ext_picker.errors import InputError
from relion_ext_picker.simulation.camera import CAMERAS
from relion_ext_picker.simulation.contaminants import contaminate
from relion_ext_picker.simulation.micrograph import (
    MicrographSettings,
    SimulatedMicrograph,
    capacity,
    simulate_micrograph,
)
from relion_ext_picker.simulation.structures import Structure, load_structure

SETTINGS = MicrographSettings(
    shape=(300, 400), pixel_size=3.0, particles=30, contaminants=0, defocus=(20000, 20000), thickness=(300, 300)
)


@pytest.fixture(scope="module")
def structure() -> Structure:
    return load_structure("shell", 3.0, 130.0, np.random.default_rng(0))


def simulate(structure: Structure, seed: int = 1, **changes: object) -> SimulatedMicrograph:
    return simulate_micrograph(structure, replace(SETTINGS, **changes), np.random.default_rng(seed))  # type: ignore[arg-type]


def test_shape_truth_and_repeatability(structure: Structure) -> None:
    made, again, other = simulate(structure), simulate(structure), simulate(structure, 2)
    assert made.image.shape == made.contamination.labels.shape == (300, 400)
    assert made.image.dtype == np.float32 and made.xy.dtype == np.float32
    assert len(made.xy) == len(made.angles) == len(made.defocus_offset) == len(made.overlapped) > 15
    assert (made.xy >= 0).all() and (made.xy <= [399, 299]).all() and (made.xy == np.rint(made.xy)).all()
    assert np.array_equal(made.image, again.image) and np.array_equal(made.xy, again.xy)
    assert not np.array_equal(made.image, other.image)


def test_counts_of_an_ideal_camera_are_those_of_the_dose(structure: Structure) -> None:
    """Electrons per pixel with the variance of a Poisson distribution; uneven ice adds what it takes away."""
    empty = simulate(structure, particles=0, dose=(40.0, 40.0), camera="ideal", shape=(512, 512))
    assert empty.image.mean() == pytest.approx(40 * 9 * np.exp(-empty.thickness / 3000), rel=0.01)
    assert np.array_equal(empty.image, np.rint(empty.image)) and empty.dose == 40.0 and empty.snr == 0
    thin = simulate(structure, particles=0, dose=(5.0, 5.0), thickness=(1e-3, 1e-3), camera="ideal", shape=(512, 512))
    assert thin.image.mean() == pytest.approx(45, rel=2e-3)
    assert thin.image.var() == pytest.approx(45, rel=0.01)


@pytest.mark.parametrize("camera", ["counting", "integrating", "ccd"])
def test_a_camera_keeps_the_mean_and_colours_the_noise(structure: Structure, camera: str) -> None:
    made = simulate(
        structure, particles=0, dose=(5.0, 5.0), thickness=(1e-3, 1e-3), camera=camera, shape=(512, 512)
    ).image
    assert made.mean() == pytest.approx(45, rel=2e-3)
    power = np.square(np.abs(np.fft.fft2(made - made.mean()))) / made.size / 45
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512)))
    for low, high in ((0.05, 0.15), (0.2, 0.3), (0.4, 0.48)):
        ring = (radius > low) & (radius < high)
        expected = np.square(CAMERAS[camera].spread(radius[ring])).mean() / CAMERAS[camera].counted
        assert power[ring].mean() == pytest.approx(expected, rel=0.03)


def test_particles_are_dark(structure: Structure) -> None:
    made = simulate(structure, dose=(400.0, 400.0))
    y, x = np.indices(made.image.shape)
    near = np.zeros(made.image.shape, bool)
    for px, py in made.xy:
        near |= (x - px) ** 2 + (y - py) ** 2 < (60 / 3) ** 2
    away = ~near
    assert made.image[near].mean() < made.image[away].mean() - 0.01 * made.image.mean()


def test_image_agrees_with_truth_coordinates(structure: Structure) -> None:
    """The average of patches cut at the true places is centred: a shift of a pixel would show."""
    made = simulate(structure, dose=(2000.0, 2000.0), particles=25, damage=False)
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
    offsets = simulate(structure, thickness=(800.0, 800.0)).defocus_offset
    assert len(np.unique(offsets)) > 3 and abs(offsets).max() < 400
    assert not simulate(structure, thickness=(50.0, 50.0)).defocus_offset.any()


def test_particles_keep_apart(structure: Structure) -> None:
    crowded = capacity((300, 400), 3.0, 130.0)
    none = simulate(structure, particles=crowded, overlaps=0.0)
    assert pdist(none.xy).min() * 3.0 / 130.0 >= 0.9 and not none.overlapped.any()
    some = simulate(structure, particles=crowded, overlaps=0.5)
    distances = squareform(pdist(some.xy)) * 3.0 / 130.0 + 9 * np.eye(len(some.xy))
    assert distances.min() >= 0.5
    near = (distances < 0.9).any(axis=1)
    assert some.overlapped[near].all() and 0.3 < near.mean() < 0.95
    # Others lie beyond the border, where they are not listed.
    inner = ((some.xy > 40) & (some.xy < [359, 259])).all(axis=1)
    assert np.array_equal(some.overlapped[inner], near[inner])


def test_contaminants_are_dark_avoided_and_masked(structure: Structure) -> None:
    covered = 0
    for seed in range(6):
        made = simulate(structure, seed, contaminants=4)
        mask = made.contamination.mask
        covered += mask.any()
        if mask.any():
            x, y = made.xy.astype(int).T
            assert not mask[y, x].any()
            assert made.image[mask].mean() < made.image[~mask].mean()
    assert covered >= 5
    assert not simulate(structure, contaminants=0).contamination.mask.any()


def test_number_of_contaminants_grows_with_the_mean() -> None:
    rng = np.random.default_rng(3)
    few, many = (
        np.mean([contaminate((256, 256), 4.0, 130.0, n, rng).mask.mean() for _ in range(12)]) for n in (0.3, 5)
    )
    assert many > 2 * few


def test_nothing_wraps_from_one_border_to_the_other(structure: Structure) -> None:
    """Opposite borders of noise-free images of cut particles are unrelated."""
    clean = {"dose": (1e6, 1e6), "thickness": (1e-6, 1e-6), "damage": False, "camera": "ideal"}
    made = [simulate(structure, seed, particles=40, **clean).image for seed in range(12)]
    left, right = (np.concatenate([image[:, column] / image.mean() - 1 for image in made]) for column in (0, -1))
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.25


def test_members_of_aggregates_are_overlapped_by(structure: Structure) -> None:
    """A particle near an aggregate has the flag, although no other particle is near."""
    near = 0
    for seed in range(8):
        made = simulate(structure, seed, contaminants=3, kinds=("aggregate",), overlaps=0.0)
        assert {nuisance.kind for nuisance in made.contamination.nuisances} <= {"aggregate"}
        for xy, flag in zip(made.xy, made.overlapped, strict=True):
            distances = [np.hypot(*(np.rint(clump) - xy).T).min() for clump in made.contamination.clumps]
            assert flag == (min(distances, default=np.inf) < 0.9 * 130 / 3)
            near += int(flag)
    assert near > 3


def test_same_seed_same_bytes_with_any_number_of_threads(structure: Structure) -> None:
    changes = {"contaminants": 4, "snr": (0.05, 0.05), "shape": (700, 600), "thickness": (200, 500)}
    one, two, three = (
        simulate_micrograph(structure, replace(SETTINGS, **changes), np.random.default_rng(5), workers=workers)  # type: ignore[arg-type]
        for workers in (1, 2, 3)
    )
    for other in (two, three):
        assert one.image.tobytes() == other.image.tobytes()
        assert (one.snr, one.dose, one.thickness) == (other.snr, other.dose, other.thickness)
        assert np.array_equal(one.angles, other.angles)


@pytest.mark.parametrize("wanted", [0.003, 0.02, 0.1, 0.4])
def test_the_snr_asked_for_is_the_one_measured(structure: Structure, wanted: float) -> None:
    for seed, camera in enumerate(("ideal", "counting", "integrating", "ccd")):
        made = simulate(
            structure,
            seed,
            snr=(wanted, wanted),
            camera=camera,
            particles=60,
            shape=(512, 512),
            thickness=(250, 250),
            contaminants=2 * (seed % 2),
        )
        assert made.snr == pytest.approx(wanted, rel=0.05)


def test_the_snr_is_that_of_the_image(structure: Structure) -> None:
    """The same particles without noise tell signal and noise apart."""
    same = {"particles": 60, "shape": (512, 512), "damage": False, "camera": "ideal"}
    noisy = simulate(structure, thickness=(90, 90), snr=(0.2, 0.2), **same)
    clean = simulate(structure, thickness=(1e-6, 1e-6), dose=(1e8, 1e8), **same)
    assert np.array_equal(noisy.xy, clean.xy) and np.array_equal(noisy.angles, clean.angles)
    y, x = np.indices(noisy.image.shape)
    disc = np.zeros(noisy.image.shape, bool)
    for px, py in noisy.xy:
        disc |= (x - px) ** 2 + (y - py) ** 2 <= (65 / 3) ** 2
    beam = noisy.dose * 9 * np.exp(-noisy.thickness / 3000)
    signal = beam * (clean.image / (1e8 * 9) - 1)[disc]
    noise = noisy.image[disc] - beam - signal
    assert noisy.snr == pytest.approx(signal.var() / noise.var(), rel=0.03)


def test_an_snr_out_of_reach_is_refused(structure: Structure) -> None:
    with pytest.raises(InputError, match=r"5 cannot be reached .* Å of ice limits it to .* thinner"):
        simulate(structure, snr=(5.0, 5.0), thickness=(500, 500))
    with pytest.raises(InputError, match="too low"):
        simulate(structure, snr=(1e-9, 1e-9))


def test_one_frame_has_its_share_of_the_dose(structure: Structure) -> None:
    every = simulate(structure, dose=(40.0, 40.0), frames=20)
    one = simulate(structure, dose=(40.0, 40.0), frames=20, used_frames=1)
    assert (every.dose, one.dose) == (40.0, 2.0)
    assert one.image.mean() == pytest.approx(every.image.mean() / 20, rel=0.01)
    assert np.array_equal(one.xy, every.xy) and 0 < one.snr < every.snr


def test_pixel_size_must_fit(structure: Structure) -> None:
    with pytest.raises(ValueError, match="Å/px"):
        simulate(structure, pixel_size=2.0)


def test_settings_name_what_is_wrong(structure: Structure) -> None:
    for changes, message in (
        ({"camera": "film"}, "counting, integrating"),
        ({"orientations": "sideways"}, "uniform, cap"),
        ({"frames": 3, "used_frames": 4}, "there are 3"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SETTINGS, **changes)  # type: ignore[arg-type]
