"""The demo: verdicts side by side, the best one named, and its report."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.conversion import json_assignment
from edgectl_host.cli.render.layout import human_failures
from edgectl_host.cli.render.runs import json_run
from edgectl_host.cli.render.verdicts import human_side_by_side
from edgectl_host.quantities import time_words
from edgectl_host.report.terminal import report
from edgectl_host.workflows.demo import DemoResult
from edgectl_protos.codec.document import to_document

__all__ = ["human_demo", "json_demo"]


def human_demo(name: str, result: DemoResult, width: int) -> RenderableType:
    """The table first, then the best run in full."""
    records = [(str(assignment), row.record) for assignment, row in result.rows if row.record is not None]
    failures = [(str(assignment), row.failure) for assignment, row in result.rows if row.failure]
    parts: list[RenderableType] = [human_side_by_side(records), Text()] if records else []
    parts += [human_failures(failures), Text()] if failures else []
    best = next((row for assignment, row in result.rows if assignment == result.best), None)
    if best is None or best.record is None:
        return Group(*parts, Text(f"{name}: none of them holds its deadlines here", style="bold red"))
    p95 = time_words(best.record.summary.response.p95)
    headline = Text(f"{name}: best here is {result.best}, tick p95 {p95}", style="bold")
    return Group(*parts, headline, Text(), report(best.record, width))


def json_demo(result: DemoResult) -> dict[str, Any]:
    """Every run, and which one is best."""
    return {
        "best": str(result.best) if result.best else None,
        "runs": [
            {
                "assignment": json_assignment(assignment),
                "outcome": row.record.outcome if row.record else None,
                "run": json_run(row.record) if row.record else None,
                "failure": to_document(row.failure),
            }
            for assignment, row in result.rows
        ],
    }
