"""Measuring loops."""
# ruff: noqa: N802 (methods are named as the service names them)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc

from edgectl_agent.core.runs.runs import Runs
from edgectl_agent.server.callers import Callers
from edgectl_protos.agent.v1 import profile_service_pb2, profile_service_pb2_grpc
from edgectl_protos.codec.wire import from_wire, to_wire
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.loop import LoopOverrides

__all__ = ["ProfileServicer"]


class ProfileServicer(profile_service_pb2_grpc.ProfileServiceServicer):
    """edgectl.agent.v1.ProfileService."""

    def __init__(self, runs: Runs, callers: Callers) -> None:
        self._runs = runs
        self._callers = callers

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Begin a run, or find it."""
        owner = self._callers.of(context, told=request.owner).name
        overrides = from_wire(LoopOverrides, request.overrides)
        release = Digest.parse(request.release) if request.release else None
        return to_wire(self._runs.create(request.run_id, overrides, release, owner=owner, part_of=request.part_of))

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Events until the run is over."""
        context.add_callback(self._runs.wake)
        for event in self._runs.watch(request.run_id, after_sequence=request.after_sequence, live=context.is_active):
            yield to_wire(event)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        """End a run."""
        return to_wire(self._runs.cancel(request.run_id))

    def List(self, request: Any, context: grpc.ServicerContext) -> Any:
        """All runs, newest first."""
        return profile_service_pb2.ListRunsReply(runs=[to_wire(run) for run in self._runs.newest_first()])

    def FetchSamples(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The samples of a finished run, in pieces."""
        for piece in self._runs.samples(request.run_id, request.offset):
            yield profile_service_pb2.SamplesPiece(data=piece)
