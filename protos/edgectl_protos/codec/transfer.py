"""What an upload puts on the wire beside protobuf, and both ends on their disks: chunk lists, bitmaps, frames.

A frame is `upload (16 bytes) · first chunk (u32) · chunks (u32) · their bytes`, numbers big-endian: whole chunks, one
behind the other in the blob. Frames travel as they are: in a protobuf message each byte would be copied twice more.
Readers are total: any bytes in, a value or one of our errors out.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from blake3 import blake3

from edgectl_protos.domain.chunks import CHUNK_DIGEST_BYTES, MAX_CHUNK_BYTES, MAX_CHUNKS, ChunkList
from edgectl_protos.domain.errors import BundleError, ProtocolError

__all__ = [
    "FRAME_BYTES",
    "FRAME_HEADER_BYTES",
    "MAX_CHUNK_LIST_BYTES",
    "UPLOAD_BYTES",
    "UPLOAD_METHOD",
    "Frame",
    "bitmap_from",
    "chunk_digest",
    "chunks_from_bytes",
    "chunks_to_bytes",
    "frame_from_bytes",
    "frame_header",
    "missing_in",
]

UPLOAD_METHOD = "/edgectl.agent.v1.ArtifactService/Upload"
"""The stream of frames; its answers are UploadReply messages."""
UPLOAD_BYTES = 16
"""The name that a device gives an upload when it is offered: it stands in each frame, and fences off earlier hosts."""
FRAME_BYTES = MAX_CHUNK_BYTES
"""Chunks of a frame together have at most so many bytes."""

_FRAME = struct.Struct(f">{UPLOAD_BYTES}sII")
FRAME_HEADER_BYTES = _FRAME.size

_LIST = struct.Struct("<8sI")
_LIST_MAGIC = b"edgchnk1"
MAX_CHUNK_LIST_BYTES = _LIST.size + MAX_CHUNKS * (4 + CHUNK_DIGEST_BYTES) + CHUNK_DIGEST_BYTES
"""1.3 MiB, which an offer carries in one message."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Chunks `first` to `first + count - 1` of an upload; `body` is their bytes."""

    upload: bytes
    first: int
    count: int
    body: memoryview


def frame_header(upload: bytes, first: int, count: int) -> bytes:
    """What stands before the bytes of a frame's chunks."""
    return _FRAME.pack(upload, first, count)


def frame_from_bytes(data: bytes) -> Frame:
    """Read a frame; its chunks are checked against the offer by whoever knows it.

    Raises:
        ProtocolError: it is none.
    """
    if not FRAME_HEADER_BYTES < len(data) <= FRAME_HEADER_BYTES + FRAME_BYTES:
        raise ProtocolError(
            f"a frame of {len(data):,} bytes; frames have {FRAME_HEADER_BYTES + 1:,} to "
            f"{FRAME_HEADER_BYTES + FRAME_BYTES:,}",
            hint="install the same version on host and device: edgectl doctor",
        )
    upload, first, count = _FRAME.unpack_from(data)
    return Frame(upload, first, count, memoryview(data)[FRAME_HEADER_BYTES:])


def chunk_digest(data: bytes | memoryview) -> bytes:
    """By which a chunk of these bytes is known."""
    return blake3(data).digest(length=CHUNK_DIGEST_BYTES)


def chunks_to_bytes(chunks: ChunkList) -> bytes:
    """A chunk list: magic, count, sizes (u32, little-endian), digests, and a digest over all of these."""
    head = _LIST.pack(_LIST_MAGIC, len(chunks)) + _swapped(chunks.sizes).tobytes() + chunks.digests
    return head + chunk_digest(head)


def chunks_from_bytes(data: bytes) -> ChunkList:
    """Read a chunk list.

    Raises:
        BundleError: it is none, was cut short or altered, or its chunks are out of bounds.
    """
    if len(data) < _LIST.size:
        raise BundleError(f"{len(data)} bytes are no chunk list")
    magic, count = _LIST.unpack_from(data)
    sizes_end = _LIST.size + 4 * count
    end = sizes_end + CHUNK_DIGEST_BYTES * count
    if magic != _LIST_MAGIC or count > MAX_CHUNKS or len(data) != end + CHUNK_DIGEST_BYTES:
        raise BundleError(f"{len(data):,} bytes are no chunk list of {count:,} chunks")
    if chunk_digest(memoryview(data)[:end]) != data[end:]:
        raise BundleError("a chunk list was altered")
    sizes = array("I")
    sizes.frombytes(data[_LIST.size : sizes_end])
    return ChunkList(_swapped(sizes), data[sizes_end:end])


def bitmap_from(flags: bytes | bytearray) -> bytes:
    """One bit for each flag that is not 0, the least significant of the first byte first."""
    bitmap = bytearray(-(-len(flags) // 8))
    for index, flag in enumerate(flags):
        if flag:
            bitmap[index >> 3] |= 1 << (index & 7)
    return bytes(bitmap)


def missing_in(bitmap: bytes, count: int) -> tuple[range, ...]:
    """The stretches of consecutive chunks, of `count` in all, whose bits are 0.

    Raises:
        ProtocolError: it is no bitmap of so many.
    """
    if len(bitmap) != -(-count // 8):
        raise ProtocolError(
            f"{len(bitmap)} bytes are no bitmap of {count:,} chunks",
            hint="install the same version on host and device: edgectl doctor",
        )
    return tuple(_stretches(index for index in range(count) if not bitmap[index >> 3] >> (index & 7) & 1))


def _stretches(indices: Iterable[int]) -> Iterable[range]:
    first = end = 0
    for index in indices:
        if index != end:
            if end > first:
                yield range(first, end)
            first = index
        end = index + 1
    if end > first:
        yield range(first, end)


def _swapped(sizes: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return sizes
    swapped = array("I", sizes)
    swapped.byteswap()
    return swapped
