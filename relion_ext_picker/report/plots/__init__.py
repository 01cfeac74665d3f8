"""Drawing: every figure of the report. The only part of the program that imports matplotlib.

Figures are made without pyplot, so nothing global is touched, no display is needed, and they are freed when dropped.
"""

from __future__ import annotations

from relion_ext_picker.report.plots.agreement import classes_page, picks_page
from relion_ext_picker.report.plots.angles import angles_page
from relion_ext_picker.report.plots.canvas import save_pdf, save_png
from relion_ext_picker.report.plots.compare import compare_page, grid_page
from relion_ext_picker.report.plots.feedback import feedback_rounds_page, kept_page, labels_page
from relion_ext_picker.report.plots.maps import fsc_page, local_page, series_page
from relion_ext_picker.report.plots.numbers import number_pages
from relion_ext_picker.report.plots.pages import counts_page, cover_page, scores_page
from relion_ext_picker.report.plots.pictures import overlay_figure, overlay_page
from relion_ext_picker.report.plots.teaching import examples_page, found_page, losses_page
from relion_ext_picker.report.plots.training import learning_page, rounds_page, threshold_page, windows_page

__all__ = [
    "angles_page",
    "classes_page",
    "compare_page",
    "counts_page",
    "cover_page",
    "examples_page",
    "feedback_rounds_page",
    "found_page",
    "fsc_page",
    "grid_page",
    "kept_page",
    "labels_page",
    "learning_page",
    "local_page",
    "losses_page",
    "number_pages",
    "overlay_figure",
    "overlay_page",
    "picks_page",
    "rounds_page",
    "save_pdf",
    "save_png",
    "scores_page",
    "series_page",
    "threshold_page",
    "windows_page",
]
