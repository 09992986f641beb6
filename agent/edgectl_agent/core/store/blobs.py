"""Complete blobs, named by the sha256 of their bytes. Read-only files; a blob that is here was verified once.

That it still holds is looked at again before it is used: its bytes are read once in the life of the agent, and again
whenever its inode, time or size is another one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk, digests_in, read_file
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MAX_MANIFEST_BYTES
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, NotFoundError

__all__ = ["BLOB_MODE", "Blobs", "digest_of", "sha256_of"]

BLOB_MODE = 0o444
_PIECE_BYTES = 1 << 20
_MAX_SEEN = 10_000
_HINT = "deploy the release again, the device asks for what it lacks: edgectl deploy"


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
        self._verified: dict[Digest, set[tuple[int, int, int]]] = {}
        self._seen: set[Path] = set()

    def path(self, digest: Digest) -> Path:
        """Where the blob is, or would be."""
        return self._folder / digest.hex

    def has(self, digest: Digest) -> bool:
        """Whether the blob is complete and visible."""
        return self.path(digest).exists()

    def read(self, digest: Digest) -> bytes:
        """All bytes of a small blob: a manifest, a loop.

        Raises:
            NotFoundError: it is not here.
            BundleCorruptError: its bytes are not what they were, or cannot be read.
        """
        try:
            data = read_file(self.path(digest), limit_bytes=MAX_MANIFEST_BYTES)
        except FileNotFoundError as exc:
            raise NotFoundError(f"the device has no blob {digest.short}") from exc
        except (OSError, BundleError) as exc:
            raise BundleCorruptError(f"blob {digest.short} cannot be read on the device: {exc}", hint=_HINT) from exc
        if digest_of(data) != digest:
            raise BundleCorruptError(f"blob {digest.short} is altered on the disk of the device", hint=_HINT)
        return data

    def add(self, data: bytes) -> Digest:
        """Store bytes that are already in memory, in place of altered ones."""
        digest = digest_of(data)
        if not self.intact(digest):
            self._disk.write(self.path(digest), data, mode=BLOB_MODE)
        return digest

    def adopt(self, file: Path, digest: Digest) -> None:
        """Make a file a blob whose bytes were found to be those of the digest as they were written."""
        file.chmod(BLOB_MODE)
        self._disk.publish(file, self.path(digest))
        self._note(self.path(digest), digest, _identity(self.path(digest)))

    def intact(self, digest: Digest) -> bool:
        """Whether the bytes on the disk are those of the digest. Reads all of them, unless they were read before."""
        return self.holds(self.path(digest), digest)

    def unchanged(self, digest: Digest) -> bool:
        """The same as far as can be told without reading."""
        return self.holds(self.path(digest), digest, read=False)

    def holds(self, path: Path, digest: Digest, *, read: bool = True) -> bool:
        """Whether a file, the blob's own or one that was made from it, has the bytes of the digest. They are read once,
        and again when the file is another one; without `read`, a file that was never read is taken for good.
        """
        verified = self._verified.get(digest, set())
        try:
            found = _identity(path)
            if found is None:
                return False
            if found not in verified:
                if not read:
                    return path not in self._seen
                if sha256_of(path) != digest or _identity(path) != found:
                    return False
        except OSError:
            # Gone, or on a place of the disk that cannot be read: what is sent again is written to another one.
            return False
        self._note(path, digest, found)
        return True

    def _note(self, path: Path, digest: Digest, found: tuple[int, int, int] | None) -> None:
        if len(self._seen) > _MAX_SEEN:
            self._seen.clear()
        if found is not None:
            # Links to one file are read once.
            self._verified.setdefault(digest, set()).add(found)
        self._seen.add(path)

    def drop(self, digest: Digest) -> None:
        """Remove a blob, if it is here."""
        self._verified.pop(digest, None)
        self._seen.discard(self.path(digest))
        self._disk.remove(self.path(digest))

    def __iter__(self) -> Iterator[Digest]:
        return digests_in(self._folder)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What changes when somebody alters a file; None for what is no file."""
    found = os.lstat(path)
    return (found.st_ino, found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None
