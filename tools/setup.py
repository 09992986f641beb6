"""Make `.venv` of this checkout: `python tools/setup.py run|dev`.

Starts from a bare CPython with venv. Order: venv, uv (by pip, hash-checked), the pinned requirements (by uv,
hash-checked), then the five distributions as editable installs. A stamp of all inputs makes a second call
cost nothing. Standard library only; each step is shown with its time.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
DISTRIBUTIONS = ("protos", "device_profiles", "converters", "agent", "host")
REQUIREMENTS = {"run": "requirements/run.txt", "dev": "requirements/dev.txt"}


def main() -> int:
    """Bring `.venv` to the level asked for."""
    level = sys.argv[1] if len(sys.argv) == 2 else ""
    if level not in REQUIREMENTS:
        print("usage: setup.py run|dev", file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        print(f"edgectl needs Python 3.11 or newer, this is {found}.", file=sys.stderr)
        print("Name another one: make PYTHON=/path/to/python3.11 setup", file=sys.stderr)
        return 1
    # A complete dev environment holds everything that run needs.
    if any(_stamp(done).exists() for done in ({"run", "dev"} if level == "run" else {"dev"})):
        return 0
    try:
        _make(level)
    except subprocess.CalledProcessError as exc:
        print(f"setup stopped: {' '.join(map(str, exc.cmd[:4]))} … ended with {exc.returncode}", file=sys.stderr)
        print(
            "Nothing is half-installed that a second run would not mend: run the same command.",
            file=sys.stderr,
        )
        return 1
    return 0


def _stamp(level: str) -> Path:
    inputs = [ROOT / REQUIREMENTS[level], ROOT / "requirements/uv.txt", Path(__file__)]
    inputs += [ROOT / name / "pyproject.toml" for name in DISTRIBUTIONS]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    return VENV / f".edgectl-{level}-{digest}"


def _make(level: str) -> None:
    python = BIN / "python"
    if not python.exists():
        _step("venv", [sys.executable, "-m", "venv", str(VENV)])
    quiet = ["-q", "--disable-pip-version-check"]
    _step("uv", [python, "-m", "pip", "install", *quiet, "--require-hashes", "-r", "requirements/uv.txt"])
    uv = [BIN / "uv", "pip", "install", "--python", python]
    _step("requirements", [*uv, "--require-hashes", "-r", REQUIREMENTS[level]])
    editable = [part for name in DISTRIBUTIONS for part in ("-e", name)]
    _step("edgectl", [*uv, "-q", "--no-deps", "--no-build-isolation", *editable])
    _stamp(level).touch()


def _step(name: str, command: list[object]) -> None:
    print(f"setup: {name} …", flush=True)
    started = time.monotonic()
    environment = {**os.environ, "UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "copy")}
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, env=environment)
    print(f"setup: {name} done in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
