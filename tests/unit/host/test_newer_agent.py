"""A newer agent reports words that this host does not know: every one is kept and shown, and none is fatal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from edgectl_host.cli.render.fleet import human_status, json_status
from edgectl_host.cli.render.runs import human_run, json_run
from edgectl_host.fleet.inventory import Device
from edgectl_host.report.markdown import report
from edgectl_host.runs.record import RunRecord
from edgectl_host.runs.store import RunStore
from edgectl_host.transport.base import Installed
from edgectl_host.workflows.ask import Answer
from edgectl_host.workflows.deploy import _describe
from edgectl_host.workflows.status import DeviceStatus
from edgectl_protos.agent.v1 import deployment_service_pb2, profile_service_pb2
from edgectl_protos.codec.wire import reported, to_wire
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent, State
from edgectl_protos.domain.device import HelloReply
from edgectl_protos.domain.errors import ProtocolError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.newer import is_newer
from edgectl_protos.domain.run import Exceedances, RunEvent, RunPhase
from edgectl_protos.domain.verdict import Outcome
from edgectl_testkit.runs import counted, device_facts, run_summary

NEWER = 99
TEXTS = ("scheme", "precision", "provider", "runtime", "kind", "sink", "statistic", "arch", "governor")
SUMMARY = counted(run_summary(), Exceedances(run_summary().loop.deadlines.limits[0], 2100, 3, 1.0))


def places(message: Any, path: str = "") -> Iterator[tuple[str, Any, str, int]]:
    """Where a message has an enum or a word: path, the message that holds it, the field, its index or -1."""
    for field in message.DESCRIPTOR.fields:
        name = f"{path}.{field.name}"
        several = field.is_repeated
        values = getattr(message, field.name) if several else [getattr(message, field.name)]
        for index, value in enumerate(values):
            if field.message_type is not None:
                if several or message.HasField(field.name):
                    yield from places(value, f"{name}[{index}]" if several else name)
            elif field.enum_type is not None or (field.name in TEXTS and field.cpp_type == field.CPPTYPE_STRING):
                yield name, message, field.name, index if several else -1


PATHS = [path for path, *_ in places(to_wire(SUMMARY))]


def newer_summary(path: str) -> Any:
    """The summary with something new in one place, as it comes over the wire."""
    message = to_wire(SUMMARY)
    for found, holder, field, index in places(message):
        if found == path:
            value = NEWER if holder.DESCRIPTOR.fields_by_name[field].enum_type is not None else "hyper"
            if index < 0:
                setattr(holder, field, value)
            else:
                getattr(holder, field)[index] = value
    return type(message).FromString(message.SerializeToString())


def printed(renderable: Any) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_there_are_places_of_each_kind():
    assert len(PATHS) > 15
    assert {".loop.mode", ".loop.execution.kind", ".loop.sources[0].kind", ".components[0].scheme"} <= set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_a_run_with_something_new_in_it_is_read_judged_kept_and_shown(path, tmp_path):
    message = newer_summary(path)
    record = RunRecord.of("nuc", reported(type(SUMMARY), message), None, None)
    assert to_wire(record.summary) == message
    assert record.outcome in {"pass", "fail", "inconclusive", "capacity"}
    printed(human_run(record, 100, {}))
    assert report(record, {})
    word = f"#{NEWER}" if f"#{NEWER}" in str(json_run(record)) else "hyper"
    assert word in str(json_run(record))
    store = RunStore(f"sqlite:///{tmp_path}/runs.db")
    store.add(record)
    assert store.get(record.summary.run_id).summary == record.summary
    store.close()


def test_a_run_in_a_mode_or_under_a_limit_that_is_not_known_here_is_never_called_a_pass():
    for path in (".loop.mode", ".loop.deadlines.limits[0].metric", ".loop.deadlines.limits[0].statistic"):
        record = RunRecord.of("nuc", reported(type(SUMMARY), newer_summary(path)), None, None)
        assert record.verdict.outcome is Outcome.INCONCLUSIVE, path


def test_a_deployment_in_a_state_that_is_not_known_here_is_shown_with_it():
    wire = deployment_service_pb2.Deployment(id="d", name="tiny", release="sha256:" + "0" * 64, state=NEWER)
    deployment = reported(Deployment, wire)
    assert is_newer(deployment.state)
    assert deployment.state not in set(State)
    hello = HelloReply("9.9", 1, 4, "nuc", "boot", ("deploy", "merge"))
    status = DeviceStatus(hello, device_facts(), Installed((deployment,), Digest("1" * 64), None))
    answers = [Answer(Device("nuc"), status)]
    assert "#99 · tiny" in printed(human_status(answers))
    assert "#99" in str(json_status(answers))
    event = reported(DeploymentEvent, deployment_service_pb2.DeploymentEvent(state=NEWER, detail="merging"))
    assert _describe(event) == "#99"


def test_a_phase_that_is_not_known_here_is_one_of_many_and_equal_for_equal_numbers():
    one, same, other = (
        reported(RunEvent, profile_service_pb2.RunEvent(phase=number)).phase for number in (NEWER, NEWER, NEWER + 1)
    )
    assert one == same != other
    assert isinstance(one, RunPhase)


def test_what_is_asked_of_an_agent_is_never_of_a_newer_version():
    from edgectl_protos.codec.wire import from_wire
    from edgectl_protos.common.v1 import loop_pb2

    with pytest.raises(ProtocolError, match="Mode 99 is not known"):
        from_wire(LoopOverrides, loop_pb2.LoopOverrides(mode=NEWER))


def test_the_summary_of_this_version_has_nothing_new_in_it():
    assert reported(type(SUMMARY), to_wire(SUMMARY)) == SUMMARY == replace(SUMMARY)
