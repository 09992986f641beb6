"""Threads that work on devices, and can be sent home.

At most 16 work at once. An interrupt sets a flag that every update checks, so that uploads withdraw by
themselves; whoever still waits for a device a moment later has its connection closed, which ends the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.errors import CancelledError

__all__ = ["Connect", "Crew"]

_MAX_DEVICES_AT_ONCE = 16

Connect = Callable[[Device], DeviceClient]
"""Opens a connection, hello included."""


class Crew:
    """One piece of work on several devices."""

    def __init__(self, connect: Connect, *, grace_s: float = 1.0) -> None:
        self._connect = connect
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._open: set[DeviceClient] = set()
        self._stopping = threading.Event()

    @contextmanager
    def connected(self, device: Device) -> Iterator[DeviceClient]:
        """A connection that an interrupt closes.

        Raises:
            CancelledError: the work was interrupted before.
        """
        self.check()
        client = self._connect(device)
        with self._lock:
            self._open.add(client)
        try:
            yield client
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()

    def check(self) -> None:
        """Go on, unless the work was interrupted.

        Raises:
            CancelledError: it was.
        """
        if self._stopping.is_set():
            raise CancelledError("interrupted")

    def guarded(self, progress: Progress) -> Progress:
        """The same progress, which ends the work at the next update after an interrupt."""

        def checked(update: Update) -> None:
            self.check()
            progress(update)

        return checked

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Do all tasks; raises what one raised, or the interrupt."""
        if not tasks:
            return
        with ThreadPoolExecutor(max_workers=min(_MAX_DEVICES_AT_ONCE, len(tasks))) as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                # In slices, so that Ctrl-C is seen on every platform.
                while wait(futures, timeout=0.2).not_done:
                    pass
            except BaseException:
                self._stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                try:
                    wait(futures, timeout=self._grace_s)
                finally:
                    # Also at a second Ctrl-C: the threads must end before the process can.
                    with self._lock:
                        clients = list(self._open)
                    for client in clients:
                        client.close()
                raise
        for future in futures:
            future.result()
