"""The unix socket an agent listens on: its path, and whether it is free."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

from edgectl_protos.domain.address import UnixAddress
from edgectl_protos.domain.errors import AddressError

__all__ = ["MAX_PATH_BYTES", "claim_socket", "release_socket", "socket_path"]

MAX_PATH_BYTES = 107
"""The kernel's `sun_path` has 108 bytes, one of them a NUL."""


def socket_path(address: UnixAddress) -> Path:
    """The absolute path of the socket that an address names.

    Raises:
        AddressError: the path is longer than the kernel takes.
    """
    path = Path(os.path.abspath(address.path))
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise AddressError(
            f"the path of the socket has {size} bytes, the system takes {MAX_PATH_BYTES}: {path}",
            hint="choose a shorter one, such as unix:/run/edgectl/agent.sock",
        )
    return path


def claim_socket(path: Path) -> int:
    """Make the path free for this agent: remove the socket of a dead one. The descriptor that holds the lock beside it,
    without which two agents that start at once would each take the other's socket for a dead one's.

    Raises:
        AddressError: a live process listens there, or something that is no socket is in the way.
    """
    if not path.parent.is_dir():
        raise AddressError(
            f"there is no directory {path.parent} for the socket", hint=f"make it: mkdir -p {path.parent}"
        )
    lock_fd = _lock(_lock_of(path), path)
    try:
        _remove_dead(path)
    except BaseException:
        os.close(lock_fd)
        raise
    return lock_fd


def release_socket(path: Path, lock_fd: int) -> None:
    """Remove the socket, and give its lock back."""
    path.unlink(missing_ok=True)
    # While it is held, so that nobody else holds a lock on a file of this name that is gone.
    _lock_of(path).unlink(missing_ok=True)
    os.close(lock_fd)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _lock(lock: Path, path: Path) -> int:
    while True:
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise AddressError(f"there can be no lock {lock} beside the socket: {exc.strerror}") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.lstat(lock)):
                return fd
        except FileNotFoundError:
            # Its holder has just removed it: the lock is on a file that nobody else will find.
            pass
        except BlockingIOError as exc:
            os.close(fd)
            raise AddressError(
                f"another process already listens on {path}",
                hint="stop it, or choose another path: --listen unix:PATH",
            ) from exc
        os.close(fd)


def _remove_dead(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"{path} exists and is not a socket", hint="choose another path: --listen unix:PATH")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as exc:
            raise AddressError(f"{path} is in use or not ours to use: {exc.strerror}") from exc
    raise AddressError(
        f"another process already listens on {path}",
        hint="stop it, or choose another path: --listen unix:PATH",
    )
