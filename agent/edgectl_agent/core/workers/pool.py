"""All worker processes of the agent. The daemon itself never loads a runtime.

Each live worker has a file `workers/<pid>`, so that one that outlived a killed daemon (it may be in the middle of a
measurement) is found and ended at the next start.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

from edgectl_agent.core.store.layout import Layout
from edgectl_protos.domain.errors import CancelledError, WorkerError
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["WorkerPool"]

_LOG = logging.getLogger(__name__)


class WorkerPool:
    """All workers of the agent: those that hold a release, at most one each, and short-lived ones."""

    def __init__(
        self,
        layout: Layout,
        *,
        arguments: tuple[str, ...],
        stop_s: float,
        logs_kept: int,
    ) -> None:
        self._layout = layout
        self._arguments = arguments
        self._stop_s = stop_s
        self._logs_kept = logs_kept
        self._lock = threading.Lock()
        self._by_key: dict[str, WorkerProcess] = {}
        self._starting_refused = False
        self._live: set[WorkerProcess] = set()
        self._count = 0

    def end_leftovers(self) -> None:
        """Kill workers of a daemon that was killed. Only at the start."""
        for path in self._layout.workers.iterdir():
            birth = path.read_text()
            if birth and path.name.isdecimal() and _birth(int(path.name)) == birth:
                _LOG.warning("ending worker %s of an earlier agent", path.name)
                os.kill(int(path.name), signal.SIGKILL)
            path.unlink()

    def held(self, key: str) -> WorkerProcess | None:
        """The live worker kept under a key, such as a release's digest."""
        with self._lock:
            worker = self._by_key.get(key)
        if worker is None or worker.alive:
            return worker
        self.end(key)
        return None

    def start(self, python: str, *, key: str) -> WorkerProcess:
        """A new process of this Python, kept under a key in place of the one that was.

        Raises:
            WorkerError: it cannot be started.
            CancelledError: the agent is stopping.
        """
        self.end(key)
        with self._lock:
            if self._starting_refused:
                raise CancelledError("the agent is stopping")
            self._count += 1
            log = self._layout.logs / f"worker-{os.getpid()}-{self._count}.log"
            try:
                worker = WorkerProcess([python, *self._arguments], log, stop_s=self._stop_s)
            except WorkerError as exc:
                exc.hint = "which Python holds the runtime? edgectl-agent run --interpreter RUNTIME=PYTHON"
                raise
            self._by_key[key] = worker
            self._live.add(worker)
        (self._layout.workers / str(worker.pid)).write_text(_birth(worker.pid))
        self._forget_old_logs()
        return worker

    def end(self, key: str) -> None:
        """Stop the worker kept under a key, if there is one."""
        with self._lock:
            worker = self._by_key.pop(key, None)
        if worker is not None:
            self._end(worker)

    def kill(self, key: str) -> None:
        """Kill the worker kept under a key, whoever may be asking it."""
        with self._lock:
            worker = self._by_key.get(key)
            if worker is not None:
                worker.kill()

    def close(self) -> None:
        """Kill all workers and start no more. Whoever asks one gets a CancelledError."""
        with self._lock:
            self._starting_refused = True
            for worker in self._live:
                worker.kill()

    def reap(self) -> None:
        """After `close`, once nobody asks any more."""
        for key in list(self._by_key):
            self.end(key)

    def _end(self, worker: WorkerProcess) -> None:
        worker.stop()
        with self._lock:
            self._live.discard(worker)
        (self._layout.workers / str(worker.pid)).unlink(missing_ok=True)

    def _forget_old_logs(self) -> None:
        logs = sorted(self._layout.logs.glob("worker-*.log"), key=lambda path: path.stat().st_mtime_ns)
        for path in logs[: -self._logs_kept]:
            path.unlink(missing_ok=True)


def _birth(pid: int) -> str:
    """When a process was started, so that a reused process id is not taken for it; empty when unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The name in parentheses may hold spaces; the start time is the 20th field after it.
        return f"{boot} {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return ""
