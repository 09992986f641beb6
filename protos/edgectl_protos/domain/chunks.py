"""The chunks of a blob: in which pieces it travels, and by which digests a device recognises what it has already.

Chunks lie one behind the other and cover the blob. A digest is the first 16 bytes of the BLAKE3 of a chunk: it names
content and finds damage; what a whole blob is, its SHA-256 decides.
"""

from __future__ import annotations

import itertools
from array import array
from dataclasses import dataclass

from edgectl_protos.domain.errors import BundleError

__all__ = ["CHUNK_DIGEST_BYTES", "MAX_CHUNKS", "MAX_CHUNK_BYTES", "MIN_CHUNK_BYTES", "ChunkList"]

CHUNK_DIGEST_BYTES = 16
MIN_CHUNK_BYTES = 16 << 10
"""Of every chunk but the last: it bounds what a list of chunks costs, in memory and on the wire, by the blob's size."""
MAX_CHUNK_BYTES = 1 << 20
"""Any chunk fits into one frame of an upload."""
MAX_CHUNKS = 1 << 16
"""Of one blob. With the average of its chunks grown as it should, that is a blob of 32 GiB and more."""


@dataclass(frozen=True, slots=True)
class ChunkList:
    """All chunks of one blob, in order. `sizes` are in bytes (type code I); `digests` are 16 bytes each.

    Raises:
        BundleError: a size outside the bounds, too many chunks, or not one digest for each.
    """

    sizes: array[int]
    digests: bytes

    def __post_init__(self) -> None:
        count = len(self.sizes)
        if count > MAX_CHUNKS:
            raise BundleError(f"{count:,} chunks of a blob are more than {MAX_CHUNKS:,}")
        if len(self.digests) != count * CHUNK_DIGEST_BYTES:
            raise BundleError(f"{count:,} chunks have {len(self.digests):,} bytes of digests")
        if count and max(self.sizes) > MAX_CHUNK_BYTES:
            raise BundleError(f"a chunk of {max(self.sizes):,} bytes is longer than {MAX_CHUNK_BYTES:,}")
        if count and (self.sizes[-1] < 1 or min(self.sizes[:-1], default=MIN_CHUNK_BYTES) < MIN_CHUNK_BYTES):
            raise BundleError(f"a chunk of {min(self.sizes):,} bytes is shorter than {MIN_CHUNK_BYTES:,}")

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def size_bytes(self) -> int:
        """Of the blob."""
        return sum(self.sizes)

    def digest(self, index: int) -> bytes:
        """The digest of one chunk."""
        at = index * CHUNK_DIGEST_BYTES
        return self.digests[at : at + CHUNK_DIGEST_BYTES]

    def offsets(self) -> array[int]:
        """Where each chunk begins (type code Q); one more than there are chunks: the last is the blob's size."""
        return array("Q", itertools.accumulate(self.sizes, initial=0))
