"""A worker process, from the side of whoever starts it: the agent, and the host's gates.

One that dies, hangs, or answers nonsense costs the request that was made, as a WorkerError with the last lines of its
log; it is never reused. What it started ends with it. Standard library and edgectl_protos only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import CancelledError, EdgectlError, WorkerError, error_by_reason
from edgectl_protos.worker import family
from edgectl_protos.worker.framing import read_frame, write_frame
from edgectl_protos.worker.messages import Progress

__all__ = ["OnProgress", "WorkerProcess"]

Reply = TypeVar("Reply")
OnProgress = Callable[[Progress], None]

_LOG_TAIL_BYTES = 1500
_LOG_TAIL_LINES = 12


class WorkerProcess:
    """One process. Requests are made one at a time, by one thread; `kill` may come from any.

    `command` starts the worker: a Python and its arguments. `environment` is all of its environment; None: this
    process's own. What it prints goes to the end of `log`.
    """

    def __init__(
        self, command: list[str], log: Path, *, stop_s: float, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        self._stop_s = stop_s
        self._killed = False
        reply_fd, child_fd = os.pipe()
        try:
            with _open_log(log) as output:
                self._process = subprocess.Popen(
                    [*command, "--reply-fd", str(child_fd)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(child_fd,),
                    env=None if environment is None else dict(environment),
                    start_new_session=True,
                )
        except OSError as exc:
            os.close(reply_fd)
            raise WorkerError(
                f"no worker could be started with {command[0]}: {exc.strerror}",
                hint="is that a Python, with edgectl-agent installed in it?",
            ) from exc
        finally:
            os.close(child_fd)
        self._born = family.born(self.pid)
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
            write_frame(cast("Any", stdin), request)
            self._replies.deadline_s = time.monotonic() + timeout_s
            while isinstance(answer := read_frame(cast("Any", self._replies)), Progress):
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
        self._end_all()

    def stop(self) -> None:
        """End it: hang up, and kill it if that does not help. Nobody may be asking."""
        stdin = self._process.stdin
        assert stdin is not None
        # Once it has ended nobody knows which they were.
        started = family.started_by(self.pid, self._born)
        try:
            stdin.close()
            self._process.wait(self._stop_s)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        family.end(started | family.started_by(self.pid, self._born))
        self._replies.close()

    def _end_all(self) -> None:
        started = family.started_by(self.pid, self._born)
        self._process.kill()
        family.end(started)

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
            self._end_all()
            self._process.wait()
            return ""
        if code >= 0:
            return f" (exit status {code})"
        try:
            return f" ({signal.Signals(-code).name})"
        except ValueError:
            return f" (signal {-code})"

    def _tail(self) -> str:
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError as exc:
            return f"it cannot be read: {exc.strerror}"
        return "\n".join(lines[-_LOG_TAIL_LINES:])


def _open_log(log: Path) -> IO[bytes]:
    """The log; nowhere where the disk takes none, for a full disk must not keep an installed release from running."""
    try:
        return log.open("ab")
    except OSError:
        return open(os.devnull, "ab")


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
