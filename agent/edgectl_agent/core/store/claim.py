"""Takes a state directory for this agent: whose it is, who else may write to it, and that no other agent runs in it.

The lock is on the directory itself, so that it needs neither room on the disk nor a file whose name somebody could have
made a link of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk, read_file
from edgectl_agent.core.store.layout import Layout
from edgectl_protos.domain.errors import BusyError, DeviceError, EdgectlError

__all__ = ["claim_state_dir"]

_HINT = "choose one that this user may write: edgectl-agent run --state-dir DIR"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def claim_state_dir(layout: Layout, disk: Disk) -> int:
    """Lock the directory, made where it is missing; the descriptor that holds the lock.

    Raises:
        BusyError: another agent owns it.
        DeviceError: it cannot be used, or another user could write to it.
    """
    root = layout.root
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise DeviceError(f"the state directory {root} cannot be used: {exc.strerror}", hint=_HINT) from exc
    try:
        _check_private(root, os.fstat(fd))
        for folder in layout.folders:
            with contextlib.suppress(FileNotFoundError):
                _check_private(folder, os.lstat(folder))
        _lock(fd, layout)
    except BaseException:
        os.close(fd)
        raise
    # For whoever comes next; without it they learn less.
    with contextlib.suppress(DeviceError):
        disk.write(layout.lock, f"{os.getpid()}\n".encode())
    return fd


def _check_private(folder: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise DeviceError(f"{folder} is in the way: it is no directory", hint=_HINT)
    if found.st_uid != os.geteuid():
        raise DeviceError(f"{folder} belongs to another user (id {found.st_uid})", hint=_HINT)
    if found.st_mode & _OTHERS_WRITE:
        raise DeviceError(
            f"other users may write to {folder}: its mode is {stat.S_IMODE(found.st_mode):04o}",
            hint=f"look at what is in it, then close it: chmod go-w {folder}",
        )


def _lock(fd: int, layout: Layout) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise BusyError(
            f"the state directory {layout.root} belongs to a running agent (process {_owner(layout)})",
            hint="stop that one, or choose another: edgectl-agent run --state-dir DIR",
        ) from exc
    except OSError as exc:
        raise DeviceError(f"the state directory {layout.root} cannot be locked: {exc.strerror}", hint=_HINT) from exc


def _owner(layout: Layout) -> str:
    try:
        said = read_file(layout.lock, limit_bytes=64).decode(errors="replace").strip()
    except (OSError, EdgectlError):
        return "unknown"
    return said if said.isdecimal() else "unknown"
