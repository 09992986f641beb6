"""Conversions before they run: their steps in order, what is cached, and what the rest will cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_converters.assignment import Assignment
from edgectl_converters.floors import ComponentFloor
from edgectl_converters.plan import ConversionPlan, PlannedStep
from edgectl_host.cli.render.layout import rows_table
from edgectl_host.quantities import bytes_words, long_words, time_words
from edgectl_host.workflows.plan import Way
from edgectl_protos.codec.document import to_document

__all__ = ["human_conversions", "human_floors", "json_assignment", "json_conversions", "json_floors"]

_KEY_LENGTH = 8
_WIDTH_FOR_KEYS = 90
_WIDTH_FOR_COSTS = 76


def human_conversions(plans: Sequence[ConversionPlan], width: int) -> RenderableType:
    """A table for each conversion."""
    if not plans:
        return Text("nothing to convert: it is a bundle")
    parts: list[RenderableType] = []
    for plan in plans:
        parts += [Text()] if parts else []
        parts += [_title(plan), _table(plan, width)]
    return Group(*parts)


def human_floors(ways: Sequence[Way], width: int) -> RenderableType:
    """What each component takes at least on each board; known from the first export on."""
    work = width >= _WIDTH_FOR_COSTS
    rows = [
        (way.board, one.component.name, *(_work_cells(one) if work else ()), *_floor_cells(one))
        for way in ways
        for one in way.floors
    ]
    if not rows:
        return Text("floors: known from the first export on", style="dim")
    numbers = ("calls", "operations", "weights") if work else ()
    columns = ("board", "component", *numbers, "floor", "bound by")
    return Group(Text(), rows_table(columns, rows, right=(*numbers, "floor")))


def json_floors(floors: Sequence[ComponentFloor]) -> list[dict[str, Any]]:
    """One object for each component."""
    return [
        {
            "component": one.component.name,
            "calls": one.component.calls,
            "work": to_document(one.component.work),
            "floor_s": one.inference_s,
            "bound": one.floor.bound if one.floor else None,
            "partial": one.floor.partial if one.floor else None,
        }
        for one in floors
    ]


def json_conversions(plans: Sequence[ConversionPlan], ways: Sequence[Way] = ()) -> list[dict[str, Any]]:
    """One object for each conversion, with the floors on the boards that get it."""
    return [
        {
            "assignment": json_assignment(plan.request.assignment),
            "cached": plan.cached,
            "steps": [to_document(step) for step in plan.steps],
            "floors": {way.board: json_floors(way.floors) for way in ways if way.assignment == plan.request.assignment},
        }
        for plan in plans
    ]


def json_assignment(assignment: Assignment) -> dict[str, str]:
    """Runtimes and schemes, as they are written on the command line."""
    return {"runtime": str(assignment.runtime), "scheme": str(assignment.scheme)}


def _work_cells(one: ComponentFloor) -> tuple[str, ...]:
    work = one.component.work
    calls = str(one.component.calls) if one.component.calls else "by text"
    return (calls, *((f"{work.operations / 1e9:.3g} G", f"{work.weights / 1e6:.3g} M") if work else ("–", "–")))


def _floor_cells(one: ComponentFloor) -> tuple[str, str]:
    if one.component.work is None:
        return "–", "not counted in this form"
    if one.floor is None:
        return "–", "neither rate nor bandwidth is known"
    bound = f"{one.floor.bound}, the other is not known" if one.floor.partial else one.floor.bound
    return time_words(one.inference_s), bound


def _title(plan: ConversionPlan) -> Text:
    todo = [step for step in plan.steps if not step.cached]
    if not todo:
        return Text.assemble((str(plan.request.assignment), "bold"), "  converted before: nothing is left to do")
    costs = [f"{len(todo)} of {len(plan.steps)} steps to do"]
    times = [step.estimate_s for step in todo if step.estimate_s is not None]
    if times:
        unknown = len(todo) - len(times)
        costs.append(f"about {long_words(sum(times))}{f' and {unknown} of unknown time' if unknown else ''}")
    disk = sum(step.disk_bytes or 0 for step in todo)
    if disk:
        costs.append(f"{bytes_words(disk)} of disk")
    memory = max((step.memory_bytes or 0 for step in todo), default=0)
    if memory:
        costs.append(f"{bytes_words(memory)} of memory")
    return Text.assemble((str(plan.request.assignment), "bold"), f"  {', '.join(costs)}")


def _table(plan: ConversionPlan, width: int) -> RenderableType:
    keys, costs = width >= _WIDTH_FOR_KEYS, width >= _WIDTH_FOR_COSTS
    where = [*(["toolchain"] if costs else []), *(["key"] if keys else [])]
    sizes = ["disk", "memory"] if costs else []
    columns = ["step", "of", "tool", *where, "time", *sizes, "note"]
    rows = [
        [
            step.kind,
            step.subject,
            step.tool,
            *([step.toolchain or "–"] if costs else []),
            *([step.key[:_KEY_LENGTH] or "–"] if keys else []),
            *_costs(step)[: 1 + len(sizes)],
            Text(step.note, style="dim"),
        ]
        for step in plan.steps
    ]
    return rows_table(columns, rows, right=("time", *sizes), wraps=("of", "tool"))


def _costs(step: PlannedStep) -> tuple[RenderableType, ...]:
    if step.cached:
        return (Text("cached", style="green"), "", "")
    time = f"≈ {long_words(step.estimate_s)}" if step.estimate_s is not None else "–"
    return (time, *("–" if size is None else bytes_words(size) for size in (step.disk_bytes, step.memory_bytes)))
