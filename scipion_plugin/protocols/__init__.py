"""The protocols."""

from scipion_plugin.protocols.protocol_import_model import RelionExtPickerProtImportModel
from scipion_plugin.protocols.protocol_pick import RelionExtPickerProtPick
from scipion_plugin.protocols.protocol_train import RelionExtPickerProtTrain

__all__ = ["RelionExtPickerProtImportModel", "RelionExtPickerProtPick", "RelionExtPickerProtTrain"]
