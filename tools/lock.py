"""Write `requirements/*.txt` and those of the toolchains: pins with hashes, without index addresses. By `make lock`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tomllib
from setup import DISTRIBUTIONS

from edgectl_converters.homes import lives_here

ROOT = Path(__file__).resolve().parent.parent


def compile_pins(output: str, *arguments: str, stdin: str | None = None, python: str = "3.11") -> None:
    """One requirements file."""
    own = [f"--no-emit-package=edgectl-{n}" for n in ("protos", "profiles", "converters", "agent", "host")]
    command = [str(ROOT / ".venv/bin/uv"), "pip", "compile", "-q", "--python-version", python]
    command += ["--generate-hashes", "--no-strip-markers", "--no-emit-index-url", "--no-header", "--no-annotate", *own]
    subprocess.run([*command, *arguments, "-o", output], cwd=ROOT, check=True, input=stdin, text=True)


def main() -> int:
    """All pins."""
    projects = [f"{name}/pyproject.toml" for name in DISTRIBUTIONS]
    compile_pins("requirements/uv.txt", "-", stdin="uv\n")
    extras = [f"--extra={extra}" for extra in own_extras()]
    compile_pins("requirements/run.txt", *projects, *extras, "--group", "build")
    dev = ["--group", "build", "--group", "dev", "-c", "requirements/run.txt"]
    compile_pins("requirements/dev.txt", *projects, *extras, *dev)
    for recipe in sorted((ROOT / "converters/edgectl_converters/toolchains").glob("*/toolchain.json")):
        compile_toolchain(recipe)
    return 0


def own_extras() -> list[str]:
    """Every extra but those of runtimes that live in a toolchain, with torch or with what takes long to compile."""
    found = set()
    for name in DISTRIBUTIONS:
        project = tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"]
        found |= set(project.get("optional-dependencies", {}))
    return sorted(filter(lives_here, found))


def compile_toolchain(recipe: Path) -> None:
    """The lock of each `.in` file of a toolchain; one that is installed without dependencies is locked without them."""
    document = json.loads(recipe.read_bytes())
    folder = str(recipe.parent.relative_to(ROOT))
    bare = {step["pip"][-1] for step in document["install"] if "--no-deps" in step["pip"]}
    for wanted in sorted(recipe.parent.glob("*.in")):
        options = ["--no-deps"] if f"{{here}}/{wanted.stem}.txt" in bare else []
        compile_pins(f"{folder}/{wanted.stem}.txt", f"{folder}/{wanted.name}", *options, python=document["python"])


if __name__ == "__main__":
    sys.exit(main())
