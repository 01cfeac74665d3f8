"""RELION's names: the only file that spells them.

Column names are written as the starfile library gives them, without the leading underscore. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

# Micrographs
MICROGRAPH_NAME = "rlnMicrographName"
MOVIE_NAME = "rlnMicrographMovieName"
MICROGRAPH_COORDINATES = "rlnMicrographCoordinates"
MICROGRAPH_PIXEL_SIZE = "rlnMicrographPixelSize"  # Å/px of the micrograph as stored
MICROGRAPH_ORIGINAL_PIXEL_SIZE = "rlnMicrographOriginalPixelSize"  # Å/px of the movie
PIXEL_SIZE = "rlnPixelSize"  # Å/px, RELION 3.0
DETECTOR_PIXEL_SIZE = "rlnDetectorPixelSize"  # µm, RELION 3.0
MAGNIFICATION = "rlnMagnification"  # RELION 3.0

# Optics and contrast transfer
OPTICS_GROUP = "rlnOpticsGroup"
OPTICS_GROUP_NAME = "rlnOpticsGroupName"
VOLTAGE = "rlnVoltage"  # kV
SPHERICAL_ABERRATION = "rlnSphericalAberration"  # mm
AMPLITUDE_CONTRAST = "rlnAmplitudeContrast"
DEFOCUS_U = "rlnDefocusU"  # Å
DEFOCUS_V = "rlnDefocusV"  # Å
DEFOCUS_ANGLE = "rlnDefocusAngle"  # degrees
CTF_ASTIGMATISM = "rlnCtfAstigmatism"  # Å
CTF_MAX_RESOLUTION = "rlnCtfMaxResolution"  # Å
CTF_FIGURE_OF_MERIT = "rlnCtfFigureOfMerit"

# Coordinates and particles
COORDINATE_X = "rlnCoordinateX"
COORDINATE_Y = "rlnCoordinateY"
COORDINATE_Z = "rlnCoordinateZ"
CLASS_NUMBER = "rlnClassNumber"
ANGLE_ROT = "rlnAngleRot"
ANGLE_TILT = "rlnAngleTilt"
ANGLE_PSI = "rlnAnglePsi"
FIGURE_OF_MERIT = "rlnAutopickFigureOfMerit"
IMAGE_NAME = "rlnImageName"
IMAGE_PIXEL_SIZE = "rlnImagePixelSize"  # Å/px of extracted particles
IMAGE_SIZE = "rlnImageSize"  # px, side of the box of extracted particles
IMAGE_DIMENSIONALITY = "rlnImageDimensionality"

ORIGIN_X_ANGSTROM = "rlnOriginXAngst"  # Å, from RELION 3.1 on
ORIGIN_Y_ANGSTROM = "rlnOriginYAngst"
ORIGIN_X = "rlnOriginX"  # px of the particle image, RELION 3.0
ORIGIN_Y = "rlnOriginY"
MAX_PROBABILITY = "rlnMaxValueProbDistribution"
LOG_LIKELIHOOD = "rlnLogLikeliContribution"
RANDOM_SUBSET = "rlnRandomSubset"

# Models
CLASS_DISTRIBUTION = "rlnClassDistribution"
ESTIMATED_RESOLUTION = "rlnEstimatedResolution"  # Å
FOURIER_COMPLETENESS = "rlnOverallFourierCompleteness"
ACCURACY_ROTATIONS = "rlnAccuracyRotations"  # degrees; 999 where not estimated
ACCURACY_TRANSLATIONS_ANGSTROM = "rlnAccuracyTranslationsAngst"
ACCURACY_TRANSLATIONS = "rlnAccuracyTranslations"  # px, RELION 3.0
ORIGINAL_IMAGE_SIZE = "rlnOriginalImageSize"
CURRENT_RESOLUTION = "rlnCurrentResolution"
CLASS_SCORE = "rlnClassScore"  # rank_model.star
PREDICTED_CLASS_SCORE = "rlnPredictedClassScore"  # class_averages.star of the class ranker
SELECTED = "rlnSelected"  # backup_selection.star

# Fourier shell correlations
GENERAL_TABLE = "general"
FSC_TABLE = "fsc"
GUINIER_TABLE = "guinier"
SPECTRAL_INDEX = "rlnSpectralIndex"
ANGSTROM_RESOLUTION = "rlnAngstromResolution"
FSC_UNMASKED = "rlnFourierShellCorrelationUnmaskedMaps"
FSC_MASKED = "rlnFourierShellCorrelationMaskedMaps"
FSC_RANDOMISED = "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps"
FSC_CORRECTED = "rlnFourierShellCorrelationCorrected"
FSC_GOLD_STANDARD = "rlnGoldStandardFsc"  # model.star
SSNR_MAP = "rlnSsnrMap"
FINAL_RESOLUTION = "rlnFinalResolution"  # Å
RANDOMISE_FROM = "rlnRandomiseFrom"  # Å
SHARPENING_B_FACTOR = "rlnBfactorUsedForSharpening"  # Å²
UNFILTERED_HALF_MAPS = ("rlnUnfilteredMapHalf1", "rlnUnfilteredMapHalf2")
MASK_NAME = "rlnMaskName"
SYMMETRY_GROUP = "rlnSymmetryGroup"

COORDINATE_COLUMNS = (COORDINATE_X, COORDINATE_Y, CLASS_NUMBER, ANGLE_PSI, FIGURE_OF_MERIT)
"""Columns of a coordinate file, always these and in this order."""

# Tables
OPTICS_TABLE = "optics"
MICROGRAPHS_TABLE = "micrographs"
MOVIES_TABLE = "movies"
PARTICLES_TABLE = "particles"
MODEL_TABLE = "model_general"
CLASSES_TABLE = "model_classes"
COORDINATE_FILES_TABLE = "coordinate_files"
OUTPUT_NODES_TABLE = "output_nodes"

# Pipeline and job files
NODE_NAME = "rlnPipeLineNodeName"
NODE_TYPE = "rlnPipeLineNodeType"  # a number, RELION 3.1
NODE_TYPE_LABEL = "rlnPipeLineNodeTypeLabel"  # a text, RELION 4 and 5
JOB_TYPE = "rlnJobType"
JOB_TYPE_LABEL = "rlnJobTypeLabel"
JOB_IS_CONTINUE = "rlnJobIsContinue"
JOB_OPTION_VARIABLE = "rlnJobOptionVariable"
JOB_OPTION_VALUE = "rlnJobOptionValue"
EXTERNAL_JOB_TYPE = 99
REFINE_JOB_TYPE, POSTPROCESS_JOB_TYPE = 10, 15
PIPELINE_TABLE = "pipeline_general"
JOB_COUNTER = "rlnPipeLineJobCounter"
EDGE_FROM = "rlnPipeLineEdgeFromNode"
EDGE_TO = "rlnPipeLineEdgeToNode"
EDGE_PROCESS = "rlnPipeLineEdgeProcess"
PROCESS_NAME = "rlnPipeLineProcessName"
PROCESS_ALIAS = "rlnPipeLineProcessAlias"
PROCESS_TYPE = "rlnPipeLineProcessType"
PROCESS_STATUS = "rlnPipeLineProcessStatus"
SCHEDULED = 1
SCHEDULE_NAME = "rlnScheduleName"
SCHEDULE_CURRENT = "rlnScheduleCurrentNodeName"
SCHEDULE_OPERATOR = (
    "rlnScheduleOperatorName", "rlnScheduleOperatorType", "rlnScheduleOperatorOutput", "rlnScheduleOperatorInput1",
    "rlnScheduleOperatorInput2",
)  # fmt: skip
SCHEDULE_JOB = (
    "rlnScheduleJobNameOriginal", "rlnScheduleJobName", "rlnScheduleJobMode", "rlnScheduleJobHasStarted",
)  # fmt: skip
SCHEDULE_EDGE = (
    "rlnScheduleEdgeInputNodeName", "rlnScheduleEdgeOutputNodeName", "rlnScheduleEdgeIsFork",
    "rlnScheduleEdgeOutputNodeNameIfTrue", "rlnScheduleEdgeBooleanVariable",
)  # fmt: skip

VERSION = 30001
"""``# version`` line of the files we write: read by 3.1, 4 and 5 alike."""

NODE_TYPES: Mapping[str, Mapping[str, str]] = {
    "3.1": {"coordinates": "2", "logfile": "13"},
    "4.0": {
        "coordinates": "MicrographsCoords.star.relion.autopick",
        "logfile": "LogFile.pdf.relion.autopick",
        "model": "ProcessData.safetensors.relion.external",
    },
    "5.0": {
        "coordinates": "MicrographCoordsGroup.star.relion.autopick",
        "logfile": "LogFile.pdf.relion.autopick",
        "model": "ProcessData.safetensors.relion.external",
    },
}
"""Type of an output node per RELION generation and kind; 3.1 has no type for a model file and declares none."""

# Summary of a picking job, as RELION's AutoPick names it
GROUP_NR_PARTICLES = "rlnGroupNrParticles"
IMAGE_SIZE_X = "rlnImageSizeX"
IMAGE_SIZE_Y = "rlnImageSizeY"
