"""A device behind gRPC.

Order of a connection: dial (see dial.py) → Hello, which must find a common protocol version → calls. Unary calls have
deadlines; a stream ends when the device ends it, the caller stops iterating, or keep-alive finds that nobody answers
any more (see calls.py). What each method does stands in base.py.
"""
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from importlib.metadata import version
from typing import Any

import grpc.aio

from edgectl_host.transport.base import DeviceClient, Installed, Offered
from edgectl_host.transport.calls import Calls
from edgectl_host.transport.dial import dial
from edgectl_host.transport.trust import GrpcTrustCalls
from edgectl_host.trust.folder import Credentials, TrustFolder
from edgectl_host.trust.releases import ReleaseSigner
from edgectl_protos.agent.v1 import (
    artifact_service_pb2 as artifact_pb,
)
from edgectl_protos.agent.v1 import (
    artifact_service_pb2_grpc as artifact_grpc,
)
from edgectl_protos.agent.v1 import (
    deployment_service_pb2 as deployment_pb,
)
from edgectl_protos.agent.v1 import (
    deployment_service_pb2_grpc as deployment_grpc,
)
from edgectl_protos.agent.v1 import (
    info_service_pb2 as info_pb,
)
from edgectl_protos.agent.v1 import (
    info_service_pb2_grpc as info_grpc,
)
from edgectl_protos.agent.v1 import (
    profile_service_pb2 as profile_pb,
)
from edgectl_protos.agent.v1 import (
    profile_service_pb2_grpc as profile_grpc,
)
from edgectl_protos.codec.transfer import UPLOAD_METHOD, chunks_to_bytes, missing_in
from edgectl_protos.codec.wire import reported, to_wire
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent, said
from edgectl_protos.domain.device import DeviceFacts, HelloReply
from edgectl_protos.domain.errors import ProtocolError, TrustError, UnreachableError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import Run, RunEvent

__all__ = ["GrpcDeviceClient"]

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
TRUST = "trust"
"""The capability of an agent that can be enrolled."""
RUNS = "runs"
"""The capability of an agent whose runs are operations."""

HELLO_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 30.0
FACTS_TIMEOUT_S = 120.0
"""The first call probes every runtime in a process of its own."""
OFFER_TIMEOUT_S = COMMIT_TIMEOUT_S = 600.0
"""The device copies what other blobs have of this one, and reads what did not arrive in order: at worst all of it."""
ROLLBACK_TIMEOUT_S = 300.0
"""The device loads the previous release and tries its loop before it answers."""
WATCH_TIMEOUT_S = 600.0
"""Of one call that watches; what is watched may take longer, and is then asked for again."""
SAMPLES_TIMEOUT_S = 600.0
UPLOAD_STALL_S = 60.0
"""A device that takes nothing for so long takes nothing any more: slow cards sync 32 MiB in seconds."""

_CORE_ERROR = "Internal error from Core"
_STATUS_PAUSES_S = (0.001, 0.005, 0.02, 0.1, 0.5, 0.5)


class _Ending:
    """The status with which a device ends an upload.

    A write that fails for it is reported by gRPC's core as an internal error of its own, which stands in the call's
    place of the status: until that arrives a moment later, or for ever where it came a moment before.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._status: tuple[Any, Any, Any] | None = None
        call.add_done_callback(self._take)

    async def error(self, reported: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """The device's own error, where it gave one."""
        for pause_s in _STATUS_PAUSES_S:
            self._take(self._call)
            if self._status is not None:
                code, details, trailing = self._status
                return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=details)
            await asyncio.sleep(pause_s)
        return reported

    def _take(self, call: Any) -> None:
        code, details, trailing = map(_at_once, (call.code(), call.details(), call.trailing_metadata()))
        if self._status is None and details != _CORE_ERROR:
            self._status = code, details, trailing


def _at_once(known: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        known.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a call that is done has no status")


class GrpcDeviceClient(DeviceClient):
    """One channel to one agent. Made and used inside one event loop."""

    def __init__(self, device: str, address: str, *, identity: str = "", fleet: TrustFolder | None = None) -> None:
        super().__init__(device)
        self._fleet = fleet
        self._calls = Calls(device, address)
        self._call, self._begin, self._error = self._calls.call, self._calls.begin, self._calls.error
        self._dial = functools.partial(dial, device, address, identity, self._own)
        self._channel = self._dial(now_s=time.time())
        self._lanes = {0: self._channel}
        self._info = info_grpc.InfoServiceStub(self._channel)
        self._artifacts = artifact_grpc.ArtifactServiceStub(self._channel)
        self._deployments = deployment_grpc.DeploymentServiceStub(self._channel)
        self._profiles = profile_grpc.ProfileServiceStub(self._channel)
        self.trust = GrpcTrustCalls(self._channel, self._calls)

    @classmethod
    async def connect(
        cls, device: str, address: str, *, identity: str = "", fleet: TrustFolder | None = None
    ) -> GrpcDeviceClient:
        """Dial and say hello. `fleet` is what this host keeps about trust; a device on a network, and one that was
        enrolled, asks for it.

        Raises:
            AddressError: it is no address of an agent.
            IdentityError: another device answers there.
            UnreachableError: nobody answers.
            ProtocolError: no common protocol version.
        """
        client = cls(device, address, identity=identity, fleet=fleet)
        try:
            await client.hello()
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        for channel in self._lanes.values():
            await channel.close()

    async def hello(self) -> HelloReply:
        request = info_pb.HelloRequest(
            host_version=version("edgectl-host"), protocol_min=PROTOCOL_MIN, protocol_max=PROTOCOL_MAX
        )
        reply = reported(HelloReply, await self._call(self._info.Hello, request, HELLO_TIMEOUT_S))
        if reply.protocol_max < PROTOCOL_MIN or reply.protocol_min > PROTOCOL_MAX:
            raise ProtocolError(
                f"{self.device}: the agent speaks protocol {reply.protocol_min}..{reply.protocol_max}, "
                f"this host {PROTOCOL_MIN}..{PROTOCOL_MAX}",
                hint="install the same version on host and device: edgectl doctor",
            )
        self.agent_version, self.capabilities = reply.agent_version, frozenset(reply.capabilities)
        return reply

    async def facts(self, *, refresh: bool = False) -> DeviceFacts:
        reply = await self._call(self._info.GetFacts, info_pb.GetFactsRequest(refresh=refresh), FACTS_TIMEOUT_S)
        return reported(DeviceFacts, reply)

    async def create(self, manifest: bytes, *, owner: str, deployment_id: str) -> Deployment:
        request = deployment_pb.CreateRequest(
            manifest=manifest,
            owner=owner,
            deployment_id=deployment_id,
            signed_release=await self._signed(Digest(hashlib.sha256(manifest).hexdigest())),
        )
        return await self._deployment(self._deployments.Create, request, FACTS_TIMEOUT_S)

    async def offer(self, deployment_id: str, digest: Digest, chunks: ChunkList) -> Offered:
        request = artifact_pb.OfferRequest(
            deployment_id=deployment_id, digest=str(digest), chunks=chunks_to_bytes(chunks)
        )
        reply = await self._call(self._artifacts.Offer, request, OFFER_TIMEOUT_S)
        if reply.complete:
            return Offered(True)
        return Offered(False, missing_in(reply.have, len(chunks)), reply.upload)

    async def upload(self, frames: AsyncIterable[bytes], *, lane: int = 0) -> AsyncGenerator[int, None]:
        reply = artifact_pb.UploadReply.FromString
        call = self._begin(self._lane(lane).stream_stream(UPLOAD_METHOD, response_deserializer=reply))
        ending = _Ending(call)
        writing = asyncio.create_task(self._write(call, frames, ending))
        reading = asyncio.create_task(call.read())
        try:
            while True:
                stall_s = UPLOAD_STALL_S if writing.done() else None
                open_ends = [reading] if writing.done() else [reading, writing]
                await asyncio.wait(open_ends, timeout=stall_s, return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    # What the frames raised, or why the device took no more of them.
                    writing.result()
                if reading.done():
                    found = await self._read(reading, ending)
                    if found is grpc.aio.EOF:
                        return
                    reading = asyncio.create_task(call.read())
                    yield found.durable_bytes
                elif stall_s is not None and not open_ends[0].done():
                    raise self._stalled()
        finally:
            call.cancel()
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def commit(self, deployment_id: str, digest: Digest) -> None:
        request = artifact_pb.CommitRequest(deployment_id=deployment_id, digest=str(digest))
        await self._call(self._artifacts.Commit, request, COMMIT_TIMEOUT_S)

    async def start(self, deployment_id: str) -> Deployment:
        request = deployment_pb.StartRequest(deployment_id=deployment_id)
        return await self._deployment(self._deployments.Start, request, CALL_TIMEOUT_S)

    async def get(self, deployment_id: str) -> Deployment:
        request = deployment_pb.GetRequest(deployment_id=deployment_id)
        return await self._deployment(self._deployments.Get, request, CALL_TIMEOUT_S)

    async def installed(self) -> Installed:
        reply = await self._call(self._deployments.List, deployment_pb.ListRequest(), CALL_TIMEOUT_S)
        return Installed(
            tuple(reported(Deployment, item) for item in reply.deployments),
            Digest.parse(reply.current) if reply.current else None,
            Digest.parse(reply.previous) if reply.previous else None,
            tuple(Digest.parse(release) for release in reply.kept),
            {Digest.parse(release): said(problem) for release, problem in reply.problems.items()},
        )

    async def watch(self, deployment_id: str, *, after_sequence: int = 0) -> AsyncIterator[DeploymentEvent]:
        request = deployment_pb.WatchRequest(deployment_id=deployment_id, after_sequence=after_sequence)
        async for message in self._calls.watch(self._deployments.Watch, request, WATCH_TIMEOUT_S, self.hello):
            event = reported(DeploymentEvent, message)
            yield event
            acknowledge = deployment_pb.AcknowledgeRequest(deployment_id=deployment_id, up_to_sequence=event.sequence)
            await self._call(self._deployments.Acknowledge, acknowledge, CALL_TIMEOUT_S)

    async def cancel(self, deployment_id: str) -> Deployment:
        request = deployment_pb.CancelRequest(deployment_id=deployment_id)
        return await self._deployment(self._deployments.Cancel, request, CALL_TIMEOUT_S)

    async def rollback(self, *, owner: str) -> Deployment:
        previous = (await self.installed()).previous
        signed = await self._signed(previous) if previous is not None else b""
        request = deployment_pb.RollbackRequest(owner=owner, signed_release=signed)
        return await self._deployment(self._deployments.Rollback, request, ROLLBACK_TIMEOUT_S)

    async def create_run(
        self, run_id: str, overrides: LoopOverrides, release: Digest | None = None, *, owner: str, part_of: str = ""
    ) -> Run:
        if RUNS not in self.capabilities:
            raise ProtocolError(
                f"{self.device}: its agent is older than runs that go on by themselves",
                hint="install the same version on host and device: edgectl doctor",
            )
        request = profile_pb.CreateRunRequest(
            run_id=run_id,
            overrides=to_wire(overrides),
            release=str(release) if release else "",
            owner=owner,
            part_of=part_of,
        )
        return reported(Run, await self._call(self._profiles.Create, request, CALL_TIMEOUT_S))

    async def watch_run(self, run_id: str, *, after_sequence: int = 0) -> AsyncIterator[RunEvent]:
        request = profile_pb.WatchRunRequest(run_id=run_id, after_sequence=after_sequence)
        async for message in self._calls.watch(self._profiles.Watch, request, WATCH_TIMEOUT_S, self.hello):
            yield reported(RunEvent, message)

    async def cancel_run(self, run_id: str) -> Run:
        request = profile_pb.CancelRunRequest(run_id=run_id)
        return reported(Run, await self._call(self._profiles.Cancel, request, CALL_TIMEOUT_S))

    async def runs(self) -> tuple[Run, ...]:
        reply = await self._call(self._profiles.List, profile_pb.ListRunsRequest(), CALL_TIMEOUT_S)
        return tuple(reported(Run, run) for run in reply.runs)

    async def fetch_samples(self, run_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        request = profile_pb.FetchSamplesRequest(run_id=run_id, offset=offset)
        async for piece in self._calls.stream(self._profiles.FetchSamples, request, SAMPLES_TIMEOUT_S):
            yield piece.data

    async def _signed(self, release: Digest) -> bytes:
        """Leave to install a release, where the device wants to see it: above the last that it took."""
        if TRUST not in self.capabilities:
            return b""
        state = await self.trust.state()
        if not state.identity:
            return b""
        if self._fleet is None:
            raise TrustError(f"{self.device}: the device was enrolled, and takes only releases that its fleet signed")
        signer = ReleaseSigner(self._fleet)
        return signer.sign(release, above=state.release_counter, generation=state.release_generation)

    def _own(self) -> Credentials:
        if self._fleet is None:
            raise TrustError(f"{self.device}: nothing is known here of the fleet that it is in")
        return self._fleet.credentials()

    async def _deployment(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Deployment:
        return reported(Deployment, await self._call(method, request, timeout_s))

    def _lane(self, lane: int) -> grpc.aio.Channel:
        if lane not in self._lanes:
            self._lanes[lane] = self._dial(now_s=time.time())
        return self._lanes[lane]

    async def _write(self, call: Any, frames: AsyncIterable[bytes], ending: _Ending) -> None:
        async for frame in frames:
            if not await self._taken(call.write(frame), ending):
                return
        await self._taken(call.done_writing(), ending)

    async def _read(self, reading: asyncio.Task[Any], ending: _Ending) -> Any:
        try:
            return await reading
        except grpc.aio.AioRpcError as exc:
            raise self._error(await ending.error(exc)) from exc

    def _stalled(self) -> UnreachableError:
        return UnreachableError(
            f"{self.device}: the agent has taken nothing for {UPLOAD_STALL_S:.0f} s",
            hint="deploy again: what it has is not sent twice",
        )

    async def _taken(self, step: Awaitable[Any], ending: _Ending) -> bool:
        """Whether the device took a step of an upload; False when it has answered already."""
        try:
            async with asyncio.timeout(UPLOAD_STALL_S):
                await step
            return True
        except asyncio.InvalidStateError:
            return False
        except grpc.aio.AioRpcError as exc:
            raise self._error(await ending.error(exc)) from exc
        except TimeoutError as exc:
            raise self._stalled() from exc
