"""Folders for sockets, which nobody else may have put there."""

from __future__ import annotations

import os
from pathlib import Path

from edgectl_protos.domain.errors import DeviceError

__all__ = ["private_dir"]


def private_dir(path: Path) -> None:
    """Make a folder that is ours alone; one in /tmp may have been put there by somebody else.

    Raises:
        DeviceError: it belongs to another user.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.lstat().st_uid != os.getuid():
        raise DeviceError(f"{path} belongs to another user", hint="choose another place: export EDGECTL_HOME=DIR")
