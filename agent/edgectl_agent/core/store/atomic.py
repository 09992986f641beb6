"""Durable changes to the disk: each is whole or absent after a power cut, and durable when its call returns.

Order inside each: bytes are synced, then they become visible by one rename (or one append), then the
directory is synced. Nothing else in the agent writes state. A full disk leaves as DiskFullError.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edgectl_protos.domain.errors import DiskFullError

__all__ = ["TEMPORARY_PREFIX", "Disk", "room"]

TEMPORARY_PREFIX = ".tmp-"
"""Files and directories of this name are of no meaning and are removed at the next start."""


@contextlib.contextmanager
def room(path: Path) -> Iterator[None]:
    """Report a full disk as what it is.

    Raises:
        DiskFullError: the block failed for want of space.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space left on the device while writing {path.name}",
            hint=f"free some space on the file system of {path.parent}, then deploy again",
        ) from exc


class Disk:
    """The only writer of state. Tests replace the three primitives at its end to cut the power."""

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Replace a file's bytes."""
        temporary = path.with_name(TEMPORARY_PREFIX + path.name)
        with room(path):
            try:
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        self._rename(temporary, path)

    def publish(self, source: Path, target: Path) -> None:
        """Give a synced file or directory its final name."""
        self._rename(source, target)

    def point(self, link: Path, target: str) -> None:
        """Make a symbolic link point to the target, in one step."""
        temporary = link.with_name(TEMPORARY_PREFIX + link.name)
        temporary.unlink(missing_ok=True)
        with room(link):
            temporary.symlink_to(target)
        self._rename(temporary, link)

    def append(self, fd: int, data: bytes, path: Path) -> None:
        """Add bytes to the end of an open file."""
        with room(path):
            self._append(fd, data)

    def remove(self, path: Path) -> None:
        """Remove a file or link, if it is there."""
        if os.path.lexists(path):
            self._remove(path)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory: it vanishes at once, its files a little later."""
        if path.exists():
            doomed = path.with_name(TEMPORARY_PREFIX + path.name)
            if doomed.exists():
                _remove_tree(doomed)
            self._rename(path, doomed)
            _remove_tree(doomed)

    def sweep(self, folder: Path) -> None:
        """Remove what an interrupted change left in a folder."""
        for path in folder.glob(TEMPORARY_PREFIX + "*"):
            if path.is_dir() and not path.is_symlink():
                _remove_tree(path)
            else:
                path.unlink()

    def discard(self, folder: Path) -> None:
        """Remove a temporary directory, if it is there."""
        if folder.exists():
            _remove_tree(folder)

    def sync_tree(self, folder: Path) -> None:
        """Make every file and name below a directory that nobody sees yet durable."""
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                self.sync_directory(path)
            else:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

    @staticmethod
    def sync_directory(folder: Path) -> None:
        """Make the names in a directory durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _rename(self, source: Path, target: Path) -> None:
        with room(target):
            os.replace(source, target)
            self.sync_directory(target.parent)
            if source.parent != target.parent:
                self.sync_directory(source.parent)

    def _append(self, fd: int, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.write(fd, data[written:])
        os.fsync(fd)

    def _remove(self, path: Path) -> None:
        path.unlink()
        self.sync_directory(path.parent)


def _remove_tree(folder: Path) -> None:
    # Imported late: with the compressors it knows, shutil is a megabyte that an idle agent need not hold.
    import shutil

    shutil.rmtree(folder)
