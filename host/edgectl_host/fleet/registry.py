"""The devices that `edgectl device add` installed an agent on: one document, written by edgectl alone.

It stands beside the hand-written fleet file and is joined with it. Every change is made under a lock and replaces the
document by a rename, so that two commands at once lose nothing and a cut leaves the old one whole.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgectl_host.fleet.inventory import ALL, LOCAL, Device
from edgectl_host.replace_file import replace_file
from edgectl_protos.codec.document import from_bytes, to_document
from edgectl_protos.domain.address import DEFAULT_PORT
from edgectl_protos.domain.errors import DocumentError, FleetError, UsageError

__all__ = ["Home", "Registered", "Registry", "check_device_name", "parse_labels"]

FILE_NAME = "devices.json"
_MAX_BYTES = 8 << 20
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Home:
    """Where edgectl lives on a device, and how it is reached there by ssh.

    `prefix` holds programs, `state_dir` what the agent owns, `socket` is its local face. `service`: `system`, `user`
    or `none`, what starts it. `sudo`: its commands are run by root, whom the login may become.
    """

    destination: str
    ssh_options: tuple[str, ...]
    prefix: str
    state_dir: str
    socket: str
    service: str
    sudo: bool = False


@dataclass(frozen=True, slots=True)
class Registered:
    """One device as `device add` left it. What it is and has is asked of it, not kept here.

    `runtimes` and `python` are what was asked for, empty where nothing was: an update asks for the same.
    """

    name: str
    addresses: tuple[str, ...]
    identity: str
    board: str
    home: Home
    labels: dict[str, str] = field(default_factory=dict)
    runtimes: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    python: str = ""
    port: int = DEFAULT_PORT

    @property
    def device(self) -> Device:
        """The device as commands select it."""
        return Device(self.name, self.addresses, self.identity, self.board, labels=dict(self.labels))


@dataclass(frozen=True, slots=True)
class _Document:
    devices: tuple[Registered, ...]


class Registry:
    """The registered devices, in `config_dir`."""

    def __init__(self, config_dir: Path) -> None:
        self.path = config_dir / FILE_NAME

    def read(self) -> dict[str, Registered]:
        """All of them, in the order in which they were added.

        Raises:
            FleetError: the document cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise FleetError(f"{self.path}: cannot be read: {exc.strerror}") from exc
        if len(data) > _MAX_BYTES:
            raise FleetError(f"{self.path}: larger than {_MAX_BYTES} bytes", hint=self._hint)
        try:
            document = from_bytes(_Document, data, what=FILE_NAME)
        except DocumentError as exc:
            raise FleetError(f"{self.path}: {exc.message}", hint=self._hint) from exc
        return {device.name: device for device in document.devices}

    def devices(self) -> dict[str, Device]:
        """The same as commands select them.

        Raises:
            FleetError: the document cannot be read.
        """
        return {name: registered.device for name, registered in self.read().items()}

    def get(self, name: str) -> Registered:
        """One of them.

        Raises:
            FleetError: there is none of this name.
        """
        known = self.read()
        if name not in known:
            raise FleetError(
                f"no device {name!r} was added with `edgectl device add`; those were: {', '.join(known) or 'none'}",
                hint="edgectl device ls",
            )
        return known[name]

    def put(self, registered: Registered) -> None:
        """Add a device, or replace the one of its name.

        Raises:
            FleetError: the document cannot be read.
        """
        with self._locked():
            self._write({**self.read(), registered.name: registered})

    def remove(self, name: str) -> None:
        """Forget a device; one that is not there is fine.

        Raises:
            FleetError: the document cannot be read.
        """
        with self._locked():
            known = self.read()
            if known.pop(name, None) is not None:
                self._write(known)

    @property
    def _hint(self) -> str:
        return f"mend it, or begin anew: mv {self.path} {self.path}.broken, then edgectl device add each device again"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f".{FILE_NAME}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, devices: dict[str, Registered]) -> None:
        text = json.dumps(to_document(_Document(tuple(devices.values()))), indent=1) + "\n"
        replace_file(self.path, text.encode())


def check_device_name(name: str) -> str:
    """The name of a device, which stands in files, certificates and commands.

    Raises:
        UsageError: it is reserved, or has other signs than these.
    """
    if name in (LOCAL, ALL) or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a device: small letters, digits, dots and dashes, at most 63, not local or all",
            hint="edgectl device add USER@HOST --name NAME",
        )
    return name


def parse_labels(texts: tuple[str, ...]) -> dict[str, str]:
    """`lab`, a group, or `site=hall`.

    Raises:
        UsageError: a label without a key.
    """
    labels = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key.strip() or key.strip() == ALL:
            raise UsageError(f"{text!r} is no label", hint="--label lab, or --label site=hall")
        labels[key.strip()] = value.strip()
    return labels
