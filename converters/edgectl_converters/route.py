"""Which way leads from this checkpoint to this device: pure, ranked, and every rejected way says why.

Ranked by the board's own order of runtimes. The scheme is fp32 unless another is asked for; with `every`, all that a
runtime has on the board or is built in stand beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgectl_converters.assignment import Assignment, BoardOption, Choice
from edgectl_converters.card import CheckpointCard, as_it_is, unread
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_profiles.match import misfits
from edgectl_profiles.schema import BoardProfile
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import RouteError
from edgectl_protos.domain.roofline import weight_bytes

__all__ = ["Rejected", "Route", "RoutePlan", "RouteRequest", "memory_estimate", "plan_routes"]

DEFAULT_SCHEME = "fp32"
# What a runtime was seen to hold beside the weights (itself, activations).
_RUNTIME_BYTES = 150 << 20
_WORKING_FACTOR = 1.6


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What the user asked for; None leaves it to the board. `every`: all schemes of all runtimes are looked at.
    `refused`: what was tried before, by runtime and scheme, and why it does not lead there.
    """

    runtime: Choice | None = None
    scheme: Choice | None = None
    every: bool = False
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One way. `disk_bytes` and `memory_bytes` are estimates for the device, made before anything runs."""

    assignment: Assignment
    disk_bytes: int
    memory_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A way that does not lead there, and why."""

    assignment: Assignment
    reason: str


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """Ways in order of preference, and the rejected ones."""

    board: str
    routes: tuple[Route, ...]
    rejected: tuple[Rejected, ...]

    def best(self) -> Route:
        """The first way.

        Raises:
            RouteError: there is none; every rejection has a line.
        """
        if self.routes:
            return self.routes[0]
        reasons = "".join(f"\n  {r.assignment}: {r.reason}" for r in self.rejected)
        raise RouteError(
            f"no way to {self.board}:{reasons or ' the board lists no runtime'}",
            hint="ask for another: --runtime, --scheme; what a board can do: edgectl doctor",
        )


def plan_routes(
    card: CheckpointCard, profile: BoardProfile, facts: DeviceFacts | None, request: RouteRequest
) -> RoutePlan:
    """All ways to a board; with facts, those that this device can go right now.

    Raises:
        UsageError: a component is named that the policy does not have.
    """
    wanted = request.scheme or Choice("")
    asked = request.runtime
    names = [asked.default] if asked and asked.default else [entry.name for entry in profile.runtimes]
    if request.every:
        names = list(dict.fromkeys((*names, *TARGETS)))
    routes, rejected = [], []
    ways = [(name, scheme) for name in names for scheme in _schemes(card, profile, name, request)]
    for name, scheme in ways:
        runtime = Choice(name, asked.named if asked else ())
        assignment = Assignment(runtime, Choice(scheme, wanted.named), _board_options(card, profile, runtime))
        for choice in (assignment.runtime, assignment.scheme):
            choice.check_names(card.components)
        reason = _reason(card, profile, facts, assignment)
        disk = int(card.parameters * max(weight_bytes(assignment.scheme.of(name)) for name in card.components))
        memory = memory_estimate(disk)
        if not reason:
            reason = request.refused.get((name, scheme), "") or _too_big(disk, memory, profile, facts)
        if reason:
            rejected.append(Rejected(assignment, reason))
            continue
        notes = (f"stand-in for {facts.stand_in_for}",) if facts and facts.stand_in_for else ()
        routes.append(Route(assignment, disk, memory, notes))
    return RoutePlan(profile.board, tuple(routes), tuple(rejected))


def _board_options(card: CheckpointCard, profile: BoardProfile, runtime: Choice) -> tuple[BoardOption, ...]:
    """What the board says of those options that the targets of these runtimes read."""
    found = []
    for name in sorted({runtime.of(component) for component in card.components}):
        entry = profile.runtime(name)
        if entry is not None and name in TARGETS:
            told = profile.facts() | entry.options
            found += [BoardOption(name, key, told[key]) for key in sorted(target(name).reads_options) if key in told]
    return tuple(found)


def memory_estimate(disk_bytes: int) -> int:
    """What a process holds that runs a release whose artifacts take so much."""
    return int(disk_bytes * _WORKING_FACTOR) + _RUNTIME_BYTES


def _schemes(card: CheckpointCard, profile: BoardProfile, name: str, request: RouteRequest) -> tuple[str, ...]:
    if request.scheme is not None and request.scheme.default:
        return (request.scheme.default,)
    # A graph that is quantised already has its own; where no runtime has it, those in which it may be computed.
    if card.schemes or not request.every:
        return card.schemes or (DEFAULT_SCHEME,)
    entry = profile.runtime(name)
    built = target(name).schemes if name in TARGETS else ()
    return tuple(dict.fromkeys((*(entry.schemes if entry else ()), *built)))


def _reason(card: CheckpointCard, profile: BoardProfile, facts: DeviceFacts | None, assignment: Assignment) -> str:
    """Why this assignment does not lead to the board; empty when it does."""
    for component in card.components:
        runtime, scheme = assignment.runtime.of(component), assignment.scheme.of(component)
        if card.schemes and scheme not in card.schemes:
            return as_it_is(card)
        reason = _unbuilt(card, profile, runtime, scheme) or _unloadable(profile, runtime, facts)
        if not reason and facts is not None:
            reason = next(iter(misfits(profile, facts)), "") or _lacking(facts, runtime, scheme)
        if reason:
            named = dict((*assignment.runtime.named, *assignment.scheme.named))
            return f"{component}: {reason}" if component in named else reason
    return ""


def _unbuilt(card: CheckpointCard, profile: BoardProfile, runtime: str, scheme: str) -> str:
    entry = profile.runtime(runtime)
    if runtime not in TARGETS:
        return "planned, edgectl does not build it yet" if entry is not None else "edgectl has no such runtime"
    if entry is None:
        return f"no kernels there: the board {profile.board} does not list it"
    if scheme not in entry.schemes:
        return f"the board lists {', '.join(entry.schemes)} for it"
    if not target(runtime).form_of(card.forms):
        return unread(card, runtime, target(runtime).reads)
    built = target(runtime).schemes
    return "" if scheme in built else f"edgectl builds {', '.join(built)} for it"


def _unloadable(profile: BoardProfile, runtime: str, facts: DeviceFacts | None) -> str:
    """Whether the C library is older than the runtime's wheels take."""
    entry = profile.runtime(runtime)
    has = facts.libc.removeprefix("glibc ") if facts is not None else profile.glibc
    if entry is None or not entry.glibc or not has or _numbers(has) >= _numbers(entry.glibc):
        return ""
    where = facts.device if facts is not None else profile.board
    return f"does not load on {where}: its wheels need glibc {entry.glibc}, there is {has}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _lacking(facts: DeviceFacts, name: str, scheme: str) -> str:
    runtime = facts.runtime(name)
    if runtime is None:
        return f"the agent on {facts.device} does not know it"
    if runtime.problem:
        return f"cannot be used on {facts.device}: {runtime.problem}"
    precision = precision_of(scheme)
    if precision not in runtime.precisions:
        return f"no {precision} kernels on {facts.device}"
    return ""


def _too_big(disk: int, memory: int, profile: BoardProfile, facts: DeviceFacts | None) -> str:
    """What there is too little of: on the device, or by the board's file where no device was asked."""
    owner = "the device" if facts is not None else "the board"
    has_memory = facts.memory_bytes if facts is not None else profile.memory_gb * 1e9
    for what, needed, there in (("memory", memory, has_memory), ("disk", disk, facts.disk_free_bytes if facts else 0)):
        if there and needed > there:
            return f"needs about {needed / 1e9:.1f} GB of {what}, {owner} has {there / 1e9:.1f} GB"
    return ""
