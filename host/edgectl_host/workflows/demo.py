"""The example policy on one device: every runtime that can do all the schemes, side by side.

All conversions come first, then what the device lacks is installed, then blocks of all of them take turns, so that
nothing disturbs a measurement and no release is measured on another machine than the next. One that is refused costs
its own row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.comparison import Change, Ratio, compare
from edgectl_host.workflows.ask import error_of, failure_of
from edgectl_host.workflows.blocks import Blocks, Contestant, Pooled, bring, conditions_of, pool, take_turns
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.connections import Connect
from edgectl_host.workflows.convert import Subject
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.plan import DevicePlan, make_plan
from edgectl_host.workflows.progress import Progress, Update
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import EdgectlError, UsageError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.verdict import Outcome

__all__ = ["DEMO_BLOCKS", "DEMO_SCHEMES", "DEMO_STATISTIC", "DemoResult", "DemoRow", "find_example", "run_demo"]

DEMO_SCHEMES = ("fp32", "int8")
DEMO_BLOCKS = 5
DEMO_STATISTIC = "p95"
"""Of the tick: decided by 360 ticks without a late one, where the p99 that a deployment is judged by takes 1,836."""
_EXAMPLE = Path("examples", "press_pad")


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One assignment: its blocks and what they are together, or why there are none. `ratio`: its median response time
    over that of the first row with blocks.
    """

    assignment: Assignment
    bundle: Bundle | None = None
    blocks: Blocks | None = None
    pooled: Pooled | None = None
    ratio: Ratio | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """One row for each assignment, in the board's order. `lead`: the median of the second fastest over the fastest's,
    None where fewer than two can be ranked. `conditions` changed while they took turns.
    """

    rows: tuple[DemoRow, ...]
    lead: Ratio | None = None
    conditions: tuple[str, ...] = ()

    @property
    def ranked(self) -> tuple[DemoRow, ...]:
        """Those that do not break a deadline, by their median response time."""
        able = [
            (row.pooled.response.p50, index)
            for index, row in enumerate(self.rows)
            if row.pooled is not None and row.pooled.verdict.outcome is not Outcome.FAIL
        ]
        return tuple(self.rows[index] for p50, index in sorted(pair for pair in able if pair[0] is not None))

    @property
    def fastest(self) -> DemoRow | None:
        """The fastest, where that is shown: the interval of its lead excludes that the next one is as fast."""
        shown = self.lead is not None and self.lead.change is Change.SLOWER and not self.conditions
        return self.ranked[0] if shown or len(self.ranked) == 1 else None


def find_example(starts: Sequence[Path]) -> Path:
    """The example's folder, below the first of these that has it.

    Raises:
        UsageError: none has.
    """
    for start in starts:
        if (start / _EXAMPLE / "policy" / "config.json").is_file():
            return start / _EXAMPLE
    raise UsageError(
        f"the example {_EXAMPLE} is not here: {', '.join(str(start) for start in starts)}",
        hint="run it in a checkout of edgectl, or name a policy: edgectl demo --policy DIR --footage DIR",
    )


async def run_demo(
    subject: Subject,
    device: Device,
    overrides: LoopOverrides,
    *,
    connect: Connect,
    owner: str,
    remember: Callable[[Digest, Manifest], None],
    patience: Patience,
    progress: Progress,
) -> DemoResult:
    """Bring all of them onto the device and let blocks of them take turns; `overrides` are those of one block.

    Raises:
        EdgectlError: the device does not answer, or no way leads to it.
        RunsError: what was made cannot be remembered.
    """
    asked = await _ask(subject, device, connect)
    board = asked.way.board if asked.way else device.board
    assignments = subject.ways(replace(device, board=board), asked.facts, DEMO_SCHEMES)
    rows = {assignment: DemoRow(assignment) for assignment in assignments}
    bundles: dict[Assignment, Bundle] = {}
    for assignment in assignments:
        try:
            bundles[assignment] = bundle = await subject.bundle(assignment, progress)
        except EdgectlError as exc:
            rows[assignment] = replace(rows[assignment], failure=failure_of(exc))
            continue
        remember(bundle.digest, bundle.manifest)
        rows[assignment] = DemoRow(assignment, bundle)
    async with await connect(device) as client:
        for assignment in list(bundles):
            told = _told_of(assignment, progress)
            try:
                brought = await bring(client, bundles[assignment], owner=owner, patience=patience, progress=told)
                progress(Update(str(assignment), "installed" if brought else "already installed", done=True))
            except EdgectlError as exc:
                rows[assignment] = replace(rows[assignment], failure=failure_of(exc))
                del bundles[assignment]
        manifests = {bundle.digest: bundle.manifest for bundle in bundles.values()}
        named = [Contestant(str(assignment), bundle.digest) for assignment, bundle in bundles.items()]
        found = await take_turns(
            client,
            device,
            named,
            overrides,
            blocks=DEMO_BLOCKS,
            owner=owner,
            manifest_of=manifests.get,
            patience=patience,
            progress=progress,
        )
    for assignment, blocks in zip(bundles, found, strict=True):
        rows[assignment] = _measured(rows[assignment], blocks)
    return _compared(tuple(rows.values()))


def _measured(row: DemoRow, blocks: Blocks) -> DemoRow:
    if blocks.failure is not None:
        return replace(row, failure=failure_of(blocks.failure))
    return replace(row, blocks=blocks, pooled=pool(blocks, DEMO_STATISTIC))


def _compared(rows: tuple[DemoRow, ...]) -> DemoResult:
    ran = [row.blocks for row in rows if row.blocks is not None]
    with_ratios = tuple(
        replace(row, ratio=_ratio(ran[0], row.blocks)) if row.blocks is not None and row.blocks is not ran[0] else row
        for row in rows
    )
    result = DemoResult(with_ratios, conditions=conditions_of(ran))
    ranked = [row.blocks for row in result.ranked if row.blocks is not None]
    return replace(result, lead=_ratio(*ranked[:2])) if len(ranked) > 1 else result


def _ratio(base: Blocks, other: Blocks) -> Ratio:
    return compare(base.responses_s, other.responses_s)[0]


async def _ask(subject: Subject, device: Device, connect: Connect) -> DevicePlan:
    (row,) = (await make_plan(subject.name, [device], connect=connect, choosing=subject.way)).rows
    if row.failure is not None:
        raise error_of(row.failure)
    return row


def _told_of(assignment: Assignment, progress: Progress) -> Progress:
    """The device's updates, told as those of what runs on it."""

    def told(update: Update) -> None:
        progress(replace(update, subject=str(assignment)))

    return told
