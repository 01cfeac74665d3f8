"""Contaminants: every kind is drawn, labelled and listed, and its matter is where the labels say."""

from __future__ import annotations

import numpy as np
import pytest

from relion_ext_picker.simulation.bodies import GOLD, Body, denatured_protein, enlarge, ethane_blob, gold_bead
from relion_ext_picker.simulation.contaminants import KINDS, SHARES, Contamination, Fragment, contaminate
from relion_ext_picker.simulation.crystals import ice_crystal
from relion_ext_picker.simulation.film import film_edge

SHAPE, PIXEL, DIAMETER = (600, 720), 2.0, 130.0


def occurrence(kind: str, seed: int = 0, count: float = 2.0) -> Contamination:
    """A field on which the kind occurs."""
    for attempt in range(100):
        field = contaminate(SHAPE, PIXEL, DIAMETER, count, np.random.default_rng([seed, attempt]), [kind])
        if field.nuisances:
            return field
    raise AssertionError(f"{kind} never occurred")


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_labelled_and_listed(kind: str) -> None:
    for seed in range(4):
        field = occurrence(kind, seed)
        assert {item.kind for item in field.nuisances} == {kind}
        assert set(np.unique(field.labels)) == {0, KINDS.index(kind) + 1}
        assert np.array_equal(field.mask, field.labels > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_circles_enclose_what_is_labelled(kind: str) -> None:
    rows, cols = np.indices(SHAPE)
    for seed in range(4):
        field = occurrence(kind, seed)
        inside = np.zeros(SHAPE, bool)
        for item in field.nuisances:
            circle = np.hypot(cols - item.x, rows - item.y) <= item.radius + 1
            assert (circle & field.mask).any()
            inside |= circle
        assert not (field.mask & ~inside).any()


@pytest.mark.parametrize("kind", ["carbon", "hole", "crystal", "ethane", "gold"])
def test_matter_lies_under_its_label(kind: str) -> None:
    field = occurrence(kind)
    assert field.potential[field.mask].mean() > 20 * abs(field.potential[~field.mask].mean())
    assert (field.grain >= 0).all() and (field.absorption > -0.2).all()
    assert field.grain[field.mask].min() > 0
    assert field.absorption[~field.mask].max() < 0.1  # nothing thick goes without a label


def test_film_is_carbon_and_of_plausible_area() -> None:
    for seed in range(4):
        edge, hole = occurrence("carbon", seed), occurrence("hole", seed)
        assert 0.02 < edge.mask.mean() < 0.5
        assert 0.05 < hole.mask.mean() < 0.75
        assert not hole.mask[SHAPE[0] // 2, SHAPE[1] // 2]
        assert len(edge.nuisances) == len(hole.nuisances) == 1
        corners = hole.mask[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.sum() >= 3


def test_carbon_occurs_once() -> None:
    field = contaminate(SHAPE, PIXEL, DIAMETER, 60.0, np.random.default_rng(1), ["carbon", "hole"])
    assert len(field.nuisances) == 1


def test_tiles_join_without_seams() -> None:
    """Away from the rim the film is smooth, from one tile to the next as well."""
    film = film_edge((900, 900), 3.0, np.random.default_rng(4))
    field = np.zeros((900, 900), np.float32)
    for (top, left), part in film.tiles((900, 900), 3.0):
        field[top : top + part.shape[0], left : left + part.shape[1]] = part
    rows, cols = np.indices(field.shape)
    away = abs(np.hypot(cols - film.centre[0], rows - film.centre[1]) - film.radius) > 120
    assert 80 < field.max() < 330 and abs(np.diff(field, axis=0)).max() > 5
    assert abs(np.diff(field, axis=1))[away[:, 1:] & away[:, :-1]].max() < 1
    assert abs(np.diff(field, axis=0))[away[1:] & away[:-1]].max() < 1


def test_gold_is_nearly_opaque_and_of_catalogue_size() -> None:
    rng = np.random.default_rng(0)
    for radius in (25.0, 50.0, 75.0):
        bead = gold_bead(radius, PIXEL, rng)
        area = (bead.thickness > 0).sum() * PIXEL**2
        assert area == pytest.approx(np.pi * radius**2, rel=0.15)
        field = Contamination.none((128, 128))
        field.add(bead, "gold", (10, 10))
        assert np.exp(-field.absorption.max()) < (0.8 if radius < 30 else 0.25)
    sizes = {round(item.radius * PIXEL / 25) for seed in range(12) for item in occurrence("gold", seed).nuisances}
    assert sizes <= {1, 2, 3, 4} and len(sizes) >= 3


def test_crystal_has_its_lattice_where_pixels_resolve_it() -> None:
    for seed in range(4):
        crystal = ice_crystal(300.0, 1.2, np.random.default_rng(seed))
        assert crystal.relief is not None
        middle = len(crystal.relief) // 2
        power = abs(np.fft.fft2(crystal.relief[middle - 100 : middle + 100, middle - 100 : middle + 100])) ** 2
        s = np.hypot(np.fft.fftfreq(200, 1.2)[:, None], np.fft.fftfreq(200, 1.2))
        ring = (s > 1 / 4.1) & (s < 1 / 3.5)
        assert power[ring].sum() > 0.9 * power.sum()
        assert ice_crystal(300.0, 2.0, np.random.default_rng(seed)).relief is None


def test_bodies_end_within_their_patch() -> None:
    """What is cut by the border of the patch would show as a straight edge."""
    rng = np.random.default_rng(5)
    for _ in range(12):
        bodies = [
            ice_crystal(rng.uniform(50, 600), 3.0, rng, flat=bool(rng.random() < 0.5)),
            ethane_blob(rng.uniform(100, 600), 3.0, rng),
            gold_bead(50.0, 3.0, rng),
            denatured_protein(130.0, 3.0, rng),
        ]
        for body in bodies:
            border = np.concatenate([body.thickness[[0, -1]].ravel(), body.thickness[:, [0, -1]].ravel()])
            assert border.max() < 0.02 * body.thickness.max()
            assert body.thickness.min() >= 0 and np.isfinite(body.thickness).all()


def test_sizes_follow_what_was_asked_for() -> None:
    rng = np.random.default_rng(6)
    for radius in (150.0, 500.0):
        for body in (ice_crystal(radius, 4.0, rng), ethane_blob(radius, 4.0, rng)):
            across = 2 * np.sqrt(body.covered().sum() / np.pi) * 4.0
            assert 0.8 * radius < across < 2.6 * radius
    # Volume of unfolded protein: less than that of the sphere which holds the particle.
    protein = denatured_protein(130.0, 2.0, rng)
    assert 0.05 < protein.thickness.sum() * 4.0 / (np.pi / 6 * 130.0**3) < 0.7


def test_clumps_and_fragments_lie_in_their_labels() -> None:
    clump = occurrence("aggregate").clumps[0]
    assert len(clump) >= 8 and clump.shape[1] == 2
    field = occurrence("broken", 3, 6.0)
    assert field.fragments
    for cut in field.fragments:
        assert cut.nx**2 + cut.ny**2 == pytest.approx(1)
        # A place well inside of the part that is left.
        x, y = round(cut.x - cut.nx * 25), round(cut.y - cut.ny * 25)
        if 0 <= x < SHAPE[1] and 0 <= y < SHAPE[0]:
            assert field.labels[y, x] == KINDS.index("broken") + 1


def test_fragment_weights_leave_one_side() -> None:
    weights = Fragment(0, 0, 1.0, 0.0, 5.0, 1.5).weights(40)
    assert weights.shape == (40, 40) and weights.dtype == np.float32
    assert weights[:, 25] == pytest.approx(0.5)
    assert (weights[:, :15] > 0.99).all() and (weights[:, 35:] < 0.01).all()


def test_kinds_restrict() -> None:
    for seed in range(5):
        field = contaminate(SHAPE, PIXEL, DIAMETER, 8.0, np.random.default_rng(seed), ("gold", "ethane"))
        assert {item.kind for item in field.nuisances} <= {"gold", "ethane"}
    assert not contaminate(SHAPE, PIXEL, DIAMETER, 8.0, np.random.default_rng(0), ()).mask.any()
    with pytest.raises(ValueError, match=r"soot.*known are carbon"):
        contaminate(SHAPE, PIXEL, DIAMETER, 1.0, np.random.default_rng(0), ("soot",))


def test_every_kind_occurs_by_itself() -> None:
    assert set(SHARES) == set(KINDS) and sum(SHARES.values()) == pytest.approx(1)
    rng = np.random.default_rng(8)
    seen = {item.kind for _ in range(40) for item in contaminate((256, 256), 4.0, 100.0, 3.0, rng).nuisances}
    assert seen == set(KINDS)


def test_same_seed_same_field() -> None:
    one, two, other = (contaminate(SHAPE, PIXEL, DIAMETER, 6.0, np.random.default_rng(seed)) for seed in (5, 5, 6))
    for name in ("potential", "grain", "absorption", "labels"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert one.nuisances == two.nuisances and one.fragments == two.fragments
    assert not np.array_equal(one.labels, other.labels)


def test_no_contaminants_is_a_clean_field() -> None:
    field = contaminate(SHAPE, PIXEL, DIAMETER, 0.0, np.random.default_rng(0))
    assert not field.mask.any() and not field.nuisances and not field.clumps and not field.fragments
    assert not field.potential.any() and not field.grain.any() and not field.absorption.any()


def test_bodies_beyond_the_border_are_cut() -> None:
    disc = Body(np.full((20, 30), 50.0, np.float32), GOLD)
    field = Contamination.none((40, 50))
    assert field.add(disc, "gold", (-10, -20)) and field.add(disc, "gold", (35, 45))
    assert not field.add(disc, "gold", (-20, 0)) and not field.add(disc, "gold", (0, 50))
    assert field.mask.sum() == 10 * 10 + 5 * 5
    assert np.array_equal(field.mask, field.potential > 0)


def test_later_kinds_hide_earlier_ones() -> None:
    plate = Body(np.full((10, 10), 50.0, np.float32), GOLD)
    field = Contamination.none((10, 10))
    field.add(plate, "gold")
    field.add(plate, "crystal")
    assert (field.labels == KINDS.index("gold") + 1).all()


def test_padding_keeps_places_and_mirrors() -> None:
    field = contaminate(SHAPE, PIXEL, DIAMETER, 8.0, np.random.default_rng(3))
    wide = field.padded(((5, 7), (9, 11)))
    assert wide.labels.shape == (SHAPE[0] + 12, SHAPE[1] + 20)
    assert np.array_equal(wide.labels[5:-7, 9:-11], field.labels)
    assert np.array_equal(wide.absorption[4, 9:-11], field.absorption[0])
    for before, after in zip(field.nuisances, wide.nuisances, strict=True):
        assert (after.x - 9, after.y - 5, after.radius) == pytest.approx((before.x, before.y, before.radius))
    assert not Contamination.none((8, 8)).padded(((1, 1), (1, 1))).mask.any()


def test_thick_matter_absorbs_what_no_phase_can_show() -> None:
    field = Contamination.none((8, 8))
    field.add(
        ice := Body(np.full((8, 8), 3000.0, np.float32), ice_crystal(60.0, 4.0, np.random.default_rng(0)).material),
        "crystal",
    )
    assert field.potential.max() < 1201 < 3000 * ice.material.potential
    assert np.exp(-field.absorption.max()) < 0.25


def test_enlarged_fields_are_smooth_and_keep_constants() -> None:
    assert enlarge(np.full((5, 7), 3.0, np.float32), (33, 50)) == pytest.approx(3.0, rel=1e-5)
    ramp = enlarge(np.tile(np.arange(9, dtype=np.float32), (4, 1)), (10, 81))
    assert abs(np.diff(ramp[0], n=2)).max() < 0.02
