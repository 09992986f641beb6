"""Toolchains: locked, isolated Python environments in which sources, passes and targets run.

`host` is the environment edgectl itself runs in. `lerobot` is made on first use in `<cache>/toolchains/`, from a recipe
in `toolchains/lerobot-<version>/`, or is an interpreter that the team names. A recipe needs one version of Python; the
first whose Python is at hand is taken, unless one was asked for. A toolchain's lock digest is part of the key of every
step that ran in it.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_protos.domain.errors import ToolchainError

__all__ = ["VERSIONS", "Toolchain", "Toolchains"]

VERSIONS = ("0.4", "0.6")
"""Versions of LeRobot for which there is a recipe, in order of preference."""

# What the host's own steps depend on.
_HOST_PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "nncf")
_RECIPES = Path(__file__).parent / "toolchains"
_PYTHON = ".".join(map(str, sys.version_info[:2]))
_NEEDED = ("lerobot", "torch", "onnx", "onnxscript", "numpy")
_PROBE = """
import importlib.metadata as m, json, sys
found = {"python": sys.version.split()[0]}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        found[name] = ""
print(json.dumps(found))
"""
# Written last into an environment that edgectl makes: without it the environment is not whole.
_MARKER = "edgectl-ready.json"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """An environment: its interpreter, the digest of its lock, and the versions that people ask about."""

    name: str
    python: Path
    lock: str
    origin: str
    versions: dict[str, str] = field(default_factory=dict)
    bridge: Path | None = None

    def environment(self) -> dict[str, str]:
        """The environment variables of a process in it: edgectl's own code, and nothing else of the host."""
        variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        if self.bridge is not None:
            variables["PYTHONPATH"] = str(self.bridge)
        # No figure or file may depend on what a hub answers, and no library reports to its maker: OpenVINO's and NNCF's
        # telemetry is on unless they believe to run in CI.
        return variables | {
            "CI": "true",
            "NNCF_CI": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore",
            "TOKENIZERS_PARALLELISM": "false",
        }


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How the toolchain of one version of LeRobot is made: its Python, and what pip is told, step by step."""

    version: str
    folder: Path
    python: str
    takes: str
    steps: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def read(cls, version: str) -> _Recipe:
        folder = _RECIPES / f"lerobot-{version}"
        document = json.loads((folder / "toolchain.json").read_bytes())
        steps = tuple(
            (step["what"], tuple(text.replace("{here}", str(folder)) for text in step["pip"]))
            for step in document["install"]
        )
        return cls(version, folder, document["python"], document["takes"], steps)

    @property
    def lock(self) -> str:
        """The digest of what pip is told; the `.in` files are what it was worked out from."""
        digest = hashlib.sha256()
        for file in sorted((self.folder / "toolchain.json", *self.folder.glob("*.txt"))):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()


class Toolchains:
    """The toolchains of this user. `cache_dir` holds those made here, `config_dir` what the user chose instead."""

    def __init__(self, cache_dir: Path, config_dir: Path) -> None:
        self._cache = cache_dir / "toolchains"
        self._chosen = config_dir / "toolchains.json"

    def host(self) -> Toolchain:
        """The environment of this process."""
        versions = {}
        for name in _HOST_PACKAGES:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = "absent"
        versions["python"] = ".".join(map(str, sys.version_info[:3]))
        lock = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()
        return Toolchain("host", Path(sys.executable), lock, "this environment", versions)

    def list(self) -> list[Toolchain]:
        """Every toolchain, as it would be used now; `lerobot` has an empty lock when it would have to be made."""
        return [self.host(), self._ready() or self._to_be_made()]

    def get(self, name: str, progress: Callable[[str], None]) -> Toolchain:
        """The toolchain of this name, made if need be.

        Raises:
            ToolchainError: it is not known, or cannot be made.
        """
        if name == "host":
            return self.host()
        if name != "lerobot":
            raise ToolchainError(f"no toolchain {name!r}; there are: host, lerobot", hint="edgectl toolchain list")
        found = self._ready()
        if found is None:
            recipe = self._recipe(self._versions())
            if recipe is None:
                raise _no_python(self._versions())
            self._cache.mkdir(parents=True, exist_ok=True)
            with open(self._cache / ".lerobot.lock", "w") as file:
                # A second one that needs it waits here and finds it made.
                fcntl.flock(file, fcntl.LOCK_EX)
                found = self._made(recipe) or self._make(recipe, progress)
        return found

    def use(self, name: str, python: Path) -> Toolchain:
        """Take a team's own environment from now on.

        Raises:
            ToolchainError: it is not a Python with LeRobot in it.
        """
        self._check_choosable(name)
        versions = _probe(python)
        if versions is None:
            raise ToolchainError(
                f"{python} is not a Python with lerobot: it does not run as a Python",
                hint="name its interpreter: --python ENV/bin/python",
            )
        missing = [package for package in _NEEDED if not versions[package]]
        if missing:
            raise ToolchainError(
                f"{python} has no {', '.join(missing)}", hint=f"{python} -m pip install {' '.join(missing)}"
            )
        self._choose({"python": str(python.absolute())})
        return self._toolchain(python.absolute(), versions, _lock_of_versions(versions), "yours")

    def use_version(self, name: str, version: str) -> Toolchain:
        """Take this version of LeRobot from now on; it is made when it is first needed.

        Raises:
            ToolchainError: there is no recipe for it, or its Python is not at hand.
        """
        self._check_choosable(name)
        if version not in VERSIONS:
            raise ToolchainError(f"no LeRobot {version}; edgectl makes: {', '.join(VERSIONS)}")
        if self._recipe((version,)) is None:
            raise _no_python((version,))
        self._choose({"version": version})
        return self._ready() or self._to_be_made()

    def forget(self, name: str) -> bool:
        """Go back to the toolchain that edgectl chooses; whether there was a choice to forget."""
        there = name == "lerobot" and self._chosen.exists()
        if there:
            self._chosen.unlink()
        return there

    def _check_choosable(self, name: str) -> None:
        if name != "lerobot":
            raise ToolchainError(f"only the lerobot toolchain can be replaced, not {name!r}")

    def _choose(self, choice: dict[str, str]) -> None:
        self._chosen.parent.mkdir(parents=True, exist_ok=True)
        self._chosen.write_text(json.dumps({"lerobot": choice}, indent=1) + "\n")

    def _choice(self) -> dict[str, str]:
        """`python` or `version`, if the user has chosen one."""
        if not self._chosen.exists():
            return {}
        try:
            choice: dict[str, str] = json.loads(self._chosen.read_bytes())["lerobot"]
            if "python" in choice or choice["version"] in VERSIONS:
                return choice
            raise ValueError(f"no LeRobot {choice['version']}")
        except (ValueError, TypeError, KeyError) as exc:
            raise ToolchainError(
                f"{self._chosen} cannot be read: {exc!r}", hint=f"delete it: rm {self._chosen}"
            ) from exc

    def _ready(self) -> Toolchain | None:
        """The lerobot toolchain, if nothing has to be made for it."""
        python = self._choice().get("python")
        if python is not None:
            return self._yours(Path(python))
        recipe = self._recipe(self._versions())
        return self._made(recipe) if recipe else None

    def _to_be_made(self) -> Toolchain:
        recipe = self._recipe(self._versions())
        origin = (
            f"LeRobot {recipe.version}, made on first use ({recipe.takes})"
            if recipe
            else _no_python(self._versions()).message
        )
        return Toolchain("lerobot", Path(), "", origin)

    def _yours(self, python: Path) -> Toolchain:
        versions = _probe(python)
        if versions is None or not all(versions.values()):
            raise ToolchainError(
                f"the lerobot toolchain in use, {python}, no longer imports lerobot",
                hint="edgectl toolchain use lerobot --python PATH, or edgectl toolchain forget lerobot",
            )
        return self._toolchain(python, versions, _lock_of_versions(versions), "yours")

    def _versions(self) -> tuple[str, ...]:
        version = self._choice().get("version")
        return (version,) if version else VERSIONS

    def _recipe(self, versions: tuple[str, ...]) -> _Recipe | None:
        """The recipe for this process's Python, else the first that is made or can be."""
        recipes = sorted(map(_Recipe.read, versions), key=lambda recipe: recipe.python != _PYTHON)
        return next((recipe for recipe in recipes if self._made(recipe) or _base_python(recipe.python)), None)

    def _made(self, recipe: _Recipe) -> Toolchain | None:
        folder = self._folder(recipe)
        try:
            versions: dict[str, str] = json.loads((folder / _MARKER).read_bytes())
        except (OSError, ValueError):
            return None
        return self._toolchain(folder / "bin" / "python", versions, recipe.lock, "made by edgectl")

    def _folder(self, recipe: _Recipe) -> Path:
        return self._cache / f"lerobot-{recipe.lock[:16]}"

    def _toolchain(self, python: Path, versions: dict[str, str], lock: str, origin: str) -> Toolchain:
        return Toolchain("lerobot", python, lock, origin, versions, _bridge(self._cache))

    def _make(self, recipe: _Recipe, progress: Callable[[str], None]) -> Toolchain:
        base = _base_python(recipe.python)
        assert base is not None, "a recipe is chosen because its Python is there"
        folder = self._folder(recipe)
        shutil.rmtree(folder, ignore_errors=True)
        # A virtual environment cannot be renamed, so it is made in its place and marked when it is whole.
        try:
            progress("lerobot toolchain: making the environment")
            _run([base, "-m", "venv", str(folder)])
            python = str(folder / "bin" / "python")
            pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            for what, options in recipe.steps:
                progress(f"lerobot toolchain: {what}")
                _run([*pip, *options])
            versions = _probe(Path(python))
            if versions is None or not all(versions.values()):
                raise ToolchainError(f"the lerobot toolchain was made, but lacks a package: {versions}")
            (folder / _MARKER).write_text(json.dumps(versions))
            return self._toolchain(Path(python), versions, recipe.lock, "made by edgectl")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ToolchainError(
            f"making the lerobot toolchain failed: {' | '.join(lines)}",
            hint="take an environment of your own: edgectl toolchain use lerobot --python PATH",
        )


def _no_python(versions: tuple[str, ...]) -> ToolchainError:
    wanted = [_Recipe.read(version).python for version in versions]
    return ToolchainError(
        f"the lerobot toolchain needs Python {' or '.join(wanted)}, which is not on PATH",
        hint=f"install python{wanted[0]}, or: edgectl toolchain use lerobot --python PATH",
    )


@functools.cache
def _base_python(wanted: str) -> str | None:
    """An interpreter of this version, seen to run: a version manager's shim stands on PATH for what it lacks too."""
    if wanted == _PYTHON:
        return str(getattr(sys, "_base_executable", None) or sys.executable)
    found = shutil.which(f"python{wanted}")
    if found is None:
        return None
    try:
        done = subprocess.run([found, "-c", ""], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if done.returncode == 0 else None


def _probe(python: Path) -> dict[str, str] | None:
    try:
        done = subprocess.run(
            [str(python), "-c", _PROBE, *_NEEDED], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    try:
        versions: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        # It ran, and is no Python.
        return None
    return versions


def _lock_of_versions(versions: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()


def _bridge(cache: Path) -> Path:
    """A folder with edgectl's own packages and nothing else of the host's site-packages."""
    import edgectl_converters
    import edgectl_protos

    bridge = cache / "bridge"
    bridge.mkdir(parents=True, exist_ok=True)
    for package in (edgectl_converters, edgectl_protos):
        link = bridge / package.__name__
        target = Path(package.__path__[0])
        if not link.exists() or link.resolve() != target.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    return bridge
