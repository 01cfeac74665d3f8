"""Names that the plugin shares with Scipion's configuration and with the files of the program."""

from __future__ import annotations

NAME = "relion_ext_picker"

PYTHON = "RELION_EXT_PICKER_PYTHON"
ACTIVATION = "RELION_EXT_PICKER_ENV_ACTIVATION"

SCORE = "_pickerScore"  # of a coordinate: 0 to 1
SHAPE = "_pickerClass"  # of a coordinate: number of the class of shapes, 0 in modes that have none

BOX = 1.5  # side of a box in diameters, as in the program's own .box files
BATCH = 16  # micrographs that one run of the program picks

# Columns and tables of the files that the program reads and writes, see docs/reference/star_contract.md. The program
# spells them in relion/labels.py, which the plugin must not import; a test compares the two.
LABELS = {
    "MICROGRAPH_NAME": "rlnMicrographName",
    "MICROGRAPH_COORDINATES": "rlnMicrographCoordinates",
    "MICROGRAPH_PIXEL_SIZE": "rlnMicrographPixelSize",
    "OPTICS_GROUP": "rlnOpticsGroup",
    "OPTICS_GROUP_NAME": "rlnOpticsGroupName",
    "VOLTAGE": "rlnVoltage",
    "SPHERICAL_ABERRATION": "rlnSphericalAberration",
    "AMPLITUDE_CONTRAST": "rlnAmplitudeContrast",
    "COORDINATE_X": "rlnCoordinateX",
    "COORDINATE_Y": "rlnCoordinateY",
    "CLASS_NUMBER": "rlnClassNumber",
    "FIGURE_OF_MERIT": "rlnAutopickFigureOfMerit",
    "PIXEL_SIZE": "rlnPixelSize",
    "ORIGIN_X_ANGSTROM": "rlnOriginXAngst",
    "ORIGIN_Y_ANGSTROM": "rlnOriginYAngst",
    "ANGLE_ROT": "rlnAngleRot",
    "ANGLE_TILT": "rlnAngleTilt",
    "ANGLE_PSI": "rlnAnglePsi",
    "IMAGE_NAME": "rlnImageName",
    "IMAGE_PIXEL_SIZE": "rlnImagePixelSize",
    "IMAGE_SIZE": "rlnImageSize",
    "CLASS_DISTRIBUTION": "rlnClassDistribution",
    "ESTIMATED_RESOLUTION": "rlnEstimatedResolution",
    "SELECTED": "rlnSelected",
    "ANGSTROM_RESOLUTION": "rlnAngstromResolution",
    "FSC_UNMASKED": "rlnFourierShellCorrelationUnmaskedMaps",
    "FSC_MASKED": "rlnFourierShellCorrelationMaskedMaps",
    "FSC_RANDOMISED": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    "FSC_CORRECTED": "rlnFourierShellCorrelationCorrected",
    "JOB_OPTION_VARIABLE": "rlnJobOptionVariable",
    "JOB_OPTION_VALUE": "rlnJobOptionValue",
    "PARTICLES_TABLE": "particles",
    "MODEL_TABLE": "model_general",
    "FSC_TABLE": "fsc",
    "OPTICS_TABLE": "optics",
    "MICROGRAPHS_TABLE": "micrographs",
    "COORDINATE_FILES_TABLE": "coordinate_files",
}
