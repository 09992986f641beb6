"""The audit log: who changed what on this device, and whom it refused. Each line holds the BLAKE3 of the line before.

`trust/audit.jsonl` grows to a bound and is then renamed to `audit-<first number>.jsonl`; the first line of the next
file goes on from the last of this one, so that the chain has no gap when the oldest file is removed. The daemon and
`edgectl-agent enrol` both write: who holds the lock on the file that has the name now. A line is synced before its call
goes on. What cannot be written (a full disk) is counted and told in the next line that can be: the log
must not be what keeps a person from mending a device. Refusals are bounded, or whoever is refused fills the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.trust.callers import Caller
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.domain.trust import AuditEntry

__all__ = ["AuditLog"]

_LOG = logging.getLogger(__name__)

_DETAIL_CHARACTERS = 600
_CALLER_CHARACTERS = 200
_MAX_LINE_BYTES = 16 << 10
"""More than any line has: in JSON a character takes up to twelve bytes."""


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
        for path in reversed(self._files()):
            lines = _tail(path)
            if lines:
                return _number(lines), _hash(lines[-1])
        return 0, ""

    def read(self, from_number: int) -> Iterator[bytes]:
        """Lines of this number and above, oldest first, as they stand on the disk, with their line ends."""
        with contextlib.ExitStack() as held:
            for file in self._opened(held):
                for line in _lines(file):
                    entry = _entry(line)
                    # A line that cannot be read is shown: it is what the reader looks for.
                    if entry is None or entry.number >= from_number:
                        yield line

    def _opened(self, held: contextlib.ExitStack) -> list[BinaryIO]:
        """All files, oldest first. Opened together, since one that is renamed meanwhile would be a gap."""
        while True:
            paths = self._files()
            with contextlib.suppress(FileNotFoundError):
                files: list[BinaryIO] = [held.enter_context(path.open("rb")) for path in paths]
                if self._files() == paths:
                    return files

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
            _plain(caller.name, _CALLER_CHARACTERS) if caller else "",
            _plain(detail, _DETAIL_CHARACTERS),
            previous,
            caller.role.value if caller else "",
        )
        self._disk.append(fd, canonical_bytes(entry) + b"\n", self._path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, alone among processes; a new one where the old one is long enough."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if self._is_current(fd):
                    if not os.fstat(fd).st_size:
                        self._disk.sync_directory(self._folder)
                    yield fd
                    return
            finally:
                os.close(fd)

    def _is_current(self, fd: int) -> bool:
        """Whether the file that was locked has the name still, and room for a line; if it has no room, it loses it."""
        try:
            if not os.path.samestat(os.fstat(fd), os.lstat(self._path)):
                return False
        except FileNotFoundError:
            return False
        if os.fstat(fd).st_size <= self._max_bytes:
            return True
        self._rotate()
        return False

    def _rotate(self) -> None:
        with self._path.open("rb") as file:
            entry = _entry(next(_lines(file), b""))
        self._disk.publish(self._path, self._folder / f"audit-{entry.number if entry else 0:012d}.jsonl")
        for path in self._files()[: -self._files_kept]:
            self._disk.remove(path)

    @staticmethod
    def _mend(fd: int) -> bool:
        """Cut off what an append that was interrupted left; whether there was any."""
        size = os.fstat(fd).st_size
        begin = max(0, size - _MAX_LINE_BYTES)
        end = os.pread(fd, size - begin, begin)
        if not end or end.endswith(b"\n"):
            return False
        os.ftruncate(fd, begin + end.rfind(b"\n") + 1)
        return True

    def _files(self) -> list[Path]:
        """Oldest first."""
        kept = sorted(self._folder.glob("audit-*.jsonl"))
        return [*kept, self._path] if self._path.exists() else kept


def _hash(line: bytes) -> str:
    return blake3(line).hexdigest()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE_BYTES):
        yield line


def _tail(path: Path) -> list[bytes]:
    """The last whole lines, without the first of them where it may begin in the middle."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            begin = max(0, size - _MAX_LINE_BYTES * 2)
            file.seek(begin)
            lines = file.read().splitlines(keepends=True)[1 if begin else 0 :]
    except OSError:
        return []
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


def _plain(text: str, limit: int) -> str:
    return "".join(c if c.isprintable() else "�" for c in text[:limit])
