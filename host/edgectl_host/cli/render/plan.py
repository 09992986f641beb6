"""The plan of a deploy: who gets which route, what is converted, what is sent."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import human_failures, rows_table
from edgectl_host.quantities import bytes_words
from edgectl_host.workflows.plan import DeployPlan, DevicePlan
from edgectl_protos.codec.document import to_document

__all__ = ["board_of", "human_plan", "json_plan"]


def human_plan(plan: DeployPlan) -> RenderableType:
    """Who gets which route, what is converted, what is sent."""
    head = Text.assemble((plan.subject, "bold"), "  nothing is changed: this is the plan")
    targets = ", ".join(str(target) for target in plan.targets) or "none"
    table = rows_table(
        ("device", "board", "route", "sends", "notes"),
        [_row(row) for row in plan.rows],
        right=("sends",),
        wraps=("board",),
    )
    parts: list[RenderableType] = [head, Text(f"releases to make: {targets}"), Text(), table]
    failures = [(row.device.name, row.failure) for row in plan.rows if row.failure]
    return Group(*parts, Text(), human_failures(failures)) if failures else Group(*parts)


def json_plan(plan: DeployPlan) -> dict[str, Any]:
    """The plan as data."""
    return {
        "subject": plan.subject,
        "releases": [to_document(target) for target in plan.targets],
        "devices": [
            {
                "device": row.device.name,
                "board": row.route.board if row.route else row.device.board,
                "stand_in_for": row.stand_in_for,
                "target": to_document(row.route.target) if row.route else None,
                "notes": list(row.route.notes) if row.route else [],
                "current": to_document(row.current),
                "release": to_document(row.release),
                "send_bytes": row.send_bytes,
                "failure": to_document(row.failure),
            }
            for row in plan.rows
        ],
    }


def board_of(row: DevicePlan) -> str:
    """The board, or what the device stands in for."""
    if row.stand_in_for:
        return f"stand-in for {row.stand_in_for}"
    return row.route.board if row.route else row.device.board


def _row(row: DevicePlan) -> tuple[RenderableType, ...]:
    route = row.route
    notes = list(route.notes) if route else []
    if row.failure is not None:
        notes = [row.failure.reason]
    elif row.release is not None and row.release == row.current:
        notes.insert(0, "already installed")
    style = "red" if row.failure else "dim"
    return (
        row.device.name,
        board_of(row),
        str(route.target) if route else "none",
        _sends(row),
        Text("; ".join(notes), style=style),
    )


def _sends(row: DevicePlan) -> str:
    if row.failure is not None:
        return "–"
    if row.send_bytes is None:
        return "after conversion"
    return f"≤ {bytes_words(row.send_bytes)}" if row.send_bytes else "nothing"
