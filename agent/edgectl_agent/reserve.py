"""Room on a disk, taken before it is needed: a hole finds out too late, and kills whoever has mapped it."""

from __future__ import annotations

import os

__all__ = ["reserve"]

_PIECE_BYTES = 1 << 20


def reserve(fd: int, size_bytes: int) -> None:
    """Make an empty file this long, with room for all of it.

    Raises:
        OSError: there is none.
    """
    if not size_bytes:
        return
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        allocate(fd, 0, size_bytes)
        return
    # macOS.
    for start in range(0, size_bytes, _PIECE_BYTES):
        os.pwrite(fd, bytes(min(_PIECE_BYTES, size_bytes - start)), start)
