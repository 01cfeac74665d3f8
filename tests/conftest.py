"""One small simulated RELION project, made once per session."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from jobs import DIAMETER, Simulated

from relion_ext_picker.options import SimulateOptions
from relion_ext_picker.workflows.simulate import write_project


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes several seconds; leave out with -m 'not slow'")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Three micrographs of 512 x 512 px at 4 Å/px with clear hollow shells; not to be written into."""
    folder = tmp_path_factory.mktemp("simulated") / "project"
    logging.getLogger("relion_ext_picker").setLevel(logging.WARNING)
    truths = write_project(
        SimulateOptions(
            o=str(folder), structure="shell", diameter=DIAMETER, micrographs=3, particles=45, size="512x512",
            pixel_size=4.0, contaminants=0.0, thickness="200", seed=5,
        )
    )  # fmt: skip
    return Simulated(folder, truths)


@pytest.fixture
def project(simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    """A copy of the simulated project, which is the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(simulated.folder, folder)
    monkeypatch.chdir(folder)
    return Simulated(folder, simulated.truths)
