"""Whether scores are probabilities: how many of the candidates of a score are particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from accuracy_scores import Outcome
from contestants import OURS
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tables import Value, markdown
from taught import TAUGHT

from relion_ext_picker.evaluation.curves import Matches

BINS = np.linspace(0, 1, 11)
VISIBLE = 0.1  # candidates below are many, and hardly anybody takes them
FEW = 10  # candidates from which a bin is drawn
COLOURS = ("#0060c0", "#a000a0", "#606060", "#208040", "#d06000", "#c00000")  # of our pickers


def reliability(score: NDArray[np.float64], hit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Number, mean score and share of particles by bin of the score, shape (10, 3); NaN where a bin is empty."""
    place = np.clip(np.digitize(score, BINS) - 1, 0, len(BINS) - 2)
    rows = []
    for index in range(len(BINS) - 1):
        mine = place == index
        rows.append([mine.sum(), *((score[mine].mean(), hit[mine].mean()) if mine.any() else (np.nan, np.nan))])
    return np.array(rows, np.float64)


def expected_error(score: NDArray[np.float64], hit: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean of |mean score - share of particles| over the candidates."""
    count, mean, share = reliability(score, hit).T
    return float(np.nansum(count * np.abs(mean - share)) / max(len(score), 1))


def pooled(each: Sequence[Matches]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of all candidates, and which of them are particles."""
    return np.concatenate([item.score for item in each]), np.concatenate([item.hit for item in each])


def table(groups: Mapping[str, Mapping[str, Sequence[Matches]]]) -> str:
    """Calibration errors of our pickers, by group of sets."""
    rows: list[list[Value]] = []
    for group, by_picker in groups.items():
        for picker, matches in by_picker.items():
            score, hit = pooled(matches)
            seen = score >= VISIBLE
            off = (score[seen] - hit[seen]).mean() if seen.any() else None
            rows.append([group, picker, len(score), expected_error(score, hit), int(seen.sum()),
                         expected_error(score[seen], hit[seen]), off])  # fmt: skip
    header = ["sets", "picker", "candidates", "error", f"of {VISIBLE:g} and more", "error", "score minus share"]
    return markdown(header, rows, (0, 0, 0, 3, 0, 3, 3))


def draw(groups: Mapping[str, Mapping[str, Sequence[Matches]]], path: Path) -> None:
    """The reliability diagram: share of particles against score, one panel per group of sets."""
    figure = Figure((3.2 * len(groups), 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (group, by_picker) in enumerate(groups.items()):
        axes = figure.add_subplot(1, len(groups), number + 1)
        axes.plot([0, 1], [0, 1], color="#909090", linewidth=1, linestyle="--")
        for picker, matches in by_picker.items():
            colour = COLOURS[list(OURS).index(picker) % len(COLOURS)]
            count, mean, share = reliability(*pooled(matches)).T
            drawn = count >= FEW
            spread = np.sqrt(share[drawn] * (1 - share[drawn]) / count[drawn])
            axes.errorbar(mean[drawn], share[drawn], spread, color=colour, marker="o", markersize=4, linewidth=1.2,
                          label=picker)  # fmt: skip
        axes.set(title=group, xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="score")
        axes.set_ylabel("share that is a particle" if number == 0 else "")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    figure.savefig(path)


def groups_of(
    outcomes: Mapping[tuple[str, str], Outcome], names: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, list[Matches]]]:
    """Our outcomes by group of sets and picker; `names` are the sets of each group."""
    found: dict[str, dict[str, list[Matches]]] = {}
    for group, sets in names.items():
        mine = {picker: [outcomes[name, picker] for name in sets if (name, picker) in outcomes]
                for picker in OURS if picker != TAUGHT}  # fmt: skip
        found[group] = {}
        for picker, each in mine.items():
            if each:
                found[group][picker] = [matches for outcome in each for matches in outcome.each]
    return {group: by_picker for group, by_picker in found.items() if by_picker}
