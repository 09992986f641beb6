"""The plan of a deploy: who gets what, how it is converted, what is sent."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.conversion import (
    human_conversions,
    human_floors,
    json_assignment,
    json_conversions,
    json_floors,
)
from edgectl_host.cli.render.layout import human_failures, rows_table
from edgectl_host.quantities import bytes_words
from edgectl_host.workflows.plan import DeployPlan, DevicePlan
from edgectl_protos.codec.document import to_document

__all__ = ["board_of", "human_plan", "json_plan"]


def human_plan(plan: DeployPlan, width: int) -> RenderableType:
    """Who gets what, how it is converted, what is sent."""
    head = Text.assemble((plan.subject, "bold"), "  nothing is changed: this is the plan")
    releases = ", ".join(str(assignment) for assignment in plan.assignments) or "none"
    table = rows_table(
        ("device", "board", "gets", "sends", ""),
        [_row(row) for row in plan.rows],
        right=("sends",),
        wraps=("board", "gets"),
    )
    parts: list[RenderableType] = [head, Text(f"releases to make: {releases}"), Text(), table]
    if notes := [Text(f"{row.device.name}: {note}", style="dim") for row in plan.rows for note in _notes(row)]:
        parts += [Text(), *notes]
    if plan.conversions:
        parts += [Text(), human_conversions(plan.conversions, width)]
    ways = {(row.way.board, row.way.assignment): row.way for row in plan.rows if row.way is not None}
    if any(way.floors for way in ways.values()):
        parts.append(human_floors(list(ways.values()), width))
    failures = [(row.device.name, row.failure) for row in plan.rows if row.failure]
    return Group(*parts, Text(), human_failures(failures)) if failures else Group(*parts)


def json_plan(plan: DeployPlan) -> dict[str, Any]:
    """The plan as data."""
    return {
        "subject": plan.subject,
        "releases": [json_assignment(assignment) for assignment in plan.assignments],
        "conversions": json_conversions(plan.conversions),
        "devices": [
            {
                "device": row.device.name,
                "board": row.way.board if row.way else row.device.board,
                "stand_in_for": row.stand_in_for,
                "assignment": json_assignment(row.way.assignment) if row.way else None,
                "notes": list(row.way.notes) if row.way else [],
                "floors": json_floors(row.way.floors) if row.way else [],
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
    return row.way.board if row.way else row.device.board


def _row(row: DevicePlan) -> tuple[RenderableType, ...]:
    standing = Text()
    if row.failure is not None:
        standing = Text(row.failure.reason, style="red")
    elif row.release is not None and row.release == row.current:
        standing = Text("already installed", style="dim")
    return row.device.name, board_of(row), str(row.way.assignment) if row.way else "none", _sends(row), standing


def _notes(row: DevicePlan) -> tuple[str, ...]:
    """What was not taken, and why."""
    return row.way.notes if row.way and row.failure is None else ()


def _sends(row: DevicePlan) -> str:
    if row.failure is not None:
        return "–"
    if row.send_bytes is None:
        return "after conversion"
    return f"≤ {bytes_words(row.send_bytes)}" if row.send_bytes else "nothing"
