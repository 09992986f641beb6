"""Verdicts side by side: a row for each device, and below the table what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import human_failures, rows_table
from edgectl_host.cli.render.runs import json_run
from edgectl_host.components import components_words
from edgectl_host.quantities import time_words
from edgectl_host.report.figures import board_words
from edgectl_host.report.terminal import STYLES
from edgectl_host.runs.record import RunRecord
from edgectl_host.workflows.ask import Answer
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.run import SAMPLE_FLOORS, Percentiles

__all__ = ["Line", "human_answers", "human_lines", "json_answers"]


@dataclass(frozen=True, slots=True)
class Line:
    """One device. Without a record it was only installed, or failed."""

    device: str
    board: str
    runs_on: str
    record: RunRecord | None
    failure: Failure | None


def human_lines(lines: Sequence[Line]) -> RenderableType:
    """The table of a fleet, verdict first, and below it why devices failed."""
    table = rows_table(
        ("verdict", "device", "board", "tick", "age", "misses", "replan", "runs on"),
        [_row(line) for line in lines],
        right=("tick", "age", "misses", "replan"),
        wraps=("board",),
    )
    failures = [(line.device, line.failure) for line in lines if line.failure]
    return Group(table, Text(), human_failures(failures)) if failures else table


def human_answers(answers: Sequence[Answer[RunRecord]]) -> RenderableType:
    """Runs on a fleet."""
    return human_lines([_line(answer) for answer in answers])


def json_answers(answers: Sequence[Answer[RunRecord]]) -> dict[str, Any]:
    """Runs on a fleet."""
    return {
        "devices": [
            {
                "device": answer.device.name,
                "outcome": answer.value.outcome if answer.value else None,
                "run": json_run(answer.value) if answer.value else None,
                "failure": to_document(answer.failure),
            }
            for answer in answers
        ]
    }


def _line(answer: Answer[RunRecord]) -> Line:
    record = answer.value
    if record is None:
        return Line(answer.device.name, answer.device.board, "", None, answer.failure)
    summary = record.summary
    words = components_words(summary.components)
    return Line(answer.device.name, board_words(summary.facts), words, record, None)


def _row(line: Line) -> tuple[RenderableType, ...]:
    record = line.record
    if record is None:
        word = Text("FAILED", style="bold red") if line.failure else Text("installed", style="bold")
        return (word, line.device, line.board, "–", "–", "–", "–", line.runs_on)
    summary = record.summary
    return (
        _word(record),
        line.device,
        line.board,
        _tail(summary.response),
        _tail(summary.age),
        _percent(summary.misses.rate),
        f"{summary.rates.replan_hz:.1f} Hz",
        line.runs_on,
    )


def _word(record: RunRecord) -> Text:
    return Text(record.outcome.upper(), style=STYLES.get(record.outcome, "bold"))


def _tail(values: Percentiles) -> str:
    tail = values.tail
    return f"{tail[0]} {time_words(tail[1])}" if tail else f"n/a ({values.n} of {SAMPLE_FLOORS['p50']})"


def _percent(ratio: float) -> str:
    return f"{ratio:.1%}".replace("%", " %")
