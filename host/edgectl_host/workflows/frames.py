"""The frames in which what a device lacks of a blob is sent."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgectl_protos.codec.transfer import frame_header
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.errors import BundleCorruptError

__all__ = ["frames_of"]


def frames_of(
    fd: int, chunks: ChunkList, missing: tuple[range, ...], upload: bytes, *, frame_bytes: int
) -> Iterator[bytes]:
    """Frames of whole neighbouring chunks, of up to `frame_bytes` where one chunk is not longer; read as asked for.

    Raises:
        BundleCorruptError: the file is shorter than its chunks.
    """
    offsets = chunks.offsets()
    for part in missing:
        first = part.start
        while first < part.stop:
            end = first + 1
            while end < part.stop and offsets[end + 1] - offsets[first] <= frame_bytes:
                end += 1
            size = offsets[end] - offsets[first]
            data = os.pread(fd, size, offsets[first])
            if len(data) != size:
                raise BundleCorruptError(
                    f"a blob of the bundle ends after {offsets[first] + len(data):,} of {offsets[-1]:,} bytes",
                    hint="convert the checkpoint again: edgectl convert",
                )
            yield frame_header(upload, first, end - first) + data
            first = end
