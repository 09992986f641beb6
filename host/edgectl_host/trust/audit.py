"""The audit log of a device, as the host checks it: whole, and with everything that was seen before still in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from edgectl_host.trust.folder import TrustFolder
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.errors import AuditError, EdgectlError
from edgectl_protos.domain.trust import AuditEntry

__all__ = ["Seen", "SeenLogs", "verify"]

_FILE = "audit-seen.json"


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest line that this host has seen of a device's log."""

    number: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class _Logs:
    devices: dict[str, Seen]


class SeenLogs:
    """What this host has seen of each device's log, by identity: so that one who cuts it off is noticed."""

    def __init__(self, folder: TrustFolder) -> None:
        self._folder = folder

    def of(self, identity: str) -> Seen:
        """The newest line that was seen."""
        logs = self._folder.load(_Logs, _FILE)
        return logs.devices.get(identity, Seen()) if logs else Seen()

    def keep(self, identity: str, seen: Seen) -> None:
        """Remember the newest line."""
        with self._folder.locked():
            logs = self._folder.load(_Logs, _FILE) or _Logs({})
            self._folder.save(_Logs({**logs.devices, identity: seen}), _FILE)


def verify(lines: Iterable[bytes], seen: Seen) -> tuple[tuple[AuditEntry, ...], Seen]:
    """The entries of a log, oldest first, and its newest line.

    Raises:
        AuditError: a line was altered, is missing, or what was seen before is not there; names the line.
    """
    entries: list[AuditEntry] = []
    newest, met = Seen(), seen.number == 0
    for line in lines:
        try:
            entry = from_bytes(AuditEntry, line, what="line")
        except EdgectlError as exc:
            raise _broken(f"the line after {newest.number} cannot be read: {exc.message}") from exc
        if entries and (entry.number != newest.number + 1 or entry.previous != newest.hash):
            raise _broken(f"line {entry.number} does not go on from line {newest.number}")
        if not entries and entry.number == seen.number + 1 and entry.previous != seen.hash:
            raise _broken(f"line {entry.number} does not go on from the one seen before")
        newest = Seen(entry.number, blake3(line).hexdigest())
        if newest.number == seen.number:
            if newest.hash != seen.hash:
                raise _broken(f"line {seen.number} is another than the one seen before")
            met = True
        entries.append(entry)
    # The oldest files are removed in time; what is newer than what was seen must go on from it.
    removed = bool(entries) and entries[0].number > seen.number
    if not met and not removed:
        raise _broken(f"{seen.number} lines were seen before, it has {newest.number} now")
    return tuple(entries), newest


def _broken(what: str) -> AuditError:
    return AuditError(
        f"the audit log was altered: {what}",
        hint="take the device for compromised until somebody has looked at trust/audit*.jsonl in its state folder",
    )
