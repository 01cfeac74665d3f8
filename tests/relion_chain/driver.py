"""Real RELION 3.1, headless: a project, its jobs and what became of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relion_ext_picker.relion.tables import Table, read_tables, table_text

RUNNING, SCHEDULED, SUCCEEDED, FAILED, ABORTED = range(5)  # process status in the pipeline of RELION 3.1
COORDINATES, LOG_FILE = 2, 13  # node types of RELION 3.1
IMPORT, EXTRACT, CLASS2D, EXTERNAL = 0, 5, 8, 99  # job types of RELION 3.1
FOLDERS = {IMPORT: "Import", EXTRACT: "Extract", CLASS2D: "Class2D", EXTERNAL: "External"}
EXECUTABLE = Path(sys.executable).parent / "relion_ext_picker"  # the one of this environment
PATIENCE = 240  # seconds for one job


@dataclass(frozen=True)
class Pipeline:
    """A RELION project.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    def add(self, kind: int, options: Mapping[str, str]) -> str:
        """Add a job; its name with a slash at the end."""
        name = f"{FOLDERS[kind]}/job{self._counter():03d}/"
        columns = {"rlnJobOptionVariable": list(options), "rlnJobOptionValue": list(options.values())}
        text = f"\ndata_job\n\n_rlnJobType {kind}\n_rlnJobIsContinue 0\n\n{table_text('joboptions_values', columns)}"
        file = self.folder / "next_job.star"
        file.write_text(text, encoding="utf-8")
        self._relion("--addJobFromStar", file.name)
        return name

    def start(self, job: str) -> subprocess.Popen[bytes]:
        """Start a job, new or again, and do not wait for its end."""
        command = ["relion_pipeliner", "--RunJobs", job, "--sec_wait_after", "1"]
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, kind: int, options: Mapping[str, str]) -> str:
        """Add a job and run it to its end; its name."""
        job = self.add(kind, options)
        self.again(job)
        return job

    def again(self, job: str, *more: str) -> None:
        """Run a job (again) to its end."""
        self._relion("--RunJobs", job, "--sec_wait_after", "1", *more)

    def pick(
        self, micrographs: str, parameters: Mapping[str, str], executable: str = "", coordinates: str = ""
    ) -> dict[str, str]:
        """Options of an External job that picks, or trains."""
        options = {"fn_exe": executable or str(EXECUTABLE), "in_mic": micrographs, "nr_threads": "1"}
        options |= {"in_coords": coordinates} if coordinates else {}
        for number, (name, value) in enumerate(parameters.items(), 1):
            options |= {f"param{number}_label": name, f"param{number}_value": value}
        return options

    def status(self, job: str) -> int:
        """What RELION thinks of a job, once it has looked."""
        self._relion("--check_job_completion")
        table = self._tables()["pipeline_processes"]
        return int(dict(zip(table["rlnPipeLineProcessName"], table["rlnPipeLineProcessStatus"], strict=True))[job])

    def nodes(self) -> dict[str, int]:
        """Type of every file that the pipeline knows."""
        table = self._tables()["pipeline_nodes"]
        return dict(zip(table["rlnPipeLineNodeName"], table["rlnPipeLineNodeType"], strict=True))

    def told(self, job: str) -> str:
        """run.out and run.err of a job."""
        files = [self.folder / job / name for name in ("run.out", "run.err")]
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.exists())

    def wait_for(self, file: str, lines: int) -> None:
        """Until a file of the project has so many lines."""
        path, end = self.folder / file, time.monotonic() + PATIENCE
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert time.monotonic() < end, f"{file} did not appear"
            time.sleep(0.01)

    def _relion(self, *words: str) -> None:
        command = ["relion_pipeliner", *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr

    def _tables(self) -> dict[str, Table]:
        return read_tables(self.folder / "default_pipeline.star", ())

    def _counter(self) -> int:
        return int(self._tables()["pipeline_general"]["rlnPipeLineJobCounter"][0])
