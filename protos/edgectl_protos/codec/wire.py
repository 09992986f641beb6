"""Domain dataclasses as protobuf messages, field by field of the same name.

`MESSAGES` pairs each domain class with its message and `ENUMS` each enum member with its wire value; a test
checks that both are complete and that every field of a pair has its twin. None and "unset" are the same
thing; a digest travels as `sha256:<hex>`. What a newer peer may add freely (schemes, precisions) is text.

A request is read strictly (`from_wire`): an agent refuses what it does not understand. What an agent reports is read
as it is (`reported`): an enum value that this version has no name for is kept as `#<number>`, and a rule of this
version that a value breaks is not applied, so that no word of a newer agent is fatal.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from edgectl_protos.agent.v1 import (
    deployment_service_pb2,
    info_service_pb2,
    profile_service_pb2,
    trust_service_pb2,
)
from edgectl_protos.common.v1 import device_pb2, failure_pb2, loop_pb2
from edgectl_protos.domain import artifact, deployment, device, interference, loop, parity, run, trust
from edgectl_protos.domain.errors import EdgectlError, ProtocolError
from edgectl_protos.domain.newer import is_newer, kept, newer

__all__ = ["ENUMS", "MESSAGES", "from_wire", "reported", "to_wire"]

T = TypeVar("T")

MESSAGES: dict[type, Any] = {
    deployment.Deployment: deployment_service_pb2.Deployment,
    deployment.DeploymentEvent: deployment_service_pb2.DeploymentEvent,
    deployment.Failure: failure_pb2.Failure,
    device.ComponentFacts: device_pb2.ComponentFacts,
    device.DeviceFacts: device_pb2.DeviceFacts,
    device.HelloReply: info_service_pb2.HelloReply,
    device.RuntimeFacts: device_pb2.RuntimeFacts,
    interference.Interference: profile_service_pb2.Interference,
    loop.Deadlines: loop_pb2.Deadlines,
    loop.Execution: loop_pb2.Execution,
    loop.Limit: loop_pb2.Limit,
    loop.LoopOverrides: loop_pb2.LoopOverrides,
    loop.LoopSpec: loop_pb2.LoopSpec,
    loop.SourceSpec: loop_pb2.SourceSpec,
    parity.DimensionFigure: deployment_service_pb2.DimensionFigure,
    parity.ParityFigure: deployment_service_pb2.ParityFigure,
    parity.ParityReport: deployment_service_pb2.ParityReport,
    run.ColdStart: profile_service_pb2.ColdStart,
    run.Exceedances: profile_service_pb2.Exceedances,
    run.Generation: profile_service_pb2.Generation,
    run.MemoryReads: profile_service_pb2.MemoryReads,
    run.Misses: profile_service_pb2.Misses,
    run.Percentiles: profile_service_pb2.Percentiles,
    run.Rates: profile_service_pb2.Rates,
    run.Run: profile_service_pb2.Run,
    run.RunEvent: profile_service_pb2.RunEvent,
    run.RunSummary: profile_service_pb2.RunSummary,
    run.SpanFigures: profile_service_pb2.SpanFigures,
    run.WarmUp: profile_service_pb2.WarmUp,
    trust.DeviceTrust: trust_service_pb2.DeviceTrust,
}

ENUMS: dict[enum.Enum, int] = {
    deployment.State.PLANNED: deployment_service_pb2.STATE_PLANNED,
    deployment.State.STAGING: deployment_service_pb2.STATE_STAGING,
    deployment.State.VERIFIED: deployment_service_pb2.STATE_VERIFIED,
    deployment.State.BUILDING: deployment_service_pb2.STATE_BUILDING,
    deployment.State.PARITY: deployment_service_pb2.STATE_PARITY,
    deployment.State.WAIT_WINDOW: deployment_service_pb2.STATE_WAIT_WINDOW,
    deployment.State.ACTIVATING: deployment_service_pb2.STATE_ACTIVATING,
    deployment.State.PROBATION: deployment_service_pb2.STATE_PROBATION,
    deployment.State.COMMITTED: deployment_service_pb2.STATE_COMMITTED,
    deployment.State.FAILED: deployment_service_pb2.STATE_FAILED,
    deployment.State.ROLLING_BACK: deployment_service_pb2.STATE_ROLLING_BACK,
    deployment.State.ROLLED_BACK: deployment_service_pb2.STATE_ROLLED_BACK,
    deployment.State.INCONSISTENT: deployment_service_pb2.STATE_INCONSISTENT,
    loop.SourceKind.VIDEO: loop_pb2.SOURCE_KIND_VIDEO,
    loop.SourceKind.IMAGE: loop_pb2.SOURCE_KIND_IMAGE,
    loop.SourceKind.RECORDED: loop_pb2.SOURCE_KIND_RECORDED,
    loop.SourceKind.SYNTHETIC: loop_pb2.SOURCE_KIND_SYNTHETIC,
    loop.SourceKind.TEXT: loop_pb2.SOURCE_KIND_TEXT,
    loop.OnEnd.FAIL: loop_pb2.ON_END_FAIL,
    loop.OnEnd.REPEAT: loop_pb2.ON_END_REPEAT,
    loop.Metric.TICK: loop_pb2.METRIC_TICK,
    loop.Metric.AGE: loop_pb2.METRIC_AGE,
    loop.Metric.MISSES: loop_pb2.METRIC_MISSES,
    loop.Metric.STARVATION: loop_pb2.METRIC_STARVATION,
    loop.Mode.PACED: loop_pb2.MODE_PACED,
    loop.Mode.CLOSED: loop_pb2.MODE_CLOSED,
    loop.Overrun.SKIP: loop_pb2.OVERRUN_SKIP,
    loop.Overrun.BURST: loop_pb2.OVERRUN_BURST,
    run.RunPhase.LOADING: profile_service_pb2.RUN_PHASE_LOADING,
    run.RunPhase.WARMING_UP: profile_service_pb2.RUN_PHASE_WARMING_UP,
    run.RunPhase.MEASURING: profile_service_pb2.RUN_PHASE_MEASURING,
    run.RunPhase.DONE: profile_service_pb2.RUN_PHASE_DONE,
    run.RunPhase.FAILED: profile_service_pb2.RUN_PHASE_FAILED,
}

_ENUM_DIGITS = 10
"""Of the largest number that an enum has on the wire."""

_MEMBERS: dict[tuple[type, int], enum.Enum] = {(type(member), number): member for member, number in ENUMS.items()}


def to_wire(value: Any) -> Any:
    """The message of a domain object; its class must be in `MESSAGES`."""
    message = MESSAGES[type(value)]()
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item is None:
            continue
        if isinstance(item, tuple):
            getattr(message, field.name).extend([_scalar_to_wire(entry) for entry in item])
        elif type(item) in MESSAGES:
            getattr(message, field.name).CopyFrom(to_wire(item))
        else:
            setattr(message, field.name, _scalar_to_wire(item))
    return message


def from_wire(cls: Callable[..., T], message: Any) -> T:
    """The domain object of a message.

    Raises:
        ProtocolError: an enum value of a newer peer.
        EdgectlError: the domain refuses a value.
    """
    return cls(**_arguments(cls, message, from_wire, _known))


def reported(cls: Callable[..., T], message: Any) -> T:
    """The domain object of what an agent reports, which may be newer.

    Raises:
        BundleError: a digest is none.
    """
    arguments = _arguments(cls, message, reported, _known_or_newer)
    try:
        return cls(**arguments)
    except EdgectlError:
        made: T = kept(cls, arguments)
        return made


def _arguments(cls: Any, message: Any, inner: Callable[..., Any], member: Callable[..., Any]) -> dict[str, Any]:
    return {name: _field_from_wire(kind, message, name, inner, member) for name, kind in _fields(cls).items()}


def _known(kind: Any, number: int) -> enum.Enum:
    member = _MEMBERS.get((kind, number))
    if member is None:
        raise ProtocolError(
            f"{kind.__name__} {number} is not known to this version of edgectl",
            hint="install the same version on host and device: edgectl doctor",
        )
    return member


def _known_or_newer(kind: Any, number: int) -> enum.Enum:
    return _MEMBERS.get((kind, number)) or newer(kind, f"#{number}")


@functools.cache
def _fields(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _scalar_to_wire(value: Any) -> Any:
    if type(value) in MESSAGES:
        return to_wire(value)
    if isinstance(value, enum.Enum):
        return _number_of_newer(value.value) if is_newer(value) else ENUMS[value]
    if isinstance(value, artifact.Digest):
        return str(value)
    return value


def _number_of_newer(word: str) -> int:
    """The number that was read as this word; 0 for one that a document had, whatever it looks like."""
    number = word.removeprefix("#")
    return int(number) if number != word and number.isdecimal() and len(number) < _ENUM_DIGITS else 0


def _field_from_wire(kind: Any, message: Any, name: str, inner: Callable[..., Any], member: Callable[..., Any]) -> Any:
    def scalar(kind: Any, value: Any) -> Any:
        if kind in MESSAGES:
            return inner(kind, value)
        if kind is artifact.Digest:
            return artifact.Digest.parse(value)
        return member(kind, value) if issubclass(kind, enum.Enum) else value

    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if not message.HasField(name):
            return None
        kind = next(option for option in typing.get_args(kind) if option is not types.NoneType)
        return scalar(kind, getattr(message, name))
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(scalar(item, entry) for entry in getattr(message, name))
    return scalar(kind, getattr(message, name))
