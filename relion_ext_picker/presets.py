"""Presets of the simulate command: conditions like those of published data sets. Standard library only.

A preset holds values of `SimulateOptions`; what is given explicitly wins over it. The particle is the hand-made one of
the shape class, so that no file is needed; `--structure` replaces it. Where a source says nothing of a value, that is
said here and a usual one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from relion_ext_picker.errors import InputError
from relion_ext_picker.option import nearest
from relion_ext_picker.simulation_options import NO_PRESET, SimulateOptions

Values = Mapping[str, Any]

# Apoferritin, EMPIAR-10146, the tutorial of cisTEM (Grant, Rohou & Grigorieff 2018, eLife 7, e35383): 300 kV, 1.5 Å/px,
# a microscope corrected for spherical aberration; 1240 x 1200 px is the size of the ten micrographs that this project
# is measured on. They hold 162 particles each, in contact; 115 is what fits in at random. Not stated: defocus and dose.
# The Thon rings of the ten fit 1.65 to 2.23 µm, and with 60 e/Å² the particles stand out of the noise of the power
# spectrum as theirs do, particle by particle (docs/simulation.md, "Beside a real micrograph"). A frame of theirs has
# about 1/40 of the dose.
_APOFERRITIN = {
    "structure": "apoferritin", "size": "1240x1200", "pixel_size": 1.5, "particles": 115, "overlaps": 0.2,
    "voltage": 300.0, "spherical_aberration": 0.0, "amplitude_contrast": 0.07, "defocus": "1.6-2.3", "dose": "60",
    "frames": 40, "thickness": "250-500", "camera": "counting",
}  # fmt: skip

# TRPV1, EMPIAR-10005 (Liao et al. 2013, Nature 504, 107-112): 300 kV, K2 Summit, 3710 x 3710 px of 1.2156 Å; defocus
# 1.5-3.5 µm from Nguyen et al. 2021, BMC Bioinformatics 22, 55 (DRPnet), Table 2. 179 particles in a micrograph of
# CryoPPP (5374 in 30; Dhakal et al. 2023), 195 in DRPnet's (9751 in 50). F30 Polara: Cs 2.0 mm. Not stated in these:
# the dose; 40 e/Å² is usual for the exposure of 6 s.
_TRPV1 = {
    "structure": "trpv1", "size": "3710x3710", "pixel_size": 1.2156, "particles": 190, "voltage": 300.0,
    "spherical_aberration": 2.0, "amplitude_contrast": 0.1, "defocus": "1.5-3.5", "dose": "40", "frames": 30,
    "thickness": "300-600", "camera": "counting",
}  # fmt: skip

# Beta-galactosidase, EMPIAR-10017 (Scheres 2015, J. Struct. Biol. 189, 114-122): F30 Polara at 300 kV (Cs 2.0 mm),
# Falcon II, 4096 x 4096 px of 1.77 Å, 84 micrographs with 590 particles each (CryoPPP: 49391), defocus 1-3 µm (DRPnet,
# Table 2). Not stated in these: the dose; 24 e/Å² is usual for this camera and group at that time.
_BGAL = {
    "structure": "bgal", "size": "4096x4096", "pixel_size": 1.77, "particles": 590, "overlaps": 0.08,
    "voltage": 300.0, "spherical_aberration": 2.0, "amplitude_contrast": 0.1, "defocus": "1.0-3.0", "dose": "24",
    "frames": 1, "thickness": "300-600", "camera": "integrating",
}  # fmt: skip

# Keyhole limpet haemocyanin, the standard of the particle selection comparison (Zhu et al. 2004, J. Struct. Biol. 145,
# 3-14): CM200 (Cs 2.0 mm) at 120 kV, 2048 x 2048 CCD, 2.2 Å/px, 10 e/Å², the pictures far from focus at about 3 µm.
# 82 micrographs with about 1000 side views; with the top views 1580 particles in 80 (DeepCryoPicker, Table 1). The
# cylinder lies or stands in the ice. Amplitude contrast is higher at 120 kV (not stated).
_KLH = {
    "structure": "klh", "size": "2048x2048", "pixel_size": 2.2, "particles": 20, "overlaps": 0.05,
    "orientations": "mixed", "orientation_spread": 5.0, "voltage": 120.0, "spherical_aberration": 2.0,
    "amplitude_contrast": 0.12, "defocus": "2.7-3.3", "bfactor": "150-300", "dose": "10", "thickness": "500-800",
    "camera": "ccd",
}  # fmt: skip

# 70S ribosome: the synthetic series of DeepEM (Zhu, Ouyang & Mao 2017, BMC Bioinformatics 18, 348), Fig. 6, has SNR
# 0.01, 0.005 and 0.001; 0.05 is added as one that is easy. Its microscope is not stated: a usual one of today.
_RIBOSOME = {
    "structure": "ribosome", "size": "2048x2048", "pixel_size": 2.0, "particles": 75, "voltage": 300.0,
    "spherical_aberration": 2.7, "amplitude_contrast": 0.1, "defocus": "1.0-2.5", "dose": "30", "thickness": "400-600",
    "camera": "counting",
}  # fmt: skip

# A particle of 100 kDa without symmetry, recorded as such particles are today: fine pixels, a high dose, thin ice.
_SMALL = {
    "structure": "small", "size": "3072x3072", "pixel_size": 0.83, "particles": 250, "voltage": 300.0,
    "spherical_aberration": 2.7, "amplitude_contrast": 0.1, "defocus": "0.8-2.2", "dose": "50-60", "frames": 50,
    "thickness": "150-350", "camera": "counting",
}  # fmt: skip

PRESETS: Mapping[str, Values] = {
    NO_PRESET: {},
    "apoferritin": _APOFERRITIN,
    "trpv1": _TRPV1,
    "bgal": _BGAL,
    "klh": _KLH,
    "small": _SMALL,
    "ribosome": _RIBOSOME,
    "ribosome-snr0.05": {**_RIBOSOME, "snr": "0.05"},
    "ribosome-snr0.01": {**_RIBOSOME, "snr": "0.01"},
    "ribosome-snr0.005": {**_RIBOSOME, "snr": "0.005"},
    "ribosome-snr0.001": {**_RIBOSOME, "snr": "0.001"},
}


def with_preset(given: Values) -> dict[str, Any]:
    """Values of `SimulateOptions`: those given, and for the rest those of the preset that is among them.

    An unknown preset changes nothing; checking the options finds it.
    """
    values: Values = PRESETS.get(str(given.get("preset", NO_PRESET)), {})
    return {**values, **given}


def simulate_options(preset: str = NO_PRESET, **changes: Any) -> SimulateOptions:
    """Options of a preset with some of them changed; the way to use a preset from Python.

    Raises
    ------
    InputError
        There is no such preset.
    TypeError
        There is no such option.
    """
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: must be one of {', '.join(PRESETS)}{nearest(preset, PRESETS)}")
    return SimulateOptions(**with_preset({"preset": preset, **changes}))


def changes_of(options: SimulateOptions) -> dict[str, Any]:
    """What has to be said to get these options again: the preset and the values that differ from it."""
    usual = SimulateOptions(**with_preset({"preset": options.preset}))
    told = {"preset": options.preset} if options.preset != NO_PRESET else {}
    names = [item.name for item in fields(options) if item.name != "preset"]
    return told | {name: getattr(options, name) for name in names if getattr(options, name) != getattr(usual, name)}
