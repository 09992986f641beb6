"""Who are you, and what can you do."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from typing import Any

import grpc

from edgectl_agent.core.device.facts import Facts
from edgectl_agent.core.hello import Hello
from edgectl_protos.agent.v1 import info_service_pb2_grpc
from edgectl_protos.codec.wire import to_wire

__all__ = ["InfoServicer"]


class InfoServicer(info_service_pb2_grpc.InfoServiceServicer):
    """edgectl.agent.v1.InfoService."""

    def __init__(self, hello: Hello, facts: Facts) -> None:
        self._hello = hello
        self._facts = facts

    def Hello(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Negotiate."""
        return to_wire(self._hello.answer(request.protocol_min, request.protocol_max))

    def GetFacts(self, request: Any, context: grpc.ServicerContext) -> Any:
        """The environment stamp."""
        return to_wire(self._facts.get(refresh=request.refresh))
