"""The protobuf codec: complete tables, and every object comes back."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

import pytest

from edgectl_protos.agent.v1 import deployment_service_pb2
from edgectl_protos.codec.wire import ENUMS, MESSAGES, from_wire, to_wire
from edgectl_protos.domain import artifact, deployment, device, loop, run
from edgectl_protos.domain.errors import ProtocolError


def sample(kind: Any, *, filled: bool, salt: int = 1) -> Any:
    """A value of any domain type; optional parts filled or left out."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        inner = next(option for option in typing.get_args(kind) if option is not types.NoneType)
        return sample(inner, filled=filled, salt=salt) if filled else None
    if origin is tuple:
        return tuple(sample(typing.get_args(kind)[0], filled=filled, salt=i) for i in (1, 2)) if filled else ()
    if kind is artifact.Digest:
        return artifact.Digest(f"{salt:064x}")
    if kind is loop.LoopSpec:
        return loop.LoopSpec(
            name="l",
            rate_hz=30.0,
            sources=(loop.SourceSpec("s", loop.SourceKind.VIDEO, "s.mp4", 25.0, 3, loop.OnEnd.REPEAT),),
            stages=(loop.StageSpec("dec", loop.Op.DECODE), loop.StageSpec("act", loop.Op.MODEL)),
            execution=loop.Execution(8, 4),
            deadlines=loop.Deadlines(0.033, 0.5 if filled else None, 0.02, 3),
            mode=loop.Mode.CLOSED,
            overrun=loop.Overrun.BURST,
            threads=2,
        )
    if kind is loop.Execution:
        return loop.Execution(8, 4)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)[salt % len(kind)]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{n: sample(hints[n], filled=filled, salt=i + salt) for i, n in enumerate(names)})
    return {str: f"text {salt}", int: salt, float: salt + 0.5, bool: True}[kind]


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_every_domain_object_comes_back_from_the_wire(cls, filled):
    value = sample(cls, filled=filled)
    data = to_wire(value).SerializeToString()
    assert from_wire(cls, MESSAGES[cls].FromString(data)) == value


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_a_domain_class_and_its_message_have_the_same_fields(cls):
    wire_names = [field.name for field in MESSAGES[cls].DESCRIPTOR.fields]
    assert sorted(wire_names) == sorted(field.name for field in dataclasses.fields(cls))


def test_every_member_of_every_wire_enum_is_mapped_once():
    on_the_wire = {artifact.Precision, deployment.State, run.RunPhase, loop.Mode, loop.OnEnd, loop.Op}
    on_the_wire |= {loop.Overrun, loop.SourceKind}
    assert set(ENUMS) == {member for cls in on_the_wire for member in cls}
    pairs = [(type(member), number) for member, number in ENUMS.items()]
    assert len(set(pairs)) == len(pairs)


def test_a_state_of_a_newer_agent_is_a_protocol_error():
    message = deployment_service_pb2.Deployment(id="x", release="sha256:" + "0" * 64, state=99)
    with pytest.raises(ProtocolError, match="State 99 is not known"):
        from_wire(deployment.Deployment, message)


def test_facts_find_a_runtime_by_name():
    facts = sample(device.DeviceFacts, filled=True)
    assert facts.runtime(facts.runtimes[1].name) is facts.runtimes[1]
    assert facts.runtime("absent") is None
