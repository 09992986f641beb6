"""A stub worker that is up in some hundredths of a second: forked from a process that has imported everything.

`with quick_workers() as arguments:` gives the arguments of a Python (`AgentConfig.worker_arguments`). What the agent
starts and kills is a process that holds the worker's place: it hands its pipes over, and ends as the worker ends.
Standard library only at the top, for that process imports no more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator

__all__ = ["quick_workers"]


def main() -> int:
    """Hold a worker's place: `quick_worker.py SOCKET --reply-fd N`."""
    reply_fd = int(sys.argv[-1])
    with socket.socket(socket.AF_UNIX) as source:
        source.connect(sys.argv[1])
        socket.send_fds(source, [b"x"], [0, 1, reply_fd])
        for fd in (0, reply_fd):
            os.close(fd)
        status = int(source.recv(16) or b"0")
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


@contextlib.contextmanager
def quick_workers() -> Iterator[tuple[str, ...]]:
    """Workers for as long as the block runs."""
    import subprocess
    from pathlib import Path

    from edgectl_testkit.serve import short_folder

    with short_folder() as folder:
        code = "from edgectl_testkit.quick_worker import fork_workers; import sys; fork_workers(sys.argv[1])"
        process = subprocess.Popen(
            [sys.executable, "-c", code, f"{folder}/w"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield ("-I", "-S", str(Path(__file__).resolve()), f"{folder}/w")
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def fork_workers(path: str) -> None:
    """Fork a stub worker for each that asks, end it when its place is gone, and tell how it ended."""
    import select

    from edgectl_testkit import stub_worker

    holders: dict[int, socket.socket] = {}
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with socket.socket(socket.AF_UNIX) as asked:
        asked.bind(path)
        asked.listen(64)
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([asked, wake, *holders.values()], [], [])
            if wake in readable:
                wake.recv(4096)
                _tell_ends(holders)
            for pid, holder in list(holders.items()):
                if holder in readable and not holder.recv(1):
                    os.kill(pid, signal.SIGKILL)
            if asked in readable:
                holder, _ = asked.accept()
                _, fds, _, _ = socket.recv_fds(holder, 1, 3)
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for other in (asked, holder, *holders.values()):
                        other.close()
                    try:
                        os._exit(stub_worker.serve_pipes(*fds))
                    finally:
                        os._exit(1)
                for fd in fds:
                    os.close(fd)
                holders[pid] = holder


def _tell_ends(holders: dict[int, socket.socket]) -> None:
    while holders:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with contextlib.suppress(OSError), holders.pop(pid) as holder:
            holder.send(str(status).encode())


if __name__ == "__main__":
    sys.exit(main())
