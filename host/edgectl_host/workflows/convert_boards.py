"""Converts one checkpoint for many boards: each distinct assignment once, several at a time, past those that fail.

A conversion runs in a process of its own, as `edgectl convert` for one board, so that it shares finished steps with the
others through the cache (the one that comes second to a step waits for it), and that what one does to its memory costs
no other. At most as many run as there are cores, and no more than the memory holds by their estimates; one that is
larger than all of it runs alone. An interrupt ends them all.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

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
from edgectl_protos.worker import family

__all__ = ["BoardRow", "Command", "convert_boards", "plan_boards"]

Command = Callable[[str, Assignment], list[str]]
"""The command line that converts for this board and assignment, its result as JSON on standard output."""

_PROCESS_BYTES = 300 << 20
"""What the processes of a conversion were seen to hold beside the policy: interpreters and libraries."""
_GRACE_S = 5.0
_PIECE_BYTES = 1 << 16
_LINE_BYTES = 4 << 10
"""What is kept of a line: libraries print arrays and graphs in one."""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """What became of a board. `memory_bytes`: the estimate for its conversion; `seconds` is how long it took."""

    board: str
    way: Way | None = None
    memory_bytes: int = 0
    bundle: Bundle | None = None
    seconds: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """One conversion, for the boards of `rows`."""

    assignment: Assignment
    rows: tuple[int, ...]
    names: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class _Ended:
    """A process that ended by itself, with what it wrote to standard output."""

    code: int
    output: str
    seconds: float


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


async def convert_boards(
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
    running: dict[asyncio.Task[_Ended], _Job] = {}
    try:
        while waiting or running:
            for job in _next(waiting, list(running.values()), memory_bytes, jobs):
                waiting.remove(job)
                words = command(rows[job.rows[0]].board, job.assignment)
                running[asyncio.create_task(_convert(job, words, progress))] = job
            for task in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                job, ended = running.pop(task), task.result()
                made = _result(job, ended, subject)
                for index in job.rows:
                    failure = made if isinstance(made, Failure) else None
                    bundle = made if isinstance(made, Bundle) else None
                    done[index] = replace(rows[index], bundle=bundle, failure=failure, seconds=ended.seconds)
                _tell(job, done[job.rows[0]], progress)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return tuple(done)


def _jobs(rows: Sequence[BoardRow]) -> list[_Job]:
    """One for each distinct assignment."""
    found: dict[Assignment, list[int]] = {}
    for index, row in enumerate(rows):
        if row.way is not None and row.bundle is None and row.failure is None:
            found.setdefault(row.way.assignment, []).append(index)
    return [
        _Job(
            assignment, tuple(indices), ", ".join(rows[index].board for index in indices), rows[indices[0]].memory_bytes
        )
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


async def _convert(job: _Job, command: list[str], progress: Progress) -> _Ended:
    progress(Update(job.names, f"{job.assignment}: starting"))
    started_s = time.monotonic()
    # In a session of its own: what it starts in turn ends with it.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    output = asyncio.create_task(process.stdout.read())
    born = family.born(process.pid)
    try:
        async for line in _lines(process.stderr):
            _pass_on(line, job, progress)
        text = (await output).decode(errors="replace")
        return _Ended(await process.wait(), text, time.monotonic() - started_s)
    finally:
        await _end(process, born)
        # To their ends, which close them.
        await asyncio.gather(output, process.stderr.read(), return_exceptions=True)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a stream, each cut where it is longer than `_LINE_BYTES`."""
    line = b""
    while piece := await stream.read(_PIECE_BYTES):
        *ended, rest = piece.split(b"\n")
        for part in ended:
            yield (line + part)[:_LINE_BYTES].decode(errors="replace")
            line = b""
        line = (line + rest)[:_LINE_BYTES]
    yield line.decode(errors="replace")


def _pass_on(line: str, job: _Job, progress: Progress) -> None:
    """A line of `subject: text`, as any pipe gets it."""
    text = line.rstrip().partition(": ")[2]
    if text and not line.startswith(("error[", "hint:")):
        progress(Update(job.names, f"{job.assignment}: {text}"))


async def _end(process: Process, born: str) -> None:
    """End a process, if it is still there: first as Ctrl-C would, so that it cleans up, then it and all that it started
    for good.
    """
    if process.returncode is not None:
        return
    try:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
    finally:
        # Its workers have sessions of their own.
        started = family.started_by(process.pid, born)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        family.end(started)
    await process.wait()


def _result(job: _Job, ended: _Ended, subject: Subject) -> Bundle | Failure:
    if ended.code == 0:
        try:
            bundle = subject.converted(job.assignment)
        except EdgectlError as exc:
            return failure_of(exc)
        if bundle is not None:
            return bundle
    return _failure(ended.output, ended.code)


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
