"""Durable changes to the disk: each is whole or absent after a power cut, and durable when its call returns.

Order inside each: bytes are synced, then they become visible by one rename (or one append), then the
directory is synced. Nothing else in the agent writes state. Whatever the disk refuses leaves as DeviceError, a full
one as DiskFullError, so that who acts on state has one kind of failure to answer for.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import BundleError, DeviceError, DiskFullError, DocumentError

__all__ = ["TEMPORARY_PREFIX", "Disk", "digests_in", "disk_error", "names_in", "read_file", "room"]

_LOG = logging.getLogger(__name__)

TEMPORARY_PREFIX = ".tmp-"
"""Files and directories of this name are of no meaning and are removed at the next start."""


def disk_error(error: OSError, path: Path, doing: str = "writing") -> DeviceError:
    """What the disk refused, as a member of our tree."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"no space left on the device while {doing} {path.name}",
            hint=f"free some space on the file system of {path.parent}, then deploy again",
        )
    code = errno.errorcode.get(error.errno or 0, "unknown")
    return DeviceError(
        f"the disk of the device failed while {doing} {path.name}: {error.strerror or error} ({code})",
        hint=f"the file system of {path.parent} may be read-only or broken; its kernel says why: dmesg",
    )


@contextlib.contextmanager
def room(path: Path) -> Iterator[None]:
    """Report what the disk refuses as what it is.

    Raises:
        DiskFullError: the block failed for want of space.
        DeviceError: it failed otherwise: a broken disk, a read-only file system, a missing permission.
    """
    try:
        yield
    except OSError as exc:
        raise disk_error(exc, path) from exc


def read_file(path: Path, *, limit_bytes: int) -> bytes:
    """All bytes of a small state file; no link is followed, and nothing else than a file is opened.

    Raises:
        OSError: it is not there, or cannot be read.
        DocumentError: it is no file, or longer than the limit.
    """
    # Opening a FIFO would wait for whoever writes to it.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DocumentError(f"{path.name} is no file")
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise DocumentError(f"{path.name} has more than the {limit_bytes:,} bytes that are read")
    return data


def names_in(folder: Path) -> list[str]:
    """What is in a folder, sorted; nothing where there is no such folder."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def digests_in(folder: Path) -> Iterator[Digest]:
    """Of what is in a folder that which is named by a digest, in order."""
    for name in names_in(folder):
        with contextlib.suppress(BundleError):
            yield Digest(name)


class Disk:
    """The only writer of state. Tests replace the three primitives at its end to cut the power.

    `problem` says what the last durable change failed with; it is empty again once one has succeeded.
    """

    problem: str = ""

    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Replace a file's bytes."""
        temporary = path.with_name(TEMPORARY_PREFIX + path.name)
        with self._watched(path):
            try:
                # Exclusive: a link that somebody planted under this name is never written through.
                temporary.unlink(missing_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
                    # Whatever the umask of the daemon: workers read some of it as another user.
                    os.fchmod(file.fileno(), mode)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                self._rename(temporary, path)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise

    def publish(self, source: Path, target: Path) -> None:
        """Give a synced file or directory its final name."""
        with self._watched(target):
            self._rename(source, target)

    def point(self, link: Path, target: str) -> None:
        """Make a symbolic link point to the target, in one step."""
        temporary = link.with_name(TEMPORARY_PREFIX + link.name)
        with self._watched(link):
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            self._rename(temporary, link)

    def append(self, fd: int, data: bytes, path: Path) -> None:
        """Add bytes to the end of an open file."""
        with self._watched(path):
            self._append(fd, data)

    def remove(self, path: Path) -> None:
        """Remove a file or link, if it is there."""
        with self._watched(path, "removing"):
            if os.path.lexists(path):
                self._remove(path)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory: it vanishes at once, its files a little later."""
        with self._watched(path, "removing"):
            if not os.path.lexists(path):
                return
            doomed = path.with_name(TEMPORARY_PREFIX + path.name)
            _remove_any(doomed)
            self._rename(path, doomed)
            _remove_any(doomed)

    def set_aside(self, path: Path, folder: Path, why: object) -> None:
        """Move what cannot be read out of the way, for a person to look at, and report it. Never fails: what cannot
        be moved stays where it is.
        """
        target, attempt = folder / path.name, 0
        while os.path.lexists(target):
            attempt += 1
            target = folder / f"{path.name}.{attempt}"
        try:
            with self._watched(target):
                self._rename(path, target)
        except DeviceError as exc:
            _LOG.error("%s is damaged (%s), and stays where it is: %s", path.name, why, exc.message)
        else:
            _LOG.error("%s is damaged (%s); it was moved to %s", path.name, why, target)

    def sweep(self, folder: Path) -> None:
        """Remove what an interrupted change left in a folder. Never fails: what cannot be removed has no meaning."""
        try:
            with self._watched(folder, "sweeping"):
                for path in list(folder.glob(TEMPORARY_PREFIX + "*")):
                    _remove_any(path)
        except DeviceError as exc:
            _LOG.error("%s", exc.message)

    def discard(self, folder: Path) -> None:
        """Remove a temporary directory, if it is there."""
        with self._watched(folder, "removing"):
            _remove_any(folder)

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

    @contextlib.contextmanager
    def _watched(self, path: Path, doing: str = "writing") -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            error = disk_error(exc, path, doing)
            self.problem = error.message
            raise error from exc
        # That there was nothing to remove proves nothing.
        if doing == "writing":
            self.problem = ""

    def _rename(self, source: Path, target: Path) -> None:
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


def _remove_any(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        # Imported late: with the compressors it knows, shutil is a megabyte that an idle agent need not hold.
        import shutil

        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
