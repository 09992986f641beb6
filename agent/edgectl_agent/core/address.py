"""The one kind of address an agent listens on: `unix:PATH`. Networks come with mutual TLS, not before."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from edgectl_protos.domain.errors import AddressError

__all__ = ["MAX_PATH_BYTES", "claim_socket", "parse_address"]

MAX_PATH_BYTES = 107
"""The kernel's `sun_path` has 108 bytes, one of them a NUL."""

_HINT = "listen on a unix socket: edgectl-agent run --listen unix:PATH"


def parse_address(address: str) -> Path:
    """The absolute path of the socket that an address names.

    Raises:
        AddressError: it is not `unix:PATH`, or the path is longer than the kernel takes.
    """
    scheme, colon, rest = address.partition(":")
    if scheme != "unix" or not colon:
        raise AddressError(
            f"the agent does not listen on {address!r}: without mutual TLS it would be open to the network",
            hint=_HINT,
        )
    # unix:///path is gRPC's other spelling; unix-abstract has another scheme and no file mode.
    text = rest[2:] if rest.startswith("//") else rest
    if not text or "\0" in text:
        raise AddressError(f"{address!r} names no path", hint=_HINT)
    path = Path(os.path.abspath(text))
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise AddressError(
            f"the path of the socket has {size} bytes, the system takes {MAX_PATH_BYTES}: {path}",
            hint="choose a shorter one, such as unix:/run/edgectl/agent.sock",
        )
    return path


def claim_socket(path: Path) -> None:
    """Make the path free for this agent: remove the socket of a dead one.

    Raises:
        AddressError: a live process listens there, or something that is no socket is in the way.
    """
    if not path.parent.is_dir():
        raise AddressError(
            f"there is no directory {path.parent} for the socket", hint=f"make it: mkdir -p {path.parent}"
        )
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
