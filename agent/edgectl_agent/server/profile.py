"""Measuring loops."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from edgectl_agent.core.runs import Runs
from edgectl_protos.agent.v1 import profile_service_pb2, profile_service_pb2_grpc
from edgectl_protos.codec.wire import from_wire, to_wire
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.loop import LoopOverrides

__all__ = ["ProfileServicer"]


class ProfileServicer(profile_service_pb2_grpc.ProfileServiceServicer):
    """edgectl.agent.v1.ProfileService."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def Run(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Measure, and stream the phases."""
        overrides = from_wire(LoopOverrides, request.overrides)
        release = Digest.parse(request.release) if request.release else None
        events, wake = self._runs.attach(request.run_id, overrides, release, live=context.is_active)
        context.add_callback(wake)
        for event in events:
            yield to_wire(event)

    def FetchSamples(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The samples of a finished run, in pieces."""
        for piece in self._runs.samples(request.run_id, request.offset):
            yield profile_service_pb2.SamplesPiece(data=piece)
