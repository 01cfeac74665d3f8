"""The part of the table of options that the simulate command has for itself."""

from __future__ import annotations

from dataclasses import dataclass

from relion_ext_picker.option import opt

HANDMADE = ("apoferritin", "klh", "20s", "bgal", "trpv1", "ribosome", "small")
SHAPES = ("shell", "barrel", "cylinder", "ring", "irregular", "symmetric", "membrane", "compact", "rod")
STRUCTURES = (*HANDMADE, *SHAPES)
CONTAMINANTS = ("carbon", "hole", "crystal", "ethane", "gold", "aggregate", "broken")
ORIENTATIONS = ("uniform", "cap", "belt", "both", "mixed")
CAMERAS = ("counting", "integrating", "ccd", "ideal")
NO_PRESET = "none"
SIMULATION_PRESETS = (
    NO_PRESET, "apoferritin", "trpv1", "bgal", "klh", "small", "ribosome", "ribosome-snr0.05", "ribosome-snr0.01",
    "ribosome-snr0.005", "ribosome-snr0.001",
)  # fmt: skip


@dataclass(frozen=True)
class SimulateOptions:
    """Write a RELION project of simulated micrographs whose particles are known."""

    o: str = opt("", "Project folder to write.", group="Output", metavar="DIR", required=True)
    preset: str = opt(
        NO_PRESET, "Conditions of a published data set, for every option that is not given itself.",
        choices=SIMULATION_PRESETS, group="Specimen",
    )  # fmt: skip
    structure: str = opt(
        "shell", f"Particle: a .pdb, .cif, .mrc or .map file; hand-made {', '.join(HANDMADE)}; or, different for every "
        f"seed, {', '.join(SHAPES)} (also written procedural:NAME).", group="Specimen", metavar="NAME",
    )  # fmt: skip
    diameter: float = opt(
        0.0, "Particle diameter of a shape that differs for every seed; 0 is 130 Å. Hand-made structures and files "
        "have their own.", unit="Å", low=0, high=5000, group="Specimen",
    )  # fmt: skip
    micrographs: int = opt(5, "Number of micrographs.", low=1, high=100000, group="Specimen")
    particles: int = opt(80, "Mean number of particles per micrograph.", low=0, high=10**5, group="Specimen")
    overlaps: float = opt(0.04, "Share of the particles that may overlap others.", low=0, high=1, group="Specimen")
    orientations: str = opt(
        "uniform", "uniform; cap: views along the particle's z axis; belt: views across it; both: half cap, half "
        "belt; mixed: 35 % cap, 35 % belt, 30 % uniform.", choices=ORIENTATIONS, group="Specimen",
    )  # fmt: skip
    orientation_spread: float = opt(
        20.0, "Standard deviation of cap and belt views about their direction.", unit="degrees", low=0, high=90,
        group="Specimen",
    )  # fmt: skip
    thickness: str = opt(
        "400", "Ice thickness, one value or a range; particles lie anywhere in it.", unit="Å", low=0, high=5000,
        group="Specimen", metavar="A-B", span=True,
    )  # fmt: skip
    contaminants: float = opt(
        0.5, "Mean number of contaminants (a shower of small ones counts once) per micrograph.", low=0, high=100,
        group="Specimen",
    )  # fmt: skip
    contaminant_kinds: str = opt(
        "all", "Which contaminants may occur, comma-separated.", choices=("all", *CONTAMINANTS), group="Specimen",
        metavar="LIST", many=True,
    )  # fmt: skip
    size: str = opt("1024x1024", "Columns x rows of a micrograph.", group="Microscope", metavar="CxR")
    pixel_size: float = opt(2.0, "Pixel size.", unit="Å/px", low=0.1, high=50, group="Microscope")
    voltage: float = opt(300.0, "Acceleration voltage.", unit="kV", low=60, high=400, group="Microscope")
    spherical_aberration: float = opt(2.7, "Spherical aberration.", unit="mm", low=0, high=10, group="Microscope")
    amplitude_contrast: float = opt(0.1, "Amplitude contrast.", low=0, high=1, group="Microscope")
    defocus: str = opt(
        "0.8-2.5", "Underfocus, one value or a range.", unit="µm", low=0.05, high=10, group="Microscope",
        metavar="A-B", span=True,
    )  # fmt: skip
    astigmatism: str = opt(
        "0-300", "Difference between the defoci along two directions, one value or a range.", unit="Å", low=0,
        high=10000, group="Microscope", metavar="A-B", span=True,
    )  # fmt: skip
    bfactor: str = opt(
        "50-120", "B-factor of the envelope, one value or a range.", unit="Å²", low=0, high=2000, group="Microscope",
        metavar="A-B", span=True,
    )  # fmt: skip
    dose: str = opt(
        "30", "Electrons that hit the specimen in all frames, one value or a range.", unit="e/Å²", low=0.01, high=1000,
        group="Microscope", metavar="A-B", span=True,
    )  # fmt: skip
    frames: int = opt(1, "Frames into which the dose is divided.", low=1, high=10000, group="Microscope")
    used_frames: int = opt(
        0, "How many of the first frames make up the micrograph; 0 is all, 1 a single-frame micrograph.", low=0,
        high=10000, group="Microscope",
    )  # fmt: skip
    damage: bool = opt(True, "The beam takes fine detail away from the particles.", group="Microscope")
    snr: str = opt(
        "0", "Signal-to-noise ratio of the micrograph, one value or a range: the dose is chosen so that it has it; 0 "
        "leaves the dose as it is.", low=0, high=100, group="Microscope", metavar="A-B", span=True,
    )  # fmt: skip
    camera: str = opt(
        "counting", "Camera: counting (like a K2), integrating (like a Falcon II), ccd, or ideal.", choices=CAMERAS,
        group="Microscope",
    )  # fmt: skip
    seed: int = opt(0, "Seed of every random choice.", low=0, high=2**31 - 1, group="Running")
    j: int = opt(1, "Number of CPU threads.", group="RELION", low=1, high=1024)
