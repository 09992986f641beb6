"""Toolchains: locked, isolated Python environments in which sources, passes and targets run.

`host` is the environment edgectl itself runs in. `lerobot` is made on first use from the requirement files in
`toolchains/lerobot/`, in `<cache>/toolchains/`, or is an interpreter that the team names. A toolchain's lock digest is
part of the key of every step that ran in it.
"""

from __future__ import annotations

import fcntl
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

__all__ = ["Toolchain", "Toolchains"]

# What the host's own steps depend on.
_HOST_PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "nncf")
_SOURCES = Path(__file__).parent / "toolchains"
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
        # No figure or file may depend on what a hub answers.
        return variables | {
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore",
            "TOKENIZERS_PARALLELISM": "false",
        }


class Toolchains:
    """The toolchains of this user. `cache_dir` holds those made here, `config_dir` the names of others."""

    def __init__(self, cache_dir: Path, config_dir: Path) -> None:
        self._cache = cache_dir / "toolchains"
        self._used = config_dir / "toolchains.json"

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
        """Every toolchain that is ready; `lerobot` with an empty lock when it would have to be made."""
        found = [self.host()]
        lerobot = self._used_one() or self._made_one()
        found.append(lerobot or Toolchain("lerobot", Path(), "", "made on first use (about 2 minutes, 2.5 GB)"))
        return found

    def get(self, name: str, progress: Callable[[str], None]) -> Toolchain:
        """The toolchain of this name, made if need be.

        Raises:
            ToolchainError: it is not known, or cannot be made.
        """
        if name == "host":
            return self.host()
        if name != "lerobot":
            raise ToolchainError(f"no toolchain {name!r}; there are: host, lerobot", hint="edgectl toolchain list")
        found = self._used_one() or self._made_one()
        if found is None:
            self._cache.mkdir(parents=True, exist_ok=True)
            with open(self._cache / ".lerobot.lock", "w") as file:
                # A second one that needs it waits here and finds it made.
                fcntl.flock(file, fcntl.LOCK_EX)
                found = self._made_one() or self._make(progress)
        return found

    def use(self, name: str, python: Path) -> Toolchain:
        """Take a team's own environment from now on.

        Raises:
            ToolchainError: it is not a Python with LeRobot in it.
        """
        if name != "lerobot":
            raise ToolchainError(f"only the lerobot toolchain can be replaced, not {name!r}")
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
        self._used.parent.mkdir(parents=True, exist_ok=True)
        self._used.write_text(json.dumps({name: str(python.absolute())}, indent=1) + "\n")
        return self._toolchain(python.absolute(), versions, _lock_of_versions(versions), "yours")

    def forget(self, name: str) -> bool:
        """Go back to the toolchain that edgectl makes; whether there was one to forget."""
        there = name == "lerobot" and self._used.exists()
        if there:
            self._used.unlink()
        return there

    def _used_one(self) -> Toolchain | None:
        if not self._used.exists():
            return None
        try:
            python = Path(json.loads(self._used.read_bytes())["lerobot"])
        except (ValueError, TypeError, KeyError) as exc:
            raise ToolchainError(f"{self._used} cannot be read: {exc!r}", hint=f"delete it: rm {self._used}") from exc
        versions = _probe(python)
        if versions is None or not all(versions.values()):
            raise ToolchainError(
                f"the lerobot toolchain in use, {python}, no longer imports lerobot",
                hint="edgectl toolchain use lerobot --python PATH, or edgectl toolchain forget lerobot",
            )
        return self._toolchain(python, versions, _lock_of_versions(versions), "yours")

    def _made_one(self) -> Toolchain | None:
        lock = _lock_of_files(_SOURCES / "lerobot")
        folder = self._cache / f"lerobot-{lock[:16]}"
        try:
            versions: dict[str, str] = json.loads((folder / _MARKER).read_bytes())
        except (OSError, ValueError):
            return None
        return self._toolchain(folder / "bin" / "python", versions, lock, "made by edgectl")

    def _toolchain(self, python: Path, versions: dict[str, str], lock: str, origin: str) -> Toolchain:
        return Toolchain("lerobot", python, lock, origin, versions, _bridge(self._cache))

    def _make(self, progress: Callable[[str], None]) -> Toolchain:
        source = _SOURCES / "lerobot"
        lock = _lock_of_files(source)
        base = _base_python(json.loads((source / "toolchain.json").read_bytes())["python"])
        target = self._cache / f"lerobot-{lock[:16]}"
        shutil.rmtree(target, ignore_errors=True)
        # A virtual environment cannot be renamed, so it is made in its place and marked when it is whole.
        try:
            progress("lerobot toolchain: making the environment")
            _run([base, "-m", "venv", str(target)])
            python = str(target / "bin" / "python")
            pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            for install in json.loads((source / "toolchain.json").read_bytes())["install"]:
                progress(f"lerobot toolchain: {install['what']}")
                options = [text.replace("{here}", str(source)) for text in install["pip"]]
                _run([*pip, *options])
            versions = _probe(Path(python))
            if versions is None or not all(versions.values()):
                raise ToolchainError(f"the lerobot toolchain was made, but lacks a package: {versions}")
            (target / _MARKER).write_text(json.dumps(versions))
            return self._toolchain(Path(python), versions, lock, "made by edgectl")
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ToolchainError(
            f"making the lerobot toolchain failed: {' | '.join(lines)}",
            hint="take an environment of your own: edgectl toolchain use lerobot --python PATH",
        )


def _base_python(wanted: str) -> str:
    if ".".join(map(str, sys.version_info[:2])) == wanted:
        return str(getattr(sys, "_base_executable", None) or sys.executable)
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise ToolchainError(
            f"the lerobot toolchain needs Python {wanted}, which is not on PATH",
            hint=f"install python{wanted}, or: edgectl toolchain use lerobot --python PATH",
        )
    return found


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


def _lock_of_files(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


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
