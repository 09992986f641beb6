"""The example policy on one device: every runtime that can do all the schemes, each deployed and run, side by side.

All conversions come first, so that none disturbs a measurement; then what is installed already, if one of them is,
since it needs no install; then the others. One that is refused costs its own row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.ask import error_of
from edgectl_host.workflows.bundle import Bundle, Convert
from edgectl_host.workflows.convert import Subject
from edgectl_host.workflows.crew import Connect
from edgectl_host.workflows.plan import DeployPlan, DevicePlan, Way, make_plan
from edgectl_host.workflows.progress import Progress, Update
from edgectl_host.workflows.rollout import Rollout, Row
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.errors import EdgectlError, UsageError
from edgectl_protos.domain.run import Outcome

__all__ = ["DEMO_SCHEMES", "DemoResult", "find_example", "run_demo"]

DEMO_SCHEMES = ("fp32", "int8")
_EXAMPLE = Path("examples", "press_pad")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One row for each assignment, in the board's order."""

    rows: tuple[tuple[Assignment, Row], ...]

    @property
    def best(self) -> Assignment | None:
        """Of those that pass, the one with the lowest response time at p95."""
        passed = [
            (row.record.summary.response.p95 or 0.0, str(assignment), index)
            for index, (assignment, row) in enumerate(self.rows)
            if row.record is not None and row.record.outcome == Outcome.PASS.value
        ]
        return self.rows[min(passed)[2]][0] if passed else None


def find_example(starts: Sequence[Path]) -> Path:
    """The example's folder, below the first of these that has it.

    Raises:
        UsageError: none has.
    """
    for start in starts:
        if (start / _EXAMPLE / "policy" / "config.json").is_file():
            return start / _EXAMPLE
    raise UsageError(
        f"the example {_EXAMPLE} is not here: {', '.join(str(start) for start in starts)}",
        hint="run it in a checkout of edgectl, or name a policy: edgectl demo --policy DIR --footage DIR",
    )


def run_demo(
    subject: Subject,
    device: Device,
    *,
    connect: Connect,
    rollout: Callable[[Convert, Progress], Rollout],
    progress: Progress,
) -> DemoResult:
    """Deploy and run all of them on the device; `rollout` makes a fresh one for each.

    Raises:
        EdgectlError: the device does not answer, or no way leads to it.
    """
    asked = _ask(subject, device, connect)
    board = asked.way.board if asked.way else device.board
    assignments = subject.ways(replace(device, board=board), asked.facts, DEMO_SCHEMES)
    made: dict[Assignment, Bundle | EdgectlError] = {}
    for assignment in assignments:
        try:
            made[assignment] = subject.bundle(assignment, progress)
        except EdgectlError as exc:
            made[assignment] = exc
    rows: dict[Assignment, Row] = {}
    for assignment in sorted(assignments, key=lambda assignment: _digest(made[assignment]) != asked.current):
        plan = DeployPlan(subject.name, (replace(asked, way=Way(board, assignment)),))
        told = _told_of(assignment, progress)
        rows[assignment] = rollout(lambda assignment, _: _bundle(made[assignment]), told).run(plan)[0]
    return DemoResult(tuple((assignment, rows[assignment]) for assignment in assignments))


def _ask(subject: Subject, device: Device, connect: Connect) -> DevicePlan:
    row = make_plan(subject.name, [device], connect=connect, choosing=subject.way).rows[0]
    if row.failure is not None:
        raise error_of(row.failure)
    return row


def _digest(made: Bundle | EdgectlError) -> Digest | None:
    return made.digest if isinstance(made, Bundle) else None


def _bundle(made: Bundle | EdgectlError) -> Bundle:
    if isinstance(made, EdgectlError):
        raise made
    return made


def _told_of(assignment: Assignment, progress: Progress) -> Progress:
    """The device's updates, told as those of what runs on it."""

    def told(update: Update) -> None:
        progress(replace(update, subject=str(assignment)))

    return told
