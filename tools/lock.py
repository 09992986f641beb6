"""Write `requirements/*.txt` and those of the toolchains: pins with hashes, without index addresses. By `make lock`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = ("protos", "device_profiles", "converters", "agent", "host")


def compile_pins(output: str, *arguments: str, stdin: str | None = None, python: str = "3.11") -> None:
    """One requirements file."""
    own = [f"--no-emit-package=edgectl-{n}" for n in ("protos", "profiles", "converters", "agent", "host")]
    command = [str(ROOT / ".venv/bin/uv"), "pip", "compile", "-q", "--python-version", python]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", *own]
    subprocess.run([*command, *arguments, "-o", output], cwd=ROOT, check=True, input=stdin, text=True)


def main() -> int:
    """All pins."""
    projects = [f"{name}/pyproject.toml" for name in DISTRIBUTIONS]
    compile_pins("requirements/uv.txt", "-", stdin="uv\n")
    compile_pins("requirements/run.txt", *projects, "--all-extras", "--group", "build")
    dev = ["--group", "build", "--group", "dev", "-c", "requirements/run.txt"]
    compile_pins("requirements/dev.txt", *projects, "--all-extras", *dev)
    for toolchain in sorted((ROOT / "converters/edgectl_converters/toolchains").iterdir()):
        python = json.loads((toolchain / "toolchain.json").read_bytes())["python"]
        folder = str(toolchain.relative_to(ROOT))
        compile_pins(f"{folder}/libraries.txt", f"{folder}/libraries.in", python=python)
        compile_pins(f"{folder}/lerobot.txt", f"{folder}/lerobot.in", "--no-deps", python=python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
