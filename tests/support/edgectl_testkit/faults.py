"""Disks that fail at a chosen write: the agent's own disk, with its three primitives counted.

A write is a rename, an append or a removal: the moment at which a change becomes visible. `before` is when its
bytes are on the disk under a temporary name, `after` when it is durable.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk

__all__ = ["CountingDisk", "DyingDisk"]


class CountingDisk(Disk):
    """Names every durable write in order."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def _rename(self, source: Path, target: Path) -> None:
        self._around(f"rename {target.name}", lambda: super(CountingDisk, self)._rename(source, target))

    def _append(self, fd: int, data: bytes) -> None:
        self._around("append", lambda: super(CountingDisk, self)._append(fd, data))

    def _remove(self, path: Path) -> None:
        self._around(f"remove {path.name}", lambda: super(CountingDisk, self)._remove(path))

    def _around(self, what: str, write: Callable[[], None]) -> None:
        self.writes.append(what)
        write()


class DyingDisk(CountingDisk):
    """Kills its own process (SIGKILL: nothing is flushed, nothing cleaned up) at the n-th write, from 0."""

    def __init__(self, at: int, when: str) -> None:
        super().__init__()
        self._at = at
        self._when = when

    def _around(self, what: str, write: Callable[[], None]) -> None:
        mine = len(self.writes) == self._at
        if mine and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        super()._around(what, write)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
