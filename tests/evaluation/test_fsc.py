"""Fourier shell correlation as RELION has it."""

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from relion_ext_picker.evaluation.fsc import (
    corrected,
    half_map_fsc,
    shell_resolutions,
    ssnr,
)
from relion_ext_picker.evaluation.resolution import crossing
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.correlations import read_gold_standard, read_postprocess

ORACLES = Path(__file__).parents[3] / "shared/data/oracles"
needs_oracles = pytest.mark.skipif(not ORACLES.exists(), reason="no ../shared")


@pytest.mark.parametrize(
    ("wave", "shell"),
    [((1, 0, 0), 1), ((0, -3, 0), 3), ((1, 1, 0), 1), ((1, 1, 1), 2), ((2, -2, 1), 3), ((0, 0, 4), 4)],
)
def test_shells_are_those_of_rounded_distances(wave: tuple[int, int, int], shell: int):
    phase = sum(k * x for k, x in zip(wave, np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), strict=True))
    curve = half_map_fsc(np.cos(2 * np.pi * phase / 8), np.cos(2 * np.pi * phase / 8), 1.0).unmasked
    assert curve[shell] == pytest.approx(1)
    assert shell_resolutions(8, 2.0).tolist() == [np.inf, 16, 8, 16 / 3, 4]


def test_every_element_of_the_half_transform_counts_once():
    """A wave along z lies twice in the half transform, one along x once: the weights tell the two apart."""
    z, _, x = np.meshgrid(*[np.arange(16)] * 3, indexing="ij")
    along_z, along_x = np.cos(2 * np.pi * 3 * z / 16), np.cos(2 * np.pi * 3 * x / 16)
    curve = half_map_fsc(along_z + along_x, along_z - along_x, 1.0).unmasked
    assert curve[3] == pytest.approx((2 - 1) / (2 + 1), abs=1e-6)  # with Hermitian weights it were 0


def test_equal_maps_and_noise():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 24, 24, 24)).astype(np.float32)
    assert half_map_fsc(one, one, 1.0).unmasked == pytest.approx(np.ones(13), abs=1e-6)
    assert np.abs(half_map_fsc(one, other, 1.0).unmasked[3:]).max() < 0.2
    assert half_map_fsc(one, -one, 1.0).unmasked == pytest.approx(-np.ones(13), abs=1e-6)


def test_random_phases_show_what_a_tight_mask_makes_up():
    """Noise within a small mask correlates; the correction takes that off."""
    rng = np.random.default_rng(1)
    box = 32
    distance = np.sqrt(sum(np.meshgrid(*[(np.arange(box) - box / 2) ** 2] * 3, indexing="ij")))
    signal = np.exp(-(distance**2) / 8)
    mask = (distance < 6).astype(np.float32)
    one, other = (signal + 1.0 * rng.normal(size=(box, box, box)) for _ in range(2))
    found = half_map_fsc((one + 1).astype(np.float32), (other + 1).astype(np.float32), 1.0, mask)
    assert found.randomise_from is not None and found.randomised is not None and found.corrected is not None
    high = slice(found.randomise_from + 2, None)
    assert np.abs(found.corrected[high]).mean() < np.abs(found.masked[high]).mean() + 0.15
    assert found.corrected[: found.randomise_from + 2] == pytest.approx(found.masked[: found.randomise_from + 2])
    again = half_map_fsc((one + 1).astype(np.float32), (other + 1).astype(np.float32), 1.0, mask)
    assert again.corrected == pytest.approx(found.corrected, abs=0)
    other_seed = half_map_fsc((one + 1).astype(np.float32), (other + 1).astype(np.float32), 1.0, mask, seed=1)
    assert np.abs(other_seed.randomised - found.randomised).max() > 1e-3


def test_nothing_to_randomise():
    one = np.random.default_rng(2).normal(size=(16, 16, 16)).astype(np.float32)
    found = half_map_fsc(one, one, 1.0, np.ones_like(one))
    assert found.randomise_from is None and found.best == pytest.approx(np.ones(9), abs=1e-6)


def test_maps_must_fit():
    with pytest.raises(ValueError, match="same size"):
        half_map_fsc(np.zeros((8, 8, 8)), np.zeros((6, 6, 6)), 1.0)


def test_correction_by_hand():
    masked, randomised = np.array([1, 0.9, 0.8, 0.6, 0.3]), np.array([1, 0.9, 0.5, 0.2, 0.1])
    assert corrected(masked, randomised, 1).tolist() == pytest.approx([1, 0.9, 0.8, 0.5, 2 / 9])


def test_signal_to_noise_ratio():
    assert ssnr(np.array([0.5, 1 / 3, -0.2])).tolist() == pytest.approx([2, 1, 0])
    assert ssnr(np.array([0.5]), halves=False).tolist() == [1]
    assert ssnr(np.array([1.0]))[0] == np.inf


RESOLUTION = np.array([np.inf, 40, 20, 40 / 3, 10, 8])


def test_crossing_by_hand():
    found = crossing(np.array([1, 1, 0.9, 0.2, 0.1, 0.0]), RESOLUTION, 0.143)
    assert (found.shell, found.reached, found.rises_again) == (3, True, False)
    assert found.resolution == 40 / 3
    assert found.interpolated == pytest.approx(40 / (3 + 0.57))


def test_curve_that_rises_again_and_curve_that_never_falls():
    again = crossing(np.array([1, 1, 0.1, 0.1, 0.3, 0.0]), RESOLUTION, 0.143)
    assert (again.shell, again.last_above, again.rises_again) == (1, 4, True)
    never = crossing(np.array([1, 1, 1, 0.9, 0.8, 0.5]), RESOLUTION, 0.143)
    assert (never.reached, never.resolution, never.interpolated) == (False, 8, 8)
    nothing = crossing(np.array([1, 0.1, 0.1, 0, 0, 0]), RESOLUTION, 0.143)
    assert (nothing.shell, nothing.resolution) == (0, np.inf)


@needs_oracles
@pytest.mark.parametrize("name", ["u250", "qu1000"])
def test_curves_of_postprocess(name: str):
    folder = ORACLES / "relion31_halfmaps"
    half1, half2 = (mrcfile.read(folder / name / f"{name}_half{half}_class001_unfil.mrc") for half in (1, 2))
    mask = mrcfile.read(folder / "mask.mrc")
    theirs = read_postprocess(folder / name)
    runs = [half_map_fsc(half1, half2, 5.0, mask, seed) for seed in range(10)]
    ours = runs[0]
    assert np.abs(ours.unmasked - theirs.curves[labels.FSC_UNMASKED]).max() < 1e-4
    assert np.abs(ours.masked - theirs.curves[labels.FSC_MASKED]).max() < 1e-4
    assert ours.resolution[ours.randomise_from] == pytest.approx(theirs.randomise_from)
    for label, curves in (
        (labels.FSC_RANDOMISED, np.array([run.randomised for run in runs])),
        (labels.FSC_CORRECTED, np.array([run.corrected for run in runs])),
    ):
        away = (theirs.curves[label] - curves.mean(axis=0)) / np.maximum(curves.std(axis=0, ddof=1), 1e-4)
        assert np.sqrt(np.mean(away**2)) < 1.8  # of its own scatter; 10 runs estimate that loosely
        assert np.abs(theirs.curves[label] - curves.mean(axis=0)).max() < 0.25
    final = crossing(theirs.curves[labels.FSC_CORRECTED], theirs.resolution, 0.143)
    assert final.resolution == pytest.approx(theirs.final, abs=1e-4)
    between = [crossing(run.best, run.resolution, 0.143).resolution for run in runs]
    assert min(between) - 0.01 <= theirs.final <= max(between) + 0.01


@needs_oracles
def test_files_of_relion_30_and_of_a_refinement():
    old = read_postprocess(ORACLES / "relion30_postprocess/postprocess.star")
    curve = old.curves[labels.FSC_CORRECTED]
    found = crossing(curve, old.resolution, 0.143)
    assert (found.shell, found.last_above, found.rises_again) == (44, 48, True)
    assert found.resolution == old.final == 16.363636
    first = round(720 / old.randomise_from)
    again = corrected(old.curves[labels.FSC_MASKED], old.curves[labels.FSC_RANDOMISED], first)
    assert np.abs(again - curve).max() < 2e-6
    refined = read_gold_standard(ORACLES / "relion31_refine3d/run_it016_half1_model.star")
    at = [crossing(refined.curves[labels.FSC_GOLD_STANDARD], refined.resolution, limit) for limit in (0.143, 0.5)]
    assert (at[0].shell, round(at[0].resolution, 6), round(at[0].interpolated, 4)) == (111, 2.870971, 2.8520)
    assert at[1].resolution == refined.final == 3.354503
