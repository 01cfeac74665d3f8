"""Structures with a name: the shapes that particle pickers are tested on, when no file is given.

Each is built of domains whose masses, places and symmetry are those of the molecule as far as they matter at 5 to 10 Å.
They stand for the shape classes, not for the molecules: no residue is where it is in nature.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from relion_ext_picker.simulation.building import (
    Domain,
    Matter,
    Points,
    Triple,
    build,
    cyclic,
    dihedral,
    octahedral,
)

Plan = tuple[list[Domain], Points]
SEED = 20  # of the small displacements; one seed, so that a name is one structure


def _polar(radius: float, degrees: float, z: float) -> Triple:
    """Cartesian place of cylinder coordinates."""
    angle = np.radians(degrees)
    return float(radius * np.cos(angle)), float(radius * np.sin(angle)), z


def _apoferritin() -> Plan:
    """Hollow shell of 24 four-helix bundles, 478 kDa; places and directions as in the crystal structure 1FHA."""
    bundle = Domain(17600, (38.7, -11.2, 31.7), (10.5, 15.0, 28.0), (-0.48, -0.6, 0.64), (-0.85, 0.16, -0.5))
    fifth_helix = Domain(2300, (48.9, -0.3, 8.9), (5.0, 6.0, 12.0), (-0.96, -0.02, -0.28), (-0.23, 0.6, 0.77))
    return [bundle, fifth_helix], octahedral()


def _proteasome() -> Plan:
    """Four stacked rings of seven, 675 kDa: each subunit two sheets between two layers of helices, as in 3J9I."""
    domains = []
    for mass, radius, azimuth, z in ((25800.0, 36.0, 22.0, 56.0), (22300.0, 38.0, 7.3, 17.5)):
        outward, slanted = _polar(1.0, azimuth, 0.0), _polar(1.0, azimuth + 25.0, 0.2)
        up = _polar(0.4, azimuth + 90.0, 1.0)
        domains += [
            Domain(0.27 * mass, _polar(radius, azimuth, z + 14), (6.0, 11.0, 17.0), outward, up),
            Domain(0.46 * mass, _polar(radius - 1, azimuth, z), (8.5, 12.5, 16.0), slanted, up, "sheets"),
            Domain(0.27 * mass, _polar(radius + 2, azimuth, z - 14), (6.0, 11.0, 17.0), outward, up),
        ]
    return domains, dihedral(7)


def _haemocyanin() -> Plan:
    """Didecamer of keyhole limpet haemocyanin, 8 MDa: a hollow cylinder of six tiers with a collar at either end.

    Of the 160 functional units of 50 kDa, 20 make a tier of the wall, which five oblique clefts divide, and 20 a
    collar (Orlova et al. 1997, J. Mol. Biol. 271, 417-437; Gatsogiannis & Markl 2009, J. Mol. Biol. 385, 963-983).
    """
    domains = []
    for tier, height in enumerate((30.5, 91.5, 152.5)):
        for unit in range(4):
            azimuth = 16.4 * (unit - 1.5) + 13.0 * (tier + 0.5)
            side = (-1) ** (unit + tier)
            domains += _functional_unit(147.0 + 5.0 * side, azimuth, height + 3.0 * side, 12.0)
    for unit in range(2):
        azimuth = 36.0 * unit + 40.0
        domains += _functional_unit(101.0, azimuth, 176.0, 60.0)
        domains += _functional_unit(82.0, azimuth + 18.0, 138.0, 40.0)
    return domains, dihedral(5)


def _functional_unit(radius: float, azimuth: float, z: float, slant: float) -> list[Domain]:
    """A helical domain outside and a sandwich of sheets inside, leaning by `slant` degrees from the cylinder's axis."""
    outward, sideways = np.array(_polar(1.0, azimuth, 0.0)), np.array(_polar(1.0, azimuth + 90.0, 0.0))
    lean = np.radians(slant)
    rods = np.cos(lean) * np.array([0.0, 0.0, 1.0]) + np.sin(lean) * sideways
    centre = np.array([*_polar(radius, azimuth, z)])
    outer, inner = (tuple((centre + step * outward).tolist()) for step in (9.0, -17.0))
    direction = tuple(rods.tolist())
    return [
        Domain(31000, outer, (12.0, 20.5, 30.0), direction, tuple(outward.tolist())),
        Domain(19000, inner, (8.5, 18.5, 29.0), direction, tuple(outward.tolist()), "sheets"),
    ]


def _galactosidase() -> Plan:
    """Flat tetramer with three two-fold axes, 465 kDa, 180 x 145 x 85 Å: five domains a subunit."""
    return [
        Domain(35000, (33, 20, 9), (20, 20, 19), (0.3, 0.2, 1.0)),
        Domain(34000, (23, 47, -18), (13, 22, 24), (0.5, 1.0, 0.2), (0.2, 0.1, 1.0), "sheets"),
        Domain(20000, (67, 13, -12), (12, 17, 20), (0.2, 1.0, 0.6), (1.0, 0.1, 0.0), "sheets"),
        Domain(13500, (65, 41, 6), (11, 14, 18), (1.0, 0.4, 0.0), (0.0, 0.2, 1.0), "sheets"),
        Domain(13500, (10, 28, 22), (11, 14, 18), (0.2, 1.0, 0.4), (0.4, 0.0, 1.0), "sheets"),
    ], dihedral(2)


def _channel() -> Plan:
    """Ion channel like TRPV1: four subunits of 78 kDa around a pore, in a belt of amphipol, above a cytosolic skirt.

    The membrane lies across z; the skirt of ankyrin repeats is on the side of negative z.
    """
    domains = [
        Domain(9000, (15.0, 4.0, 35.0), (8.0, 9.0, 24.0)),
        Domain(14000, (37.0, 9.0, 30.0), (11.0, 11.0, 21.0), (0.15, -0.1, 1.0)),
        Domain(7000, (24.0, 4.0, 6.0), (6.0, 8.0, 17.0), (1.0, -0.5, 0.1), (0.0, 0.0, 1.0)),
        Domain(12000, (32.0, 0.0, -9.0), (11.0, 13.0, 14.0), (0.4, 1.0, 0.3)),
        Domain(5000, (19.0, -15.0, -33.0), (7.0, 11.0, 12.0), (0.0, 0.3, 1.0), (1.0, 0.6, 0.0), "sheets"),
    ]
    for repeat in range(6):  # a curved stack of pairs of helices
        turn = np.radians(-70.0 + 22.0 * repeat)
        centre = (37.0 + 9.0 * float(np.cos(turn)), 2.0 + 8.2 * (repeat - 2.5), -42.0 - 9.0 * float(np.sin(turn)))
        domains.append(Domain(5000, centre, (9.0, 4.8, 11.5), (0.35, 0.2, 1.0), (1.0, 0.0, 0.0)))
    domains.append(Domain(155000, (0.0, 0.0, 31.0), (60.0, 60.0, 19.0), fold="lipid", single=True))
    return domains, cyclic(4)


def _ribosome() -> Plan:
    """70S ribosome, 2.3 MDa, two thirds RNA: subunits on both sides of z = 0, the large one with its three stalks."""
    rng = np.random.default_rng(SEED)
    large = [(0.0, 6.0, -28.0), (4.0, -6.0, -80.0), (44.0, 16.0, -68.0), (-40.0, 22.0, -66.0), (-6.0, 44.0, -70.0)]
    large += [(54.0, -30.0, -36.0), (58.0, 28.0, -26.0), (-54.0, -28.0, -34.0), (-56.0, 26.0, -26.0)]
    large += [(2.0, -58.0, -38.0), (-2.0, 58.0, -28.0)]
    small = [(-14.0, -62.0, 30.0), (20.0, -28.0, 30.0), (-32.0, -12.0, 30.0), (14.0, 32.0, 36.0), (-12.0, 62.0, 40.0)]
    cores = [_wound(88000, centre, rng) for centre in large] + [_wound(98000, centre, rng) for centre in small]
    stalks = [
        Domain(42000, (4.0, 92.0, -36.0), (20.0, 20.0, 24.0), (0.3, 1.0, 0.2), fold="duplexes"),
        Domain(26000, (-82.0, 50.0, -22.0), (12.0, 12.0, 28.0), (-1.0, 0.5, 0.1), fold="duplexes"),
        Domain(24000, (-110.0, 64.0, -18.0), (16.0, 14.0, 18.0), (0.4, 1.0, 0.2)),
        Domain(24000, (86.0, 50.0, -24.0), (14.0, 15.0, 18.0), (1.0, 0.4, 0.1)),
        Domain(14000, (112.0, 60.0, -14.0), (9.0, 9.0, 20.0), (1.0, 0.3, 0.3)),
    ]
    # Proteins sit on the surface and leave the interface between the subunits to the RNA.
    coat = [_on_surface(cores, direction, rng) for direction in _directions(52)]
    return cores + stalks + [domain for domain in coat if abs(domain.centre[2]) > 6.0], cyclic(1)


def _wound(mass: float, centre: Triple, rng: np.random.Generator) -> Domain:
    """A lump of RNA duplexes in a random direction."""
    along, across = rng.normal(size=(2, 3))
    return Domain(mass, centre, (1.0, 1.0, 1.15), tuple(along.tolist()), tuple(across.tolist()), "duplexes")


def _directions(count: int) -> Points:
    """Unit vectors spread evenly, shape (count, 3), on a spiral from pole to pole."""
    z = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _on_surface(cores: list[Domain], direction: Points, rng: np.random.Generator) -> Domain:
    """A small protein where a ray from the middle of the particle leaves the cores."""
    ray = np.arange(0.0, 200.0)[:, None] * direction
    inside = np.minimum.reduce([core.depth(ray) for core in cores]) < 1
    centre = ray[int(np.flatnonzero(inside)[-1])] + 7.0 * direction if inside.any() else 30.0 * direction
    along, across = rng.normal(size=(2, 3))
    fold = str(rng.choice(["helices", "sheets"]))
    return Domain(
        rng.uniform(13e3, 24e3), tuple(centre.tolist()), (1.0, 1.1, 1.4), tuple(along.tolist()),
        tuple(across.tolist()), fold,
    )  # fmt: skip


def _small() -> Plan:
    """Enzyme of 100 kDa without symmetry, 90 Å long: four domains around a cleft."""
    return [
        Domain(43000, (-11.0, -5.0, 0.0), (21.0, 20.0, 22.0), (0.3, 0.4, 1.0)),
        Domain(29000, (19.0, 11.0, 6.0), (14.0, 18.0, 19.0), (0.8, -0.3, 0.5), (0.1, 0.6, 0.3), "sheets"),
        Domain(18000, (11.0, -20.0, -14.0), (13.0, 14.0, 16.0), (1.0, 0.3, 0.2)),
        Domain(10000, (-10.0, 23.0, 9.0), (11.0, 12.0, 13.0), (0.5, 0.2, 1.0)),
    ], cyclic(1)


HANDMADE: dict[str, Callable[[], Plan]] = {
    "apoferritin": _apoferritin,
    "klh": _haemocyanin,
    "20s": _proteasome,
    "bgal": _galactosidase,
    "trpv1": _channel,
    "ribosome": _ribosome,
    "small": _small,
}


def handmade_matter(name: str) -> Matter:
    """Matter of a structure of `HANDMADE`, always the same; its main axis along z."""
    domains, symmetry = HANDMADE[name]()
    return build(domains, symmetry, np.random.default_rng(SEED))
