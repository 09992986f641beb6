"""A run in progress: its events so far, who waits for more, and the worker that is killed when it is withdrawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from edgectl_protos.domain.errors import CancelledError
from edgectl_protos.domain.run import OVER, Run, RunEvent, RunPhase
from edgectl_protos.worker.process import WorkerProcess

__all__ = ["ActiveRun"]


class ActiveRun:
    """One run, from its begin. Its condition guards it."""

    def __init__(self, run: Run) -> None:
        self._begun = run
        self._changed = threading.Condition()
        self._events = [RunEvent(run.run_id, run.phase, sequence=1)]
        self._worker: WorkerProcess | None = None
        self._withdrawn = False

    @property
    def run(self) -> Run:
        """The run as it stands."""
        last = self._events[-1]
        return replace(self._begun, phase=last.phase, failure=last.failure)

    @property
    def is_over(self) -> bool:
        """Whether the last event is out."""
        return self._events[-1].phase in OVER

    @property
    def is_withdrawn(self) -> bool:
        """Whether somebody asked for its end."""
        return self._withdrawn

    def progress(self, phase: RunPhase, progress: float) -> None:
        """Tell how far it is."""
        self.tell(self.numbered(RunEvent(self._begun.run_id, phase, progress)))

    def numbered(self, event: RunEvent) -> RunEvent:
        """The event as the next one."""
        return replace(event, sequence=len(self._events) + 1)

    def tell(self, event: RunEvent) -> None:
        """Let those who watch know."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let those who watch look whether they are still wanted."""
        with self._changed:
            self._changed.notify_all()

    def watch(self, after_sequence: int, live: Callable[[], bool]) -> Iterator[RunEvent]:
        """Events after a number, until it is over. When `live` turns false, `wake` it."""
        told = max(0, after_sequence)
        while True:
            with self._changed:
                while told >= len(self._events) and not self.is_over and live():
                    self._changed.wait()
                fresh = self._events[told:]
                over = self.is_over
            yield from fresh
            told += len(fresh)
            if over or not live():
                return

    def wait(self, timeout_s: float) -> None:
        """Wait for news, but no longer."""
        with self._changed:
            if not self.is_over:
                self._changed.wait(timeout_s)

    def hold(self, worker: WorkerProcess) -> None:
        """From now on this worker is killed when the run is withdrawn.

        Raises:
            CancelledError: it has been withdrawn.
        """
        with self._changed:
            if self._withdrawn:
                raise CancelledError(f"run {self._begun.run_id} was withdrawn")
            self._worker = worker

    def withdraw(self) -> bool:
        """End the run; False when it has no worker yet."""
        with self._changed:
            self._withdrawn = True
            if self._worker is not None:
                self._worker.kill()
            return self._worker is not None
