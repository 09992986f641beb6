"""Disks that fail at a chosen write: the agent's own disk, with its three primitives counted.

A write is a rename, an append or a removal: the moment at which a change becomes visible. `before` is when its
bytes are on the disk under a temporary name, `after` when it is durable.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk

__all__ = ["CountingDisk", "CuttingDisk", "DyingDisk", "FailingDisk", "Write"]


@dataclass(frozen=True, slots=True)
class Write:
    """A durable write: what, and in which state the last deployment was that was written down before or by it."""

    what: str
    state: str


class CountingDisk(Disk):
    """Names every durable write in order."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self._state = "none"

    def _rename(self, source: Path, target: Path) -> None:
        if target.parent.name == "deployments":
            with contextlib.suppress(OSError, ValueError, KeyError):
                self._state = json.loads(source.read_bytes())["deployment"]["state"]
        self._around(f"rename {target.name}", lambda: super(CountingDisk, self)._rename(source, target))

    def _append(self, fd: int, data: bytes) -> None:
        self._around("append", lambda: super(CountingDisk, self)._append(fd, data))

    def _remove(self, path: Path) -> None:
        self._around(f"remove {path.name}", lambda: super(CountingDisk, self)._remove(path))

    def _around(self, what: str, write: Callable[[], None]) -> None:
        self.writes.append(Write(what, self._state))
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


class FailingDisk(CountingDisk):
    """Refuses the n-th write, or with `lasting` every one from it on until it is healed."""

    def __init__(self, at: int, code: int, *, lasting: bool = False) -> None:
        super().__init__()
        self._at = at
        self._code = code
        self._lasting = lasting
        self.healed = False

    def heal(self) -> None:
        """From now on everything is written."""
        self.healed = True

    def _around(self, what: str, write: Callable[[], None]) -> None:
        at = len(self.writes)
        if not self.healed and (at == self._at or (self._lasting and at > self._at)):
            self.writes.append(Write(what, self._state))
            raise OSError(self._code, os.strerror(self._code))
        super()._around(what, write)


class CuttingDisk(CountingDisk):
    """Calls `cut` before the n-th write, which then succeeds."""

    def __init__(self, at: int, cut: Callable[[], None]) -> None:
        super().__init__()
        self._at = at
        self._cut = cut

    def _around(self, what: str, write: Callable[[], None]) -> None:
        if len(self.writes) == self._at:
            self._cut()
        super()._around(what, write)
