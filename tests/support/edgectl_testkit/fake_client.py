"""A connection to a device in memory, which is what `fake_device.py` holds."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgectl_host.transport.base import DeviceClient, Installed, Offered
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.codec.transfer import bitmap_from, chunk_digest, frame_from_bytes, missing_in
from edgectl_protos.domain.artifact import Digest, precision_of
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.chunks import ChunkList
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
from edgectl_protos.domain.run import OVER, Run, RunEvent, RunPhase
from edgectl_testkit.fake_run import GoingRun

if TYPE_CHECKING:
    from edgectl_testkit.fake_device import FakeDevice

__all__ = ["FakeClient", "Upload"]

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
class Upload:
    """Chunks of a blob that is on its way."""

    digest: Digest
    chunks: ChunkList
    name: bytes
    deployment_id: str
    held: dict[int, bytes] = field(default_factory=dict)


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
        reply = HelloReply("0.1.0", 1, 1, self._fake.name, "boot-1", ("deploy", "rollback", "runs"))
        self.capabilities = frozenset(reply.capabilities)
        return reply

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

    async def offer(self, deployment_id: str, digest: Digest, chunks: ChunkList) -> Offered:
        """What is missing of a blob."""
        fake = await self._reach("offer")
        self._staging(deployment_id)
        if digest not in {entry.digest for entry in fake.manifests[deployment_id].files}:
            raise NotFoundError(f"the release has no blob {digest.short}")
        if digest in fake.blobs:
            return Offered(True)
        used = sum(len(blob) for blob in fake.blobs.values())
        if used + chunks.size_bytes > fake.capacity_bytes:
            raise DiskFullError(f"{fake.name}: {chunks.size_bytes} bytes are needed", hint="remove something")
        known = fake.uploads.get(digest)
        held = known.held if known is not None and known.chunks == chunks else {}
        fake.uploads[digest] = upload = Upload(digest, chunks, uuid.uuid4().bytes, deployment_id, held)
        have = bitmap_from(bytes(index in held for index in range(len(chunks))))
        return Offered(False, missing_in(have, len(chunks)), upload.name)

    async def upload(self, frames: AsyncIterable[bytes], *, lane: int = 0) -> AsyncGenerator[int, None]:
        """Take chunks."""
        fake = await self._reach("upload")
        durable_bytes = 0
        async for data in frames:
            frame = frame_from_bytes(data)
            upload = next((upload for upload in fake.uploads.values() if upload.name == frame.upload), None)
            if upload is None:
                raise StateError(f"{fake.name} knows no such upload")
            self._staging(upload.deployment_id)
            body = frame.body
            for index in range(frame.first, frame.first + frame.count):
                if fake.dies_after_chunks is not None:
                    if fake.dies_after_chunks == 0:
                        fake.gone = True
                        raise UnreachableError(f"{fake.name}: the agent does not answer (unavailable)")
                    fake.dies_after_chunks -= 1
                piece, body = body[: upload.chunks.sizes[index]], body[upload.chunks.sizes[index] :]
                if chunk_digest(piece) != upload.chunks.digest(index):
                    raise BundleCorruptError(f"chunk {index} of {upload.digest.short} was altered on its way")
                upload.held[index] = bytes(piece)
                fake.received_bytes += len(piece)
            durable_bytes += len(frame.body)
            yield durable_bytes

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
        after = max(after_sequence, fake.acknowledged.get(deployment_id, 0))
        for event in [e for e in fake.events if e.deployment_id == deployment_id and e.sequence > after]:
            yield event
            self._cut()
            fake.acknowledged[deployment_id] = event.sequence

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

    async def create_run(
        self, run_id: str, overrides: LoopOverrides, release: Digest | None = None, *, owner: str, part_of: str = ""
    ) -> Run:
        """Begin to measure."""
        fake = await self._reach("create_run")
        if run_id in fake.runs:
            return fake.runs[run_id].run
        for going in fake.runs.values():
            if going.run.phase not in OVER:
                raise BusyError(f"run {going.run.run_id} of {going.run.owner} is {going.run.phase.value}")
        wanted = release or fake.current
        committed = [d for d in fake.deployments if d.state is State.COMMITTED and d.release == wanted]
        if not committed:
            raise StateError(f"{wanted or 'nothing'} is not here to run", hint="edgectl deploy CHECKPOINT")
        deployment = committed[0]
        run = Run(run_id, deployment.id, deployment.release, deployment.name, owner, part_of, RunPhase.LOADING, 0.0)
        fake.runs[run_id] = going = GoingRun(run)
        going.task = asyncio.create_task(fake.perform(going, overrides))
        return run

    async def watch_run(self, run_id: str, *, after_sequence: int = 0) -> AsyncIterator[RunEvent]:
        """Events of a run."""
        async for event in (await self._run("watch_run", run_id)).watch(after_sequence):
            yield event
            self._cut()

    async def cancel_run(self, run_id: str) -> Run:
        """End a run."""
        going = await self._run("cancel_run", run_id)
        if going.run.phase not in OVER:
            assert going.task is not None
            going.task.cancel()
            going.tell(RunPhase.FAILED, failure=Failure(CancelledError.reason, f"run {run_id} was withdrawn"))
        return going.run

    async def runs(self) -> tuple[Run, ...]:
        """What is remembered."""
        fake = await self._reach("runs")
        return tuple(going.run for going in reversed(fake.runs.values()))

    async def fetch_samples(self, run_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """The samples of a run."""
        fake = await self._reach("fetch_samples")
        if run_id not in fake.samples:
            raise NotFoundError(f"no run {run_id}")
        yield fake.samples[run_id][offset:]

    async def _run(self, call: str, run_id: str) -> GoingRun:
        fake = await self._reach(call)
        if run_id not in fake.runs:
            raise NotFoundError(f"no run {run_id}")
        return fake.runs[run_id]

    def _cut(self) -> None:
        if self._fake.cuts > 0:
            self._fake.cuts -= 1
            raise UnreachableError(f"{self._fake.name}: the agent does not answer (cut)")

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
