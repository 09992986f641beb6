"""The protobuf codec: complete tables, and every object comes back."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

import pytest

from edgectl_protos.agent.v1 import deployment_service_pb2, profile_service_pb2
from edgectl_protos.codec.wire import ENUMS, MESSAGES, from_wire, reported, to_wire
from edgectl_protos.common.v1 import device_pb2, loop_pb2
from edgectl_protos.domain import artifact, deployment, device, loop, parity, run
from edgectl_protos.domain.errors import ProtocolError
from edgectl_protos.domain.newer import newer

_DEADLINES = loop.Deadlines.of_tick(0.033, loop.Limit(loop.Metric.AGE, "p95", 0.12))


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
            sources=(
                loop.SourceSpec(
                    "s",
                    loop.SourceKind.VIDEO,
                    "s.mp4",
                    25.0,
                    3,
                    loop.OnEnd.REPEAT,
                    resize=True,
                    delay_s=0.02,
                    phase_s=0.01,
                ),
                loop.SourceSpec("task", loop.SourceKind.TEXT, text="pick up the cube"),
            ),
            execution=loop.Execution(4),
            deadlines=_DEADLINES,
            mode=loop.Mode.CLOSED,
            overrun=loop.Overrun.BURST,
            threads=2,
        )
    if kind is loop.Deadlines:
        return _DEADLINES
    if kind is loop.Limit:
        return _DEADLINES.limits[salt % len(_DEADLINES.limits)]
    if kind is loop.Execution:
        return loop.Execution(4)
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
    on_the_wire = {deployment.State, run.RunPhase, loop.Metric, loop.Mode, loop.OnEnd, loop.Overrun, loop.SourceKind}
    assert set(ENUMS) == {member for cls in on_the_wire for member in cls}
    pairs = [(type(member), number) for member, number in ENUMS.items()]
    assert len(set(pairs)) == len(pairs)


def test_the_passes_of_a_span_come_back():
    passes = tuple(run.Percentiles(n, p50=0.001 * n) for n in (1, 2, 3))
    span = run.SpanFigures("step", "component", run.Percentiles(3), 0.5, component="denoise", passes=passes)
    data = to_wire(span).SerializeToString()
    assert from_wire(run.SpanFigures, profile_service_pb2.SpanFigures.FromString(data)).passes == passes


def test_a_state_of_a_newer_agent_is_kept_as_its_number_and_sent_on_as_it():
    newer = deployment_service_pb2.Deployment(id="x", name="tiny", release="sha256:" + "0" * 64, state=99)
    seen = reported(deployment.Deployment, newer)
    assert (seen.name, seen.state.value) == ("tiny", "#99")
    assert to_wire(seen) == newer
    with pytest.raises(ProtocolError, match="State 99 is not known"):
        from_wire(deployment.Deployment, newer)


@pytest.mark.parametrize("word", ["merging", "#x", "#", "#99999999999", "#-1"])
def test_a_word_that_stood_in_a_document_is_no_number_and_costs_no_answer(word):
    event = run.RunEvent("r-1", newer(run.RunPhase, word))
    assert to_wire(event).phase == profile_service_pb2.RUN_PHASE_UNSPECIFIED


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_what_this_version_reports_is_read_as_it_is(cls):
    value = sample(cls, filled=True)
    assert reported(cls, to_wire(value)) == value


def test_a_figure_without_a_limit_is_another_than_one_whose_limit_is_zero():
    for limit in (None, 0.0):
        figure = parity.ParityFigure("executed", "unequal", 0.0, limit)
        data = to_wire(figure).SerializeToString()
        assert from_wire(parity.ParityFigure, MESSAGES[parity.ParityFigure].FromString(data)) == figure


def test_a_scheme_or_precision_of_a_newer_agent_is_kept():
    wire = device_pb2.ComponentFacts(name="act", scheme="w2g32/nf3", precision="fp6")
    facts = from_wire(device.ComponentFacts, wire)
    assert (facts.scheme, facts.precision) == ("w2g32/nf3", "fp6")
    wire = device_pb2.RuntimeFacts(name="onnxrt", precisions=["fp32", "fp6"])
    assert from_wire(device.RuntimeFacts, wire).precisions == ("fp32", "fp6")


def test_a_word_of_a_newer_host_that_cannot_be_obeyed_is_refused():
    with pytest.raises(ProtocolError, match="Mode 99 is not known"):
        from_wire(loop.LoopOverrides, loop_pb2.LoopOverrides(mode=99))


def test_facts_find_a_runtime_by_name():
    facts = sample(device.DeviceFacts, filled=True)
    assert facts.runtime(facts.runtimes[1].name) is facts.runtimes[1]
    assert facts.runtime("absent") is None
