"""What tests of the whole share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The folder of the five wheels, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run([sys.executable, "tools/dist.py", "--wheels-only", "--out", str(folder)], cwd=ROOT, check=True)
    return folder
