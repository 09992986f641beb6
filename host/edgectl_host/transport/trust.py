"""What a host says to a device about trust: one connection, its calls. Every failure is a member of the error tree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any

import grpc

from edgectl_host.transport.dial import Dialled, explained
from edgectl_protos.agent.v1 import trust_service_pb2, trust_service_pb2_grpc
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.codec.wire import from_wire
from edgectl_protos.domain.errors import EdgectlError
from edgectl_protos.domain.trust import DeviceTrust, Signed

__all__ = ["TrustClient"]

_TIMEOUT_S = 90.0
"""A device makes a key in a process of its own."""


class TrustClient:
    """One connection to one device."""

    def __init__(self, device: str, address: str, dialled: Dialled) -> None:
        self.device = device
        self._address = address
        if dialled.credentials is None:
            self._channel = grpc.aio.insecure_channel(dialled.target, options=dialled.options)
        else:
            self._channel = grpc.aio.secure_channel(dialled.target, dialled.credentials, options=dialled.options)
        self._stub = trust_service_pb2_grpc.TrustServiceStub(self._channel)

    async def __aenter__(self) -> TrustClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def trust(self) -> DeviceTrust:
        """What the device has accepted."""
        return from_wire(DeviceTrust, await self._call(self._stub.GetTrust, trust_service_pb2.GetTrustRequest()))

    async def request_certificate(self) -> str:
        """The request for the certificate of a new key, PEM."""
        reply = await self._call(self._stub.RequestCertificate, trust_service_pb2.RequestCertificateRequest())
        return str(reply.csr)

    async def install_certificate(self, enrolment: bytes) -> DeviceTrust:
        """Give the device the certificate that it asked for."""
        request = trust_service_pb2.InstallCertificateRequest(enrolment=enrolment)
        return from_wire(DeviceTrust, await self._call(self._stub.InstallCertificate, request))

    async def revoke(self, revocations: Signed) -> DeviceTrust:
        """Give the device the newest list of revoked certificates."""
        request = trust_service_pb2.RevokeRequest(revocations=canonical_bytes(revocations))
        return from_wire(DeviceTrust, await self._call(self._stub.Revoke, request))

    async def audit(self, from_number: int) -> AsyncIterator[bytes]:
        """Lines of the device's audit log."""
        try:
            async for piece in self._stub.ReadAudit(trust_service_pb2.ReadAuditRequest(from_number=from_number)):
                yield piece.lines
        except grpc.RpcError as exc:
            raise self._error(exc) from exc

    async def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return await method(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as exc:
            raise self._error(exc) from exc

    def _error(self, exc: grpc.RpcError) -> EdgectlError:
        return explained(error_from_rpc(exc, device=self.device), self.device, self._address)
