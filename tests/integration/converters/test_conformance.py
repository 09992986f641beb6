"""A sample of `make conformance`: the onnx package's backend node tests through edgectl's own conversion."""

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[3] / "tools" / "conformance" / "run.py"


@pytest.mark.slow
def test_a_sample_of_the_node_tests_converts_and_is_right_or_refused():
    found = subprocess.run(
        [sys.executable, str(RUNNER), "--part", "onnx", "--every", "24"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "every threshold holds" in found.stdout
