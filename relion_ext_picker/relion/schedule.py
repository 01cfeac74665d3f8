"""RELION 3.1's schedules: jobs that its scheduler runs one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relion_ext_picker.relion import labels
from relion_ext_picker.relion.tables import table_text

_UNDEFINED = "undefined"


@dataclass(frozen=True)
class Step:
    """One job of a schedule.

    Attributes
    ----------
    name : str
    kind : int
        RELION's number of the job type.
    text : str
        Its job.star, in which results of earlier steps are called ``Schedules/NAME/STEP/file``.
    outputs : sequence of (str, int)
        Results and their node types.
    inputs : sequence of str
        Results of earlier steps that it needs.
    """

    name: str
    kind: int
    text: str
    outputs: Sequence[tuple[str, int]]
    inputs: Sequence[str] = ()


def write_schedule(folder: str, steps: Sequence[Step]) -> dict[str, str]:
    """The files of a schedule that runs steps in order and ends: name -> text.

    Parameters
    ----------
    folder : str
        ``Schedules/NAME``, below the project.
    steps : sequence of Step
    """
    names = [step.name for step in steps]
    ways = list(zip(names, [*names[1:], "EXIT"], strict=True))
    head = f"\ndata_schedule_general\n\n_{labels.SCHEDULE_NAME} {folder}/\n_{labels.SCHEDULE_CURRENT} {names[0]}\n\n"
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = {
        "operators": _columns(labels.SCHEDULE_OPERATOR, [["EXIT", "exit", *[_UNDEFINED] * 3]]),
        "jobs": _columns(labels.SCHEDULE_JOB, [[name, name, "new", 0] for name in names]),
        "edges": _columns(labels.SCHEDULE_EDGE, [[a, b, 0, _UNDEFINED, _UNDEFINED] for a, b in ways]),
    }
    schedule = head + "\n".join(table_text(f"schedule_{name}", table) for name, table in tables.items())
    files = {f"{folder}/{step.name}/job.star": step.text for step in steps}
    files[f"{folder}/schedule.star"] = schedule
    files[f"{folder}/schedule_pipeline.star"] = _pipeline(folder, steps)
    return files


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


def _pipeline(folder: str, steps: Sequence[Step]) -> str:
    """The graph of the jobs, as RELION keeps it beside the schedule."""
    processes: dict[str, list[Any]] = {
        labels.PROCESS_NAME: [f"{folder}/{step.name}/" for step in steps],
        labels.PROCESS_ALIAS: ["None"] * len(steps),
        labels.PROCESS_TYPE: [step.kind for step in steps],
        labels.PROCESS_STATUS: [labels.SCHEDULED] * len(steps),
    }
    nodes = [node for step in steps for node in step.outputs]
    into = [(name, f"{folder}/{step.name}/") for step in steps for name in step.inputs]
    out = [(f"{folder}/{step.name}/", name) for step in steps for name, _ in step.outputs]
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = {
        "pipeline_processes": processes,
        "pipeline_nodes": {
            labels.NODE_NAME: [name for name, _ in nodes], labels.NODE_TYPE: [kind for _, kind in nodes],
        },
        "pipeline_input_edges": {
            labels.EDGE_FROM: [name for name, _ in into], labels.EDGE_PROCESS: [process for _, process in into],
        },
        "pipeline_output_edges": {
            labels.EDGE_PROCESS: [process for process, _ in out], labels.EDGE_TO: [name for _, name in out],
        },
    }  # fmt: skip
    head = f"\ndata_pipeline_general\n\n_{labels.JOB_COUNTER} {len(steps) + 1}\n\n"
    return head + "\n".join(table_text(name, table) for name, table in tables.items())
