"""Real agents in processes of their own, forked from one that has imported everything: for tests that kill hundreds.

with daemons() as source:
    pid = source.start(state, socket, at=3, when="before")     # it kills itself at this write
    source.wait_ready(pid)
    with source.running(state, socket) as pid: ...             # it lives until it is ended
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["Daemons", "daemons", "end", "wait_end"]


class Daemons:
    """Starts them, one after the other."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def start(
        self,
        state: Path,
        socket: Path,
        *,
        workers: tuple[str, ...] = (),
        at: int = -1,
        when: str = "before",
        **numbers: float,
    ) -> int:
        """A new daemon; its process. `at` and `when`: the write at which it kills itself; `numbers`: fields of its
        configuration.
        """
        asked = {"state": str(state), "socket": str(socket), "workers": workers, "at": at, "when": when}
        asked["numbers"] = {"lease_s": 0.0, **numbers}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        return int(self._read_line())

    def wait_ready(self, pid: int) -> bool:
        """Wait until it may be called; False when it ended before."""
        with contextlib.suppress(ProcessLookupError), _opened(pid) as fd:
            select.select([self._process.stdout, fd], [], [])
        # It may have said so, and ended since.
        if not select.select([self._process.stdout], [], [], 0)[0]:
            return False
        return self._read_line() == b"ready\n"

    @contextlib.contextmanager
    def running(self, state: Path, socket: Path) -> Iterator[int]:
        """A daemon that may be called while the block runs; its process."""
        pid = self.start(state, socket)
        try:
            assert self.wait_ready(pid)
            yield pid
        finally:
            end(pid)

    def _read_line(self) -> bytes:
        # Unbuffered, since `select` looks at the pipe.
        line = b""
        while not line.endswith(b"\n"):
            piece = self._process.stdout.read(1)
            assert piece, "the daemons are gone"
            line += piece
        return line


@contextlib.contextmanager
def daemons() -> Iterator[Daemons]:
    """What forks them, for as long as the block runs."""
    code = "from edgectl_testkit.daemons import fork_daemons; fork_daemons()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""},
        bufsize=0,
    )
    try:
        yield Daemons(process)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def fork_daemons() -> None:
    """Fork a daemon for each line on standard input."""
    from edgectl_agent.app import Agent
    from edgectl_testkit.faults import DyingDisk
    from edgectl_testkit.serve import agent_config

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        if os.fork():
            continue
        # Workers are waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        print(os.getpid(), flush=True)
        config = agent_config(Path(asked["state"]), f"unix:{asked['socket']}", **asked["numbers"])
        if asked["workers"]:
            config = replace(config, worker_arguments=tuple(asked["workers"]))
        disk = DyingDisk(asked["at"], asked["when"]) if asked["at"] >= 0 else None
        with Agent.from_config(config, disk=disk):
            print("ready", flush=True)
            threading.Event().wait()


@contextlib.contextmanager
def _opened(pid: int) -> Iterator[int]:
    """A descriptor that can be read once the process is gone."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def wait_end(pid: int, timeout_s: float) -> bool:
    """Whether a process is gone within this time."""
    with contextlib.suppress(ProcessLookupError), _opened(pid) as fd:
        return bool(select.select([fd], [], [], timeout_s)[0])
    return True


def end(pid: int) -> None:
    """SIGKILL, and wait for the end."""
    with contextlib.suppress(ProcessLookupError), _opened(pid) as fd:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], 10)
