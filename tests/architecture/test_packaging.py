"""What the distributions promise to whoever installs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_agent_and_all_its_runtimes_can_be_installed_on_the_python_of_jetpack_6():
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "compile", "-q", "--python-version", "3.10", "--all-extras", "agent/pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for runtime in ("onnx==", "onnxruntime==", "openvino==", "av=="):
        assert runtime in done.stdout
