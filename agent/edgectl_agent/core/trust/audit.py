"""The audit log: who changed what on this device, and whom it refused. Each line holds the BLAKE3 of the line before.

`trust/audit.jsonl` grows to a bound and is then renamed to `audit-<first number>.jsonl`; the first line of the next
file goes on from the last of this one, so that the chain has no gap when the oldest file is removed. A line is synced
before its call goes on. What cannot be written (a full disk) is counted and told in the next line that can be: the log
must not be what keeps a person from mending a device. Refusals are bounded, or whoever is refused fills the disk.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.trust.callers import Caller
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.domain.trust import AuditEntry

__all__ = ["AuditLog"]

_LOG = logging.getLogger(__name__)

_MAX_LINE_BYTES = 4096
_DETAIL_CHARACTERS = 600
_NOBODY = ""


class AuditLog:
    """The log of one device. Several threads and processes may write."""

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        *,
        max_bytes: int = 1 << 20,
        files_kept: int = 4,
        refusals_a_minute: int = 30,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._path = folder / "audit.jsonl"
        self._disk = disk
        self._max_bytes = max_bytes
        self._files_kept = files_kept
        self._rate = refusals_a_minute
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._allowed = float(refusals_a_minute)
        self._counted_at = monotonic()
        self._unlisted = 0
        self._lost = 0

    def changed(self, event: str, caller: Caller | None, detail: str = "") -> None:
        """Somebody changes something; durable when this returns, unless the disk refuses."""
        with self._lock:
            self._write(event, caller, detail)

    def refused(self, event: str, caller: Caller | None, detail: str) -> None:
        """Somebody was refused. Beyond so many a minute they are only counted."""
        with self._lock:
            now = self._monotonic()
            self._allowed = min(self._rate, self._allowed + (now - self._counted_at) * self._rate / 60)
            self._counted_at = now
            if self._allowed < 1:
                self._unlisted += 1
                return
            self._allowed -= 1
            self._write(event, caller, f"refused: {detail}")

    def head(self) -> tuple[int, str]:
        """Number and hash of the newest line; 0 and "" of an empty log."""
        files = self._files()
        for path in reversed(files):
            lines = _tail(path)
            if lines:
                return _number(lines), _hash(lines[-1])
        return 0, ""

    def read(self, from_number: int) -> Iterator[bytes]:
        """Lines of this number and above, oldest first, as they stand on the disk, with their line ends."""
        for path in self._files():
            try:
                with path.open("rb") as file:
                    while line := file.readline(_MAX_LINE_BYTES * 2):
                        entry = _entry(line)
                        # A line that cannot be read is shown: it is what the reader looks for.
                        if entry is None or entry.number >= from_number:
                            yield line
            except FileNotFoundError:  # removed meanwhile, being the oldest
                continue

    def _write(self, event: str, caller: Caller | None, detail: str) -> None:
        more = []
        if self._unlisted:
            more.append(f"{self._unlisted} more refusals are not listed")
        if self._lost:
            more.append(f"{self._lost} lines could not be written")
        try:
            with self._locked() as fd:
                torn = self._mend(fd)
                if torn:
                    more.append("a line before this one was cut off by a power cut or a kill")
                self._append(fd, event, caller, "; ".join([detail, *more]) if more else detail)
        except (OSError, EdgectlError) as exc:
            self._lost += 1
            _LOG.error("the audit log cannot be written (%s): %s by %s", exc, event, caller and caller.name)
            return
        self._unlisted = self._lost = 0

    def _append(self, fd: int, event: str, caller: Caller | None, detail: str) -> None:
        number, previous = self.head()
        entry = AuditEntry(
            number + 1,
            round(self._clock(), 3),
            event,
            caller.name if caller else _NOBODY,
            _plain(detail)[:_DETAIL_CHARACTERS],
            previous,
            caller.role.value if caller else "",
        )
        self._disk.append(fd, canonical_bytes(entry) + b"\n", self._path)

    def _locked(self) -> _Locked:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > self._max_bytes:
            self._rotate()
        return _Locked(self._path, self._disk)

    def _rotate(self) -> None:
        first = next(iter(_lines(self._path)), b"")
        entry = _entry(first)
        self._disk.publish(self._path, self._folder / f"audit-{entry.number if entry else 0:012d}.jsonl")
        for path in self._files()[: -self._files_kept]:
            self._disk.remove(path)

    @staticmethod
    def _mend(fd: int) -> bool:
        """Cut off what an append that was interrupted left; whether there was any."""
        size = os.fstat(fd).st_size
        begin = max(0, size - _MAX_LINE_BYTES * 2)
        end = os.pread(fd, size - begin, begin)
        if not end or end.endswith(b"\n"):
            return False
        os.ftruncate(fd, begin + end.rfind(b"\n") + 1)
        return True

    def _files(self) -> list[Path]:
        """Oldest first."""
        kept = sorted(self._folder.glob("audit-*.jsonl"))
        return [*kept, self._path] if self._path.exists() else kept


class _Locked:
    """The open file, alone among processes."""

    def __init__(self, path: Path, disk: Disk) -> None:
        new = not path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if new:
            disk.sync_directory(path.parent)

    def __enter__(self) -> int:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _hash(line: bytes) -> str:
    return blake3(line).hexdigest()


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE_BYTES * 2):
            yield line


def _tail(path: Path) -> list[bytes]:
    """The last whole lines, without the first of them where it may begin in the middle."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _MAX_LINE_BYTES * 8))
            data = file.read()
    except OSError:
        return []
    lines = data.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    return lines


def _number(lines: list[bytes]) -> int:
    """The number of the last line; counted from the last readable one where it was altered."""
    for back, line in enumerate(reversed(lines)):
        entry = _entry(line)
        if entry is not None:
            return entry.number + back
    return len(lines)


def _entry(line: bytes) -> AuditEntry | None:
    try:
        return from_bytes(AuditEntry, line, what="line")
    except EdgectlError:
        return None


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
