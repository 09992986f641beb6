"""A thousand devices, in memory, behind one host process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from edgectl_host.workflows.connections import MAX_DEVICES_AT_ONCE
from edgectl_testkit.bundles import tiny_bundle

SUPPORT = str(Path(__file__).parents[2] / "support")


def test_a_thousand_devices_are_deployed_to_by_one_process_in_less_than_250_mb(tmp_path):
    folder, _ = tiny_bundle(tmp_path / "bundle")
    command = [sys.executable, "-m", "edgectl_testkit.many_devices", str(folder), "1000"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": SUPPORT}, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["passed"] == 1000
    assert told["open"] == MAX_DEVICES_AT_ONCE
    # With all thousand doubles in it, and the libraries that they need.
    assert told["peak_bytes"] < 250e6, told
