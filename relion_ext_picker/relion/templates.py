"""The files made from the table of options: RELION job templates and the reference of options.

``python -m relion_ext_picker.relion.templates [ROOT]`` writes them anew after a change of options.py.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from relion_ext_picker.atomic import atomic_path
from relion_ext_picker.options import (
    COMMANDS,
    RECIPES,
    EvaluateOptions,
    FeedbackOptions,
    PickOptions,
    TrainOptions,
    flag_of,
    info_of,
)
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.tables import table_text

EXECUTABLE = "relion_ext_picker"
_MICROGRAPHS = "CtfFind/job003/micrographs_ctf.star"
_PICK_PARAMETERS = (
    "mode", "diameter", "threshold", "expected_density", "min_distance", "max_picks", "contrast", "retrain_classifier",
    "gpu",
)  # fmt: skip
_TRAIN_PARAMETERS = ("mode", "diameter", "stage", "steps", "classifier_steps", "contrast", "gpu")
_DEEPEM_PICK = (
    "mode", "diameter", "threshold", "expected_density", "min_distance", "max_picks", "contrast", "preset", "model",
    "gpu",
)  # fmt: skip
_DEEPCRYOPICKER_PICK = (
    "mode", "diameter", "threshold", "min_distance", "max_picks", "contrast", "clustering", "learn_from", "preset",
    "gpu",
)  # fmt: skip
_DEEPEM_TRAIN = ("mode", "diameter", "preset", "tune", "contrast", "gpu")
_FEEDBACK = ("diameter", "class_resolution", "class_relative", "class_share", "class_score", "min_pmax", "force")
_EVALUATE = (
    "diameter",
    "truth",
    "class2d",
    "select",
    "refine3d",
    "postprocess",
    "local_resolution",
    "symmetry",
    "compare",
)

_log = logging.getLogger(__name__)


def value_text(value: Any) -> str:
    """An option value as RELION writes it: Yes and No for truth, numbers as short as they can be."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    return f"{value:g}" if isinstance(value, float) else str(value)


def job_star(command: type[Any], names: Sequence[str], given: Mapping[str, str]) -> str:
    """A job.star of RELION's External job, in the form that 3.1, 4 and 5 read.

    Parameters
    ----------
    command : type
        Options dataclass of the command.
    names : sequence of str
        Fields that become the job's parameters, at most ten.
    given : mapping of str
        RELION job options (``fn_exe``, ``in_mic`` ...) and values of fields that differ from their defaults.

    Returns
    -------
    str
    """
    items = {item.name: item for item in fields(command)}
    options = {name: value for name, value in given.items() if name not in names}
    for number, name in enumerate(names, 1):
        options[f"param{number}_label"] = name
        options[f"param{number}_value"] = given.get(name, value_text(items[name].default))
    head = f"\ndata_job\n\n_{labels.JOB_TYPE} {labels.EXTERNAL_JOB_TYPE}\n_{labels.JOB_IS_CONTINUE} 0\n\n"
    columns = {labels.JOB_OPTION_VARIABLE: list(options), labels.JOB_OPTION_VALUE: list(options.values())}
    return head + table_text("joboptions_values", columns)


def options_page() -> str:
    """docs/reference/options.md: all options of all commands."""
    page = [
        "# Options",
        "",
        "Made from `options.py` by `python -m relion_ext_picker.relion.templates`; do not edit.",
        "",
        "`relion_ext_picker COMMAND --option value`; without a command, `pick`. Dashes and underscores within a name "
        "mean the same. A yes/no option takes `Yes` or `No`, nothing (yes), or is written `--no-NAME`. "
        "In RELION's External job an option is a parameter: the label is its name without the leading dashes.",
    ]
    for command, table in COMMANDS.items():
        page += ["", f"## {command}", "", (table.__doc__ or "").strip()]
        groups: dict[str, list[Field[Any]]] = {}
        for item in fields(table):
            groups.setdefault(info_of(item).group, []).append(item)
        for group, items in groups.items():
            page += ["", f"### {command}: {group}", "", "| option | type | default | allowed | meaning |"]
            page += ["|---|---|---|---|---|", *map(_options_row, items)]
    return "\n".join(page) + "\n"


def _options_row(item: Field[Any]) -> str:
    info = info_of(item)
    kind = {"bool": "yes/no", "int": "whole number", "float": "number", "str": "text"}[type(item.default).__name__]
    kind = "number or range" if info.span else kind
    not_given = item.default == "" or (isinstance(item.default, float) and item.default < info.low)
    default = "required" if info.required else "" if not_given else f"`{value_text(item.default)}`"
    allowed = ", ".join(f"`{choice}`" for choice in info.choices)
    if math.isfinite(info.low) and math.isfinite(info.high):
        allowed = f"{info.low:.10g} to {info.high:.10g}"
    names = ", ".join(f"`{name}`" for name in (flag_of(item), *info.aliases))
    unit = f", {info.unit}" if info.unit else ""
    text = info.help + (f" RELION supplies it from `{info.relion}`." if info.relion else "")
    return f"| {names} | {kind}{unit} | {default} | {allowed} | {text.replace('|', chr(92) + '|')} |"


def generated() -> dict[str, str]:
    """Every generated file: path below the repository -> text."""
    common = {"nr_threads": "4", "diameter": "120"}
    pick = {"fn_exe": EXECUTABLE, "in_mic": _MICROGRAPHS, **common}
    picked = "ManualPick/job004/manualpick.star"
    train = {"fn_exe": f"{EXECUTABLE} train", "in_mic": _MICROGRAPHS, "in_coords": picked, **common}
    steps = value_text(RECIPES["DRPnet"]["steps"])
    trained = {"mode": "deepem", "model": "External/job005/model.safetensors"}
    evaluate = {
        "fn_exe": f"{EXECUTABLE} evaluate", "in_mic": _MICROGRAPHS, "in_coords": "External/job004/autopick.star",
        "class2d": "Class2D/job006/", "nr_threads": "1", "diameter": "120",
    }  # fmt: skip
    feedback = {
        **common, "fn_exe": f"{EXECUTABLE} feedback", "in_mic": _MICROGRAPHS,
        "in_part": "Class2D/job006/run_it025_data.star", "in_coords": "External/job004/autopick.star",
    }  # fmt: skip
    return {
        "templates/relion/pick_drpnet/job.star": job_star(PickOptions, _PICK_PARAMETERS, pick),
        "templates/relion/train_drpnet/job.star": job_star(TrainOptions, _TRAIN_PARAMETERS, {**train, "steps": steps}),
        "templates/relion/pick_deepem/job.star": job_star(PickOptions, _DEEPEM_PICK, {**pick, **trained}),
        "templates/relion/pick_deepcryopicker/job.star": job_star(
            PickOptions, _DEEPCRYOPICKER_PICK, {**pick, "mode": "deepcryopicker", "diameter": "0"}
        ),
        "templates/relion/train_deepem/job.star": job_star(TrainOptions, _DEEPEM_TRAIN, {**train, "mode": "deepem"}),
        "templates/relion/evaluate/job.star": job_star(EvaluateOptions, _EVALUATE, evaluate),
        "templates/relion/feedback/job.star": job_star(FeedbackOptions, _FEEDBACK, feedback),
        "docs/reference/options.md": options_page(),
    }


def main(argv: Sequence[str]) -> None:
    """Write the generated files below the folder named in `argv`, or below the repository."""
    root = Path(argv[0]) if argv else Path(__file__).resolve().parents[2]
    for name, text in generated().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        _log.info("%s", path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(sys.argv[1:])
