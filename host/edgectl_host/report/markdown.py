"""A run as Markdown, for an issue or a README: the same words as on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edgectl_host.report.figures import COLUMNS, notes, outcome_word, provenance, stage_rows, verdict_parts
from edgectl_host.runs.record import RunRecord

__all__ = ["report"]


def report(record: RunRecord) -> str:
    """The whole report."""
    head = ("stage", "n", *COLUMNS, "max", "share")
    rows = [
        (
            row.stage,
            str(row.n),
            *row.cells,
            "" if row.share is None else f"{row.share:.1%}".replace("%", " %"),
        )
        for row in stage_rows(record.summary)
    ]
    return "\n".join(
        (
            f"**{outcome_word(record)}** {' · '.join(verdict_parts(record))}",
            "",
            *_table(head, rows, align="l" + "r" * (len(head) - 1)),
            "",
            notes(record),
            "",
            *_table(("", ""), provenance(record), align="ll"),
            "",
        )
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> list[str]:
    rule = "".join(f"{'---:' if side == 'r' else '---'}|" for side in align)
    return [_row(head), f"|{rule}", *(_row(row) for row in rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
