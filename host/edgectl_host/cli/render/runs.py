"""Runs: the list, and one run again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import rows_table
from edgectl_host.report.figures import conditions, cures, verdict_parts
from edgectl_host.report.floors import floor_rows
from edgectl_host.report.terminal import STYLES, report
from edgectl_host.runs.record import RunRecord
from edgectl_profiles.schema import Unit
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.roofline import Ceiling

if TYPE_CHECKING:
    # The database is loaded by who reads it, not by who shows one run.
    from edgectl_host.runs.store import RunRow

__all__ = ["human_run", "human_runs", "json_run", "json_runs"]


def human_runs(rows: Sequence[RunRow]) -> RenderableType:
    """The table of runs, newest first."""
    if not rows:
        return Text("no run is recorded yet; measure one: edgectl deploy CHECKPOINT, or edgectl profile")
    return rows_table(
        ("run", "verdict", "when", "device", "board", "runtime", "policy"),
        [
            (
                row.id,
                Text(row.outcome.upper(), style=STYLES[row.outcome]),
                time.strftime("%Y-%m-%d %H:%M", time.localtime(row.started_s)),
                row.device,
                f"stand-in for {row.board}" if row.stand_in else row.board,
                f"{row.runtime} {row.precision}",
                row.name,
            )
            for row in rows
        ],
        wraps=("board", "runtime"),
    )


def json_runs(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """The list of runs."""
    return [asdict(row) for row in rows]


def human_run(record: RunRecord, width: int, measured: Mapping[Unit, Ceiling]) -> RenderableType:
    """The whole report of a run; `measured` are rates of the machine that ran it."""
    return report(record, width, measured)


def json_run(record: RunRecord, measured: Mapping[Unit, Ceiling] | None = None) -> dict[str, Any]:
    """A run with everything that is known about it."""
    return {
        "device": record.device,
        "outcome": record.outcome,
        "stand_in_for": record.summary.facts.stand_in_for,
        "conditions": list(conditions(record)),
        "findings": list(verdict_parts(record)),
        "cures": list(cures(record)),
        "verdict": to_document(record.verdict),
        "floors": [asdict(row) for row in floor_rows(record, measured or {})],
        "summary": to_document(record.summary),
        "deployment": to_document(record.deployment),
        "manifest": to_document(record.manifest),
        "samples_path": record.samples_path,
    }
