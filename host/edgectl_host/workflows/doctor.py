"""What is here, what is missing, and the command that helps. Changes nothing and starts nothing."""

from __future__ import annotations

import enum
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from edgectl_host.quantities import bytes_words
from edgectl_protos.domain.errors import EdgectlError

if TYPE_CHECKING:
    from edgectl_host.fleet.inventory import Inventory
    from edgectl_host.workflows.rates import MachineRates
    from edgectl_host.workflows.toolchains import Listed

__all__ = [
    "Finding",
    "Health",
    "check_board",
    "check_disk",
    "check_extras",
    "check_fleet",
    "check_python",
    "check_rates",
    "check_runs",
    "check_toolchains",
]

_MIN_FREE_BYTES = 3_000_000_000
"""A toolchain with torch takes 2.5 GB; everything else is small beside it."""

_DISTRIBUTIONS = ("edgectl-agent", "edgectl-converters")
"""Whose extras are what may be installed or not: runtimes, and sources of observations."""

_MEASURE = "edgectl doctor --measure"
_PLATFORM = re.compile(r"sys_platform == ['\"](?P<platform>[^'\"]+)['\"]")
_REQUIREMENT = re.compile(r"(?P<package>[A-Za-z0-9._-]+)[^;]*;.*\bextra == ['\"](?P<extra>[^'\"]+)['\"]")


class Health(enum.Enum):
    """How a check came out. `ABSENT` is something optional that is not there."""

    OK = "ok"
    ABSENT = "absent"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding."""

    subject: str
    health: Health
    detail: str
    hint: str = ""


def check_python() -> Finding:
    """The interpreter that edgectl runs in."""
    return Finding("python", Health.OK, f"{'.'.join(map(str, sys.version_info[:3]))} · {sys.executable}")


def check_extras() -> list[Finding]:
    """The libraries that targets and the embedded agent use, by extra; looked up, not imported. Runtimes that live in a
    toolchain are a matter of that.
    """
    from edgectl_converters.homes import lives_here

    return [_extra(extra, packages) for extra, packages in _extras().items() if lives_here(extra)]


def check_toolchains(toolchains: Sequence[Listed]) -> list[Finding]:
    """Which environments are ready, and which would be made on first use."""
    findings = []
    for listed in toolchains:
        subject, chain = f"toolchain {listed.name}", listed.chain
        if listed.failure is not None:
            findings.append(Finding(subject, Health.PROBLEM, listed.failure.message, listed.failure.hint))
        elif chain is not None and chain.lock:
            versions = ", ".join(f"{name} {number}" for name, number in chain.versions.items() if number)
            findings.append(Finding(subject, Health.OK, f"{chain.origin} · {versions}"))
        elif chain is not None:
            own = f"edgectl toolchain use {listed.name} --python PATH"
            makes = f"edgectl toolchain make {listed.name}" if chain.can_be_made else "install that Python"
            hint = f"{makes}, or: {own}"
            findings.append(Finding(subject, Health.ABSENT, chain.origin, hint))
    return findings


def check_board(name: str) -> Finding:
    """What is known about this kind of machine."""
    from edgectl_profiles.library import load

    try:
        profile = load(name)
    except EdgectlError as exc:
        return Finding("board", Health.PROBLEM, exc.message, exc.hint)
    ways = ", ".join(f"{runtime.name} {'/'.join(runtime.schemes)}" for runtime in profile.runtimes)
    return Finding("board", Health.OK, f"{profile.title} ({name}) · {ways}")


def check_rates(rates: MachineRates | None) -> Finding:
    """What this machine was measured to reach."""
    if rates is None:
        return Finding("rates", Health.ABSENT, "not measured: floors on this machine are not known", _MEASURE)
    cpu = rates.cpu
    words = [f"{name} {rate / 1e9:.0f} G/s by {rates.by[name]}" for name, rate in cpu.operations_per_s.items()]
    return Finding("rates", Health.OK, " · ".join((*words, f"memory {cpu.bytes_per_s / 1e9:.1f} GB/s")))


def check_disk(folder: Path) -> Finding:
    """Room for conversions."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{bytes_words(free_bytes)} free for {folder}"
    if free_bytes >= _MIN_FREE_BYTES:
        return Finding("disk", Health.OK, detail)
    return Finding("disk", Health.PROBLEM, detail, f"make room, or put it elsewhere: export EDGECTL_HOME=DIR; {folder}")


def check_fleet(known: Callable[[], Inventory]) -> Finding:
    """The devices that are known, by the fleet file or by `device add`."""
    try:
        inventory = known()
    except EdgectlError as exc:
        return Finding("fleet", Health.PROBLEM, exc.message, exc.hint)
    if inventory.path is None and not inventory.remote:
        return Finding("fleet", Health.ABSENT, "no fleet.yaml; `--fleet local` needs none", "README.md shows one")
    return Finding("fleet", Health.OK, f"{inventory.path or 'no fleet.yaml'} · {len(inventory.remote)} devices")


def check_runs(count: Callable[[], int], where: str) -> Finding:
    """The database of runs."""
    try:
        return Finding("runs", Health.OK, f"{where} · {count()} of the last 100")
    except EdgectlError as exc:
        return Finding("runs", Health.PROBLEM, exc.message, exc.hint)


def _extras() -> dict[str, tuple[str, ...]]:
    """Extras with the packages that they bring, as the installed distributions declare them."""
    found: dict[str, list[str]] = {}
    for distribution in _DISTRIBUTIONS:
        try:
            lines = requires(distribution) or []
        except PackageNotFoundError:
            continue
        for line in lines:
            match, platform = _REQUIREMENT.match(line), _PLATFORM.search(line)
            if match and (platform is None or platform["platform"] == sys.platform):
                # Metadata writes its extras with a dash.
                found.setdefault(match["extra"].replace("-", "_"), []).append(match["package"])
    return {extra: tuple(dict.fromkeys(packages)) for extra, packages in sorted(found.items())}


def _extra(extra: str, packages: tuple[str, ...]) -> Finding:
    present, missing = [], []
    for package in packages:
        try:
            present.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if not missing:
        return Finding(f"extra {extra}", Health.OK, ", ".join(present))
    hint = f"pip install {' '.join(missing)}; on a device: pip install 'edgectl-agent[{extra}]'"
    return Finding(f"extra {extra}", Health.ABSENT, f"{', '.join(missing)} not installed", hint)
