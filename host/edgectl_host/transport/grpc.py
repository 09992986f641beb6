"""A device behind gRPC: the only file of the host that speaks it.

Order of a connection: refuse the address unless it is a unix socket → dial → Hello, which must find a common
protocol version → calls. Unary calls have deadlines; streams end when the device ends them or the caller
stops iterating. Every failure of gRPC, also one in the middle of a stream, leaves here as a member of the error
tree. What each method does stands in base.py.
"""
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import grpc

from edgectl_host.transport.base import DeviceClient, Installed, Offered
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
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.codec.wire import from_wire, to_wire
from edgectl_protos.domain.artifact import Chunk, Digest
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent
from edgectl_protos.domain.device import DeviceFacts, HelloReply
from edgectl_protos.domain.errors import AddressError, ProtocolError, UnreachableError, error_by_reason
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import RunEvent, RunPhase

__all__ = ["GrpcDeviceClient", "socket_path"]

T = TypeVar("T")

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

HELLO_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 30.0
FACTS_TIMEOUT_S = 120.0
"""The first call probes every runtime in a process of its own."""
COMMIT_TIMEOUT_S = 300.0
"""The device reads the whole blob again."""
ROLLBACK_TIMEOUT_S = 300.0
"""The device loads the previous release and tries its loop before it answers."""


def socket_path(address: str) -> Path:
    """The path of a `unix:PATH` address.

    Raises:
        AddressError: another kind of address.
    """
    scheme, _, path = address.partition(":")
    if scheme != "unix" or not path:
        raise AddressError(
            f"refused to dial {address!r}: only unix:PATH until networks come with mutual TLS",
            hint="forward the agent's socket, for instance: ssh -L /tmp/nuc.sock:/run/edgectl/agent.sock nuc",
        )
    return Path(path)


class GrpcDeviceClient(DeviceClient):
    """One channel to one agent."""

    def __init__(self, device: str, address: str) -> None:
        super().__init__(device)
        path = socket_path(address)
        if not path.exists():
            raise UnreachableError(
                f"{device}: no agent listens on {path}",
                hint=f"start it there: edgectl-agent run --state-dir DIR --listen unix:{path}",
            )
        self._channel = grpc.insecure_channel(f"unix:{path}", options=[("grpc.enable_http_proxy", 0)])
        self._info = info_grpc.InfoServiceStub(self._channel)
        self._artifacts = artifact_grpc.ArtifactServiceStub(self._channel)
        self._deployments = deployment_grpc.DeploymentServiceStub(self._channel)
        self._profiles = profile_grpc.ProfileServiceStub(self._channel)

    @classmethod
    def connect(cls, device: str, address: str) -> GrpcDeviceClient:
        """Dial and say hello.

        Raises:
            AddressError: not a unix socket.
            UnreachableError: nobody answers.
            ProtocolError: no common protocol version.
        """
        client = cls(device, address)
        try:
            client.hello()
        except BaseException:
            client.close()
            raise
        return client

    def close(self) -> None:
        self._channel.close()

    def hello(self) -> HelloReply:
        request = info_pb.HelloRequest(
            host_version=version("edgectl-host"), protocol_min=PROTOCOL_MIN, protocol_max=PROTOCOL_MAX
        )
        reply = from_wire(HelloReply, self._call(self._info.Hello, request, HELLO_TIMEOUT_S))
        if reply.protocol_max < PROTOCOL_MIN or reply.protocol_min > PROTOCOL_MAX:
            raise ProtocolError(
                f"{self.device}: the agent speaks protocol {reply.protocol_min}..{reply.protocol_max}, "
                f"this host {PROTOCOL_MIN}..{PROTOCOL_MAX}",
                hint="install the same version on host and device: edgectl doctor",
            )
        return reply

    def facts(self, *, refresh: bool = False) -> DeviceFacts:
        reply = self._call(self._info.GetFacts, info_pb.GetFactsRequest(refresh=refresh), FACTS_TIMEOUT_S)
        return from_wire(DeviceFacts, reply)

    def create(self, manifest: bytes, *, owner: str, deployment_id: str) -> Deployment:
        request = deployment_pb.CreateRequest(manifest=manifest, owner=owner, deployment_id=deployment_id)
        return self._deployment(self._deployments.Create, request, FACTS_TIMEOUT_S)

    def offer(self, deployment_id: str, digest: Digest, size_bytes: int, chunks: tuple[Chunk, ...]) -> Offered:
        request = artifact_pb.OfferRequest(
            deployment_id=deployment_id,
            digest=str(digest),
            size_bytes=size_bytes,
            chunks=[to_wire(chunk) for chunk in chunks],
        )
        reply = self._call(self._artifacts.Offer, request, CALL_TIMEOUT_S)
        return Offered(reply.complete, tuple(reply.missing))

    def upload(self, deployment_id: str, digest: Digest, pieces: Iterable[tuple[int, bytes]]) -> None:
        broken: list[BaseException] = []

        def frames() -> Iterator[Any]:
            # gRPC consumes this on a thread of its own, where an exception would only be logged.
            try:
                for chunk, data in pieces:
                    yield artifact_pb.UploadFrame(
                        deployment_id=deployment_id, digest=str(digest), chunk=chunk, data=data
                    )
            except Exception as exc:  # noqa: BLE001 - raised again below, on the caller's thread
                broken.append(exc)

        try:
            call = self._artifacts.Upload.future(frames())
        except ValueError as exc:  # what a closed channel answers
            raise UnreachableError(f"{self.device}: the connection was closed") from exc
        try:
            call.result()
        except grpc.RpcError as exc:
            raise self._error(exc) from exc
        except grpc.FutureCancelledError as exc:
            raise UnreachableError(f"{self.device}: the connection was closed") from exc
        finally:
            call.cancel()
        if broken:
            raise broken[0]

    def commit(self, deployment_id: str, digest: Digest) -> None:
        request = artifact_pb.CommitRequest(deployment_id=deployment_id, digest=str(digest))
        self._call(self._artifacts.Commit, request, COMMIT_TIMEOUT_S)

    def start(self, deployment_id: str) -> Deployment:
        request = deployment_pb.StartRequest(deployment_id=deployment_id)
        return self._deployment(self._deployments.Start, request, CALL_TIMEOUT_S)

    def get(self, deployment_id: str) -> Deployment:
        request = deployment_pb.GetRequest(deployment_id=deployment_id)
        return self._deployment(self._deployments.Get, request, CALL_TIMEOUT_S)

    def installed(self) -> Installed:
        reply = self._call(self._deployments.List, deployment_pb.ListRequest(), CALL_TIMEOUT_S)
        return Installed(
            tuple(from_wire(Deployment, item) for item in reply.deployments),
            Digest.parse(reply.current) if reply.current else None,
            Digest.parse(reply.previous) if reply.previous else None,
            tuple(Digest.parse(release) for release in reply.kept),
        )

    def watch(self, deployment_id: str, *, after_sequence: int = 0) -> Iterator[DeploymentEvent]:
        request = deployment_pb.WatchRequest(deployment_id=deployment_id, after_sequence=after_sequence)
        for message in self._stream(self._deployments.Watch, request):
            event = from_wire(DeploymentEvent, message)
            yield event
            acknowledge = deployment_pb.AcknowledgeRequest(up_to_sequence=event.sequence)
            self._call(self._deployments.Acknowledge, acknowledge, CALL_TIMEOUT_S)

    def cancel(self, deployment_id: str) -> Deployment:
        request = deployment_pb.CancelRequest(deployment_id=deployment_id)
        return self._deployment(self._deployments.Cancel, request, CALL_TIMEOUT_S)

    def rollback(self, *, owner: str) -> Deployment:
        request = deployment_pb.RollbackRequest(owner=owner)
        return self._deployment(self._deployments.Rollback, request, ROLLBACK_TIMEOUT_S)

    def run(self, run_id: str, overrides: LoopOverrides, release: Digest | None = None) -> Iterator[RunEvent]:
        request = profile_pb.RunRequest(
            run_id=run_id, overrides=to_wire(overrides), release=str(release) if release else ""
        )
        for message in self._stream(self._profiles.Run, request):
            event = from_wire(RunEvent, message)
            if event.phase is RunPhase.FAILED and event.failure is not None:
                raise error_by_reason(event.failure.reason)(event.failure.message, hint=event.failure.hint)
            yield event

    def fetch_samples(self, run_id: str) -> Iterator[bytes]:
        request = profile_pb.FetchSamplesRequest(run_id=run_id)
        for piece in self._stream(self._profiles.FetchSamples, request):
            yield piece.data

    def _deployment(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Deployment:
        return from_wire(Deployment, self._call(method, request, timeout_s))

    def _call(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as exc:
            raise self._error(exc) from exc
        except ValueError as exc:  # what a closed channel answers
            raise UnreachableError(f"{self.device}: the connection was closed") from exc

    def _stream(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        try:
            call = method(request)
        except ValueError as exc:  # what a closed channel answers
            raise UnreachableError(f"{self.device}: the connection was closed") from exc
        try:
            # The iteration is guarded and not only the call: that is where a lost device shows.
            yield from call
        except grpc.RpcError as exc:
            raise self._error(exc) from exc
        finally:
            call.cancel()

    def _error(self, exc: grpc.RpcError) -> Exception:
        return error_from_rpc(exc, device=self.device)
