"""A comparison: the answer first, then both sides, their ratios, and what was not the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import rows_table
from edgectl_host.cli.render.runs import json_run
from edgectl_host.quantities import time_words
from edgectl_host.report.terminal import STYLES
from edgectl_host.runs.comparison import Change, Ratio
from edgectl_host.workflows.blocks import Blocks
from edgectl_host.workflows.compare import Comparison
from edgectl_protos.codec.document import to_document

__all__ = ["change_words", "human_comparison", "json_comparison", "json_ratio", "ratio_words"]

_WORDS = {
    Change.FASTER: "faster",
    Change.SLOWER: "slower",
    Change.SAME: "the same",
    Change.NOT_SHOWN: "no difference shown",
}


def human_comparison(comparison: Comparison) -> RenderableType:
    """One line that answers, the table, and what to do where nothing is shown."""
    word = comparison.outcome.value
    a, b = comparison.a, comparison.b
    line = Text.assemble((word.upper(), STYLES[word]), f"  B against A on {comparison.device}: ", _answer(comparison))
    blocks, first = len(a.records), a.records[0].summary
    said = f"{blocks} blocks each, in turns, {time_words(first.loop.measure_s)} at {first.loop.rate_hz:g} Hz"
    parts: list[RenderableType] = [line, Text(), Text(f"A  {a.label}\nB  {b.label}\n   {said}"), Text()]
    parts.append(
        rows_table(
            ("response", "A", "B", "B/A", "95 % interval", "B is", "would have been shown"),
            [_row(ratio) for ratio in comparison.ratios],
            right=("A", "B", "B/A", "would have been shown"),
        )
    )
    notes = [f"no evidence: {condition}" for condition in comparison.conditions]
    if comparison.outcome.value == "inconclusive" and not notes:
        notes.append("to show a smaller difference, take more blocks (--blocks) or longer ones (--measure)")
    if comparison.installed:
        notes.append(f"{comparison.installed} stays installed on {comparison.device}; back: edgectl rollback")
    return Group(*parts, Text(), Text("\n".join(notes), style="dim")) if notes else Group(*parts)


def change_words(ratio: Ratio) -> str:
    """What is shown of B: faster, slower, the same, or nothing, and then how much would have been."""
    if ratio.ratio is None:
        return f"n/a (need {ratio.needed})"
    return _WORDS[ratio.change]


def ratio_words(ratio: Ratio) -> str:
    """`0.48× (0.46 to 0.51)`."""
    if ratio.ratio is None or ratio.low is None or ratio.high is None:
        return f"n/a (need {ratio.needed})"
    return f"{ratio.ratio:.2f}× ({ratio.low:.2f} to {ratio.high:.2f})"


def json_comparison(comparison: Comparison) -> dict[str, Any]:
    """Everything, every block's run included."""
    return {
        "outcome": comparison.outcome.value,
        "device": comparison.device,
        "threshold": comparison.threshold,
        "ratios": [json_ratio(ratio) for ratio in comparison.ratios],
        "conditions": list(comparison.conditions),
        "installed": comparison.installed,
        "a": _json_blocks(comparison.a),
        "b": _json_blocks(comparison.b),
    }


def json_ratio(ratio: Ratio) -> dict[str, Any]:
    """A ratio as data."""
    document: dict[str, Any] = to_document(ratio)
    return document


def _answer(comparison: Comparison) -> str:
    if comparison.conditions:
        return "the machine was not quiet, or changed"
    shown: Sequence[Ratio] = [ratio for ratio in comparison.ratios if ratio.ratio is not None]
    if not shown:
        return f"too few ticks, {comparison.ratios[0].n} of {comparison.ratios[0].needed}"
    return " · ".join(f"{ratio.statistic} {change_words(ratio)}, {ratio_words(ratio)}" for ratio in shown)


def _row(ratio: Ratio) -> tuple[str, ...]:
    if ratio.ratio is None or ratio.low is None or ratio.high is None or ratio.detectable is None:
        return (ratio.statistic, *("–",) * 4, change_words(ratio), "–")
    return (
        ratio.statistic,
        time_words(ratio.a_s),
        time_words(ratio.b_s),
        f"{ratio.ratio:.3f}",
        f"{ratio.low:.3f} to {ratio.high:.3f}",
        change_words(ratio),
        f"{ratio.detectable:.1%}".replace("%", " %"),
    )


def _json_blocks(blocks: Blocks) -> dict[str, Any]:
    return {"label": blocks.label, "blocks": [json_run(record) for record in blocks.records]}
