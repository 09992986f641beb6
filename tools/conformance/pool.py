"""A process for each runtime that does one trial after the other, and is replaced where a runtime kills or hangs it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from trial import Outcome, Trial, Verdict

__all__ = ["Begin", "run_trials"]

Begin = Callable[[], Callable[[Any, Trial], Outcome]]
"""Called first in each process: what tries a case there."""

# Forked, so that the cases are there without being loaded again. No runtime is imported in the parent.
_FORKING = multiprocessing.get_context("fork")


def run_trials(
    cases: Sequence[Any],
    trials: Sequence[Trial],
    begin: Begin,
    *,
    limit_s: float,
    log: Path,
    progress: Callable[[int], None],
) -> dict[Trial, Outcome]:
    """The outcome of every trial; `progress` is told how many are done.

    One that takes longer than `limit_s`, or ends its process, is `CRASHED`. What the runtimes print goes to `log`.
    """
    lines = {runtime: deque(t for t in trials if t.runtime == runtime) for runtime in {t.runtime for t in trials}}
    workers = [_Worker(cases, line, begin, limit_s, log) for line in lines.values()]
    outcomes: dict[Trial, Outcome] = {}
    while busy := [worker for worker in workers if worker.line]:
        wait([worker.replies for worker in busy], timeout=0.5)
        for worker in busy:
            outcomes.update(worker.collect())
        progress(len(outcomes))
    for worker in workers:
        worker.end()
    return outcomes


class _Worker:
    """The process of one runtime. `line` are the trials that have no outcome yet."""

    def __init__(self, cases: Sequence[Any], line: deque[Trial], begin: Begin, limit_s: float, log: Path) -> None:
        self.line = line
        self._cases = cases
        self._begin = begin
        self._limit_s = limit_s
        self._log = log
        self._start()

    def _start(self) -> None:
        self.replies, sending = _FORKING.Pipe(duplex=False)
        self._process = _FORKING.Process(
            target=_work, args=(self._cases, tuple(self.line), self._begin, sending, self._log)
        )
        self._process.start()
        sending.close()
        self._since_s = time.monotonic()

    def collect(self) -> Iterator[tuple[Trial, Outcome]]:
        """What is finished since the last time."""
        try:
            while self.line and self.replies.poll():
                outcome = self.replies.recv()
                self._since_s = time.monotonic()
                yield self.line.popleft(), outcome
        except EOFError:
            self._process.join()
            yield self._crashed(f"the process ended with {self._process.exitcode}")
        else:
            if self.line and time.monotonic() - self._since_s > self._limit_s:
                self._process.kill()
                yield self._crashed(f"not done after {self._limit_s:g} s")

    def _crashed(self, why: str) -> tuple[Trial, Outcome]:
        self.end()
        trial = self.line.popleft()
        if self.line:
            self._start()
        return trial, Outcome(Verdict.CRASHED, "crashed", why)

    def end(self) -> None:
        """Wait for its end."""
        self.replies.close()
        self._process.join()


def _work(cases: Sequence[Any], line: Sequence[Trial], begin: Begin, replies: Connection, log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    attempt = begin()
    for trial in line:
        replies.send(attempt(cases[trial.case], trial))
