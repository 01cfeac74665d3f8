"""Which jobs follow which: RELION's default_pipeline.star, of 3.1, 4 and 5."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from relion_ext_picker.errors import StarError
from relion_ext_picker.relion import labels
from relion_ext_picker.relion.columns import StarColumns

PIPELINE = "default_pipeline.star"
_JOB = re.compile(r"job(\d+)/?$")


class Pipeline:
    """The graph of jobs of a project.

    Parameters
    ----------
    project : Path

    Raises
    ------
    StarError
        There is no default_pipeline.star, or it is damaged.
    """

    def __init__(self, project: Path = Path()) -> None:
        self._next: dict[str, set[str]] = defaultdict(set)
        star = StarColumns(project / PIPELINE)
        into = self._pairs(star, "pipeline_input_edges", labels.EDGE_FROM, labels.EDGE_PROCESS)
        makers = {
            node: job for job, node in self._pairs(star, "pipeline_output_edges", labels.EDGE_PROCESS, labels.EDGE_TO)
        }
        for node, job in into:
            maker = makers.get(node) or _folder_of(node)
            if maker:
                self._next[maker].add(job)

    def after(self, job: str) -> list[str]:
        """All jobs that use results of a job (``External/job004/``), directly or not, by rising job number."""
        seen: set[str] = set()
        waiting = [job if job.endswith("/") else f"{job}/"]
        while waiting:
            for item in self._next.get(waiting.pop(), ()):
                if item not in seen:
                    seen.add(item)
                    waiting.append(item)
        return sorted(seen, key=_number)

    @staticmethod
    def _pairs(star: StarColumns, table: str, first: str, second: str) -> list[tuple[str, str]]:
        if table not in star.tables or not star.count(table):
            return []
        one, other = star.texts(table, first), star.texts(table, second)
        return [(one.values[a], other.values[b]) for a, b in zip(one.index, other.index, strict=True)]


def read_pipeline(project: Path = Path()) -> Pipeline | None:
    """The pipeline of a project, None where there is none."""
    try:
        return Pipeline(project)
    except StarError:
        return None


def _number(job: str) -> int:
    match = _JOB.search(job)
    return int(match[1]) if match else 0


def _folder_of(node: str) -> str:
    """Job folder that a node lies in: ``External/job004/autopick.star`` -> ``External/job004/``."""
    parts = node.split("/")
    return f"{parts[0]}/{parts[1]}/" if len(parts) > 2 and _JOB.search(parts[1]) else ""
