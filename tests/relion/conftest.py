from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_data() -> Path:
    """Folder of the data that is not part of the project; the test is skipped where there is none."""
    default = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("REP_SHARED", default)) / "data"
    if not folder.is_dir():
        pytest.skip("no shared data here (REP_SHARED)")
    return folder
