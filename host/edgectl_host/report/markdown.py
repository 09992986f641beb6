"""A run as Markdown, for an issue or a README: the same words as on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgectl_host.report.figures import COLUMNS, component_rows, conditions, notes, outcome_word, span_rows
from edgectl_host.report.floors import FLOOR_COLUMNS, floor_rows
from edgectl_host.report.generation import generation_rows
from edgectl_host.report.parity import DIMENSION_COLUMNS, dimension_rows
from edgectl_host.report.provenance import provenance
from edgectl_host.report.verdict_words import cures, verdict_parts
from edgectl_host.runs.record import RunRecord
from edgectl_profiles.schema import Unit
from edgectl_protos.domain.roofline import Ceiling

__all__ = ["report"]


def report(record: RunRecord, measured: Mapping[Unit, Ceiling] | None = None) -> str:
    """The whole report; `measured` are rates of the machine that ran it."""
    head = ("step", "n", *COLUMNS, "max", "share")
    rows = [
        (
            row.step.replace("  ", "&nbsp;&nbsp;"),
            str(row.n),
            *row.cells,
            "" if row.share is None else f"{row.share:.1%}".replace("%", " %"),
        )
        for row in span_rows(record)
    ]
    return "\n".join(
        (
            f"**{outcome_word(record)}** {' · '.join(conditions(record))}",
            "",
            " · ".join(verdict_parts(record)),
            "",
            *(line for cure in cures(record) for line in (f"Cure: {cure}", "")),
            *_components(record),
            *_table(head, rows, align="l" + "r" * (len(head) - 1)),
            "",
            notes(record),
            "",
            *_floors(record, measured or {}),
            *_generation(record),
            *_dimensions(record),
            *_table(("", ""), provenance(record), align="ll"),
            "",
        )
    )


def _components(record: RunRecord) -> list[str]:
    rows = [(row.name, row.runtime, row.scheme, row.precision, row.provider) for row in component_rows(record)]
    head = ("component", "runtime", "scheme", "precision used", "provider")
    return [*_table(head, rows, align="lllll"), ""] if rows else []


def _floors(record: RunRecord, measured: Mapping[Unit, Ceiling]) -> list[str]:
    rows = [row.cells for row in floor_rows(record, measured)]
    return [*_table(FLOOR_COLUMNS, rows, align="lrrlrr"), ""] if rows else []


def _generation(record: RunRecord) -> list[str]:
    rows = generation_rows(record)
    return [*_table(("generated", ""), rows, align="ll"), ""] if rows else []


def _dimensions(record: RunRecord) -> list[str]:
    rows = dimension_rows(record)
    return [*_table(DIMENSION_COLUMNS, rows, align="l" + "r" * (len(DIMENSION_COLUMNS) - 1)), ""] if rows else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> list[str]:
    rule = "".join(f"{'---:' if side == 'r' else '---'}|" for side in align)
    return [_row(head), f"|{rule}", *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
