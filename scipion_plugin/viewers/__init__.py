"""The viewers."""

from scipion_plugin.viewers.viewer_evaluate import RelionExtPickerEvaluateViewer
from scipion_plugin.viewers.viewer_model import RelionExtPickerModelViewer
from scipion_plugin.viewers.viewer_pick import RelionExtPickerPickViewer

__all__ = ["RelionExtPickerEvaluateViewer", "RelionExtPickerModelViewer", "RelionExtPickerPickViewer"]
