"""All worker processes of the agent. The daemon itself never loads a runtime.

Each live worker has a file `workers/<pid>`, so that one that outlived a killed daemon (it may be in the middle of a
measurement) is found and ended at the next start.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Iterable
from pathlib import Path

from edgectl_agent.core.store.atomic import Disk, names_in, read_file
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.workers.sandbox import Sandbox
from edgectl_protos.domain.errors import CancelledError, DeviceError, DocumentError, EdgectlError
from edgectl_protos.worker import family
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["WorkerPool"]

_LOG = logging.getLogger(__name__)
_MAX_BIRTH_BYTES = 4096


class WorkerPool:
    """All workers of the agent: those that hold a release, at most one each, and short-lived ones."""

    def __init__(
        self,
        layout: Layout,
        disk: Disk,
        sandbox: Sandbox,
        *,
        arguments: tuple[str, ...],
        stop_s: float,
        logs_kept: int,
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._sandbox = sandbox
        self._arguments = arguments
        self._stop_s = stop_s
        self._logs_kept = logs_kept
        self._lock = threading.Lock()
        self._by_key: dict[str, WorkerProcess] = {}
        self._starting_refused = False
        self._live: set[WorkerProcess] = set()
        self._scratch: dict[WorkerProcess, Path] = {}
        self._count = 0

    def end_leftovers(self) -> None:
        """Kill workers of a daemon that was killed. Only at the start."""
        for name in names_in(self._layout.workers):
            path = self._layout.workers / name
            try:
                birth = read_file(path, limit_bytes=_MAX_BIRTH_BYTES).decode(errors="replace")
                # No name of digits is longer; of others there is no process.
                if birth and re.fullmatch(r"[0-9]{1,10}", name) and _birth(int(name)) == birth:
                    _LOG.warning("ending worker %s of an earlier agent", name)
                    started = family.started_by(int(name), family.born(int(name)))
                    os.kill(int(name), signal.SIGKILL)
                    family.end(started)
                path.unlink()
            except DocumentError as exc:
                self._disk.set_aside(path, self._layout.damaged, exc)
            except OSError as exc:
                _LOG.error("what is known of a worker of an earlier agent cannot be read: %s", exc)
        for name in names_in(self._layout.scratch):
            self._disk.discard(self._layout.scratch / name)

    def held(self, key: str) -> WorkerProcess | None:
        """The live worker kept under a key, such as a release's digest."""
        with self._lock:
            worker = self._by_key.get(key)
        if worker is None or worker.alive:
            return worker
        self.end(key)
        return None

    def scratch(self, key: str) -> Path | None:
        """The one folder in which the worker kept under a key may write; None where the disk gave it none."""
        with self._lock:
            worker = self._by_key.get(key)
            return self._scratch.get(worker) if worker is not None else None

    def start(self, python: str, *, key: str, others: Iterable[str] = (), builds: bool = False) -> WorkerProcess:
        """A new process of this Python, kept under a key in place of the one that was. `others` are the Pythons that it
        starts itself; `builds`: it is a builder.

        Raises:
            WorkerError: it cannot be started.
            CancelledError: the agent is stopping.
        """
        self.end(key)
        with self._lock:
            self._count += 1
            name = f"{os.getpid()}-{self._count}"
        scratch = self._make_scratch(name)
        try:
            # Not under the lock, by which workers are killed: a Python may be asked where it lies.
            command = self._sandbox.command(python, self._arguments, scratch, others=others, builds=builds)
            with self._lock:
                if self._starting_refused:
                    raise CancelledError("the agent is stopping")
                worker = WorkerProcess(command, self._layout.logs / f"worker-{name}.log", stop_s=self._stop_s)
                self._by_key[key] = worker
                self._live.add(worker)
                if scratch is not None:
                    self._scratch[worker] = scratch
        except EdgectlError:
            self._discard(scratch)
            raise
        try:
            (self._layout.workers / str(worker.pid)).write_text(_birth(worker.pid))
            self._forget_old_logs()
        except OSError as exc:
            # It ends by itself when its daemon does.
            _LOG.error("worker %d is not written down: %s", worker.pid, exc)
        return worker

    def give(self, folder: Path) -> None:
        """Make an empty folder in which a worker may write, inside its scratch folder."""
        self._sandbox.make(folder)

    def take_back(self, path: Path) -> None:
        """Make what a worker wrote the agent's own."""
        self._sandbox.take_back(path)

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
            scratch = self._scratch.pop(worker, None)
        try:
            (self._layout.workers / str(worker.pid)).unlink(missing_ok=True)
        except OSError as exc:
            _LOG.error("worker %d is gone, and its record stays: %s", worker.pid, exc)
        self._discard(scratch)

    def _discard(self, scratch: Path | None) -> None:
        if scratch is not None:
            try:
                self._disk.discard(scratch)
            except DeviceError as exc:
                _LOG.error("what a worker wrote stays: %s", exc.message)

    def _make_scratch(self, name: str) -> Path | None:
        try:
            self._sandbox.open()
            return self._sandbox.make(self._layout.scratch / name)
        except OSError as exc:
            _LOG.error("worker %s has no folder to write in: %s", name, exc)
            return None

    def _forget_old_logs(self) -> None:
        logs = sorted(self._layout.logs.glob("worker-*.log"), key=lambda path: path.stat().st_mtime_ns)
        for path in logs[: -self._logs_kept]:
            path.unlink(missing_ok=True)


def _birth(pid: int) -> str:
    """When a process was started, and in which life of the machine, so that a reused process id is not taken for it;
    empty when unknown.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    born = family.born(pid)
    return f"{boot} {born}" if born else ""
