"""The wheels that a device needs, on this host: its own packed from what is installed here, the others fetched by pip.

What was resolved once for a kind of device (architecture, C library, Python, requirements, version of the agent) is
written down with digests and taken again without a network. pip judges markers by the Python that it runs in, so what
it fetched is checked against the device's, and asked for again until nothing is missing.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from edgectl_converters.pip_words import no_index_words, why
from edgectl_host.provision.survey import Libc
from edgectl_host.replace_file import replace_file
from edgectl_protos.codec.document import from_bytes, to_document
from edgectl_protos.domain.errors import DocumentError, InstallError, WheelMissingError

__all__ = ["AGENT", "INSTALLER", "Target", "Wheel", "WheelStore", "extras_of_agent", "requirements_of"]

AGENT = "edgectl-agent"
INSTALLER = "pip"
"""Runs from its own wheel on a device that has none."""

OWN = (AGENT, "edgectl-protos")
_OLDEST_MANYLINUX = {"x86_64": 5, "aarch64": 17}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PIECE_BYTES = 1 << 20
_MAX_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels must load on. `python` as wheels call it: `3.10`."""

    arch: str
    libc: Libc
    python: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags that load there, newest first."""
        if self.libc.family == "musl":
            return tuple(f"musllinux_1_{minor}_{self.arch}" for minor in range(self.libc.minor, -1, -1))
        oldest = _OLDEST_MANYLINUX.get(self.arch, 17)
        tags = [f"manylinux_2_{minor}_{self.arch}" for minor in range(self.libc.minor, oldest - 1, -1)]
        return (*tags, f"manylinux2014_{self.arch}")

    @property
    def markers(self) -> dict[str, str]:
        """What requirements may ask about it."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
            "sys_platform": "linux",
            "os_name": "posix",
            "platform_system": "Linux",
            "platform_machine": self.arch,
            "platform_release": "",
            "platform_version": "",
        }

    def __str__(self) -> str:
        return f"{self.arch}, {self.libc}, Python {self.python}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel by its name and the SHA-256 of its bytes, in hexadecimal."""

    name: str
    digest: str
    size_bytes: int

    @property
    def project(self) -> str:
        """The distribution that it holds."""
        return canonicalize_name(self.name.partition("-")[0])


@dataclass(frozen=True, slots=True)
class _Resolved:
    wheels: tuple[Wheel, ...]


class WheelStore:
    """Wheels in the host's cache. `wheelhouse` is a folder of them that takes the place of the package index."""

    def __init__(self, folder: Path, *, wheelhouse: Path | None = None) -> None:
        self._folder = folder
        self._wheelhouse = wheelhouse

    def path(self, wheel: Wheel) -> Path:
        """Where the bytes of a wheel are; one name may have had others."""
        return self._folder / wheel.digest[:16] / wheel.name

    def own(self) -> tuple[Wheel, ...]:
        """The agent and what it shares with the host, packed from what is installed here.

        Raises:
            InstallError: they are not installed here.
        """
        with self._aside() as folder:
            return tuple(self._keep(pack_installed(name, folder)) for name in OWN)

    def fetch(
        self, target: Target, requirements: Iterable[str], progress: Callable[[str], None] = lambda _: None
    ) -> tuple[Wheel, ...]:
        """Everything that these requirements need on that target, from the cache where it was resolved before.

        Raises:
            WheelMissingError: there is no wheel for it.
            InstallError: the index cannot be reached, or pip failed otherwise.
        """
        wanted = sorted(set(requirements))
        record = self._record(target, wanted)
        known = self._known(record)
        if known is not None:
            return known
        with self._aside() as folder:
            asked = list(wanted)
            for _ in range(_MAX_ROUNDS):
                progress(f"fetching wheels for {target}")
                self._download(target, asked, folder)
                paths = sorted(folder.glob("*.whl"))
                missing = _unmet(wanted, paths, target)
                if not missing:
                    break
                asked += missing
            else:
                raise InstallError(f"no set of wheels for {target} was complete: still missing {', '.join(missing)}")
            wheels = tuple(self._keep(path) for path in paths)
        record.parent.mkdir(parents=True, exist_ok=True)
        replace_file(record, (json.dumps(to_document(_Resolved(wheels)), indent=1) + "\n").encode())
        return wheels

    def _record(self, target: Target, wanted: Sequence[str]) -> Path:
        source = str(self._wheelhouse) if self._wheelhouse else ""
        key = json.dumps([str(target), list(wanted), source])
        return self._folder / "resolved" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"

    def _known(self, record: Path) -> tuple[Wheel, ...] | None:
        try:
            wheels = from_bytes(_Resolved, record.read_bytes(), what=record.name).wheels
        except (OSError, DocumentError):
            return None
        whole = all(self.path(wheel).is_file() and _digest(self.path(wheel)) == wheel.digest for wheel in wheels)
        return wheels if whole else None

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A folder beside the wheels, so that keeping one is a rename."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".aside-", dir=self._folder) as made:
            yield Path(made)

    def _keep(self, path: Path) -> Wheel:
        wheel = Wheel(path.name, _digest(path), path.stat().st_size)
        kept = self.path(wheel)
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, kept)
        return wheel

    def _download(self, target: Target, requirements: Sequence[str], folder: Path) -> None:
        source = ["--no-index", "--find-links", str(self._wheelhouse)] if self._wheelhouse else []
        platforms = [word for tag in target.platforms for word in ("--platform", tag)]
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
        command += ["--dest", str(folder), "--python-version", target.python, "--implementation", "cp"]
        done = subprocess.run(
            [*command, *source, *platforms, *requirements],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise _refusal(done.stderr, target, self._wheelhouse)


def requirements_of(extras: Iterable[str], target: Target) -> tuple[str, ...]:
    """What the agent with these extras needs of others on a target, as its installed metadata has it.

    Raises:
        InstallError: the agent is not installed here.
    """
    wanted = frozenset({"", *extras})
    found: dict[str, None] = {}
    for name in OWN:
        for requirement in map(Requirement, _distribution(name).requires or []):
            if canonicalize_name(requirement.name) not in OWN and _applies(requirement, target, wanted):
                found[_bare(requirement)] = None
    return tuple(found)


def extras_of_agent() -> dict[str, tuple[str, ...]]:
    """The agent's extras with the names of what each brings.

    Raises:
        InstallError: the agent is not installed here.
    """
    found: dict[str, list[str]] = {}
    for text in _distribution(AGENT).requires or []:
        if match := re.search(r"""extra == ['"]([^'"]+)['"]""", text):
            # Metadata writes an extra with a dash, runtimes with an underscore.
            extra = match[1].replace("-", "_")
            found.setdefault(extra, []).append(canonicalize_name(Requirement(text).name))
    return {extra: tuple(names) for extra, names in found.items()}


def _distribution(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as exc:
        raise InstallError(
            f"{name} is not installed on this host, so that there is nothing to send",
            hint=f"{sys.executable} -m pip install edgectl-host",
        ) from exc


def pack_installed(name: str, folder: Path) -> Path:
    """Write the wheel of an installed distribution of pure Python, also of one that is installed from a checkout.

    The same files give the same bytes, wherever they are installed.

    Raises:
        InstallError: it is not installed.
    """
    found = _distribution(name)
    package = name.replace("-", "_")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InstallError(f"{name} is installed, but there is no package {package}")
    root = Path(next(iter(spec.submodule_search_locations)))
    contents: dict[str, bytes] = {
        f"{package}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".proto")
    }
    information = f"{package}-{found.version}.dist-info"
    for file in ("METADATA", "entry_points.txt"):
        if text := found.read_text(file):
            contents[f"{information}/{file}"] = text.encode()
    contents[f"{information}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: edgectl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    rows = [f"{path},sha256={_url_digest(data)},{len(data)}" for path, data in contents.items()]
    contents[f"{information}/RECORD"] = "\n".join((*rows, f"{information}/RECORD,,", "")).encode()
    wheel = folder / f"{package}-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in contents.items():
            member = zipfile.ZipInfo(path, _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return wheel


def _unmet(wanted: Sequence[str], wheels: Sequence[Path], target: Target) -> list[str]:
    """Requirements that no wheel meets on the target."""
    found = {_project_of(path): path for path in wheels}
    pending = [Requirement(text) for text in wanted]
    seen: set[str] = set()
    missing: dict[str, None] = {}
    while pending:
        requirement = pending.pop()
        if (text := _bare(requirement)) in seen:
            continue
        seen.add(text)
        wheel = found.get(canonicalize_name(requirement.name))
        if wheel is None:
            missing[text] = None
            continue
        extras = frozenset({"", *requirement.extras})
        pending += [inner for inner in _requires(wheel) if _applies(inner, target, extras)]
    return list(missing)


def _bare(requirement: Requirement) -> str:
    """The same without its marker, which has been judged."""
    bare = Requirement(str(requirement))
    bare.marker = None
    return str(bare)


def _applies(requirement: Requirement, target: Target, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**target.markers, "extra": extra}) for extra in extras)


def _requires(wheel: Path) -> Iterator[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), None)
        if name is not None:
            headers = BytesHeaderParser().parsebytes(archive.read(name))
            yield from map(Requirement, headers.get_all("Requires-Dist") or [])


def _project_of(path: Path) -> str:
    try:
        return parse_wheel_filename(path.name)[0]
    except InvalidWheelFilename:
        return path.name


def _refusal(said: str, target: Target, wheelhouse: Path | None) -> InstallError:
    none = next((line.strip() for line in said.splitlines() if "No matching distribution found for" in line), "")
    # Out of reach it finds nothing either: what is there on another day must not be taken for what never is.
    unreached = no_index_words(said)
    if none and not unreached:
        what = none.rpartition(" for ")[2]
        place = f" in {wheelhouse}" if wheelhouse else ""
        return WheelMissingError(
            f"there is no wheel of {what} for {target}{place}",
            hint="leave that runtime out: edgectl device add … --runtime NAME",
        )
    return InstallError(
        f"pip could not fetch wheels for {target}: {unreached or why(said)}",
        hint="without a network here, take the folder that `make dist` wrote: --wheelhouse DIR",
    )


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            sha.update(piece)
    return sha.hexdigest()


def _url_digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
