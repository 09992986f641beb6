"""Whether two demos found the same: medians within 2 %, or what made them differ. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["STEADY", "steady_lines"]

STEADY = 0.02


def steady_lines(first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
    """A line for each release that both demos (`edgectl demo --json`) measured."""
    others = {row["name"]: row for row in second["rows"]}
    for row in first["rows"]:
        other = others.get(row["name"])
        p50s = [found["response"]["p50"] if found and found["response"] else None for found in (row, other)]
        if None in p50s:
            yield f"{row['name']:16} n/a: {_missing(row, other)}"
            continue
        change = p50s[1] / p50s[0] - 1
        verdict = "steady" if abs(change) <= STEADY else f"unstable: {_reason(first, second, row, other)}"
        yield f"{row['name']:16} {p50s[0] * 1e3:.2f} ms, then {p50s[1] * 1e3:.2f} ms ({change:+.1%})  {verdict}"


def _missing(row: dict[str, Any], other: dict[str, Any] | None) -> str:
    for found in (row, other):
        if found and found["failure"]:
            return str(found["failure"]["message"])
    return "too few ticks for a median, or not in both"


def _reason(first: dict[str, Any], second: dict[str, Any], row: dict[str, Any], other: dict[str, Any]) -> str:
    said = [f"{when} run: {words}" for when, demo in (("first", first), ("second", second)) for words in _noise(demo)]
    if said:
        return "; ".join(dict.fromkeys(said))
    spread = max(max(found["block_medians_s"]) / min(found["block_medians_s"]) - 1 for found in (row, other))
    if spread > STEADY:
        return f"blocks of one run differ by {spread:.0%} among themselves, and nothing that the kernel tells says why"
    return "each run was steady in itself: the machine ran at another speed in the second one"


def _noise(demo: dict[str, Any]) -> list[str]:
    # A condition is told for each release; what it is, once.
    return list(dict.fromkeys(str(condition).rpartition(": ")[2] for condition in demo["conditions"]))
