"""Paper and pen: page format, palette, text that fits, one look for all axes, and the writing of files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

PAGE = (11.69, 8.27)  # inch; A4, lying, as it fills a screen
MARGIN = 0.065  # of the page width
DPI = 150

INK = "#1b2530"
MUTED = "#66727f"
LINE = "#d5dae0"
BLUE = "#0072b2"  # Okabe and Ito's palette, told apart by colour-blind readers and in grey print
VERMILLION = "#d55e00"
MISSED = "#56d4ff"

MANY = 2000  # from here on points are drawn as an image, so that the file stays small and opens at once


def score_colours() -> ListedColormap:
    """Plasma without its darkest part, which would drown in a dark micrograph; still perceptually uniform."""
    return ListedColormap(matplotlib.colormaps["plasma"](np.linspace(0.3, 0.97, 256)), "score")


@contextmanager
def _own_style() -> Iterator[None]:
    """matplotlib's own defaults, whatever the user's matplotlibrc says, and no warning for letters the font lacks."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 9, "axes.formatter.useoffset": False, "text.parse_math": False})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def save_pdf(path: Path, pages: Iterable[Callable[[], Figure]], title: str) -> None:
    """Draw pages and write them as a PDF; equal pages give equal bytes, since no date is stored.

    Parameters
    ----------
    path : Path
        Written in place: the caller gives a temporary name and renames.
    pages : iterable of callables that return a Figure
        Called one after the other, so that one page is in memory at a time.
    title : str
        Title of the document.
    """
    metadata = {"Title": plain(title), "Creator": "relion_ext_picker", "CreationDate": None}
    with _own_style(), PdfPages(path, metadata=metadata) as document:
        for page in pages:
            document.savefig(page(), dpi=DPI)


def save_png(path: Path, page: Callable[[], Figure], dpi: int = DPI) -> None:
    """Draw one figure and write it as PNG, without version or date in its header."""
    with _own_style():
        page().savefig(path, format="png", dpi=dpi, metadata={"Software": None})


def page(title: str, footer: str) -> Figure:
    """An empty page with title, rule and footer."""
    figure = Figure(figsize=PAGE, facecolor="white")
    FigureCanvasAgg(figure)  # text is measured with it
    write(figure, (MARGIN, 0.925), title, 1 - 2 * MARGIN, fontsize=15, weight="bold")
    rule(figure, 0.905, INK)
    write(figure, (MARGIN, 0.03), footer, 1 - 2 * MARGIN, fontsize=7.5, color=MUTED)
    return figure


def rule(figure: Figure, y: float, colour: str) -> None:
    """A thin line across the page."""
    figure.add_artist(Line2D([MARGIN, 1 - MARGIN], [y, y], transform=figure.transFigure, color=colour, lw=0.7))


def heading(figure: Figure, y: float, text: str) -> None:
    """A section heading on a text page."""
    figure.text(MARGIN, y, text, weight="bold", fontsize=11, color=INK)
    rule(figure, y - 0.01, LINE)


def plain(text: str) -> str:
    """Text that can be stored in a file, whatever bytes a file name is made of."""
    return text.encode("utf-8", "replace").decode("utf-8")


def write(figure: Figure, xy: tuple[float, float], text: str, width: float, cut: float = 0.5, **style: Any) -> None:
    """Text on a page, shortened with an ellipsis until it is no wider than `width`.

    Parameters
    ----------
    figure : Figure
    xy : (float, float)
        Left end of the base line, fractions of the page.
    text : str
    width : float
        Fraction of the page.
    cut : float
        Where text that is too long loses letters: 0 at its start, 0.5 in the middle.
    **style
        Properties of the text.
    """
    text = plain(text)
    artist = figure.text(*xy, text, **{"color": INK, **style})
    allowed = width * figure.bbox.width
    keep = len(text)
    while keep > 3 and (taken := artist.get_window_extent().width) > allowed:
        keep = min(keep - 1, int(keep * allowed / taken) + 1)
        before = int(keep * cut)
        artist.set_text(text[:before] + "…" + text[len(text) - (keep - before) :])


def style(axes: Axes, title: str, x: str, y: str, counts: bool = True) -> None:
    """One look for all charts; `counts` says that the y axis has whole numbers."""
    axes.set_title(title, loc="left", fontsize=10.5, weight="bold", color=INK, pad=20)
    axes.set_xlabel(x, color=INK, labelpad=5)
    axes.set_ylabel(y, color=INK, labelpad=6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(color=MUTED, labelcolor=INK)
    axes.grid(axis="y", color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(whole_numbers(6) if counts else MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if counts:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def whole_numbers(most: int) -> MaxNLocator:
    """At most `most` ticks, never at fractions, even where the axis spans less than two whole numbers."""
    return MaxNLocator(most, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)


def nothing(axes: Axes, text: str) -> None:
    """Say that there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=11)
    axes.set(xticks=[], yticks=[])


def scale(limits: tuple[float, float]) -> ScalarMappable:
    """Score to colour."""
    return ScalarMappable(Normalize(*limits), score_colours())


def finish_bar(bar: Any, label: str) -> None:
    """The look of a colour bar."""
    bar.outline.set_visible(False)
    bar.set_label(label, color=INK)
    bar.ax.tick_params(color=MUTED, labelcolor=INK)
    bar.locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    bar.update_ticks()
