"""Who this device belongs to."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.membership import Membership
from edgectl_agent.server.callers import Callers
from edgectl_protos.agent.v1 import trust_service_pb2, trust_service_pb2_grpc
from edgectl_protos.codec.wire import to_wire

__all__ = ["TrustServicer"]


class TrustServicer(trust_service_pb2_grpc.TrustServiceServicer):
    """edgectl.agent.v1.TrustService."""

    def __init__(self, membership: Membership, callers: Callers, audit: AuditLog) -> None:
        self._membership = membership
        self._callers = callers
        self._audit = audit

    def GetTrust(self, request: Any, context: grpc.ServicerContext) -> Any:
        """What this device has accepted."""
        return to_wire(self._membership.describe())

    def RequestCertificate(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A new key's request."""
        return trust_service_pb2.RequestCertificateReply(csr=self._membership.request_again())

    def InstallCertificate(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The new key's certificate."""
        self._membership.renew(request.enrolment)
        return to_wire(self._membership.describe())

    def Revoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        """A newer list of revoked certificates."""
        self._callers.end(self._membership.revoke(request.revocations))
        return to_wire(self._membership.describe())

    def ReadAudit(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The audit log."""
        for line in self._audit.read(request.from_number):
            yield trust_service_pb2.AuditPiece(lines=line)
