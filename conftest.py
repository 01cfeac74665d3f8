"""For the tests of the Scipion plugin: a Scipion home of their own, where Scipion is installed.

Scipion reads its configuration when it is first imported, and importing anything of the plugin does that; so this file
stands outside of it. The home has blanks in its name, as users' folders may have.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

_HOSTS = "[localhost]\nPARALLEL_COMMAND = mpirun -np %_(JOB_NODES)d %_(COMMAND)s\n"
_home = None

if importlib.util.find_spec("pyworkflow") is None:
    collect_ignore = ["scipion_plugin"]
else:
    _home = Path(tempfile.mkdtemp(prefix="scipion tests "))
    (_home / "hosts.conf").write_text(_HOSTS, encoding="utf-8")
    os.environ.update(
        SCIPION_DOMAIN="pwem",
        SCIPION_HOME=str(_home),
        SCIPION_USER_DATA=str(_home / "user data"),
        SCIPION_HOSTS=str(_home / "hosts.conf"),
        SCIPION_PYTHON=sys.executable,
        SCIPION_NOTIFY="False",
        RELION_HOME=str(_home),  # the RELION plugin asks that it exists; what is tested of it runs no RELION
        SCIPION_STEPS_CHECK_SEC="1",
        SCIPION_EM_NEW_FILE_CHECK_SEC="2",
        SCIPION_TEST_NOSYNC="True",
        MPLBACKEND="Agg",
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the home, unless somebody wants to look into it."""
    if _home is not None and "KEEP_SCIPION_TESTS" not in os.environ:
        os.chdir(_home.parent)
        shutil.rmtree(_home, ignore_errors=True)
