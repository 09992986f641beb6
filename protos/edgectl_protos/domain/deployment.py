"""A deployment: a release on a device, and where it stands in the state machine.

    PLANNED → STAGING → VERIFIED → BUILDING → PARITY → WAIT_WINDOW → ACTIVATING → PROBATION → COMMITTED
       └────────┴──────────┴──────────┴─────────┴────────┴──► FAILED     └──────────┴──► ROLLING_BACK
                                                                ROLLING_BACK → ROLLED_BACK | INCONSISTENT

`TRANSITIONS` is the whole truth about what may follow what; the agent's `core/deployments/lifecycle.py` decides when.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.device import ComponentFacts
from edgectl_protos.domain.errors import EdgectlError, StateError
from edgectl_protos.domain.parity import ParityReport

__all__ = ["TERMINAL", "TRANSITIONS", "Deployment", "DeploymentEvent", "Failure", "State", "said"]

MAX_SAID_CHARACTERS = 4000
"""Of a message that is kept with a deployment or a run: the end of a worker's log has 1,500."""


_MAX_COUNT = 2**31 - 1


class State(enum.Enum):
    """Where a deployment stands."""

    PLANNED = "planned"
    STAGING = "staging"
    VERIFIED = "verified"
    BUILDING = "building"
    PARITY = "parity"
    WAIT_WINDOW = "wait_window"
    ACTIVATING = "activating"
    PROBATION = "probation"
    COMMITTED = "committed"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    INCONSISTENT = "inconsistent"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.STAGING, State.FAILED}),
    State.STAGING: frozenset({State.VERIFIED, State.FAILED}),
    State.VERIFIED: frozenset({State.BUILDING, State.FAILED}),
    State.BUILDING: frozenset({State.PARITY, State.FAILED}),
    State.PARITY: frozenset({State.WAIT_WINDOW, State.FAILED}),
    State.WAIT_WINDOW: frozenset({State.ACTIVATING, State.FAILED}),
    State.ACTIVATING: frozenset({State.PROBATION, State.ROLLING_BACK}),
    State.PROBATION: frozenset({State.COMMITTED, State.ROLLING_BACK}),
    # A committed release is left only by the rollback that a person asks for.
    State.COMMITTED: frozenset({State.ROLLING_BACK}),
    State.ROLLING_BACK: frozenset({State.ROLLED_BACK, State.INCONSISTENT}),
    State.FAILED: frozenset(),
    State.ROLLED_BACK: frozenset(),
    State.INCONSISTENT: frozenset(),
}

TERMINAL = frozenset({State.COMMITTED, State.FAILED, State.ROLLED_BACK, State.INCONSISTENT})
"""States in which a deployment rests; `COMMITTED` alone means that it is installed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a deployment or run did not succeed: the error, as it crosses processes."""

    reason: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: EdgectlError) -> Failure:
        """An error as what is kept of it: printable, and of bearable length."""
        return cls(error.reason, said(error.message), said(error.hint))


def said(text: str, limit: int = MAX_SAID_CHARACTERS) -> str:
    """A text that may come from anywhere, as one that a message, a terminal and a file take: what is not printable is
    shown as an escape, and what is too long ends in `…`.
    """
    shown = text[: 2 * limit]
    if not shown.replace("\n", "").isprintable():
        shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in shown)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment. Times are seconds since the epoch on the device's clock, for people only. `components` says what
    was loaded, read back from the runtimes when parity was proved.
    """

    id: str
    release: Digest
    name: str
    state: State
    owner: str
    created_s: float
    changed_s: float
    transitions: int = 0
    previous: Digest | None = None
    failure: Failure | None = None
    parity: ParityReport | None = None
    components: tuple[ComponentFacts, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.transitions <= _MAX_COUNT:
            raise StateError(f"a deployment has not made {self.transitions} transitions")


@dataclass(frozen=True, slots=True)
class DeploymentEvent:
    """A step of a deployment, kept in the device's outbox until the host has acknowledged it."""

    sequence: int
    deployment_id: str
    state: State
    at_s: float
    detail: str = ""
    failure: Failure | None = None
