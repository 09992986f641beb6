"""A run for the terminal: the verdict first, then where the time went, then where the figures come from.

Everything fits the console's width; a verdict that does not is broken between its parts.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgectl_host.report.figures import COLUMNS, component_rows, conditions, notes, outcome_word, span_rows
from edgectl_host.report.floors import FLOOR_COLUMNS, floor_rows
from edgectl_host.report.generation import generation_rows
from edgectl_host.report.parity import DIMENSION_COLUMNS, dimension_rows
from edgectl_host.report.provenance import provenance
from edgectl_host.report.verdict_words import cures, verdict_parts
from edgectl_host.runs.record import CAPACITY, RunRecord
from edgectl_profiles.schema import Unit
from edgectl_protos.domain.roofline import Ceiling

__all__ = ["STYLES", "report", "span_table", "verdict_line"]

STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow", CAPACITY: "bold cyan"}
_BAR_CELLS = 10
_WIDTH_FOR_BARS = 90
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def report(record: RunRecord, width: int, measured: Mapping[Unit, Ceiling] | None = None) -> RenderableType:
    """The whole report; `measured` are rates of the machine that ran it."""
    return Group(
        verdict_line(record, width),
        *(Text(f"cure: {cure}", style="yellow") for cure in cures(record)),
        Text(),
        *_components_table(record),
        span_table(record, width),
        Text(notes(record), style="dim"),
        Text(),
        *_floors_table(record, measured or {}),
        *_generation_table(record),
        *_dimensions_table(record),
        _provenance_table(record),
    )


def verdict_line(record: RunRecord, width: int) -> Text:
    """The verdict, under which conditions, and below it how it was reached; broken between its parts."""
    word = outcome_word(record)
    line = Text.assemble((word, STYLES.get(record.outcome, "bold")), " " * max(2, 6 - len(word)))
    indent = len(line.plain)
    for row, parts in enumerate((conditions(record), verdict_parts(record))):
        column = width if row else indent
        for index, part in enumerate(parts):
            separator = " · " if index else ""
            if column + len(separator) + len(part) > width:
                line.append(f"\n{' ' * indent}")
                separator, column = "", indent
            line.append(separator + part)
            column += len(separator) + len(part)
    return line


def span_table(record: RunRecord, width: int) -> Table:
    """The waterfall; a narrow terminal gets the figures without the bars."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    table.add_column("step", overflow="fold", min_width=12)
    table.add_column("n", justify="right", no_wrap=True)
    for name in (*COLUMNS, "max"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("")
    for row in span_rows(record):
        share = "" if row.share is None else f"{row.share:.1%}".replace("%", " %")
        mark = _bar(row.share) if row.share is not None and width >= _WIDTH_FOR_BARS else ""
        style = "dim" if row.share is None else None
        cells = [Text(cell, style="dim" if cell.startswith("n/a") else "") for cell in row.cells]
        table.add_row(row.step, str(row.n), *cells, share, Text(mark, style="cyan"), style=style)
    return table


def _components_table(record: RunRecord) -> tuple[RenderableType, ...]:
    """The components, when there are several."""
    rows = component_rows(record)
    if not rows:
        return ()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("component", "runtime", "scheme", "precision used", "provider"):
        table.add_column(name, overflow="fold", no_wrap=name in ("scheme", "precision used"))
    for row in rows:
        precision = Text(row.precision, style="yellow" if row.loud else "")
        table.add_row(row.name, row.runtime, row.scheme, precision, row.provider)
    return (table, Text())


def _floors_table(record: RunRecord, measured: Mapping[Unit, Ceiling]) -> tuple[RenderableType, ...]:
    """What each component takes at least, and took."""
    rows = floor_rows(record, measured)
    if not rows:
        return ()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in FLOOR_COLUMNS:
        table.add_column(name, justify="left" if name in ("component", "bound by") else "right", overflow="fold")
    for row in rows:
        table.add_row(*row.cells)
    return (table, Text())


def _dimensions_table(record: RunRecord) -> tuple[RenderableType, ...]:
    """How far each dimension of the action is off, in the robot's units."""
    rows = dimension_rows(record)
    if not rows:
        return ()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in DIMENSION_COLUMNS:
        left = name == "dimension"
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in rows:
        table.add_row(*row)
    return (table, Text())


def _generation_table(record: RunRecord) -> tuple[RenderableType, ...]:
    """How fast texts are generated, and what bounds it."""
    rows = generation_rows(record)
    if not rows:
        return ()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return (table, Text())


def _provenance_table(record: RunRecord) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for key, value in provenance(record):
        loud = (
            "USED" in value
            or "NOT STEADY" in value
            or "FAILED" in value
            or "NOT DECIDED" in value
            or value.startswith("stand-in")
        )
        table.add_row(key, Text(value, style="yellow" if loud else ""))
    return table


def _bar(share: float) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * _BAR_CELLS * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
