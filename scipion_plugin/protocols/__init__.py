"""The protocols."""

from scipion_plugin.protocols.protocol_evaluate import RelionExtPickerProtEvaluate
from scipion_plugin.protocols.protocol_feedback import RelionExtPickerProtFeedback
from scipion_plugin.protocols.protocol_import_model import RelionExtPickerProtImportModel
from scipion_plugin.protocols.protocol_pick import RelionExtPickerProtPick
from scipion_plugin.protocols.protocol_train import RelionExtPickerProtTrain

__all__ = [
    "RelionExtPickerProtEvaluate",
    "RelionExtPickerProtFeedback",
    "RelionExtPickerProtImportModel",
    "RelionExtPickerProtPick",
    "RelionExtPickerProtTrain",
]
