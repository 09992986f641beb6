"""What this host keeps about trust, under `data_dir/trust`: files of this user alone, each replaced as a whole.

`own-key.json` (what this host shows to devices) is on every host of a fleet, `release-key.json` where releases may be
signed, `authority.pem`, `authority-key.pem`, `issued.json` and `revocations.json` on the one that has the authority.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgectl_host.replace_file import replace_file
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError, TrustError
from edgectl_protos.domain.trust import Role

__all__ = ["OWN_FILE", "Credentials", "TrustFolder"]

T = TypeVar("T")

OWN_FILE = "own-key.json"
_HINT = "edgectl ca init makes a fleet of your own; edgectl trust join FILE takes what its administrator gave you"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What this host shows to devices, and the authority by which it believes them; PEM."""

    name: str
    role: Role
    certificate: str
    key: str
    authority: str
    expires_s: int


class TrustFolder:
    """One host's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            TrustError: it is not there, or others may read a private one.
        """
        path = self.path / name
        try:
            data = path.read_bytes()
            mode = path.stat().st_mode
        except OSError as exc:
            raise TrustError(f"{path} cannot be read: {exc.strerror}", hint=_HINT) from exc
        if "key" in name and mode & 0o077:
            raise TrustError(f"others may read {path}", hint=f"chmod 600 {path}")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Replace a file; durable when this returns."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.path / name, data)

    def load(self, cls: type[T], name: str) -> T | None:
        """A document; None when it was never written.

        Raises:
            TrustError: it cannot be read.
        """
        if not self.has(name):
            return None
        try:
            return from_bytes(cls, self.read(name), what=name)
        except TrustError:
            raise
        except EdgectlError as exc:
            raise TrustError(f"{self.path / name} is damaged: {exc.message}", hint="put it back from a copy") from exc

    def save(self, value: object, name: str) -> None:
        """Replace a document."""
        self.write(name, canonical_bytes(value))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the commands of this user."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def credentials(self) -> Credentials:
        """What is needed to dial a device.

        Raises:
            TrustError: this host belongs to no fleet.
        """
        own = self.load(Credentials, OWN_FILE)
        if own is None:
            raise TrustError("this host belongs to no fleet: it has no certificate", hint=_HINT)
        return own
