"""Uploads into a folder, without an agent around them, and a blob of ten chunks, the last one short by 100 bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.blobs import Blobs, digest_of
from edgectl_agent.core.store.chunk_lists import ChunkLists
from edgectl_agent.core.store.upload import SyncRule, Upload
from edgectl_agent.core.store.uploads import Uploads
from edgectl_protos.codec.transfer import missing_in
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import MIN_CHUNK_BYTES, ChunkList
from edgectl_testkit.raw_client import chunks_of

__all__ = ["ALL", "CHUNKS", "DATA", "DIGEST", "NEVER", "SIZE", "folders_in", "missing", "offer", "put", "uploads"]

SIZE = MIN_CHUNK_BYTES
DATA = b"".join(bytes([value]) * SIZE for value in range(10))[:-100]
CHUNKS = chunks_of(DATA, size_bytes=SIZE)
DIGEST = digest_of(DATA)
ALL = range(10)
NEVER = SyncRule(1 << 30, 1e9, lambda: 0.0)
"""No bytes are due before they are synced by hand."""


def folders_in(folder: Path) -> Path:
    """The folder, with those in it that uploads need."""
    for name in ("blobs", "partial", "chunks"):
        (folder / name).mkdir()
    return folder


def uploads(folder: Path, *, disk: Disk | None = None, rule: SyncRule = NEVER) -> Uploads:
    """Those of a store that has just been opened."""
    disk = disk or Disk()
    return Uploads(folder / "partial", Blobs(folder / "blobs", disk), ChunkLists(folder / "chunks", disk), disk, rule)


def offer(store: Uploads, data: bytes = DATA, chunks: ChunkList = CHUNKS, digest: Digest | None = None) -> Upload:
    """The upload of these bytes, as a deployment that goes on offers them."""
    return store.offer(digest or digest_of(data), chunks, holder="d", going_on=lambda: None)


def missing(upload: Upload) -> list[int]:
    """The chunks that it asks for."""
    return [index for part in missing_in(upload.have(), len(upload.chunks)) for index in part]


def put(upload: Upload, indices: Iterable[int], data: bytes = DATA) -> None:
    """Send chunks, each in a frame of its own."""
    offsets = upload.chunks.offsets()
    for index in indices:
        upload.write(index, 1, memoryview(data)[offsets[index] : offsets[index + 1]])
