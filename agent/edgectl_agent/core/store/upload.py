"""One blob on its way in: its bytes, which of its chunks are here, and the SHA-256 of what is here without a gap.

    partial/<hex>.data     the bytes, room for all of them reserved at the start
    partial/<hex>.chunks   the chunk list that was offered, by which other uploads find them; none of a single chunk
    partial/<hex>.map      which chunks are durable: the digest of the list, then stretches (first, count)

Order: chunks are checked and written → the data is synced → the map grows and is synced → they are acknowledged. So
what the map says survives a power cut, and a torn or zeroed entry at its end says nothing. The whole blob's SHA-256 is
taken from memory as chunks arrive in order, and read from the file only where they did not.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgectl_agent.core.store.atomic import Disk, read_file, room
from edgectl_protos.codec.transfer import UPLOAD_BYTES, bitmap_from, chunk_digest, chunks_to_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import CHUNK_DIGEST_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, DocumentError, StateError

__all__ = ["Partial", "SyncRule", "Upload"]

_STRETCH = struct.Struct(">II")
_ABSENT, _WRITTEN, _DURABLE = 0, 1, 2
_CATCH_UP_BYTES = 4 << 20
"""How much of the file one frame may read back for the SHA-256: after a restart nobody waits for all of it."""
_PIECE_BYTES = 1 << 20
_LEAVE_S = 2.0

# macOS has no fdatasync.
_sync_data = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True)
class Partial:
    """The files of one upload in their folder."""

    data: Path
    chunks: Path
    map: Path

    @classmethod
    def of(cls, folder: Path, digest: Digest) -> Partial:
        """Those of a blob."""
        return cls(*(folder / f"{digest.hex}.{suffix}" for suffix in ("data", "chunks", "map")))

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, in the order in which they may be removed: the map never speaks of bytes that are gone."""
        return self.map, self.chunks, self.data

    def durable(self, chunks: ChunkList) -> bytearray | None:
        """A flag for each chunk; None when the files speak of other chunks, or are not whole."""
        try:
            if self.data.stat().st_size != chunks.size_bytes:
                return None
            data = read_file(self.map, limit_bytes=_map_bytes(len(chunks)))
        except (OSError, DocumentError):
            return None
        return _read_map(data, _head(chunks), len(chunks))


def _head(chunks: ChunkList) -> bytes:
    """By which a map says of which chunks it speaks."""
    return chunks_to_bytes(chunks)[-CHUNK_DIGEST_BYTES:]


def _map_bytes(count: int) -> int:
    """No map is longer: each of its entries records at least one chunk that none before it did."""
    return CHUNK_DIGEST_BYTES + _STRETCH.size * (count + 1)


def _read_map(data: bytes, head: bytes, count: int) -> bytearray | None:
    """Flags of the chunks that a map records; None when it speaks of other chunks. A torn last entry says nothing."""
    if data[: len(head)] != head:
        return None
    flags = bytearray(count)
    body = data[len(head) :]
    for first, length in _STRETCH.iter_unpack(body[: len(body) - len(body) % _STRETCH.size]):
        if first + length > count:
            return None
        flags[first : first + length] = bytes([_DURABLE]) * length
    return flags


@dataclass(frozen=True, slots=True)
class SyncRule:
    """When bytes that were written are made durable together."""

    every_bytes: int
    every_s: float
    clock: Callable[[], float] = time.monotonic


class Upload:
    """An open upload. Several streams may write to it at once.

    `name` stands in each of its frames, `holder` is the deployment that it belongs to; both change with each offer.
    """

    def __init__(
        self, digest: Digest, chunks: ChunkList, partial: Partial, flags: bytearray, disk: Disk, rule: SyncRule
    ) -> None:
        """Go on with files that are there; `flags` are of the chunks that are durable."""
        import hashlib

        self.digest = digest
        self.chunks = chunks
        self.name = b""
        self.holder = ""
        self.synced = 0
        self._partial = partial
        self._disk = disk
        self._rule = rule
        self._offsets = chunks.offsets()
        self._flags = flags
        # A fresh map, or the old one without a torn entry at its end.
        durable = _merged(range(index, index + 1) for index, flag in enumerate(flags) if flag)
        disk.write(partial.map, _head(chunks) + _packed(durable))
        self._data_fd = os.open(partial.data, os.O_RDWR | os.O_CLOEXEC)
        self._map_fd = os.open(partial.map, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._changed = threading.Condition()
        self._streams: set[Callable[[], object]] = set()
        self._writing = 0
        self._closed = False
        self._sequence = 0
        self._unsynced: list[range] = []
        self._unsynced_bytes = 0
        self._synced_s = rule.clock()
        self._sync_lock = threading.RLock()
        self._hash_lock = threading.Lock()
        self._hash: Any = hashlib.sha256()
        self._hashed = 0

    def offered_to(self, holder: str) -> None:
        """A new name: frames of an earlier offer are refused from now on, and its streams ended."""
        self.name, self.holder = os.urandom(UPLOAD_BYTES), holder
        self._end_streams()
        with self._changed:
            # Their host is about to send anew, and their places are taken until they have noticed.
            self._changed.wait_for(lambda: not self._streams, _LEAVE_S)

    def begin(self, end: Callable[[], object]) -> None:
        """A stream has come; `end` ends it from outside."""
        with self._changed:
            self._streams.add(end)

    def leave(self, end: Callable[[], object]) -> None:
        """It has gone."""
        with self._changed:
            self._streams.discard(end)
            self._changed.notify_all()

    def have(self) -> bytes:
        """A bitmap of the chunks that are here."""
        return bitmap_from(self._flags)

    def absent(self) -> Iterator[int]:
        """The chunks that are not here, in order, as they are asked for."""
        return (index for index, flag in enumerate(self._flags) if flag == _ABSENT)

    def write(self, first: int, count: int, body: memoryview) -> int:
        """Check and write chunks that lie one behind the other; the number of this write, to be compared with `synced`.

        Raises:
            BundleError: the blob has no such chunks, or they have other sizes.
            BundleCorruptError: one is not the one that was offered; those before it are kept.
            StateError: the upload has ended.
        """
        last = first + count - 1
        if count < 1 or last >= len(self.chunks):
            raise BundleError(f"blob {self.digest.short} has no chunks {first} to {last}; it has {len(self.chunks)}")
        size = self._offsets[first + count] - self._offsets[first]
        if len(body) != size:
            raise BundleError(
                f"chunks {first} to {last} of blob {self.digest.short} have {size:,} bytes; {len(body):,} arrived"
            )
        good = self._keep(first, count, body)
        if good < count:
            raise BundleCorruptError(
                f"chunk {first + good} of blob {self.digest.short} is not the one that was offered; the device did not "
                "keep it",
                hint="send it again: edgectl deploy",
            )
        return self._sequence

    def copy(self, first: int, count: int, body: memoryview) -> None:
        """Write those of these chunks that are what they should be; `body` may be too short."""
        end = first + count
        while first < end:
            held = body[: self._offsets[end] - self._offsets[first]]
            while end > first and self._offsets[end] - self._offsets[first] > len(held):
                end -= 1
            good = self._keep(first, end - first, held)
            step = min(first + good + 1, end)
            body = body[self._offsets[step] - self._offsets[first] :]
            first = step

    @property
    def due(self) -> bool:
        """Whether it is time to sync."""
        late = self._rule.clock() - self._synced_s >= self._rule.every_s
        return self._unsynced_bytes >= self._rule.every_bytes or (late and self._unsynced_bytes > 0)

    def sync(self) -> None:
        """Make everything that was written until now durable, and record it.

        Raises:
            DiskFullError: there is no room.
        """
        # One at a time: whoever waits here finds its own chunks synced by the one before.
        with self._sync_lock:
            with self._changed:
                stretches, self._unsynced = self._unsynced, []
                reached, self._unsynced_bytes = self._sequence, 0
            if stretches:
                self._record(stretches)
            self.synced, self._synced_s = reached, self._rule.clock()

    def finish(self) -> Digest:
        """The SHA-256 of the whole blob, whose chunks are all durable; nothing is written to it any more.

        Raises:
            StateError: chunks are missing.
        """
        missing = self._flags.count(_ABSENT)
        if missing:
            raise StateError(
                f"blob {self.digest.short} lacks {missing} of {len(self.chunks)} chunks",
                hint="offer it again and send what is missing: edgectl deploy",
            )
        self._end_writes()
        self.sync()
        with self._hash_lock:
            self._hash_file(len(self.chunks))
            return Digest(self._hash.hexdigest())

    def close(self) -> None:
        """End it; what is durable stays on the disk, and the next offer goes on from there."""
        self._end_writes()
        self._end_streams()
        with self._sync_lock, self._hash_lock:
            fds, self._data_fd, self._map_fd = {self._data_fd, self._map_fd} - {-1}, -1, -1
        for fd in fds:
            os.close(fd)

    @property
    def ended(self) -> bool:
        """Whether nothing can be written any more."""
        return self._closed

    def _record(self, stretches: list[range]) -> None:
        if self._data_fd < 0:
            raise self._ended()
        try:
            with room(self._partial.data):
                _sync_data(self._data_fd)
            self._disk.append(self._map_fd, _packed(_merged(stretches)), self._partial.map)
        except BaseException:
            # The kernel tells of lost pages once only: what was waiting is to be sent again.
            self.close()
            raise
        for part in stretches:
            self._flags[part.start : part.stop] = bytes([_DURABLE]) * len(part)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise self._ended()
            self._writing += 1
        try:
            yield
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    def _end_streams(self) -> None:
        with self._changed:
            streams = tuple(self._streams)
        for end in streams:
            end()

    def _end_writes(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._writing)

    def _ended(self) -> StateError:
        return StateError(
            f"the upload of blob {self.digest.short} has ended",
            hint="offer it again and send what is missing: edgectl deploy",
        )

    def _keep(self, first: int, count: int, body: memoryview) -> int:
        """Write these chunks up to the first that is not what was offered; how many that is."""
        start, good = self._offsets[first], first
        while good < first + count:
            piece = body[self._offsets[good] - start : self._offsets[good + 1] - start]
            if chunk_digest(piece) != self.chunks.digest(good):
                break
            good += 1
        with self._at_work():
            if _ABSENT in self._flags[first:good]:
                kept = body[: self._offsets[good] - start]
                with room(self._partial.data):
                    _write_at(self._data_fd, kept, start)
                self._wrote(range(first, good), len(kept))
                self._hash_on(first, kept)
        return good - first

    def _wrote(self, part: range, size_bytes: int) -> None:
        with self._changed:
            for index in part:
                if self._flags[index] == _ABSENT:
                    self._flags[index] = _WRITTEN
            self._unsynced.append(part)
            self._unsynced_bytes += size_bytes
            self._sequence += 1

    def _hash_on(self, first: int, body: memoryview) -> None:
        """Hash what now follows without a gap on what is hashed; left to a later call while another thread does it."""
        if not self._hash_lock.acquire(blocking=False):
            return
        try:
            limit = self._offsets[self._hashed] + _CATCH_UP_BYTES
            end = self._hashed
            while end < len(self._flags) and self._flags[end] != _ABSENT and self._offsets[end] < limit:
                end += 1
            if self._hashed == first and end > first:
                held = body[: self._offsets[end] - self._offsets[first]]
                self._hash.update(held)
                while self._offsets[self._hashed] < self._offsets[first] + len(held):
                    self._hashed += 1
            self._hash_file(end)
        finally:
            self._hash_lock.release()

    def _hash_file(self, end: int) -> None:
        """Hash from the file up to a chunk. Under the lock."""
        at, stop = self._offsets[self._hashed], self._offsets[end] if end > self._hashed else 0
        while at < stop:
            piece = os.pread(self._data_fd, min(_PIECE_BYTES, stop - at), at)
            if not piece:
                raise BundleCorruptError(f"the file of blob {self.digest.short} was cut short on the device")
            self._hash.update(piece)
            at += len(piece)
        self._hashed = max(self._hashed, end)


def _packed(parts: Iterable[range]) -> bytes:
    return b"".join(_STRETCH.pack(part.start, len(part)) for part in parts)


def _merged(parts: Iterable[range]) -> list[range]:
    merged: list[range] = []
    for part in sorted(parts, key=lambda part: part.start):
        if merged and part.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(part.stop, merged[-1].stop))
        else:
            merged.append(part)
    return merged


def _write_at(fd: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
