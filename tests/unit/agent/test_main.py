"""The arguments of `edgectl-agent`. In processes of its own: it takes over the signals of the one that it runs in."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("option", ["--worker-mib", "--reserve-mib"])
@pytest.mark.parametrize("value", ["-1", "many"])
def test_a_bound_that_is_no_number_of_mib_is_refused_and_never_taken_for_none(option, value, tmp_path):
    command = [sys.executable, "-m", "edgectl_agent", "run", "--state-dir", str(tmp_path), "--listen", "unix:/x"]
    done = subprocess.run([*command, f"{option}={value}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert option in done.stderr
