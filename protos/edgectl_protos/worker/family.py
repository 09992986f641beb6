"""What a process started: found in /proc by its parents and its session, and ended with it.

One that turned itself into a daemon stays below a process that takes in orphans, as the agent's sandbox makes workers
do. Where there is no /proc nothing is found. Standard library only.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["born", "end", "started_by"]

_PROC = Path("/proc")
_LOOK_S = 0.01
_PATIENCE_S = 5.0


class _Seen(NamedTuple):
    parent: int
    session: int
    born: str


def born(pid: int) -> str:
    """When a living process was, as its kernel counts; empty when there is none."""
    one = _look(pid)
    return one.born if one is not None else ""


def started_by(leader: int, leader_born: str) -> dict[int, str]:
    """The living processes below the leader of a session, and the others of its session: when each was born, by number.

    The leader may have ended: while one of its session lives, no other process gets its number.
    """
    seen = _all()
    found: dict[int, str] = {}
    if leader in seen and seen[leader].born != leader_born:
        return found
    ahead = [leader, *(pid for pid, one in seen.items() if one.session == leader)]
    children: dict[int, list[int]] = {}
    for pid, one in seen.items():
        children.setdefault(one.parent, []).append(pid)
    while ahead:
        pid = ahead.pop()
        if pid != leader and pid not in found:
            found[pid] = seen[pid].born
        ahead += [child for child in children.get(pid, []) if child not in found]
    return found


def end(processes: dict[int, str]) -> None:
    """Kill those that still live, and wait until they are gone; one that the kernel holds on to is not waited for."""
    deadline_s = time.monotonic() + _PATIENCE_S
    living = [pid for pid, its_own in processes.items() if born(pid) == its_own]
    for pid in living:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    while any(born(pid) == processes[pid] for pid in living) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_S)


def _all() -> dict[int, _Seen]:
    try:
        pids = [int(name) for name in os.listdir(_PROC) if name.isdecimal()]
    except OSError:
        return {}
    return {pid: one for pid in pids if (one := _look(pid)) is not None}


def _look(pid: int) -> _Seen | None:
    """None: it is gone, or only waits for its parent to notice."""
    try:
        # The name in parentheses may hold anything; after it: state, parent, group, session; the 20th is its birth.
        words = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if words[0] in (b"Z", b"X") else _Seen(int(words[1]), int(words[3]), words[19].decode())
