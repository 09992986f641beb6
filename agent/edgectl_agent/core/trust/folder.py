"""What a device knows about trust, on its disk: `trust/` in the state directory, readable by its own user alone.

`identity.json` is who it is (key and certificate in one file, so that they change together), `pending.json` a key whose
certificate is on its way, `accepted.json` all that may only grow: release counter and key, revocations, time. The
daemon and `edgectl-agent enrol` both write, each under the lock. A device with an identity whose `accepted.json` cannot
be read trusts nobody over the network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from edgectl_agent.core.store.atomic import Disk, read_file
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError, TrustError
from edgectl_protos.domain.trust import MAX_TRUST_DOCUMENT_BYTES, ReleaseKey, Revocations

__all__ = ["Accepted", "Identity", "Pending", "TrustFolder"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this device is. `key`, `certificate` and `authority` are PEM."""

    name: str
    identity: str
    key: str
    certificate: str
    authority: str
    expires_s: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A key that waits for its certificate."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was taken from the fleet so far.

    `time_s` is the newest time that the fleet signed: no earlier one is believed, whatever the clock says.
    """

    release_key: ReleaseKey
    time_s: int
    release_counter: int = 0
    release: str = ""
    revocations: Revocations = field(default_factory=Revocations)


class TrustFolder:
    """The folder of one device."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.path = folder
        self._disk = disk
        self._read: dict[str, tuple[tuple[int, int, int], object]] = {}

    def identity(self) -> Identity | None:
        """Who this device is; None when it was never enrolled.

        Raises:
            TrustError: the document is damaged.
        """
        return self._load(Identity, "identity.json")

    def accepted(self) -> Accepted:
        """What was accepted, of a device that was enrolled.

        Raises:
            TrustError: the document is damaged, or gone.
        """
        found = self._load(Accepted, "accepted.json")
        if found is None:
            raise TrustError(f"{self.path / 'accepted.json'} is gone", hint=_HINT)
        return found

    def pending(self) -> Pending | None:
        """The key that waits for its certificate."""
        return self._load(Pending, "pending.json")

    def save(self, value: Identity | Accepted | Pending) -> None:
        """Make a document durable. Only while locked."""
        name = f"{type(value).__name__.lower()}.json"
        self._disk.write(self.path / name, canonical_bytes(value), mode=0o600)

    def drop_pending(self) -> None:
        """Forget the key that waits. Only while locked."""
        self._disk.remove(self.path / "pending.json")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes and threads that write here."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _load(self, cls: type[T], name: str) -> T | None:
        path = self.path / name
        try:
            info = path.stat()
            stamp = (info.st_ino, info.st_mtime_ns, info.st_size)
            held = self._read.get(name)
            if held is not None and held[0] == stamp and isinstance(held[1], cls):
                return held[1]
            value = from_bytes(cls, read_file(path, limit_bytes=MAX_TRUST_DOCUMENT_BYTES), what=name)
        except FileNotFoundError:
            return None
        except (OSError, EdgectlError) as exc:
            raise TrustError(f"{path} cannot be read: {exc}", hint=_HINT) from exc
        self._read[name] = (stamp, value)
        return value


_HINT = "enrol the device again, from the host: edgectl device add, or edgectl device invite NAME"
