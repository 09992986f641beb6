"""Installing a release."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from edgectl_agent.core.deployments.deployer import Deployer
from edgectl_agent.core.deployments.register import Register
from edgectl_agent.core.store.blobs import digest_of
from edgectl_agent.core.trust.admission import Admission
from edgectl_agent.server.callers import Callers
from edgectl_protos.agent.v1 import deployment_service_pb2, deployment_service_pb2_grpc
from edgectl_protos.codec.wire import to_wire
from edgectl_protos.domain.artifact import Digest

__all__ = ["DeploymentServicer"]


class DeploymentServicer(deployment_service_pb2_grpc.DeploymentServiceServicer):
    """edgectl.agent.v1.DeploymentService."""

    def __init__(self, deployer: Deployer, register: Register, admission: Admission, callers: Callers) -> None:
        self._deployer = deployer
        self._register = register
        self._admission = admission
        self._callers = callers

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Plan a release, or re-attach to its deployment."""
        caller = self._callers.of(context, told=request.owner)
        self._admission.admit(digest_of(request.manifest), request.signed_release)
        return to_wire(self._deployer.create(request.manifest, owner=caller.name, deployment_id=request.deployment_id))

    def Start(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Let it go on by itself."""
        return to_wire(self._deployer.start(request.deployment_id))

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The deployment as it stands."""
        return to_wire(self._deployer.get(request.deployment_id))

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:
        """All deployments, newest first, and what is installed."""
        installed = self._deployer.installed()
        return deployment_service_pb2.ListReply(
            deployments=[to_wire(deployment) for deployment in installed.deployments],
            current=str(installed.links.current or ""),
            previous=str(installed.links.previous or ""),
            kept=[str(release) for release in installed.kept],
            problems={str(release): problem for release, problem in installed.problems.items()},
        )

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Events until the deployment rests."""
        context.add_callback(self._register.wake)
        for event in self._register.watch(
            request.deployment_id, after_sequence=request.after_sequence, live=context.is_active
        ):
            yield to_wire(event)

    def Acknowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Forget events that the host has."""
        self._register.acknowledge(request.deployment_id, request.up_to_sequence)
        return deployment_service_pb2.AcknowledgeReply()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Withdraw."""
        return to_wire(self._deployer.cancel(request.deployment_id))

    def Rollback(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Put the previous release back."""
        caller = self._callers.of(context, told=request.owner)

        def admit(release: Digest) -> None:
            self._admission.admit(release, request.signed_release)

        return to_wire(self._deployer.rollback(owner=caller.name, admit=admit))
