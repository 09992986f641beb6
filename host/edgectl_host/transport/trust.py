"""What a host says to a device about trust, over the connection that is there."""
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio

from edgectl_host.transport.base import TrustCalls
from edgectl_protos.agent.v1 import trust_service_pb2, trust_service_pb2_grpc
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.codec.wire import reported
from edgectl_protos.domain.trust import DeviceTrust, Signed

__all__ = ["GrpcTrustCalls"]

_TIMEOUT_S = 90.0
"""A device makes a key in a process of its own."""


class GrpcTrustCalls(TrustCalls):
    """The calls of one channel. `call` and `stream` make errors of the tree of whatever fails."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        call: Callable[..., Any],
        stream: Callable[..., AsyncIterator[Any]],
    ) -> None:
        self._stub = trust_service_pb2_grpc.TrustServiceStub(channel)
        self._call = call
        self._stream = stream

    async def state(self) -> DeviceTrust:
        request = trust_service_pb2.GetTrustRequest()
        return reported(DeviceTrust, await self._call(self._stub.GetTrust, request, _TIMEOUT_S))

    async def request_certificate(self) -> str:
        request = trust_service_pb2.RequestCertificateRequest()
        return str((await self._call(self._stub.RequestCertificate, request, _TIMEOUT_S)).csr)

    async def install_certificate(self, enrolment: bytes) -> DeviceTrust:
        request = trust_service_pb2.InstallCertificateRequest(enrolment=enrolment)
        return reported(DeviceTrust, await self._call(self._stub.InstallCertificate, request, _TIMEOUT_S))

    async def revoke(self, revocations: Signed) -> DeviceTrust:
        request = trust_service_pb2.RevokeRequest(revocations=canonical_bytes(revocations))
        return reported(DeviceTrust, await self._call(self._stub.Revoke, request, _TIMEOUT_S))

    async def audit(self, from_number: int) -> AsyncIterator[bytes]:
        request = trust_service_pb2.ReadAuditRequest(from_number=from_number)
        async for piece in self._stream(self._stub.ReadAudit, request):
            yield piece.lines
