"""Findings of the doctor, and the embedded agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import facts_table, rows_table
from edgectl_host.transport.local import AgentStatus
from edgectl_host.workflows.doctor import Finding, Health
from edgectl_protos.codec.document import to_document

__all__ = ["agent_finding", "human_agent", "human_findings", "json_agent", "json_findings"]

_STYLES = {Health.OK: "green", Health.ABSENT: "yellow", Health.PROBLEM: "bold red"}


def human_findings(findings: Sequence[Finding]) -> RenderableType:
    """One row each; the hint stands below what it helps."""
    rows: list[tuple[RenderableType, ...]] = []
    for finding in findings:
        word = Text(finding.health.value, style=_STYLES[finding.health])
        detail = Text(finding.detail)
        if finding.hint:
            detail.append(f"\n→ {finding.hint}", style="cyan")
        rows.append((word, finding.subject, detail))
    return rows_table(("", "", ""), rows)


def json_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One object each."""
    return [to_document(finding) for finding in findings]


def agent_finding(status: AgentStatus) -> Finding:
    """The embedded agent as a finding."""
    if status.hello is None:
        return Finding("local agent", Health.ABSENT, "not running", "--fleet local starts it; edgectl agent start")
    detail = f"{status.hello.agent_version} · pid {status.pid} · {status.address} · log {status.log}"
    return Finding("local agent", Health.OK, detail, "it keeps running; end it: edgectl agent stop")


def human_agent(status: AgentStatus) -> RenderableType:
    """The embedded agent."""
    running = f"running, pid {status.pid}" if status.hello else "not running"
    rows = [("address", status.address), ("state", str(status.state_dir)), ("log", str(status.log))]
    if status.hello:
        rows.insert(0, ("version", f"{status.hello.agent_version} · protocol {status.hello.protocol_max}"))
    return Group(Text.assemble(("local agent", "bold"), f"  {running}"), facts_table(rows))


def json_agent(status: AgentStatus) -> dict[str, Any]:
    """The embedded agent."""
    return {
        "running": status.hello is not None,
        "pid": status.pid,
        "address": status.address,
        "state_dir": str(status.state_dir),
        "log": str(status.log),
        "hello": to_document(status.hello),
    }
