"""Content-addressed upload."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from edgectl_agent.core.deployments.intake import Intake
from edgectl_protos.agent.v1 import artifact_service_pb2, artifact_service_pb2_grpc
from edgectl_protos.codec.transfer import UPLOAD_METHOD
from edgectl_protos.domain.artifact import Digest

__all__ = ["ArtifactServicer", "add_artifact_service"]


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """edgectl.agent.v1.ArtifactService."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def Offer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Reserve space and say what is here."""
        answer = self._intake.offer(request.deployment_id, Digest.parse(request.digest), request.chunks)
        return artifact_service_pb2.OfferReply(complete=answer.complete, have=answer.have, upload=answer.upload)

    def Commit(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Verify a whole blob and make it visible."""
        self._intake.commit(request.deployment_id, Digest.parse(request.digest))
        return artifact_service_pb2.CommitReply()

    def upload(self, request: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        """Store frames; tell how much of them is durable."""
        for durable_bytes in self._intake.upload(request, context.cancel):
            yield artifact_service_pb2.UploadReply(durable_bytes=durable_bytes)


def add_artifact_service(servicer: ArtifactServicer, server: grpc.Server) -> None:
    """Register the service, and beside it the stream whose frames are not protobuf."""
    artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(servicer, server)
    upload: Any = grpc.stream_stream_rpc_method_handler(
        servicer.upload, response_serializer=artifact_service_pb2.UploadReply.SerializeToString
    )
    service, _, method = UPLOAD_METHOD.strip("/").partition("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: upload}),))
