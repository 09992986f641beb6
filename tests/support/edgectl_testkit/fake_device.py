"""A device in memory: behaves as `transport/base.py` promises, and breaks where a test tells it to.

One `FakeDevice` is the device; `connect()` gives clients of it (`fake_client.py`), any number of them. It is bound to
the same contract suite as the real client, so that a workflow tested against it works against an agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from edgectl_host.workflows.patience import Patience
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import (
    Deployment,
    DeploymentEvent,
    Failure,
    State,
)
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import (
    EdgectlError,
    NotFoundError,
)
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunPhase, RunSummary
from edgectl_testkit.fake_client import FakeClient, Upload
from edgectl_testkit.fake_run import GoingRun, take_samples
from edgectl_testkit.runs import device_facts, run_summary, with_misses

__all__ = ["IMPATIENT", "FakeDevice"]

IMPATIENT = Patience(silence_s=0.0)
"""For tests in which a device that is gone stays away."""

_LONG_S = 60.0


@dataclass
class FakeDevice:
    """What a test sets and looks at. Failures: `fails_at` a state, `dies_after_chunks`, `fails_run`, `gone`, `cuts`:
    so many streams break after their first event.
    """

    name: str = "fake"
    machine_id: str = "m-1"
    stand_in_for: str = ""
    capacity_bytes: int = 1 << 40
    gone: bool = False
    cuts: int = 0
    dies_after_chunks: int | None = None
    fails_at: tuple[State, EdgectlError] | None = None
    fails_run: EdgectlError | None = None
    summary: Callable[[RunSummary], RunSummary] = lambda summary: summary
    on_run: Callable[[], Awaitable[None] | None] = lambda: None
    pace: dict[Digest, float] = field(default_factory=dict)
    """Of the runs of these releases, the factor by which their response times are longer than 10 ms."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    current: Digest | None = None
    previous: Digest | None = None
    received_bytes: int = 0
    samples: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    open_clients: int = 0

    def __post_init__(self) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.uploads: dict[Digest, Upload] = {}
        self.events: list[DeploymentEvent] = []
        self.sequence = 0
        self.acknowledged: dict[str, int] = {}
        self.runs: dict[str, GoingRun] = {}

    async def connect(self) -> FakeClient:
        """A connection, hello included.

        Raises:
            UnreachableError: the device is gone.
        """
        client = FakeClient(self)
        await client.hello()
        self.open_clients += 1
        return client

    def facts(self) -> DeviceFacts:
        """The environment stamp."""
        return device_facts(self.name, machine_id=self.machine_id, stand_in_for=self.stand_in_for)

    def find(self, deployment_id: str) -> Deployment:
        """The deployment of this id."""
        for deployment in self.deployments:
            if deployment.id == deployment_id:
                return deployment
        raise NotFoundError(f"no deployment {deployment_id}")

    def kept(self) -> tuple[Digest, ...]:
        """Every release that was committed, the newest first."""
        return tuple(dict.fromkeys(d.release for d in self.deployments if d.state is State.COMMITTED))

    def enter(self, deployment_id: str, state: State, failure: Failure | None = None) -> Deployment:
        """Change the state of a deployment and note the event."""
        old = self.find(deployment_id)
        new = replace(old, state=state, failure=failure or old.failure, transitions=old.transitions + 1)
        self.deployments[self.deployments.index(old)] = new
        self.sequence += 1
        self.events.append(DeploymentEvent(self.sequence, deployment_id, state, 0.0, "", failure))
        return new

    async def perform(self, going: GoingRun, overrides: LoopOverrides) -> None:
        """Measure: in no time, or until it is cancelled if it is to take a minute."""
        run = going.run
        going.tell(RunPhase.WARMING_UP)
        going.tell(RunPhase.MEASURING)
        if (waiting := self.on_run()) is not None:
            await waiting
        if (overrides.measure_s or 0.0) >= _LONG_S:
            await asyncio.Event().wait()
        if self.fails_run is not None:
            error = self.fails_run
            going.tell(RunPhase.FAILED, failure=Failure(error.reason, error.message, error.hint))
            return
        base = run_summary(run.run_id, device=self.name, stand_in_for=self.stand_in_for)
        ran = replace(
            base,
            deployment_id=run.deployment_id,
            release=run.release,
            facts=self.facts(),
            loop=overrides.apply(base.loop),
        )
        try:
            summary = self.summary(with_misses(ran, 0))
        except EdgectlError as exc:
            going.tell(RunPhase.FAILED, failure=Failure(exc.reason, exc.message, exc.hint))
            return
        self.samples[run.run_id] = take_samples(len(self.samples), self.pace.get(summary.release, 1.0))
        going.tell(RunPhase.DONE, summary)
