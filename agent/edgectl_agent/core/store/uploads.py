"""Uploads in progress, and what an offer finds on this device already.

Order of an offer: the space is reserved → what an earlier upload of the same chunks made durable is taken as it is →
chunks that another blob or upload holds are copied, each once it was checked there → the answer says what is here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk, names_in, room
from edgectl_agent.core.store.blobs import Blobs
from edgectl_agent.core.store.chunk_lists import ChunkLists, Listed, Place, find, read_list
from edgectl_agent.core.store.upload import Partial, SyncRule, Upload
from edgectl_agent.reserve import reserve
from edgectl_protos.codec.transfer import FRAME_BYTES, chunks_to_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, EdgectlError, StateError

__all__ = ["Uploads"]

_MAX_OPEN = 8
"""Uploads whose chunk lists are in memory. A host sends a few blobs at once; one that was closed is offered again."""


class Uploads:
    """All uploads in progress."""

    def __init__(self, folder: Path, blobs: Blobs, lists: ChunkLists, disk: Disk, rule: SyncRule) -> None:
        self._rule = rule
        self._folder = folder
        self._blobs = blobs
        self._lists = lists
        self._disk = disk
        self._open: dict[Digest, Upload] = {}
        self._lock = threading.Lock()

    def offer(self, digest: Digest, chunks: ChunkList, *, holder: str, going_on: Callable[[], object]) -> Upload:
        """Reserve the space of a blob and take from this device what it has of it; the upload, under a new name.

        `going_on` is called now and then while chunks are copied, and may raise to end that.

        Raises:
            DiskFullError: there is no room.
        """
        with self._lock:
            upload = self._open.pop(digest, None)
            if upload is not None and (upload.ended or upload.chunks != chunks):
                upload.close()
                upload = None
            if upload is None:
                upload = self._opened(digest, chunks)
            self._open[digest] = upload
            for oldest in list(self._open)[:-_MAX_OPEN]:
                self._open.pop(oldest).close()
        upload.offered_to(holder)
        self._copy_from_here(upload, going_on)
        return upload

    def named(self, name: bytes) -> Upload:
        """The open upload that the device gave this name.

        Raises:
            StateError: there is none, or it was offered again since.
        """
        with self._lock:
            for upload in self._open.values():
                if upload.name == name:
                    return upload
        raise StateError(
            "the device knows no such upload: it was not offered since the agent started, or was offered again",
            hint="offer it again and send what is missing: edgectl deploy",
        )

    def commit(self, digest: Digest) -> None:
        """Verify the whole blob and make it visible.

        Raises:
            StateError: it was not offered, or chunks are missing.
            BundleCorruptError: the bytes do not match the digest; they are dropped.
        """
        if self._blobs.has(digest):
            self.drop(digest)
            return
        with self._lock:
            upload = self._open.get(digest)
        if upload is None or upload.ended:
            raise StateError(
                f"blob {digest.short} was not offered since the agent started",
                hint="offer it again and send what is missing: edgectl deploy",
            )
        found = upload.finish()
        if found == digest:
            self._lists.save(digest, upload.chunks)
            self._blobs.adopt(Partial.of(self._folder, digest).data, digest)
        self.drop(digest)
        if found != digest:
            raise BundleCorruptError(
                f"the uploaded bytes of {digest.short} have the digest {found.short}; the device dropped them",
                hint="the bundle on the host may be damaged; convert again: edgectl convert",
            )

    def close(self) -> None:
        """End all uploads; what is durable stays on the disk."""
        with self._lock:
            uploads = list(self._open.values())
            self._open.clear()
        for upload in uploads:
            upload.close()

    def drop(self, digest: Digest) -> None:
        """Forget an upload and its bytes."""
        with self._lock:
            upload = self._open.pop(digest, None)
        if upload is not None:
            upload.close()
        for path in Partial.of(self._folder, digest).paths:
            self._disk.remove(path)

    def digests(self) -> set[Digest]:
        """All blobs of which something is stored."""
        found = set()
        for name in names_in(self._folder):
            with contextlib.suppress(BundleError):
                found.add(Digest(name.partition(".")[0]))
        return found

    def reserved_bytes(self, digest: Digest) -> int:
        """Bytes of the disk that are already set aside for this blob."""
        try:
            return Partial.of(self._folder, digest).data.stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    def _opened(self, digest: Digest, chunks: ChunkList) -> Upload:
        partial = Partial.of(self._folder, digest)
        flags = partial.durable(chunks)
        if flags is not None:
            return Upload(digest, chunks, partial, flags, self._disk, self._rule)
        # The map goes first: it must never speak of bytes that are not there, nor of other chunks.
        self._disk.remove(partial.map)
        try:
            self._reserve(partial.data, chunks.size_bytes)
            if len(chunks) > 1:
                self._disk.write(partial.chunks, chunks_to_bytes(chunks))
            return Upload(digest, chunks, partial, bytearray(len(chunks)), self._disk, self._rule)
        except (OSError, EdgectlError):
            for path in partial.paths:
                path.unlink(missing_ok=True)
            raise

    def _reserve(self, data: Path, size_bytes: int) -> None:
        with room(data), data.open("wb") as file:
            reserve(file.fileno(), size_bytes)

    def _copy_from_here(self, upload: Upload, going_on: Callable[[], object]) -> None:
        """Take chunks from other files of this device; one that is not there what its list says stays missing."""
        found = find(upload.chunks, upload.absent(), lambda: self._files(upload.digest))
        for first, count, place in _together(found, upload.chunks):
            going_on()
            with contextlib.suppress(FileNotFoundError):
                upload.copy(first, count, _read(place, sum(upload.chunks.sizes[first : first + count])))
            if upload.due:
                upload.sync()
        upload.sync()

    def _files(self, but: Digest) -> Iterator[Listed]:
        """Every other file of this device whose chunks are known, complete blobs first."""
        for digest in self._lists:
            chunks = self._lists.read(digest)
            if chunks is not None and self._blobs.has(digest):
                yield Listed(self._blobs.path(digest), chunks)
        for digest in sorted(self.digests() - {but}):
            partial = Partial.of(self._folder, digest)
            chunks = read_list(partial.chunks, self._disk)
            flags = partial.durable(chunks) if chunks is not None else None
            if chunks is not None and flags is not None:
                yield Listed(partial.data, chunks, flags)


def _together(found: Iterable[tuple[int, Place]], chunks: ChunkList) -> Iterator[tuple[int, int, Place]]:
    """Chunks that lie one behind the other both in the upload and where they were found, a frame's worth at a time."""
    first, size, place, end = 0, 0, None, 0
    for index, here in found:
        follows = place is not None and index == end and here == Place(place.path, place.offset + size)
        if place is None or not follows or size + chunks.sizes[index] > FRAME_BYTES:
            if place is not None:
                yield first, end - first, place
            first, size, place = index, 0, here
        size, end = size + chunks.sizes[index], index + 1
    if place is not None:
        yield first, end - first, place


def _read(place: Place, size_bytes: int) -> memoryview:
    with place.path.open("rb", buffering=0) as file:
        file.seek(place.offset)
        return memoryview(file.read(size_bytes))
