"""The example policy on one device: every runtime at two precisions, each deployed and run, side by side.

All conversions come first, so that none disturbs a measurement; then the target that is installed already, if
one is, since it needs no install; then the others. One target that is refused costs its own row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgectl_host.fleet.inventory import Device
from edgectl_host.workflows.ask import error_of
from edgectl_host.workflows.convert import Subject
from edgectl_host.workflows.crew import Connect
from edgectl_host.workflows.plan import DeployPlan, DevicePlan, Route, make_plan
from edgectl_host.workflows.progress import Progress, Step
from edgectl_host.workflows.release import Convert, Release, Target
from edgectl_host.workflows.rollout import Rollout, Row
from edgectl_protos.domain.artifact import Digest, Precision
from edgectl_protos.domain.errors import EdgectlError, UsageError
from edgectl_protos.domain.run import Outcome

__all__ = ["DEMO_TARGETS", "DemoResult", "find_example", "run_demo"]

DEMO_TARGETS = tuple(
    Target(runtime, precision) for runtime in ("onnxrt", "openvino") for precision in (Precision.FP32, Precision.INT8)
)
_EXAMPLE = Path("examples", "press_pad")


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One row for each target, in the order of `DEMO_TARGETS`."""

    rows: tuple[tuple[Target, Row], ...]

    @property
    def best(self) -> Target | None:
        """Of those that pass, the one with the lowest response time at p95."""
        passed = [
            (row.record.summary.response.p95 or 0.0, str(target), target)
            for target, row in self.rows
            if row.record is not None and row.record.outcome == Outcome.PASS.value
        ]
        return min(passed)[2] if passed else None


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
    targets: tuple[Target, ...] = DEMO_TARGETS,
) -> DemoResult:
    """Deploy and run every target on the device; `rollout` makes a fresh one for each.

    Raises:
        EdgectlError: the device does not answer.
    """
    made: dict[Target, Release | EdgectlError] = {}
    for target in targets:
        try:
            made[target] = subject.release(target, progress)
        except EdgectlError as exc:
            made[target] = exc
    asked = _ask(subject, device, connect, targets[0])
    rows: dict[Target, Row] = {}
    for target in sorted(targets, key=lambda target: _digest(made[target]) != asked.current):
        plan = DeployPlan(subject.name, (replace(asked, route=Route(device.board, target)),))
        told = _told_of(target, progress)
        rows[target] = rollout(lambda target, _: _release(made[target]), told).run(plan)[0]
    return DemoResult(tuple((target, rows[target]) for target in targets))


def _ask(subject: Subject, device: Device, connect: Connect, any_target: Target) -> DevicePlan:
    plan = make_plan(
        subject.name,
        [device],
        connect=connect,
        routing=lambda device, facts: Route(device.board, any_target),
        converted=lambda target: None,
    )
    row = plan.rows[0]
    if row.failure is not None:
        raise error_of(row.failure)
    return row


def _digest(made: Release | EdgectlError) -> Digest | None:
    return made.digest if isinstance(made, Release) else None


def _release(made: Release | EdgectlError) -> Release:
    if isinstance(made, EdgectlError):
        raise made
    return made


def _told_of(target: Target, progress: Progress) -> Progress:
    """The device's steps, told as those of what runs on it."""

    def told(step: Step) -> None:
        progress(replace(step, subject=str(target)))

    return told
