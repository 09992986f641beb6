"""What a checkpoint is, in which toolchain it would be exported, and the ways from it to boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgectl_converters.assignment import Assignment
from edgectl_converters.card import ONNX, CheckpointCard, Declared
from edgectl_converters.conversion import Workshop
from edgectl_converters.floors import ComponentFloor, counted_work, floors_of
from edgectl_converters.inspect import inspect
from edgectl_converters.refusals import known_refusals
from edgectl_converters.route import RoutePlan, RouteRequest, plan_routes
from edgectl_host.workflows.rates import RateStore
from edgectl_host.workflows.toolchains import Listed, find_toolchain
from edgectl_profiles.library import load
from edgectl_profiles.schema import BoardProfile

__all__ = ["BoardWays", "Inspection", "inspect_checkpoint"]


@dataclass(frozen=True, slots=True)
class BoardWays:
    """The ways to one board. `floors` are what the components take there at least, by way; empty before the first
    export.
    """

    board: BoardProfile
    plan: RoutePlan
    floors: dict[Assignment, tuple[ComponentFloor, ...]]

    def floor_s(self, assignment: Assignment) -> float | None:
        """What one inference takes at least; None where a component's floor is not known."""
        times = [one.inference_s for one in self.floors.get(assignment, ())]
        known = [time for time in times if time is not None]
        return sum(known) if known and len(known) == len(times) else None

    def is_partial(self, assignment: Assignment) -> bool:
        """Whether one of rate and bandwidth is not known, so that the floor may be too low."""
        return any(one.floor is not None and one.floor.partial for one in self.floors.get(assignment, ()))


@dataclass(frozen=True, slots=True)
class Inspection:
    """A checkpoint's card, the toolchain as it would be used now, and the ways to boards."""

    card: CheckpointCard
    toolchain: Listed
    ways: tuple[BoardWays, ...]


def inspect_checkpoint(
    path: Path,
    boards: Sequence[str],
    workshop: Workshop,
    declared: Declared,
    footage: Path | None = None,
    *,
    every: bool = False,
    rates: RateStore | None = None,
) -> Inspection:
    """Look at a checkpoint; nothing heavy is loaded, nothing is made or converted. `every`: in all schemes, and of
    runtimes that a board does not have, the reason. `rates` were measured on machines.

    Raises:
        CheckpointError: it cannot be read as what it claims to be.
        ProfileError: a board is not known.
        UsageError: what is declared does not fit it.
    """
    profiles = [load(board) for board in boards]
    card = inspect(path, workshop.digests, declared, footage)
    workshop.digests.save()
    toolchain = find_toolchain(workshop.toolchains, card.toolchain_of((ONNX,)))
    counted, refused = counted_work(card, workshop.steps), known_refusals(card, workshop)
    ways = []
    for profile in profiles:
        plan = plan_routes(card, profile, None, RouteRequest(every=every, refused=refused))
        measured = rates.of_board(profile.board) if rates is not None else {}
        floors = {route.assignment: floors_of(counted, route.assignment, profile, measured) for route in plan.routes}
        ways.append(BoardWays(profile, plan, floors))
    return Inspection(card, toolchain, tuple(ways))
