"""Which chunks the blobs of this device are made of: one list beside each blob, `chunks/<hex>`, and nothing in memory.

A list is written before its blob becomes visible. One that is lost or damaged is learned again from the next offer of
its blob: it only says where to look, since a chunk that is taken from another blob is checked against its own digest.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk, digests_in, read_file
from edgectl_protos.codec.transfer import MAX_CHUNK_LIST_BYTES, chunks_from_bytes, chunks_to_bytes
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import CHUNK_DIGEST_BYTES, ChunkList
from edgectl_protos.domain.errors import BundleError

__all__ = ["ChunkLists", "Listed", "Place", "find", "read_list"]

_LOG = logging.getLogger(__name__)

_WANTED_AT_ONCE = 1 << 15
"""Chunks that are looked for in one pass over all lists: a bound on memory, not on what is found."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A file whose chunks are known. `flags`: which of them are there; None for all."""

    path: Path
    chunks: ChunkList
    flags: bytearray | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk may lie: `offset` bytes into a file."""

    path: Path
    offset: int


def find(
    chunks: ChunkList, wanted: Iterable[int], files: Callable[[], Iterable[Listed]]
) -> Iterator[tuple[int, Place]]:
    """For each of the wanted chunks that a file holds too, where; in the order of `wanted`.

    `files` gives every file that may be looked at, anew at each call.
    """
    waiting = iter(wanted)
    while part := list(itertools.islice(waiting, _WANTED_AT_ONCE)):
        asked = {chunks.digest(index) for index in part}
        found: dict[bytes, Place] = {}
        for file in files():
            _look(file, asked, found)
        for index in part:
            place = found.get(chunks.digest(index))
            if place is not None:
                yield index, place


def _look(file: Listed, asked: set[bytes], found: dict[bytes, Place]) -> None:
    digests, offset = file.chunks.digests, 0
    for index, size in enumerate(file.chunks.sizes):
        at = index * CHUNK_DIGEST_BYTES
        digest = digests[at : at + CHUNK_DIGEST_BYTES]
        if digest in asked and digest not in found and (file.flags is None or file.flags[index]):
            found[digest] = Place(file.path, offset)
        offset += size


class ChunkLists:
    """The lists of complete blobs."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def save(self, digest: Digest, chunks: ChunkList) -> None:
        """Remember what a blob is made of. A blob of one chunk is known by its own digest."""
        path = self._folder / digest.hex
        if len(chunks) > 1 and not path.exists():
            self._disk.write(path, chunks_to_bytes(chunks))

    def read(self, digest: Digest) -> ChunkList | None:
        """The chunks of a blob, if they are known; a damaged list is removed."""
        return read_list(self._folder / digest.hex, self._disk)

    def drop(self, digest: Digest) -> None:
        """Forget a blob."""
        self._disk.remove(self._folder / digest.hex)

    def __iter__(self) -> Iterator[Digest]:
        return digests_in(self._folder)


def read_list(path: Path, disk: Disk) -> ChunkList | None:
    """The chunk list in a file; None, and no file any more, where there is none to be read."""
    try:
        return chunks_from_bytes(read_file(path, limit_bytes=MAX_CHUNK_LIST_BYTES))
    except FileNotFoundError:
        return None
    except (BundleError, OSError) as exc:
        _LOG.warning("%s is set aside: %s", path, exc)
        disk.remove(path)
        return None
