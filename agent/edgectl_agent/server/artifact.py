"""Content-addressed upload."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from edgectl_agent.core.deployments.intake import Frame, Intake
from edgectl_protos.agent.v1 import artifact_service_pb2, artifact_service_pb2_grpc
from edgectl_protos.codec.wire import from_wire
from edgectl_protos.domain.artifact import Chunk, Digest

__all__ = ["ArtifactServicer"]


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """edgectl.agent.v1.ArtifactService."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def Offer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Reserve space and say what is missing."""
        chunks = tuple(from_wire(Chunk, chunk) for chunk in request.chunks)
        complete, missing = self._intake.offer(
            request.deployment_id, Digest.parse(request.digest), request.size_bytes, chunks
        )
        return artifact_service_pb2.OfferReply(complete=complete, missing=missing)

    def Upload(self, request: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """Store chunks; answers once all are durable."""
        frames = (Frame(frame.deployment_id, Digest.parse(frame.digest), frame.chunk, frame.data) for frame in request)
        return artifact_service_pb2.UploadReply(durable_bytes=self._intake.upload(frames))

    def Commit(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Verify a whole blob and make it visible."""
        self._intake.commit(request.deployment_id, Digest.parse(request.digest))
        return artifact_service_pb2.CommitReply()
