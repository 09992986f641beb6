"""What is here, what is missing, and the command that helps. Changes nothing and starts nothing."""

from __future__ import annotations

import enum
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgectl_host.quantities import bytes_words
from edgectl_protos.domain.errors import EdgectlError

__all__ = [
    "Check",
    "Health",
    "check_board",
    "check_disk",
    "check_fleet",
    "check_packages",
    "check_python",
    "check_runs",
    "check_toolchains",
]

_MIN_FREE_BYTES = 3_000_000_000
"""A LeRobot toolchain takes 2.5 GB; everything else is small beside it."""

_PACKAGES = {
    "onnx": "reads and checks graphs; the `reference` runtime",
    "onnxruntime": "the `onnxrt` runtime",
    "openvino": "the `openvino` runtime",
    "nncf": "int8 for `openvino`",
    "av": "video footage",
}


class Health(enum.Enum):
    """How a check came out. `ABSENT` is something optional that is not there."""

    OK = "ok"
    ABSENT = "absent"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    subject: str
    health: Health
    detail: str
    hint: str = ""


def check_python() -> Check:
    """The interpreter that edgectl runs in."""
    return Check("python", Health.OK, f"{'.'.join(map(str, sys.version_info[:3]))} · {sys.executable}")


def check_packages() -> list[Check]:
    """The libraries that conversions and the embedded agent use; looked up, not imported."""
    checks = []
    for name, purpose in _PACKAGES.items():
        try:
            checks.append(Check(name, Health.OK, f"{version(name)} · {purpose}"))
        except PackageNotFoundError:
            hint = "make setup, or: pip install 'edgectl-agent[onnxrt,openvino,video]'"
            checks.append(Check(name, Health.PROBLEM, f"not installed · {purpose}", hint))
    return checks


def check_toolchains(cache_dir: Path, config_dir: Path) -> list[Check]:
    """Which environments are ready, and which would be made on first use."""
    from edgectl_converters.toolchain import Toolchains

    checks = []
    try:
        for chain in Toolchains(cache_dir, config_dir).list():
            subject = f"toolchain {chain.name}"
            if chain.lock:
                versions = ", ".join(f"{name} {number}" for name, number in chain.versions.items())
                checks.append(Check(subject, Health.OK, f"{chain.origin} · {versions}"))
            else:
                hint = f"edgectl toolchain make {chain.name}, or: edgectl toolchain use {chain.name} --python PATH"
                checks.append(Check(subject, Health.ABSENT, chain.origin, hint))
    except EdgectlError as exc:
        checks.append(Check("toolchain", Health.PROBLEM, exc.message, exc.hint))
    return checks


def check_board(name: str) -> Check:
    """What is known about this kind of machine."""
    from edgectl_profiles.library import load

    try:
        profile = load(name)
    except EdgectlError as exc:
        return Check("board", Health.PROBLEM, exc.message, exc.hint)
    ways = ", ".join(
        f"{runtime.name} {'/'.join(precision.value for precision in runtime.precisions)}"
        for runtime in profile.runtimes
    )
    return Check("board", Health.OK, f"{profile.title} ({name}) · {ways}")


def check_disk(folder: Path) -> Check:
    """Room for conversions."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{bytes_words(free_bytes)} free for {folder}"
    if free_bytes >= _MIN_FREE_BYTES:
        return Check("disk", Health.OK, detail)
    return Check("disk", Health.PROBLEM, detail, f"make room, or put it elsewhere: export EDGECTL_HOME=DIR; {folder}")


def check_fleet(find: Callable[[], Path | None], load: Callable[[Path], int]) -> Check:
    """The fleet file, if there is one; `load` counts its devices."""
    try:
        path = find()
        if path is None:
            return Check("fleet", Health.ABSENT, "no fleet.yaml; `--fleet local` needs none", "README.md shows one")
        return Check("fleet", Health.OK, f"{path} · {load(path)} devices")
    except EdgectlError as exc:
        return Check("fleet", Health.PROBLEM, exc.message, exc.hint)


def check_runs(count: Callable[[], int], where: str) -> Check:
    """The database of runs."""
    try:
        return Check("runs", Health.OK, f"{where} · {count()} of the last 100")
    except EdgectlError as exc:
        return Check("runs", Health.PROBLEM, exc.message, exc.hint)
