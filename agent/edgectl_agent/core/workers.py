"""Worker processes: started, asked, and ended here. The daemon itself never loads a runtime.

A worker that dies, hangs, or answers nonsense costs the request that was made, as a WorkerError with the last
lines of its log; it is never reused. Each live worker has a file `workers/<pid>`, so that one that outlived a
killed daemon (it may be in the middle of a measurement) is found and ended at the next start.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from edgectl_agent import frames
from edgectl_agent.core.layout import Layout
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import CancelledError, EdgectlError, WorkerError, error_by_reason

__all__ = ["Worker", "WorkerPool"]

_LOG = logging.getLogger(__name__)

Reply = TypeVar("Reply")
OnProgress = Callable[[frames.Progress], None]

_LOG_TAIL_BYTES = 1500
_LOG_TAIL_LINES = 12


class Worker:
    """One process. Requests are made one at a time, by one thread; `kill` may come from any."""

    def __init__(self, command: list[str], log: Path, *, stop_s: float) -> None:
        self._log = log
        self._stop_s = stop_s
        self._killed = False
        reply_fd, child_fd = os.pipe()
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [*command, "--reply-fd", str(child_fd)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(child_fd,),
                )
        except OSError as exc:
            os.close(reply_fd)
            raise WorkerError(
                f"no worker could be started with {command[0]}: {exc.strerror}",
                hint="which Python holds the runtime? edgectl-agent run --interpreter RUNTIME=PYTHON",
            ) from exc
        finally:
            os.close(child_fd)
        self._replies = _Replies(reply_fd)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return not self._killed and self._process.poll() is None

    def ask(
        self, request: Any, reply: type[Reply], *, timeout_s: float, on_progress: OnProgress | None = None
    ) -> Reply:
        """Make a request and wait for its reply.

        Raises:
            WorkerError: the worker died, or did not answer in time; it is gone then.
            CancelledError: it was killed on purpose.
            EdgectlError: the worker's own refusal.
        """
        name = type(request).__name__
        try:
            stdin = self._process.stdin
            assert stdin is not None
            frames.write_frame(cast("Any", stdin), request)
            self._replies.deadline_s = time.monotonic() + timeout_s
            while isinstance(answer := frames.read_frame(cast("Any", self._replies)), frames.Progress):
                if on_progress is not None:
                    on_progress(answer)
        except (OSError, TimeoutError, ValueError, EdgectlError) as exc:
            raise self._gone(name, exc) from exc
        if answer is None:
            raise self._gone(name, None)
        if isinstance(answer, Failure):
            raise error_by_reason(answer.reason)(answer.message, hint=answer.hint)
        if not isinstance(answer, reply):
            raise self._gone(name, WorkerError(f"it answered with {type(answer).__name__}"))
        return answer

    def kill(self) -> None:
        """End it at once; a pending request raises CancelledError."""
        self._killed = True
        self._process.kill()

    def stop(self) -> None:
        """End it: hang up, and kill it if that does not help. Nobody may be asking."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.close()
            self._process.wait(self._stop_s)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._replies.close()

    def _gone(self, request: str, cause: Exception | None) -> EdgectlError:
        if self._killed:
            return CancelledError(f"the worker was ended during {request}")
        if isinstance(cause, TimeoutError):
            what = f"did not answer {request} in time and was ended"
        elif cause is None or isinstance(cause, BrokenPipeError):
            # It closed its end; its status comes within moments.
            what = f"died during {request}"
        else:
            what = f"broke the protocol during {request} ({cause}) and was ended"
        status = self._settle(dying=what.startswith("died"))
        tail = self._tail()
        return WorkerError(
            f"the worker {what}{status}",
            hint=f"the end of its log {self._log.name}: {tail}" if tail else f"its log {self._log.name} is empty",
        )

    def _settle(self, *, dying: bool) -> str:
        try:
            code = self._process.wait(self._stop_s if dying else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return ""
        if code >= 0:
            return f" (exit status {code})"
        try:
            return f" ({signal.Signals(-code).name})"
        except ValueError:
            return f" (signal {-code})"

    def _tail(self) -> str:
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])


class _Replies:
    """The reading end of a worker's replies, as a stream that keeps a deadline."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.deadline_s = 0.0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer at the end of the stream.

        Raises:
            TimeoutError: the deadline passed.
        """
        parts: list[bytes] = []
        while size > 0:
            remaining_s = self.deadline_s - time.monotonic()
            if remaining_s <= 0 or not self._poll.poll(remaining_s * 1000):
                raise TimeoutError
            part = os.read(self._fd, size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self._fd)


class WorkerPool:
    """All workers of the agent: those that hold a release, at most one each, and short-lived ones."""

    def __init__(
        self,
        layout: Layout,
        *,
        interpreter: Callable[[str], str],
        arguments: tuple[str, ...],
        stop_s: float,
        logs_kept: int,
    ) -> None:
        self._layout = layout
        self._interpreter = interpreter
        self._arguments = arguments
        self._stop_s = stop_s
        self._logs_kept = logs_kept
        self._lock = threading.Lock()
        self._by_key: dict[str, Worker] = {}
        self._starting_refused = False
        self._live: set[Worker] = set()
        self._count = 0

    def end_leftovers(self) -> None:
        """Kill workers of a daemon that was killed. Only at the start."""
        for path in self._layout.workers.iterdir():
            birth = path.read_text()
            if birth and path.name.isdecimal() and _birth(int(path.name)) == birth:
                _LOG.warning("ending worker %s of an earlier agent", path.name)
                os.kill(int(path.name), signal.SIGKILL)
            path.unlink()

    def held(self, key: str) -> Worker | None:
        """The live worker kept under a key, such as a release's digest."""
        with self._lock:
            worker = self._by_key.get(key)
        if worker is None or worker.alive:
            return worker
        self.end(key)
        return None

    def start(self, runtime: str, *, key: str) -> Worker:
        """A new process for a runtime, kept under a key in place of the one that was.

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
            worker = Worker([self._interpreter(runtime), *self._arguments], log, stop_s=self._stop_s)
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

    def _end(self, worker: Worker) -> None:
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
