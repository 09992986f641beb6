"""Whether B is slower than A on one device: interleaved blocks, and ratios with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgectl_host.fleet.inventory import Device
from edgectl_host.runs.comparison import Ratio, compare, outcome_of
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.ask import error_of
from edgectl_host.workflows.blocks import Blocks, Contestant, bring, conditions_of, take_turns
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.connections import Connect
from edgectl_host.workflows.convert import Subject
from edgectl_host.workflows.patience import Patience
from edgectl_host.workflows.plan import make_plan
from edgectl_host.workflows.progress import Progress
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import RouteError, StateError, UsageError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.verdict import Outcome

__all__ = ["ON_DEVICE", "Comparison", "Side", "run_compare"]

ON_DEVICE = ("installed", "previous")
"""Words for what is on the device already."""


@dataclass(frozen=True, slots=True)
class Side:
    """A or B: something to install, or one of `ON_DEVICE`."""

    name: str
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A and B, what B is of A, and under which changing conditions. `outcome` FAIL: B is slower."""

    device: str
    a: Blocks
    b: Blocks
    ratios: tuple[Ratio, ...]
    conditions: tuple[str, ...]
    threshold: float
    outcome: Outcome
    installed: str = ""
    """What was installed for it last, and stays; empty: nothing was."""

    @property
    def exit_code(self) -> int:
        """0: B is not slower · 1: it is · 3: not shown."""
        return {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 3}[self.outcome]


async def run_compare(
    sides: Sequence[Side],
    device: Device,
    overrides: LoopOverrides,
    *,
    blocks: int,
    threshold: float,
    connect: Connect,
    owner: str,
    remember: Callable[[Digest, Manifest], None],
    manifest_of: Callable[[Digest], Manifest | None],
    patience: Patience,
    progress: Progress,
) -> Comparison:
    """Convert both, bring both onto the device, and let them take turns.

    Raises:
        UsageError: both are one release, or their loops differ.
        EdgectlError: one cannot be converted, installed or run.
    """
    bundles = [await _made(side, device, connect, remember, progress) for side in sides]
    async with await connect(device) as client:
        named = [await _contestant(side, bundle, client) for side, bundle in zip(sides, bundles, strict=True)]
        if named[0].release == named[1].release:
            raise UsageError(
                f"{named[0].label} and {named[1].label} are one release, {named[0].release.short}",
                hint="name two: edgectl compare CHECKPOINT --scheme fp32 --scheme int8",
            )
        brought = [
            bundle
            for bundle in bundles
            if bundle and await bring(client, bundle, owner=owner, patience=patience, progress=progress)
        ]
        a, b = await take_turns(
            client,
            device,
            named,
            overrides,
            blocks=blocks,
            owner=owner,
            manifest_of=manifest_of,
            patience=patience,
            progress=progress,
        )
    for side in (a, b):
        if side.failure is not None:
            raise side.failure
    ratios = compare(a.responses_s, b.responses_s, threshold=threshold)
    conditions = conditions_of((a, b))
    outcome = Outcome.INCONCLUSIVE if conditions else outcome_of(ratios, threshold=threshold)
    stays = f"{brought[-1].manifest.name} {brought[-1].assignment}" if brought else ""
    return Comparison(device.name, a, b, ratios, conditions, threshold, outcome, stays)


async def _made(
    side: Side,
    device: Device,
    connect: Connect,
    remember: Callable[[Digest, Manifest], None],
    progress: Progress,
) -> Bundle | None:
    if side.subject is None:
        return None
    plan = await make_plan(side.subject.name, [device], connect=connect, choosing=side.subject.way)
    (row,) = plan.rows
    if row.failure is not None:
        raise error_of(row.failure)
    if row.way is None:
        raise RouteError(f"{side.name}: no way leads to {device.name}")
    bundle = await side.subject.bundle(row.way.assignment, progress)
    remember(bundle.digest, bundle.manifest)
    return bundle


async def _contestant(side: Side, bundle: Bundle | None, client: DeviceClient) -> Contestant:
    if bundle is not None:
        return Contestant(f"{bundle.manifest.name} {bundle.assignment}", bundle.digest)
    links = await client.installed()
    release = links.current if side.name == ON_DEVICE[0] else links.previous
    if release is None:
        raise StateError(f"{client.device} has no {side.name} release", hint="what it has: edgectl status")
    return Contestant(side.name, release)
