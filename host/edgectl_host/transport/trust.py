"""What a host says to a device about trust, over the connection that is there."""
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from edgectl_host.transport.base import TrustCalls
from edgectl_host.transport.calls import Calls
from edgectl_protos.agent.v1 import trust_service_pb2, trust_service_pb2_grpc
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.codec.wire import reported
from edgectl_protos.domain.trust import DeviceTrust, Signed

__all__ = ["GrpcTrustCalls"]

_TIMEOUT_S = 90.0
"""A device makes a key in a process of its own."""
_LOG_TIMEOUT_S = 600.0


class GrpcTrustCalls(TrustCalls):
    """The calls of one channel."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = trust_service_pb2_grpc.TrustServiceStub(channel)
        self._calls = calls

    async def state(self) -> DeviceTrust:
        request = trust_service_pb2.GetTrustRequest()
        return reported(DeviceTrust, await self._calls.call(self._stub.GetTrust, request, _TIMEOUT_S))

    async def request_certificate(self) -> str:
        request = trust_service_pb2.RequestCertificateRequest()
        return str((await self._calls.call(self._stub.RequestCertificate, request, _TIMEOUT_S)).csr)

    async def install_certificate(self, enrolment: bytes) -> DeviceTrust:
        request = trust_service_pb2.InstallCertificateRequest(enrolment=enrolment)
        return reported(DeviceTrust, await self._calls.call(self._stub.InstallCertificate, request, _TIMEOUT_S))

    async def revoke(self, revocations: Signed) -> DeviceTrust:
        request = trust_service_pb2.RevokeRequest(revocations=canonical_bytes(revocations))
        return reported(DeviceTrust, await self._calls.call(self._stub.Revoke, request, _TIMEOUT_S))

    async def audit(self, from_number: int) -> AsyncIterator[bytes]:
        request = trust_service_pb2.ReadAuditRequest(from_number=from_number)
        async for piece in self._calls.stream(self._stub.ReadAudit, request, _LOG_TIMEOUT_S):
            yield piece.lines
