"""Runs: the list, and one run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import human_failures, minute_words, rows_table
from edgectl_host.report.figures import conditions
from edgectl_host.report.floors import floor_rows
from edgectl_host.report.terminal import STYLES, report
from edgectl_host.report.verdict_words import cures, verdict_parts
from edgectl_host.runs.record import RunRecord
from edgectl_host.workflows.ask import Answer
from edgectl_profiles.schema import Unit
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.roofline import Ceiling
from edgectl_protos.domain.run import Run

if TYPE_CHECKING:
    # The database is loaded by who reads it, not by who shows one run.
    from edgectl_host.runs.store import RunRow
    from edgectl_host.workflows.collect import Collected

__all__ = ["human_ended", "human_run", "human_runs", "json_ended", "json_run", "json_runs"]


def human_runs(
    rows: Sequence[RunRow], collected: Sequence[Answer[Collected]] = (), *, device: str | None = None
) -> RenderableType:
    """The table of runs, newest first, all of `device` if it is named; below it what asked devices said besides."""
    of_device = f" of {device}" if device else ""
    table: RenderableType = Text(
        f"no run{of_device} is recorded yet; measure one: edgectl deploy CHECKPOINT, or edgectl profile"
    )
    if rows:
        table = rows_table(
            ("run", "verdict", "when", "device", "board", "runtime", "policy"),
            [
                (
                    row.id,
                    Text(row.outcome.upper(), style=STYLES.get(row.outcome, "bold")),
                    minute_words(row.started_s),
                    row.device,
                    f"stand-in for {row.board}" if row.stand_in else row.board,
                    f"{row.runtime} {row.precision}",
                    row.name,
                )
                for row in rows
            ],
            wraps=("board", "runtime"),
        )
    lines = [line for answer in collected for line in _said(answer)]
    return Group(table, Text(), *lines) if lines else table


def json_runs(rows: Sequence[RunRow], collected: Sequence[Answer[Collected]] = ()) -> dict[str, Any]:
    """The list of runs, and what devices that were asked said."""
    devices = [
        {
            "device": answer.device.name,
            "fetched": [record.summary.run_id for record in answer.value.records] if answer.value else [],
            "others": to_document(answer.value.others) if answer.value else [],
            "failure": to_document(answer.failure),
        }
        for answer in collected
    ]
    return {"runs": [asdict(row) for row in rows], "devices": devices}


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


def human_ended(device: str, run: Run) -> RenderableType:
    """A run that somebody ended, or that was over already."""
    return _line(device, run)


def json_ended(device: str, run: Run) -> dict[str, Any]:
    """A run that somebody ended, or that was over already."""
    return {"device": device, "run": to_document(run)}


def _said(answer: Answer[Collected]) -> list[RenderableType]:
    if answer.value is None:
        return [human_failures([(answer.device.name, answer.failure)])]
    fetched = [Text(f"{answer.device.name}: fetched run {r.summary.run_id}") for r in answer.value.records]
    return [*fetched, *(_line(answer.device.name, run) for run in answer.value.others)]


def _line(device: str, run: Run) -> Text:
    why = f": {run.failure.message}" if run.failure else ""
    return Text(
        f"{device}: run {run.run_id} of {run.owner} is {run.phase.value}, begun {minute_words(run.begun_s)}{why}"
    )
