"""The record of what the gates measured of injected faults: `docs/faults.json`, from which `docs/conversion.md` has its
tables. Entries are measured, never typed; the newest of a policy and a gate stand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgectl_protos.domain.parity import ParityReport
from edgectl_testkit.injected import Seen

__all__ = ["GATES", "Entry", "entry", "keep", "read", "table"]

_HEAD = "| fault | in the export: oracle | in an fp32 build | in an int8 build |\n|---|---|---|---|\n"

GATES = ("oracle", "fp32", "int8")
"""A fault of the export, which the oracle compares with the policy's framework; a fault of a build in this scheme."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One fault at one gate: the figure that sees it, `without` it too. `refused`: why the build is refused without any
    fault, if it is.
    """

    policy: str
    gate: str
    fault: str
    figure: str
    at: str
    value: float
    limit: float
    without: float | None
    refused: str


def entry(policy: str, gate: str, fault: str, seen: Seen, faultless: ParityReport) -> Entry:
    """What was measured, to three digits."""
    one = seen.figure
    return Entry(
        policy=policy,
        gate=gate,
        fault=fault,
        figure=f"{one.subject}: {one.statistic}",
        at=one.at,
        value=_rounded(one.value),
        limit=_rounded(one.limit or 0.0),
        without=None if seen.without is None else _rounded(seen.without),
        refused=str(faultless.failures[0]) if faultless.failures else "",
    )


def read(path: Path) -> list[Entry]:
    """All entries."""
    return [Entry(**fields) for fields in json.loads(path.read_text())] if path.exists() else []


def keep(path: Path, entries: Iterable[Entry]) -> None:
    """With EDGECTL_WRITE_DOCS set, put what was measured of a policy at a gate in the place of what is known of it."""
    if not os.environ.get("EDGECTL_WRITE_DOCS"):
        return
    known, new = read(path), list(entries)
    replaced = {(one.policy, one.gate) for one in new}
    policies = list(dict.fromkeys(one.policy for one in (*known, *new)))
    stand = [one for one in known if (one.policy, one.gate) not in replaced] + new
    stand.sort(key=lambda one: (policies.index(one.policy), GATES.index(one.gate)))
    text = ",\n".join(f"  {json.dumps(asdict(one), ensure_ascii=False)}" for one in stand)
    path.write_text(f"[\n{text}\n]\n")


def table(entries: list[Entry]) -> str:
    """A table a policy: faults by gates."""
    text = ""
    for policy in dict.fromkeys(one.policy for one in entries):
        mine = {(one.fault, one.gate): one for one in entries if one.policy == policy}
        text += f"\n**{policy}**\n\n{_HEAD}"
        for fault in dict.fromkeys(fault for fault, _ in mine):
            cells = " | ".join(_cell(mine.get((fault, gate))) for gate in GATES)
            text += f"| {fault} | {cells} |\n"
        refused = {one.refused for one in mine.values() if one.gate == "int8" and one.refused}
        text += "".join(f"\nThe int8 build is refused without any fault: {why}.\n" for why in sorted(refused))
    return text.lstrip("\n")


def _cell(one: Entry | None) -> str:
    if one is None:
        return "–"
    seen = one.value > one.limit
    if not seen:
        return "refused as it is" if one.refused else "**not seen**"
    where = f", {one.at}" if one.at else ""
    without = "" if one.without is None else f"{one.without:.1g} without, "
    return f"{one.figure} {one.value:.2g} ({without}limit {one.limit:.2g}){where}"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
