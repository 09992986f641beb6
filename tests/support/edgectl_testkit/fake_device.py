"""A device in memory: behaves as `transport/base.py` promises, and breaks where a test tells it to.

One `FakeDevice` is the device; `connect()` gives clients of it, any number of them. It is bound to the same contract
suite as the real client, so that a workflow tested against it works against an agent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import numpy as np
from blake3 import blake3

from edgectl_host.transport.base import DeviceClient, Installed, Offered
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import Chunk, Digest, precision_of
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.deployment import (
    TERMINAL,
    Deployment,
    DeploymentEvent,
    Failure,
    State,
)
from edgectl_protos.domain.device import ComponentFacts, DeviceFacts, HelloReply
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BusyError,
    CancelledError,
    DiskFullError,
    EdgectlError,
    NotFoundError,
    StateError,
    UnreachableError,
)
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.parity import ParityFigure, ParityReport
from edgectl_protos.domain.run import RunEvent, RunPhase, RunSummary
from edgectl_testkit.bundles import npz_bytes
from edgectl_testkit.runs import device_facts, run_summary, with_misses

__all__ = ["FakeClient", "FakeDevice"]

_FORWARD = (
    State.VERIFIED,
    State.BUILDING,
    State.PARITY,
    State.WAIT_WINDOW,
    State.ACTIVATING,
    State.PROBATION,
    State.COMMITTED,
)


@dataclass
class _Upload:
    chunks: tuple[Chunk, ...]
    held: dict[int, bytes] = field(default_factory=dict)


@dataclass
class FakeDevice:
    """What a test sets and looks at. Failures: `fails_at` a state, `dies_after_chunks`, `fails_run`, `gone`."""

    name: str = "fake"
    machine_id: str = "m-1"
    stand_in_for: str = ""
    capacity_bytes: int = 1 << 40
    gone: bool = False
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
    runs: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    open_clients: int = 0

    def __post_init__(self) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.uploads: dict[Digest, _Upload] = {}
        self.events: list[DeploymentEvent] = []
        self.sequence = 0
        self.acknowledged = 0

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


class FakeClient(DeviceClient):
    """A connection to a FakeDevice."""

    def __init__(self, fake: FakeDevice) -> None:
        super().__init__(fake.name)
        self._fake = fake
        self._closed = False

    async def close(self) -> None:
        """End the connection."""
        if not self._closed:
            self._fake.open_clients -= 1
        self._closed = True

    async def hello(self) -> HelloReply:
        """Who answers."""
        await self._reach("hello")
        return HelloReply("0.1.0", 1, 1, self._fake.name, "boot-1", ("deploy", "profile"))

    async def facts(self, *, refresh: bool = False) -> DeviceFacts:
        """The environment stamp."""
        await self._reach("facts")
        return self._fake.facts()

    async def create(self, manifest: bytes, *, owner: str, deployment_id: str) -> Deployment:
        """Plan a release."""
        fake = await self._reach("create")
        parsed = from_bytes(Manifest, manifest, what=MANIFEST_NAME)
        release = Digest(hashlib.sha256(manifest).hexdigest())
        for known in fake.deployments:
            if known.id == deployment_id:
                return known
            if known.state not in TERMINAL:
                if known.release == release:
                    return known
                raise BusyError(f"{known.owner} is deploying {known.name} here")
            if known.release == release == fake.current and known.state is State.COMMITTED:
                return known
        deployment = Deployment(deployment_id, release, parsed.name, State.PLANNED, owner, 0.0, 0.0)
        fake.deployments.insert(0, deployment)
        fake.manifests[deployment_id] = parsed
        return fake.enter(deployment_id, State.STAGING)

    async def offer(self, deployment_id: str, digest: Digest, size_bytes: int, chunks: tuple[Chunk, ...]) -> Offered:
        """What is missing of a blob."""
        fake = await self._reach("offer")
        self._staging(deployment_id)
        if digest not in {entry.digest for entry in fake.manifests[deployment_id].files}:
            raise NotFoundError(f"the release has no blob {digest.short}")
        if digest in fake.blobs:
            return Offered(True, ())
        used = sum(len(blob) for blob in fake.blobs.values())
        if used + size_bytes > fake.capacity_bytes:
            raise DiskFullError(f"{fake.name}: {size_bytes} bytes are needed", hint="remove something")
        upload = fake.uploads.setdefault(digest, _Upload(chunks))
        return Offered(False, tuple(i for i in range(len(chunks)) if i not in upload.held))

    async def upload(self, deployment_id: str, digest: Digest, pieces: AsyncIterable[tuple[int, bytes]]) -> None:
        """Take chunks."""
        fake = await self._reach("upload")
        upload = fake.uploads[digest]
        async for index, data in pieces:
            self._staging(deployment_id)
            if fake.dies_after_chunks is not None:
                if fake.dies_after_chunks == 0:
                    fake.gone = True
                    raise UnreachableError(f"{fake.name}: the agent does not answer (unavailable)")
                fake.dies_after_chunks -= 1
            if blake3(data).hexdigest() != upload.chunks[index].blake3:
                raise BundleCorruptError(f"chunk {index} of {digest.short} was altered on its way")
            upload.held[index] = data
            fake.received_bytes += len(data)

    async def commit(self, deployment_id: str, digest: Digest) -> None:
        """Verify a whole blob."""
        fake = await self._reach("commit")
        self._staging(deployment_id)
        if digest in fake.blobs:
            return
        upload = fake.uploads.pop(digest)
        data = b"".join(upload.held[index] for index in sorted(upload.held))
        if hashlib.sha256(data).hexdigest() != digest.hex:
            raise BundleCorruptError(f"the bytes of {digest.short} do not match")
        fake.blobs[digest] = data

    async def start(self, deployment_id: str) -> Deployment:
        """Go on to rest, at once."""
        fake = await self._reach("start")
        deployment = fake.find(deployment_id)
        if deployment.state is not State.STAGING:
            return deployment
        missing = [e for e in fake.manifests[deployment_id].files if e.digest not in fake.blobs]
        if missing:
            raise StateError(f"{len(missing)} blobs were not uploaded")
        for state in _FORWARD:
            if fake.fails_at is not None and fake.fails_at[0] is state:
                self._fail(deployment_id, fake.fails_at[1])
                return fake.find(deployment_id)
            if state is State.COMMITTED:
                figure = ParityFigure("executed", "rmse", 1e-7, 5e-3, "action[0]")
                old = fake.find(deployment_id)
                loaded = tuple(
                    ComponentFacts(c.name, c.runtime, "1.0", c.scheme, precision_of(c.scheme), "CPU")
                    for c in fake.manifests[deployment_id].components
                )
                proved = replace(old, parity=ParityReport(3, (figure,)), components=loaded, previous=fake.current)
                fake.deployments[fake.deployments.index(old)] = proved
                fake.previous, fake.current = fake.current, old.release
            fake.enter(deployment_id, state)
        return deployment

    async def get(self, deployment_id: str) -> Deployment:
        """As it stands."""
        return (await self._reach("get")).find(deployment_id)

    async def installed(self) -> Installed:
        """What is remembered."""
        fake = await self._reach("installed")
        return Installed(tuple(fake.deployments), fake.current, fake.previous, fake.kept())

    async def watch(self, deployment_id: str, *, after_sequence: int = 0) -> AsyncIterator[DeploymentEvent]:
        """Events that were not acknowledged yet."""
        fake = await self._reach("watch")
        fake.find(deployment_id)
        for event in list(fake.events):
            after = max(after_sequence, fake.acknowledged)
            if event.deployment_id == deployment_id and event.sequence > after:
                yield event
                fake.acknowledged = max(fake.acknowledged, event.sequence)

    async def cancel(self, deployment_id: str) -> Deployment:
        """Withdraw."""
        fake = await self._reach("cancel")
        deployment = fake.find(deployment_id)
        if deployment.state in TERMINAL:
            return deployment
        self._fail(deployment_id, CancelledError("withdrawn by its host"))
        return fake.find(deployment_id)

    async def rollback(self, *, owner: str) -> Deployment:
        """The previous release again."""
        fake = await self._reach("rollback")
        if fake.previous is None:
            raise StateError("there is no previous release to go back to", hint="edgectl status")
        left = next(d for d in fake.deployments if d.release == fake.current and d.state is State.COMMITTED)
        fake.enter(left.id, State.ROLLING_BACK)
        fake.enter(left.id, State.ROLLED_BACK)
        fake.current, fake.previous = fake.previous, None
        return next(d for d in fake.deployments if d.release == fake.current and d.state is State.COMMITTED)

    async def run(
        self, run_id: str, overrides: LoopOverrides, release: Digest | None = None
    ) -> AsyncIterator[RunEvent]:
        """Measure, in no time."""
        fake = await self._reach("run")
        wanted = release or fake.current
        committed = [d for d in fake.deployments if d.state is State.COMMITTED and d.release == wanted]
        if not committed:
            raise StateError(f"{wanted or 'nothing'} is not here to run", hint="edgectl deploy CHECKPOINT")
        for phase in (RunPhase.LOADING, RunPhase.WARMING_UP, RunPhase.MEASURING):
            yield RunEvent(run_id, phase)
        if (waiting := fake.on_run()) is not None:
            await waiting
        if fake.fails_run is not None:
            raise fake.fails_run
        base = run_summary(run_id, device=fake.name, stand_in_for=fake.stand_in_for)
        ran = replace(
            base,
            deployment_id=committed[0].id,
            release=committed[0].release,
            facts=fake.facts(),
            loop=overrides.apply(base.loop),
        )
        summary = fake.summary(with_misses(ran, 0))
        random = np.random.default_rng(len(fake.runs))
        responses_s = 0.010 * fake.pace.get(summary.release, 1.0) * random.normal(1.0, 0.001, 200)
        fake.runs[run_id] = npz_bytes({"responses": (responses_s * 1e9).astype(np.int64)})
        yield RunEvent(run_id, RunPhase.DONE, 1.0, summary)

    async def fetch_samples(self, run_id: str) -> AsyncIterator[bytes]:
        """The samples of a run."""
        fake = await self._reach("fetch_samples")
        if run_id not in fake.runs:
            raise NotFoundError(f"no run {run_id}")
        yield fake.runs[run_id]

    async def _reach(self, call: str) -> FakeDevice:
        self._fake.calls.append(call)
        # As on a network, the others have their turn meanwhile.
        await asyncio.sleep(0)
        if self._fake.gone or self._closed:
            raise UnreachableError(f"{self._fake.name}: the agent does not answer (unavailable)", hint="is it running?")
        return self._fake

    def _staging(self, deployment_id: str) -> None:
        state = self._fake.find(deployment_id).state
        if state is not State.STAGING:
            raise StateError(f"deployment {deployment_id} is {state.value}; it takes no uploads")

    def _fail(self, deployment_id: str, error: EdgectlError) -> None:
        failure = Failure(error.reason, error.message, error.hint)
        state = self._fake.find(deployment_id).state
        if state in (State.ACTIVATING, State.PROBATION):
            self._fake.enter(deployment_id, State.ROLLING_BACK, failure)
            self._fake.enter(deployment_id, State.ROLLED_BACK, failure)
        else:
            self._fake.enter(deployment_id, State.FAILED, failure)
