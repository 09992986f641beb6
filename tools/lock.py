"""Write `requirements/*.txt`: pins with hashes, without index addresses. Run by `make lock`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = ("protos", "device_profiles", "converters", "agent", "host")


def compile_pins(output: str, *arguments: str, stdin: str | None = None) -> None:
    """One requirements file."""
    own = [f"--no-emit-package=edgectl-{n}" for n in ("protos", "profiles", "converters", "agent", "host")]
    command = [str(ROOT / ".venv/bin/uv"), "pip", "compile", "-q", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", *own]
    subprocess.run([*command, *arguments, "-o", output], cwd=ROOT, check=True, input=stdin, text=True)


def main() -> int:
    """All pins."""
    projects = [f"{name}/pyproject.toml" for name in DISTRIBUTIONS]
    compile_pins("requirements/uv.txt", "-", stdin="uv\n")
    compile_pins("requirements/run.txt", *projects, "--all-extras", "--group", "build")
    dev = ["--group", "build", "--group", "dev", "-c", "requirements/run.txt"]
    compile_pins("requirements/dev.txt", *projects, "--all-extras", *dev)
    return 0


if __name__ == "__main__":
    sys.exit(main())
