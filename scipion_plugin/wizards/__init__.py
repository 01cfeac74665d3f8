"""The wizards."""

from scipion_plugin.wizards.wizard_box import RelionExtPickerBoxWizard, RelionExtPickerDiameterWizard
from scipion_plugin.wizards.wizard_preview import RelionExtPickerPreviewWizard

__all__ = ["RelionExtPickerBoxWizard", "RelionExtPickerDiameterWizard", "RelionExtPickerPreviewWizard"]
