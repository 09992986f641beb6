"""Uploads in progress: `partial/<hex>.data` holds the bytes, `partial/<hex>.map` which chunks are durable.

The map begins with the digest of the offered chunk list, so that it never speaks of other chunks, and grows
by one index for each chunk, written only after the chunk's bytes are synced: what the map says survives a
power cut. Order: verify a chunk → write it → sync the data → append to the map and sync it.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from edgectl_agent.core.store.atomic import Disk, room
from edgectl_agent.core.store.blobs import BLOB_MODE, Blobs, sha256_of
from edgectl_protos.domain.artifact import CHUNK_SIZE_BYTES, Chunk, Digest
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, StateError

__all__ = ["Uploads", "check_chunks"]

_INDEX = struct.Struct(">I")
_HEAD_BYTES = 32


def check_chunks(size_bytes: int, chunks: tuple[Chunk, ...]) -> None:
    """Refuse a chunk list that does not cover the blob exactly.

    Raises:
        BundleError: a gap, an overlap, a chunk of a wrong size, or a sum that is not the blob's size.
    """
    offset = 0
    for index, chunk in enumerate(chunks):
        if chunk.offset != offset:
            raise BundleError(f"chunk {index} starts at {chunk.offset}, expected {offset}")
        if not 0 < chunk.size_bytes <= CHUNK_SIZE_BYTES:
            raise BundleError(f"chunk {index} has {chunk.size_bytes} bytes, allowed: 1 to {CHUNK_SIZE_BYTES}")
        offset += chunk.size_bytes
    if offset != size_bytes:
        raise BundleError(f"chunks cover {offset} bytes of a blob of {size_bytes}")


def _head(chunks: tuple[Chunk, ...]) -> bytes:
    state = blake3()
    for chunk in chunks:
        state.update(f"{chunk.offset} {chunk.size_bytes} {chunk.blake3}\n".encode())
    return state.digest()


def _read_map(data: bytes, head: bytes, count: int) -> set[int] | None:
    """Indices that a map records; None when it speaks of other chunks. A torn last entry is not recorded."""
    if data[:_HEAD_BYTES] != head:
        return None
    body = data[_HEAD_BYTES:]
    whole = len(body) - len(body) % _INDEX.size
    found = {index for (index,) in _INDEX.iter_unpack(body[:whole])}
    return found if all(index < count for index in found) else None


@dataclass
class _Upload:
    chunks: tuple[Chunk, ...]
    durable: set[int]
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """All uploads in progress."""

    def __init__(self, folder: Path, blobs: Blobs, disk: Disk, *, sync_every_bytes: int) -> None:
        self._folder = folder
        self._blobs = blobs
        self._disk = disk
        self._sync_every_bytes = sync_every_bytes
        self._open: dict[Digest, _Upload] = {}
        self._lock = threading.Lock()

    def offer(self, digest: Digest, size_bytes: int, chunks: tuple[Chunk, ...]) -> tuple[int, ...]:
        """Reserve the space of a blob; the indices of the chunks that are not durable here.

        Raises:
            BundleError: the chunk list does not cover the blob.
            DiskFullError: there is no room.
        """
        check_chunks(size_bytes, chunks)
        with self._lock:
            upload = self._open.get(digest)
            if upload is None or upload.chunks != chunks:
                upload = _Upload(chunks, self._recover(digest, size_bytes, chunks))
                self._open[digest] = upload
        with upload.lock:
            return tuple(index for index in range(len(chunks)) if index not in upload.durable)

    def write(self, digest: Digest, pieces: Iterable[tuple[int, bytes]]) -> int:
        """Store chunks by index; the bytes now durable of this call, when all are.

        Raises:
            BundleCorruptError: a chunk is not the one that was offered; those before it are kept.
            StateError: the blob was not offered.
        """
        upload = self._offered(digest)
        durable_bytes = 0
        waiting: list[int] = []
        waiting_bytes = 0
        # The lock is never held while waiting for the network: a stalled stream must not stall an offer.
        with self._data(digest).open("r+b", buffering=0) as data:
            try:
                for index, piece in pieces:
                    self._check_piece(upload, digest, index, piece)
                    with room(self._data(digest)):
                        _write_at(data.fileno(), piece, upload.chunks[index].offset)
                    waiting.append(index)
                    waiting_bytes += len(piece)
                    durable_bytes += len(piece)
                    if waiting_bytes >= self._sync_every_bytes:
                        self._record(upload, digest, data.fileno(), waiting)
                        waiting, waiting_bytes = [], 0
            finally:
                # Also when the stream broke: what has arrived need not be sent again.
                self._record(upload, digest, data.fileno(), waiting)
        return durable_bytes

    def commit(self, digest: Digest) -> None:
        """Verify the whole blob and make it visible.

        Raises:
            StateError: it was not offered, or chunks are missing.
            BundleCorruptError: the bytes do not match the digest; they are dropped.
        """
        if self._blobs.has(digest):
            self.drop(digest)
            return
        upload = self._offered(digest)
        path = self._data(digest)
        with upload.lock:
            missing = len(upload.chunks) - len(upload.durable)
            if missing:
                raise StateError(
                    f"blob {digest.short} lacks {missing} of {len(upload.chunks)} chunks",
                    hint="offer it again and send what is missing: edgectl deploy",
                )
            found = sha256_of(path)
            if found == digest:
                path.chmod(BLOB_MODE)
                self._disk.publish(path, self._blobs.path(digest))
        self.drop(digest)
        if found != digest:
            raise BundleCorruptError(
                f"the uploaded bytes of {digest.short} have the digest {found.short}; the device dropped them",
                hint="the bundle on the host may be damaged; convert again: edgectl convert",
            )

    def drop(self, digest: Digest) -> None:
        """Forget an upload and its bytes."""
        with self._lock:
            self._open.pop(digest, None)
        self._disk.remove(self._map(digest))
        self._disk.remove(self._data(digest))

    def digests(self) -> set[Digest]:
        """All blobs of which something is stored."""
        return {Digest(path.stem) for path in self._folder.glob("[0-9a-f]*.*") if len(path.stem) == 64}

    def reserved_bytes(self, digest: Digest) -> int:
        """Bytes of the disk that are already set aside for this blob."""
        try:
            return self._data(digest).stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def _recover(self, digest: Digest, size_bytes: int, chunks: tuple[Chunk, ...]) -> set[int]:
        data, record = self._data(digest), self._map(digest)
        head = _head(chunks)
        durable: set[int] | None = None
        if record.exists() and data.exists() and data.stat().st_size == size_bytes:
            durable = _read_map(record.read_bytes(), head, len(chunks))
        if durable is None:
            # The record goes first: it must never speak of bytes that are not there.
            self._disk.remove(record)
            self._reserve(data, size_bytes)
            durable = set()
        # A fresh record, or the old one without a torn entry at its end.
        self._disk.write(record, head + b"".join(_INDEX.pack(index) for index in sorted(durable)))
        return durable

    def _reserve(self, data: Path, size_bytes: int) -> None:
        with room(data), data.open("wb") as file:
            try:
                if size_bytes:
                    os.posix_fallocate(file.fileno(), 0, size_bytes)
            except OSError:
                data.unlink()
                raise

    def _record(self, upload: _Upload, digest: Digest, data_fd: int, indices: list[int]) -> None:
        if not indices:
            return
        with upload.lock:
            if self._open.get(digest) is not upload:
                raise StateError(f"the upload of blob {digest.short} was withdrawn")
            with room(self._data(digest)):
                os.fsync(data_fd)
            path = self._map(digest)
            with path.open("ab", buffering=0) as record:
                self._disk.append(record.fileno(), b"".join(_INDEX.pack(index) for index in indices), path)
            upload.durable.update(indices)

    def _data(self, digest: Digest) -> Path:
        return self._folder / f"{digest.hex}.data"

    def _map(self, digest: Digest) -> Path:
        return self._folder / f"{digest.hex}.map"

    def _offered(self, digest: Digest) -> _Upload:
        with self._lock:
            upload = self._open.get(digest)
        if upload is None:
            raise StateError(
                f"blob {digest.short} was not offered since the agent started",
                hint="offer it again and send what is missing: edgectl deploy",
            )
        return upload

    def _check_piece(self, upload: _Upload, digest: Digest, index: int, piece: bytes) -> None:
        if not 0 <= index < len(upload.chunks):
            raise BundleError(f"blob {digest.short} has no chunk {index}; it has {len(upload.chunks)}")
        chunk = upload.chunks[index]
        if len(piece) != chunk.size_bytes or blake3(piece).hexdigest() != chunk.blake3:
            raise BundleCorruptError(
                f"chunk {index} of blob {digest.short} arrived altered ({len(piece)} bytes of "
                f"{chunk.size_bytes}); the device did not keep it",
                hint="send it again: edgectl deploy",
            )


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
