"""The demo: verdicts side by side, ratios with intervals, and which is fastest, if that is shown."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.compare import json_ratio, ratio_words
from edgectl_host.cli.render.conversion import json_assignment
from edgectl_host.cli.render.layout import human_failures, rows_table
from edgectl_host.cli.render.runs import json_run
from edgectl_host.quantities import bytes_words, time_words
from edgectl_host.report.figures import percentile_words
from edgectl_host.report.parity import worst_dimension
from edgectl_host.report.terminal import STYLES
from edgectl_host.workflows.demo import DEMO_STATISTIC, DemoResult, DemoRow
from edgectl_protos.codec.document import to_document

__all__ = ["human_demo", "json_demo"]

_MORE = "each in full: edgectl deploy CHECKPOINT --runtime NAME --scheme NAME · two of them: edgectl compare"


def human_demo(name: str, result: DemoResult) -> RenderableType:
    """The table, what is shown of the fastest, and how to see more."""
    measured = [row for row in result.rows if row.pooled is not None]
    failures = [(str(row.assignment), row.failure) for row in result.rows if row.failure]
    parts: list[RenderableType] = []
    if measured:
        parts += [
            rows_table(
                ("verdict", "", "tick p50", "p95", f"p50 of {measured[0].assignment}", "misses", "parity", "size"),
                [_row(row, is_base=row is measured[0]) for row in measured],
                right=("tick p50", "p95", "misses", "parity", "size"),
            ),
            Text(),
        ]
    parts += [human_failures(failures), Text()] if failures else []
    parts.append(Text(f"{name}: {_answer(result)}", style="bold"))
    notes = [f"no evidence: {condition}" for condition in result.conditions]
    if measured and measured[0].blocks is not None:
        blocks = measured[0].blocks
        loop = blocks.records[0].summary.loop
        notes.append(
            f"{len(blocks.records)} blocks of {time_words(loop.measure_s)} each, in turns, at {loop.rate_hz:g} Hz; "
            "ratios with their 95 % intervals"
        )
        deadline_s = loop.deadlines.tick_s
        notes.append(
            f"verdict: tick {DEMO_STATISTIC} ≤ {time_words(deadline_s)}; a deployment measures longer, for its p99"
        )
    return Group(*parts, Text("\n".join([*notes, _MORE]), style="dim"))


def json_demo(result: DemoResult) -> dict[str, Any]:
    """Every row, and which one is fastest, if that is shown."""
    fastest = result.fastest
    return {
        "fastest": str(fastest.assignment) if fastest else None,
        "lead": json_ratio(result.lead) if result.lead else None,
        "conditions": list(result.conditions),
        "rows": [_json_row(row) for row in result.rows],
    }


def _answer(result: DemoResult) -> str:
    ranked, lead = result.ranked, result.lead
    if not ranked:
        return "none of them holds its deadlines here"
    first, p50 = ranked[0], ranked[0].pooled.response.p50 if ranked[0].pooled else None
    if lead is None or lead.detectable is None:
        return f"{first.assignment}, tick p50 {time_words(p50)}; there is nothing to compare it with"
    if result.fastest is not None:
        return f"fastest here is {first.assignment}, tick p50 {time_words(p50)}; the next takes {ratio_words(lead)}"
    if result.conditions:
        return "which one is fastest cannot be said: the machine was not quiet"
    would = f"{lead.detectable:.0%}".replace("%", " %")
    return (
        f"no difference shown between {first.assignment} and {ranked[1].assignment}, {ratio_words(lead)}; "
        f"one of {would} would have been"
    )


def _row(row: DemoRow, *, is_base: bool) -> tuple[RenderableType, ...]:
    assert row.pooled is not None
    pooled, word = row.pooled, row.pooled.verdict.outcome.value
    return (
        Text(word.upper(), style=STYLES[word]),
        str(row.assignment),
        percentile_words(pooled.response, "p50"),
        percentile_words(pooled.response, "p95"),
        "1" if is_base or row.ratio is None else ratio_words(row.ratio),
        f"{pooled.misses.rate:.1%}".replace("%", " %"),
        _parity(row),
        bytes_words(row.bundle.manifest.size_bytes) if row.bundle else "–",
    )


def _parity(row: DemoRow) -> str:
    return worst_dimension(row.blocks.records[-1]) or "–" if row.blocks else "–"


def _json_row(row: DemoRow) -> dict[str, Any]:
    return {
        "assignment": json_assignment(row.assignment),
        "name": str(row.assignment),
        "outcome": row.pooled.verdict.outcome.value if row.pooled else None,
        "response": to_document(row.pooled.response) if row.pooled else None,
        "misses": to_document(row.pooled.misses) if row.pooled else None,
        "verdict": to_document(row.pooled.verdict) if row.pooled else None,
        "ratio": json_ratio(row.ratio) if row.ratio else None,
        "block_medians_s": [float(sorted(block)[len(block) // 2]) for block in row.blocks.responses_s]
        if row.blocks
        else [],
        "blocks": [json_run(record) for record in row.blocks.records] if row.blocks else [],
        "failure": to_document(row.failure),
    }
