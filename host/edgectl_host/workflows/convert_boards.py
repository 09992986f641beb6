"""Converts one checkpoint for many boards: each distinct assignment once, several at a time, past those that fail.

A conversion runs in a process of its own, as `edgectl convert` for one board, so that it shares finished steps with the
others through the cache (the one that comes second to a step waits for it), and that what one does to its memory costs
no other. At most as many run as there are cores, and no more than the memory holds by their estimates; one that is
larger than all of it runs alone. An interrupt ends them all.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from edgectl_converters.assignment import Assignment
from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.ask import failure_of
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.convert import Subject
from edgectl_host.workflows.plan import Way
from edgectl_host.workflows.progress import Progress, Update
from edgectl_profiles.library import load
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import EdgectlError, InternalError

__all__ = ["BoardRow", "Command", "convert_boards", "plan_boards"]

Command = Callable[[str, Assignment], list[str]]
"""The command line that converts for this board and assignment, its result as JSON on standard output."""

_PROCESS_BYTES = 300 << 20
"""What the processes of a conversion were seen to hold beside the policy: interpreters and libraries."""
_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class BoardRow:
    """What became of a board. `memory_bytes`: the estimate for its conversion; `seconds` is how long it took."""

    board: str
    way: Way | None = None
    memory_bytes: int = 0
    bundle: Bundle | None = None
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(slots=True)
class _Job:
    """One conversion, for the boards of `rows`."""

    assignment: Assignment
    rows: list[int]
    names: str
    memory_bytes: int
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    started_s: float = 0.0
    seconds: float = 0.0
    output: list[str] = field(default_factory=list)


def plan_boards(subject: Subject, boards: Sequence[str]) -> tuple[BoardRow, ...]:
    """What each board gets: its bundle where it is there already, else the memory that its conversion is estimated to
    take. Failures are in their rows.

    Raises:
        ProfileError: a board is not known.
    """
    rows = []
    for board in dict.fromkeys(load(name).board for name in boards):
        try:
            way = subject.way(Device(board, board=board), None)
            bundle = subject.converted(way.assignment)
            plan = subject.steps(way.assignment) if bundle is None else None
        except EdgectlError as exc:
            rows.append(BoardRow(board, failure=failure_of(exc)))
            continue
        memory = max((step.memory_bytes or 0 for step in plan.steps if not step.cached), default=0) if plan else 0
        rows.append(BoardRow(board, way, memory + _PROCESS_BYTES if plan else 0, bundle))
    return tuple(rows)


def convert_boards(
    subject: Subject,
    rows: Sequence[BoardRow],
    command: Command,
    *,
    memory_bytes: int,
    jobs: int,
    progress: Progress,
) -> tuple[BoardRow, ...]:
    """Convert for all rows that have neither bundle nor failure; then each has one, in the same order."""
    done = list(rows)
    waiting = _jobs(rows)
    running: list[_Job] = []
    ended: queue.Queue[_Job] = queue.Queue()
    try:
        while waiting or running:
            for job in _next(waiting, running, memory_bytes, jobs):
                waiting.remove(job)
                running.append(job)
                _start(job, command(rows[job.rows[0]].board, job.assignment), ended, progress)
            # In slices, so that Ctrl-C is seen on every platform.
            with suppress(queue.Empty):
                job = ended.get(timeout=0.2)
                running.remove(job)
                made = _result(job, subject)
                for index in job.rows:
                    failure = made if isinstance(made, Failure) else None
                    bundle = made if isinstance(made, Bundle) else None
                    done[index] = replace(rows[index], bundle=bundle, failure=failure, seconds=job.seconds)
                _tell(job, done[job.rows[0]], progress)
    except BaseException:
        _stop(running)
        raise
    return tuple(done)


def _jobs(rows: Sequence[BoardRow]) -> list[_Job]:
    """One for each distinct assignment."""
    found: dict[Assignment, list[int]] = {}
    for index, row in enumerate(rows):
        if row.way is not None and row.bundle is None and row.failure is None:
            found.setdefault(row.way.assignment, []).append(index)
    return [
        _Job(assignment, indices, ", ".join(rows[index].board for index in indices), rows[indices[0]].memory_bytes)
        for assignment, indices in found.items()
    ]


def _next(waiting: Sequence[_Job], running: Sequence[_Job], memory_bytes: int, jobs: int) -> list[_Job]:
    """Those that may start now, in their order."""
    chosen: list[_Job] = []
    free = memory_bytes - sum(job.memory_bytes for job in running)
    for job in waiting:
        if len(running) + len(chosen) >= jobs:
            break
        alone = not running and not chosen
        if alone or job.memory_bytes <= free:
            chosen.append(job)
            free -= job.memory_bytes
    return chosen


def _start(job: _Job, command: list[str], ended: queue.Queue[_Job], progress: Progress) -> None:
    progress(Update(job.names, f"{job.assignment}: starting"))
    job.started_s = time.monotonic()
    # In a session of its own: what it starts in turn ends with it.
    job.process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    job.reader = threading.Thread(target=_read, args=(job, ended, progress), daemon=True)
    job.reader.start()


def _read(job: _Job, ended: queue.Queue[_Job], progress: Progress) -> None:
    process = job.process
    assert process is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdout = process.stdout
    with process:
        reader = threading.Thread(target=lambda: job.output.append(stdout.read()), daemon=True)
        reader.start()
        for line in process.stderr:
            # Lines of `subject: text`, as any pipe gets them.
            text = line.rstrip().partition(": ")[2]
            if text and not line.startswith(("error[", "hint:")):
                progress(Update(job.names, f"{job.assignment}: {text}"))
        reader.join()
    job.seconds = time.monotonic() - job.started_s
    ended.put(job)


def _result(job: _Job, subject: Subject) -> Bundle | Failure:
    assert job.process is not None
    if job.process.returncode == 0:
        try:
            bundle = subject.converted(job.assignment)
        except EdgectlError as exc:
            return failure_of(exc)
        if bundle is not None:
            return bundle
    return _failure("".join(job.output), job.process.returncode)


def _failure(output: str, code: int) -> Failure:
    """What the process said of its failure, or that it died."""
    try:
        told = json.loads(output)["error"]
        return Failure(str(told["reason"]), str(told["message"]), str(told["hint"]))
    except (ValueError, KeyError, TypeError):
        return Failure(
            InternalError.reason,
            f"the process of the conversion ended with {code}",
            "out of memory? give it less at once: --memory 4GB",
        )


def _tell(job: _Job, row: BoardRow, progress: Progress) -> None:
    text = f"failed: {row.failure.message}" if row.failure is not None else f"converted in {row.seconds:.1f} s"
    progress(Update(job.names, f"{job.assignment}: {text}", done=True))


def _stop(running: Sequence[_Job]) -> None:
    """End all processes: first as Ctrl-C would, so that they clean up, then for good."""
    processes = [job.process for job in running if job.process is not None]
    for number in (signal.SIGINT, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError):
                if number is signal.SIGINT:
                    process.send_signal(number)
                else:
                    os.killpg(process.pid, number)
        deadline = time.monotonic() + _GRACE_S
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    for job in running:
        if job.reader is not None:
            job.reader.join(_GRACE_S)
