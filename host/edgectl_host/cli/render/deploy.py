"""What became of a deploy: one report for one device, a table for a fleet, and what was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.conversion import json_assignment
from edgectl_host.cli.render.layout import human_failures
from edgectl_host.cli.render.plan import board_of
from edgectl_host.cli.render.runs import json_run
from edgectl_host.cli.render.verdicts import Line, human_lines
from edgectl_host.quantities import bytes_words
from edgectl_host.report.terminal import report
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.rollout import Row
from edgectl_profiles.schema import Unit
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.roofline import Ceiling

__all__ = ["human_row", "human_rows", "json_rows"]


def human_row(row: Row, width: int, measured: Mapping[Unit, Ceiling]) -> RenderableType:
    """One device: its report, or what was installed when nothing was measured; `measured` are its machine's rates."""
    if row.record is None:
        return _sent([row])
    parts = [report(row.record, width, measured), Text(), _sent([row])]
    if row.failure is not None:
        parts.append(human_failures([(row.plan.device.name, row.failure)]))
    return Group(*parts)


def human_rows(rows: Sequence[Row]) -> RenderableType:
    """A fleet: one row each, then what each release cost to send."""
    lines = [
        Line(
            device=row.plan.device.name,
            board=board_of(row.plan),
            runs_on=str(row.plan.way.assignment) if row.plan.way else "",
            record=row.record,
            failure=row.failure,
        )
        for row in rows
    ]
    return Group(human_lines(lines), Text(), _sent(rows))


def json_rows(rows: Sequence[Row]) -> dict[str, Any]:
    """What became of every device."""
    return {"devices": [_json_row(row) for row in rows]}


def _json_row(row: Row) -> dict[str, Any]:
    return {
        "device": row.plan.device.name,
        "board": row.plan.way.board if row.plan.way else row.plan.device.board,
        "stand_in_for": row.plan.stand_in_for,
        "assignment": json_assignment(row.plan.way.assignment) if row.plan.way else None,
        "release": to_document(row.bundle.digest) if row.bundle else None,
        "bundle": str(row.bundle.directory) if row.bundle else None,
        "converted_before": row.bundle.cached if row.bundle else None,
        "already_installed": row.install.already if row.install else False,
        "sent_bytes": row.install.sent_bytes if row.install else 0,
        "deployment": to_document(row.install.deployment) if row.install else None,
        "outcome": row.record.outcome if row.record else None,
        "run": json_run(row.record) if row.record else None,
        "failure": to_document(row.failure),
    }


def _sent(rows: Sequence[Row]) -> Text:
    """A line for each release."""
    bundles = {row.bundle.digest: row.bundle for row in rows if row.bundle and row.install}
    lines = [_sent_line(bundle, rows) for bundle in bundles.values()]
    return Text("\n".join(lines), style="dim")


def _sent_line(bundle: Bundle, rows: Sequence[Row]) -> str:
    installs = [
        (row.plan.device.name, row.install)
        for row in rows
        if row.install and row.bundle and row.bundle.digest == bundle.digest
    ]
    sent = [f"{name} ({bytes_words(install.sent_bytes)} sent)" for name, install in installs if not install.already]
    there = [name for name, install in installs if install.already]
    parts = [f"installed on {', '.join(sent)}"] if sent else []
    parts += [f"already installed on {', '.join(there)}: nothing was sent"] if there else []
    size = bytes_words(bundle.manifest.size_bytes)
    return f"{bundle.manifest.name} {bundle.digest.short} · {bundle.assignment} · {size} · {'; '.join(parts)}"
