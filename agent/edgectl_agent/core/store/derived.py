"""What this device built for itself, in `derived/<key>/`: made aside, synced, and visible whole by one rename.

Unlike a blob it has no digest that anybody else knows: its stamp says what it was built from and for, and the digests
of its files as they were built.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from edgectl_agent.core.store.atomic import TEMPORARY_PREFIX, Disk, digests_in, read_file, room
from edgectl_agent.core.store.blobs import BLOB_MODE, sha256_of
from edgectl_protos.codec.document import canonical_bytes, from_bytes
from edgectl_protos.domain.artifact import Digest, FileEntry, safe_path
from edgectl_protos.domain.errors import BuildError, EdgectlError
from edgectl_protos.worker.derived import STAMP_NAME, Stamp
from edgectl_protos.worker.messages import Built

__all__ = ["Derived"]

_LOG = logging.getLogger(__name__)
_MAX_STAMP_BYTES = 4 << 20


class Derived:
    """The folder of derived artifacts."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk

    def intact(self, key: Digest) -> bool:
        """Whether it is here with the bytes that were built; reads all of them, and drops it if they are altered."""
        folder = self._folder / key.hex
        if not folder.exists():
            return False
        try:
            stamp = self._stamp(key)
            if all(sha256_of(folder / safe_path(entry.path)) == entry.digest for entry in stamp.files):
                return True
        except (OSError, EdgectlError) as exc:
            _LOG.warning("derived %s cannot be read: %s", key.short, exc)
        _LOG.warning("derived %s is altered on the disk; it is built anew", key.short)
        self._disk.remove_tree(folder)
        return False

    def has(self, source: Digest) -> bool:
        """Whether something was built from a source, for whatever this device was then."""
        return any(self._source(key) == source for key in self)

    def take(self, folder: Path, key: Digest) -> Path:
        """Move a folder that a builder wrote out of its reach; where it is now, to be published or discarded."""
        held = self._folder / f"{TEMPORARY_PREFIX}{key.hex}"
        self._disk.discard(held)
        with room(folder):
            os.replace(folder, held)
        return held

    def discard(self, held: Path) -> None:
        """Remove what was taken, and not published."""
        self._disk.discard(held)

    def publish(self, folder: Path, key: Digest, source: Digest, bound_to: dict[str, str], built: Built) -> None:
        """Make visible what was built in a folder on the same file system; the folder is gone then.

        Raises:
            BuildError: the builder did not write what it says, or something else than files, or a process of it still
                has one of them open for writing.
        """
        final = self._folder / key.hex
        paths = []
        with room(folder):
            for path in (folder, *sorted(folder.rglob("*"))):
                found = path.lstat()
                if stat.S_ISDIR(found.st_mode):
                    path.chmod(0o755)
                elif stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    path.chmod(BLOB_MODE)
                    _check_closed(path)
                    paths.append(path)
                else:
                    raise BuildError(f"the builder wrote {path.name!r}, which is no file of its own")
        if folder / safe_path(built.entry) not in paths:
            raise BuildError(f"the builder says that it wrote {built.entry!r}, and it did not")
        files = tuple(
            FileEntry(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)) for path in paths
        )
        with room(folder):
            stamp = Stamp(source, bound_to, built.entry, files, built.layers)
            (folder / STAMP_NAME).write_bytes(canonical_bytes(stamp))
            self._disk.sync_tree(folder)
        self._disk.remove_tree(final)
        self._disk.publish(folder, final)

    def drop_others(self, source: Digest, key: Digest) -> None:
        """Remove what was built from a source for what this device no longer is."""
        for other in list(self):
            if other != key and self._source(other) == source:
                self._disk.remove_tree(self._folder / other.hex)

    def collect(self, needed: Collection[Digest]) -> None:
        """Remove what was built from other sources than these."""
        for key in list(self):
            if self._source(key) not in needed:
                self._disk.remove_tree(self._folder / key.hex)

    def __iter__(self) -> Iterator[Digest]:
        return digests_in(self._folder)

    def _source(self, key: Digest) -> Digest | None:
        try:
            return self._stamp(key).source
        except (OSError, EdgectlError):
            return None

    def _stamp(self, key: Digest) -> Stamp:
        data = read_file(self._folder / key.hex / STAMP_NAME, limit_bytes=_MAX_STAMP_BYTES)
        return from_bytes(Stamp, data, what=STAMP_NAME)


def _check_closed(path: Path) -> None:
    """Refuse a file that somebody could still write to, through a descriptor or memory that was opened before: it could
    become another one after its digest was taken. A kernel gives a lease for reading only where there is nobody; one
    that gives none, or a file system, is believed.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Whoever opens the file meanwhile has the holder told, by a signal that would end this process otherwise.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as exc:
        if exc.errno == errno.EAGAIN:
            raise BuildError(
                f"{path.name!r} is still open for writing: the builder left a process behind",
                hint="look at its log on the device, and restart the device if the process stays",
            ) from exc
    finally:
        # The lease goes with it.
        os.close(fd)
