"""The state machine of a deployment as pure rules: (deployment, event) → deployment.

Every forward state has its way back; a restart has one written answer for each state; the number of
transitions is bounded, restarts counted, so that a device which dies again and again in one state gives up.
`domain.deployment.TRANSITIONS` says what may follow what; this file says what does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import TERMINAL, TRANSITIONS, Deployment, Failure, State
from edgectl_protos.domain.device import ComponentFacts
from edgectl_protos.domain.errors import CancelledError, DeviceError, InternalError
from edgectl_protos.domain.parity import ParityReport

__all__ = [
    "FORWARD",
    "JOBS",
    "MAX_TRANSITIONS",
    "WAY_BACK",
    "Done",
    "Event",
    "Failed",
    "Job",
    "Restarted",
    "Undo",
    "after",
    "jobs_to_do",
    "may_be_cancelled",
    "withdrawn",
]

MAX_TRANSITIONS = 40


class Job(enum.Enum):
    """What is done while a deployment is in a state."""

    VERIFY = "verify"
    LAY_OUT = "lay_out"
    BUILD = "build"
    PROVE = "prove"
    ACTIVATE = "activate"
    SMOKE = "smoke"
    RESTORE = "restore"


JOBS: dict[State, Job] = {
    State.STAGING: Job.VERIFY,
    State.VERIFIED: Job.LAY_OUT,
    State.BUILDING: Job.BUILD,
    # WAIT_WINDOW has none: the window is always open.
    State.PARITY: Job.PROVE,
    State.ACTIVATING: Job.ACTIVATE,
    State.PROBATION: Job.SMOKE,
    State.ROLLING_BACK: Job.RESTORE,
}

FORWARD: dict[State, State] = {
    State.PLANNED: State.STAGING,
    State.STAGING: State.VERIFIED,
    State.VERIFIED: State.BUILDING,
    State.BUILDING: State.PARITY,
    State.PARITY: State.WAIT_WINDOW,
    State.WAIT_WINDOW: State.ACTIVATING,
    State.ACTIVATING: State.PROBATION,
    State.PROBATION: State.COMMITTED,
    State.ROLLING_BACK: State.ROLLED_BACK,
}

WAY_BACK: dict[State, State] = {
    State.PLANNED: State.FAILED,
    State.STAGING: State.FAILED,
    State.VERIFIED: State.FAILED,
    State.BUILDING: State.FAILED,
    State.PARITY: State.FAILED,
    State.WAIT_WINDOW: State.FAILED,
    State.ACTIVATING: State.ROLLING_BACK,
    State.PROBATION: State.ROLLING_BACK,
    State.COMMITTED: State.ROLLING_BACK,
    State.ROLLING_BACK: State.INCONSISTENT,
}

_REDONE = (State.VERIFIED, State.BUILDING, State.PARITY, State.WAIT_WINDOW)


@dataclass(frozen=True, slots=True)
class Done:
    """The job of the state succeeded; what it found, if anything. `detail` is for people."""

    detail: str = ""
    parity: ParityReport | None = None
    components: tuple[ComponentFacts, ...] | None = None
    previous: Digest | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The job of the state failed, or the deployment was withdrawn."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Undo:
    """A person asks for the release before this one."""

    by: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The agent started and found this deployment; `current` is what the link says."""

    current: Digest | None


Event = Done | Failed | Undo | Restarted


def after(deployment: Deployment, event: Event, *, now_s: float) -> Deployment:
    """The deployment after an event. A restart may leave the state as it is: its jobs are then done again.

    Raises:
        InternalError: the event does not fit the state, a defect of the caller.
    """
    if isinstance(event, Restarted):
        return _after_restart(deployment, event.current, now_s)
    if isinstance(event, Undo):
        failure = Failure("cancelled", f"rolled back by {event.by}")
        return _move(deployment, WAY_BACK, now_s, failure)
    if isinstance(event, Failed):
        return _move(deployment, WAY_BACK, now_s, event.failure)
    moved = _move(deployment, FORWARD, now_s, deployment.failure)
    return replace(
        moved,
        parity=moved.parity if event.parity is None else event.parity,
        components=moved.components if event.components is None else event.components,
        previous=moved.previous if event.previous is None else event.previous,
    )


def jobs_to_do(state: State, *, restarted: bool) -> tuple[Job, ...]:
    """The jobs of a state; after a restart before activation, those of all states that led to it.

    What was proved before the restart is proved again: the disk may have lost what was not synced.
    """
    if restarted and state in _REDONE:
        led = (State.STAGING, *_REDONE[: _REDONE.index(state) + 1])
        return tuple(JOBS[step] for step in led if step in JOBS)
    return (JOBS[state],) if state in JOBS else ()


def may_be_cancelled(state: State) -> bool:
    """Whether a deployment can still be withdrawn as if nothing had happened."""
    return WAY_BACK.get(state) is State.FAILED


def withdrawn(deployment: Deployment) -> Failed:
    """What happens to a deployment that its host takes back."""
    message = f"deployment {deployment.id} was withdrawn while {deployment.state.value}"
    return Failed(Failure(CancelledError.reason, message))


def _after_restart(deployment: Deployment, current: Digest | None, now_s: float) -> Deployment:
    state = deployment.state
    if state in TERMINAL:
        return deployment
    if deployment.transitions >= MAX_TRANSITIONS:
        message = f"gave up in state {state.value} after {deployment.transitions} transitions and restarts"
        return _move(deployment, WAY_BACK, now_s, Failure(DeviceError.reason, message))
    unfinished = state is State.ACTIVATING and current != deployment.release
    if unfinished or state is State.PROBATION:
        message = f"the agent restarted while {state.value}"
        return _move(deployment, WAY_BACK, now_s, Failure(DeviceError.reason, message))
    if state in (State.PLANNED, State.ACTIVATING):
        return _move(deployment, FORWARD, now_s, deployment.failure)
    return replace(deployment, transitions=deployment.transitions + 1, changed_s=now_s)


def _move(deployment: Deployment, table: dict[State, State], now_s: float, failure: Failure | None) -> Deployment:
    state = table.get(deployment.state)
    if state is None or state not in TRANSITIONS[deployment.state]:
        raise InternalError(f"deployment {deployment.id} has no such way on from {deployment.state.value}")
    return replace(
        deployment,
        state=state,
        changed_s=now_s,
        transitions=deployment.transitions + 1,
        failure=failure,
    )
