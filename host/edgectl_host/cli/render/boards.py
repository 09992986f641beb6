"""What became of each board of a conversion for many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.conversion import json_assignment
from edgectl_host.cli.render.layout import human_failures, rows_table
from edgectl_host.quantities import bytes_words, long_words
from edgectl_host.workflows.convert_boards import BoardRow
from edgectl_host.workflows.proof import Proof, proof_of
from edgectl_protos.codec.document import to_document

__all__ = ["human_rows", "json_rows"]

_STYLES = {Proof.NATIVE: "green", Proof.EMULATED: "green", Proof.BUILT: "cyan", Proof.PENDING: "yellow"}


def human_rows(rows: Sequence[BoardRow]) -> RenderableType:
    """A line each, and what went wrong below."""
    made = [row for row in rows if row.bundle is not None]
    head = f"{len(made)} of {len(rows)} boards, {len({row.bundle.digest for row in made if row.bundle})} bundles"
    table = rows_table(
        ("board", "gets", "size", "proof", "took", "release"), [_row(row) for row in rows], right=("size", "took")
    )
    failures = [(row.board, row.failure) for row in rows if row.failure]
    parts: list[RenderableType] = [Text(head, style="bold"), table]
    return Group(*parts, Text(), human_failures(failures)) if failures else Group(*parts)


def json_rows(rows: Sequence[BoardRow]) -> list[dict[str, Any]]:
    """One object a board."""
    return [
        {
            "board": row.board,
            "assignment": json_assignment(row.way.assignment) if row.way else None,
            "release": str(row.bundle.digest) if row.bundle else None,
            "bundle": str(row.bundle.directory) if row.bundle else None,
            "size_bytes": row.bundle.manifest.size_bytes if row.bundle else None,
            "proof": proof_of(row.bundle.manifest, row.board).value if row.bundle else None,
            "seconds": round(row.seconds, 3),
            "estimated_memory_bytes": row.memory_bytes,
            "failure": to_document(row.failure),
        }
        for row in rows
    ]


def _row(row: BoardRow) -> tuple[RenderableType, ...]:
    gets = str(row.way.assignment) if row.way else "–"
    if row.bundle is None:
        reason = row.failure.reason if row.failure else ""
        return (row.board, gets, "–", Text("failed", style="bold red"), _took(row), Text(reason, style="red"))
    proof = proof_of(row.bundle.manifest, row.board)
    word = Text(proof.value, style=_STYLES[proof])
    return (row.board, gets, bytes_words(row.bundle.manifest.size_bytes), word, _took(row), row.bundle.digest.short)


def _took(row: BoardRow) -> str:
    if row.bundle is not None and not row.memory_bytes:
        return "cached"
    return long_words(row.seconds) if row.seconds else "–"
