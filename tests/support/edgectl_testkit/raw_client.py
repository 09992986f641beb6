"""The stubs of an agent's services with the codec around them, and the steps of an installation one by one.

For tests of the agent itself, which need to stop half-way or say the wrong thing; the host's own client is
`edgectl_host.transport.grpc`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from edgectl_protos.agent.v1 import (
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    profile_service_pb2,
    profile_service_pb2_grpc,
)
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.codec.transfer import UPLOAD_METHOD, chunk_digest, chunks_to_bytes, frame_header, missing_in
from edgectl_protos.codec.wire import from_wire, to_wire
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_protos.domain.chunks import MAX_CHUNK_BYTES, ChunkList
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent
from edgectl_protos.domain.device import DeviceFacts, HelloReply
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import Run, RunEvent

__all__ = ["Offered", "RawClient", "chunks_of", "frame_of", "manifest_bytes", "manifest_of", "release_of"]


@dataclass(frozen=True)
class Offered:
    """What the agent answered to an offer; `missing` are indices of chunks."""

    complete: bool
    missing: tuple[int, ...] = ()
    upload: bytes = b""


def chunks_of(data: bytes, *, size_bytes: int = MAX_CHUNK_BYTES) -> ChunkList:
    """Chunks of some bytes, all of one size but the last."""
    pieces = [data[at : at + size_bytes] for at in range(0, len(data), size_bytes)]
    return ChunkList(array("I", map(len, pieces)), b"".join(map(chunk_digest, pieces)))


def frame_of(upload: bytes, data: bytes, chunks: ChunkList, first: int, count: int = 1) -> bytes:
    """A frame with some chunks of a blob."""
    offsets = chunks.offsets()
    return frame_header(upload, first, count) + data[offsets[first] : offsets[first + count]]


def manifest_bytes(bundle: Path) -> bytes:
    """The manifest of a bundle directory as it is sent."""
    return (bundle / MANIFEST_NAME).read_bytes()


def manifest_of(bundle: Path) -> Manifest:
    """The manifest of a bundle directory."""
    return from_bytes(Manifest, manifest_bytes(bundle), what=MANIFEST_NAME)


def release_of(bundle: Path) -> Digest:
    """By which the release of a bundle directory is known."""
    return Digest(hashlib.sha256(manifest_bytes(bundle)).hexdigest())


class RawClient:
    """One connection. Every method raises members of the error tree."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.info = info_service_pb2_grpc.InfoServiceStub(self.channel)
        self.artifact = artifact_service_pb2_grpc.ArtifactServiceStub(self.channel)
        self.deployment = deployment_service_pb2_grpc.DeploymentServiceStub(self.channel)
        self.profile = profile_service_pb2_grpc.ProfileServiceStub(self.channel)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def hello(self, protocol_min: int = 1, protocol_max: int = 1) -> HelloReply:
        request = info_service_pb2.HelloRequest(protocol_min=protocol_min, protocol_max=protocol_max)
        return from_wire(HelloReply, _call(self.info.Hello, request))

    def facts(self, *, refresh: bool = False) -> DeviceFacts:
        return from_wire(DeviceFacts, _call(self.info.GetFacts, info_service_pb2.GetFactsRequest(refresh=refresh)))

    def create(self, manifest: bytes, deployment_id: str, *, owner: str = "tester") -> Deployment:
        request = deployment_service_pb2.CreateRequest(manifest=manifest, owner=owner, deployment_id=deployment_id)
        return from_wire(Deployment, _call(self.deployment.Create, request))

    def offer(self, deployment_id: str, digest: Digest, chunks: ChunkList) -> Offered:
        request = artifact_service_pb2.OfferRequest(
            deployment_id=deployment_id, digest=str(digest), chunks=chunks_to_bytes(chunks)
        )
        reply = _call(self.artifact.Offer, request)
        if reply.complete:
            return Offered(True)
        missing = tuple(index for part in missing_in(reply.have, len(chunks)) for index in part)
        return Offered(False, missing, reply.upload)

    def upload(self, frames: Iterable[bytes]) -> int:
        """Send frames as they are; how many of their bytes are durable at the end."""
        return max((reply.durable_bytes for reply in _stream(self.upload_call(frames))), default=0)

    def upload_call(self, frames: Iterable[bytes]) -> Any:
        """The call itself, to be iterated or cancelled."""
        reply = artifact_service_pb2.UploadReply.FromString
        stream: Any = self.channel.stream_stream(UPLOAD_METHOD, response_deserializer=reply)
        return stream(iter(frames), timeout=30)

    def commit(self, deployment_id: str, digest: Digest) -> None:
        _call(
            self.artifact.Commit,
            artifact_service_pb2.CommitRequest(deployment_id=deployment_id, digest=str(digest)),
        )

    def start(self, deployment_id: str) -> Deployment:
        request = deployment_service_pb2.StartRequest(deployment_id=deployment_id)
        return from_wire(Deployment, _call(self.deployment.Start, request))

    def get(self, deployment_id: str) -> Deployment:
        request = deployment_service_pb2.GetRequest(deployment_id=deployment_id)
        return from_wire(Deployment, _call(self.deployment.Get, request))

    def listing(self) -> tuple[list[Deployment], str, str]:
        reply = _call(self.deployment.List, deployment_service_pb2.ListRequest())
        return [from_wire(Deployment, d) for d in reply.deployments], reply.current, reply.previous

    def problems(self) -> dict[str, str]:
        """What is wrong on the disk, by release."""
        return dict(_call(self.deployment.List, deployment_service_pb2.ListRequest()).problems)

    def watch(self, deployment_id: str, *, after: int = 0, acknowledge: bool = False) -> Iterator[DeploymentEvent]:
        request = deployment_service_pb2.WatchRequest(deployment_id=deployment_id, after_sequence=after)
        for message in _stream(self.deployment.Watch(request)):
            event = from_wire(DeploymentEvent, message)
            yield event
            if acknowledge:
                self.acknowledge(deployment_id, event.sequence)

    def acknowledge(self, deployment_id: str, up_to: int) -> None:
        request = deployment_service_pb2.AcknowledgeRequest(deployment_id=deployment_id, up_to_sequence=up_to)
        _call(self.deployment.Acknowledge, request)

    def cancel(self, deployment_id: str) -> Deployment:
        request = deployment_service_pb2.CancelRequest(deployment_id=deployment_id)
        return from_wire(Deployment, _call(self.deployment.Cancel, request))

    def rollback(self, *, owner: str = "tester") -> Deployment:
        request = deployment_service_pb2.RollbackRequest(owner=owner)
        return from_wire(Deployment, _call(self.deployment.Rollback, request))

    def create_run(
        self, run_id: str, overrides: LoopOverrides | None = None, *, release: str = "", owner: str = "tester"
    ) -> Run:
        wire = to_wire(overrides or LoopOverrides())
        request = profile_service_pb2.CreateRunRequest(run_id=run_id, overrides=wire, release=release, owner=owner)
        return from_wire(Run, _call(self.profile.Create, request))

    def run_call(self, run_id: str, *, after: int = 0) -> Any:
        """The call that watches a run, to be iterated or cancelled."""
        return self.profile.Watch(profile_service_pb2.WatchRunRequest(run_id=run_id, after_sequence=after))

    def watch_run(self, run_id: str, *, after: int = 0) -> Iterator[RunEvent]:
        for message in _stream(self.run_call(run_id, after=after)):
            yield from_wire(RunEvent, message)

    def run(self, run_id: str, overrides: LoopOverrides | None = None, *, release: str = "") -> Iterator[RunEvent]:
        """Begin a run and watch it to its end."""
        self.create_run(run_id, overrides, release=release)
        yield from self.watch_run(run_id)

    def cancel_run(self, run_id: str) -> Run:
        return from_wire(Run, _call(self.profile.Cancel, profile_service_pb2.CancelRunRequest(run_id=run_id)))

    def runs(self) -> list[Run]:
        return [from_wire(Run, run) for run in _call(self.profile.List, profile_service_pb2.ListRunsRequest()).runs]

    def samples(self, run_id: str, offset: int = 0) -> bytes:
        request = profile_service_pb2.FetchSamplesRequest(run_id=run_id, offset=offset)
        return b"".join(piece.data for piece in _stream(self.profile.FetchSamples(request)))

    # --- several steps ---------------------------------------------------------------------------------

    def stage(self, bundle: Path, deployment_id: str, *, owner: str = "tester") -> Deployment:
        """Create a deployment and send what is missing."""
        created = self.create((bundle / MANIFEST_NAME).read_bytes(), deployment_id, owner=owner)
        for entry in manifest_of(bundle).files:
            data = (bundle / "blobs/sha256" / entry.digest.hex).read_bytes()
            chunks = chunks_of(data)
            offered = self.offer(created.id, entry.digest, chunks)
            if offered.complete:
                continue
            if offered.missing:
                self.upload(frame_of(offered.upload, data, chunks, index) for index in offered.missing)
            self.commit(created.id, entry.digest)
        return created

    def deploy(self, bundle: Path, deployment_id: str, *, owner: str = "tester") -> Deployment:
        """Install a bundle as far as it goes; the deployment at rest."""
        created = self.stage(bundle, deployment_id, owner=owner)
        self.start(created.id)
        for _ in self.watch(created.id, acknowledge=True):
            pass
        return self.get(created.id)


def _call(method: Any, request: Any) -> Any:
    try:
        return method(request, timeout=30)
    except grpc.RpcError as exc:
        raise error_from_rpc(exc, device="bench") from exc


def _stream(call: Any) -> Iterator[Any]:
    try:
        yield from call
    except grpc.RpcError as exc:
        raise error_from_rpc(exc, device="bench") from exc
