"""Devices: what is installed on each, and what became of a rollback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import facts_table, human_failures, minute_words
from edgectl_host.components import components_words, providers_word
from edgectl_host.quantities import bytes_words
from edgectl_host.report.figures import board_words
from edgectl_host.workflows.ask import Answer
from edgectl_host.workflows.status import DeviceStatus
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.deployment import Deployment, State
from edgectl_protos.domain.device import DeviceFacts, RuntimeFacts

__all__ = ["human_rollback", "human_status", "json_rollback", "json_status"]


def human_status(answers: Sequence[Answer[DeviceStatus]]) -> RenderableType:
    """A block for each device."""
    blocks: list[RenderableType] = []
    for answer in answers:
        blocks += [Text()] if blocks else []
        blocks.append(_status_block(answer))
    return Group(*blocks)


def json_status(answers: Sequence[Answer[DeviceStatus]]) -> list[dict[str, Any]]:
    """One object for each device."""
    return [
        {
            "device": answer.device.name,
            "failure": to_document(answer.failure),
            "hello": to_document(answer.value.hello) if answer.value else None,
            "facts": to_document(answer.value.facts) if answer.value else None,
            "current": to_document(answer.value.installed.current) if answer.value else None,
            "previous": to_document(answer.value.installed.previous) if answer.value else None,
            "deployments": to_document(answer.value.installed.deployments) if answer.value else None,
            "problems": _problems(answer.value) if answer.value else None,
        }
        for answer in answers
    ]


def human_rollback(answers: Sequence[Answer[Deployment]]) -> RenderableType:
    """A line for each device."""
    lines = []
    for answer in answers:
        if answer.value is None:
            lines.append(_failed(answer))
        else:
            release = f"{answer.value.name} {answer.value.release.short}"
            lines.append(Text.assemble((answer.device.name, "bold"), f"  runs {release} again"))
    return Group(*lines)


def json_rollback(answers: Sequence[Answer[Deployment]]) -> list[dict[str, Any]]:
    """One object for each device."""
    return [
        {
            "device": answer.device.name,
            "failure": to_document(answer.failure),
            "deployment": to_document(answer.value),
        }
        for answer in answers
    ]


def _status_block(answer: Answer[DeviceStatus]) -> RenderableType:
    status = answer.value
    if status is None:
        return _failed(answer)
    facts, installed = status.facts, status.installed
    title = Text.assemble((answer.device.name, "bold"), "  ", (board_words(facts), "cyan"))
    rows = [
        ("current", _release_words(installed.current, status)),
        ("previous", _release_words(installed.previous, status)),
    ]
    last = status.last
    if last is not None and (last.state is not State.COMMITTED or last.release != installed.current):
        rows.append(("last deployment", _deployment_words(last)))
    rows.append(("device", _facts_words(facts)))
    rows.append(("runtimes", _runtimes_words(facts)))
    if absent := [_absent_words(runtime) for runtime in facts.runtimes if runtime.problem]:
        rows.append(("without", " · ".join(absent)))
    rows.append(("agent", f"{status.hello.agent_version} · protocol {status.hello.protocol_max}"))
    if lacking := [said for said in facts.isolation if said.startswith(("not", "off"))]:
        rows.append(("workers", "; ".join(lacking)))
    rows += [("problem", problem) for problem in _problems(status)]
    return Group(title, facts_table(rows))


def _problems(status: DeviceStatus) -> list[str]:
    """What keeps the device from being as it should."""
    releases = [f"release {release.short}: {problem}" for release, problem in status.installed.problems.items()]
    return [*status.hello.problems, *releases]


def _failed(answer: Answer[Any]) -> Text:
    return human_failures([(answer.device.name, answer.failure)])


def _release_words(release: Digest | None, status: DeviceStatus) -> str:
    if release is None:
        return "nothing"
    deployment = status.deployment_of(release)
    if deployment is None:
        return release.short
    components = deployment.components
    used = f" · {components_words(components)} on {providers_word(components)}" if components else ""
    return f"{deployment.name} {release.short}{used} · {minute_words(deployment.changed_s)} by {deployment.owner}"


def _deployment_words(deployment: Deployment) -> str:
    when = minute_words(deployment.changed_s)
    text = f"{deployment.state.value} · {deployment.name} {deployment.release.short} · {when}"
    failure = deployment.failure
    return f"{text} · {failure.reason}: {failure.message}" if failure else text


def _facts_words(facts: DeviceFacts) -> str:
    temperature = f"{facts.temperature_c:.0f} °C" if facts.temperature_c is not None else "no sensor"
    return (
        f"{facts.cpu_model} · {facts.cpu_count} cores · {bytes_words(facts.memory_bytes)} memory · "
        f"{bytes_words(facts.disk_free_bytes)} free · load {facts.load_1min:.2f} · {temperature}"
    )


def _runtimes_words(facts: DeviceFacts) -> str:
    working = [runtime for runtime in facts.runtimes if not runtime.problem]
    return " · ".join(f"{each.name} {each.version} ({' '.join(each.precisions)})" for each in working) or "none works"


def _absent_words(runtime: RuntimeFacts) -> str:
    # Most problems begin with the name already.
    return f"{runtime.name}: {runtime.problem.removeprefix(f'{runtime.name} ')}"
