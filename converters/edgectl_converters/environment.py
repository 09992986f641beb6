"""Makes a toolchain's environment, and looks into one: its packages and their versions."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.brake import Brake
from edgectl_converters.pip_words import no_room_words, why
from edgectl_converters.recipe import Recipe
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.errors import DiskFullError, EdgectlError, ToolchainError

__all__ = ["Probed", "make_environment", "missing_packages", "probe", "versions_in"]

_PROBE = """
import importlib.metadata as m, json, sys
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        found[name] = ""
print(json.dumps({"versions": found, "paths": [path for path in sys.path if path]}))
"""
_PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Probed:
    """Versions by package (empty where it is missing), `python` among them, and where that Python finds packages."""

    versions: dict[str, str]
    paths: tuple[str, ...]


def probe(python: Path, packages: Iterable[str]) -> Probed | None:
    """What an interpreter says about itself; None when it is none."""
    command = [str(python), "-I", "-c", _PROBE, *packages]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False)
        return from_bytes(Probed, done.stdout, what="probe") if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, EdgectlError):
        # It ran, and is no Python, where the answer does not read.
        return None


def versions_in(paths: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
    """Versions of packages in these folders, without starting their Python; empty where one is missing."""
    searched = list(paths)
    versions = {}
    for package in packages:
        found = next(iter(importlib.metadata.distributions(name=package, path=searched)), None)
        versions[package] = found.version if found else ""
    return versions


def missing_packages(versions: dict[str, str], needed: Iterable[str]) -> list[str]:
    """Those that are not there."""
    return [package for package in needed if not versions.get(package)]


def make_environment(
    recipe: Recipe, base: Path, folder: Path, bridge: Path, progress: Callable[[str], None], brake: Brake
) -> dict[str, str]:
    """Make it in its place (a virtual environment cannot be renamed); versions of what is in it. Nothing half is left.

    Its Python finds edgectl's own packages in `bridge`.

    Raises:
        ToolchainError: a step of the installation failed.
        DiskFullError: the disk of the folder, or that of temporary files, has no room for it.
        CancelledError: the brake was pulled.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        progress(f"{recipe.name} toolchain: making the environment with {base}")
        _run(recipe, [str(base), "-m", "venv", str(folder)], folder, brake)
        python = folder / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        for what, options in recipe.steps:
            progress(f"{recipe.name} toolchain: {what}")
            _run(recipe, [*pip, *options], folder, brake)
        for packages in folder.glob("lib/python*/site-packages"):
            (packages / "edgectl.pth").write_text(f"{bridge}\n")
        found = probe(python, recipe.probe)
        missing = missing_packages(found.versions, recipe.needs) if found else ["a Python that runs"]
        if found is None or missing:
            raise ToolchainError(f"the {recipe.name} toolchain was made, but lacks {', '.join(missing)}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return found.versions


def _run(recipe: Recipe, command: list[str], folder: Path, brake: Brake) -> None:
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    except OSError as exc:
        raise ToolchainError(f"making the {recipe.name} toolchain failed: {command[0]}: {exc.strerror}") from exc
    with process:
        try:
            with brake.held_by(process.kill):
                output, errors = process.communicate()
        except BaseException:
            # Interrupted: it must not go on writing by itself.
            process.kill()
            raise
    brake.check()
    if process.returncode != 0:
        if words := no_room_words(f"{output}\n{errors}"):
            raise DiskFullError(
                f"{folder}: no room for the {recipe.name} toolchain, which takes {recipe.takes}: {words}",
                hint=f"make room: df -h {folder.parent} {tempfile.gettempdir()}; edgectl cache shows what it holds",
            )
        raise ToolchainError(
            f"making the {recipe.name} toolchain failed: {why(errors if errors.strip() else output)}",
            hint=f"take an environment of your own: edgectl toolchain use {recipe.name} --python PATH",
        )
