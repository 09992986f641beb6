"""Complete blobs, named by the sha256 of their bytes. Read-only files; a blob that is here was verified once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import BundleError, NotFoundError

__all__ = ["BLOB_MODE", "Blobs", "digest_of", "sha256_of"]

BLOB_MODE = 0o444
_PIECE_BYTES = 1 << 20


def sha256_of(path: Path) -> Digest:
    """The digest of a file's bytes."""
    # Imported late: libcrypto is 4 MB that an agent without work need not hold.
    import hashlib

    state = hashlib.sha256()
    piece = bytearray(_PIECE_BYTES)
    view = memoryview(piece)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(piece):
            state.update(view[:size])
    return Digest(state.hexdigest())


def digest_of(data: bytes) -> Digest:
    """The digest of bytes in memory."""
    import hashlib

    return Digest(hashlib.sha256(data).hexdigest())


class Blobs:
    """The folder of complete blobs."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def path(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        return self._folder / digest.hex

    def has(self, digest: Digest) -> bool:
        """Whether the blob is complete and visible."""
        return self.path(digest).exists()

    def read(self, digest: Digest) -> bytes:
        """All bytes of a small blob.

        Raises:
            NotFoundError: it is not here.
        """
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError as exc:
            raise NotFoundError(f"the device has no blob {digest.short}") from exc

    def add(self, data: bytes) -> Digest:
        """Store bytes that are already in memory."""
        digest = digest_of(data)
        if not self.has(digest):
            self._disk.write(self.path(digest), data, mode=BLOB_MODE)
        return digest

    def intact(self, digest: Digest) -> bool:
        """Whether the bytes on the disk are still those of the digest. Reads all of them."""
        return self.has(digest) and sha256_of(self.path(digest)) == digest

    def drop(self, digest: Digest) -> None:
        """Remove a blob, if it is here."""
        self._disk.remove(self.path(digest))

    def __iter__(self) -> Iterator[Digest]:
        for path in sorted(self._folder.iterdir()):
            try:
                yield Digest(path.name)
            except BundleError:
                continue
