"""Which way leads from this checkpoint to this device: pure, ranked, and every rejected way says why.

Ranked by the board's own order of runtimes. The precision is fp32 unless another is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgectl_converters.card import CheckpointCard
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_profiles.match import misfits
from edgectl_profiles.schema import BoardProfile
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.device import DeviceFacts
from edgectl_protos.domain.errors import RouteError

__all__ = ["RoutePlan", "RouteRequest", "plan_routes"]

# Bytes of a weight, and what a runtime was seen to hold beside the weights (runtime, activations).
_WEIGHT_BYTES = {Precision.FP32: 4, Precision.FP16: 2, Precision.BF16: 4, Precision.INT8: 1}
_RUNTIME_BYTES = 150 << 20
_WORKING_FACTOR = 1.6


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What the user asked for; None leaves it to the board."""

    runtime: str | None = None
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One way. `disk_bytes` and `memory_bytes` are estimates for the device, made before anything runs."""

    runtime: str
    precision: Precision
    proof: str
    disk_bytes: int
    memory_bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A way that does not lead there, and why."""

    runtime: str
    precision: Precision
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
            RouteError: there is none; every rejection is listed.
        """
        if self.routes:
            return self.routes[0]
        reasons = "; ".join(f"{r.runtime} {r.precision.value}: {r.reason}" for r in self.rejected)
        raise RouteError(
            f"no way to {self.board}: {reasons or 'the board lists no runtime'}",
            hint="ask for another: --runtime, --precision; what a board can do: edgectl doctor",
        )


def plan_routes(
    card: CheckpointCard, profile: BoardProfile, facts: DeviceFacts | None, request: RouteRequest
) -> RoutePlan:
    """All ways to a board; with facts, those that this device can go right now."""
    precision = request.precision or Precision.FP32
    routes, rejected = [], []
    offered = {entry.name: entry for entry in profile.runtimes}
    names = [request.runtime] if request.runtime else list(offered)
    board_misfits = misfits(profile, facts) if facts else ()
    for name in names:
        entry = offered.get(name)
        reason = ""
        if name not in TARGETS:
            planned = entry is not None and entry.proof == "planned"
            reason = "planned, edgectl does not build it yet" if planned else "edgectl has no such runtime"
        elif entry is None:
            reason = f"the board {profile.board} does not list it"
        elif precision not in entry.precisions:
            reason = f"the board lists {', '.join(p.value for p in entry.precisions)} for it"
        elif precision not in target(name).precisions:
            reason = f"edgectl builds {', '.join(p.value for p in target(name).precisions)} for it"
        elif board_misfits:
            reason = board_misfits[0]
        elif facts is not None:
            reason = _lacking(facts, name, precision)
        memory = int(card.parameters * _WEIGHT_BYTES[precision] * _WORKING_FACTOR) + _RUNTIME_BYTES
        if not reason and facts is not None and facts.memory_bytes and memory > facts.memory_bytes:
            reason = f"needs about {memory / 1e9:.1f} GB of memory, the device has {facts.memory_bytes / 1e9:.1f} GB"
        disk = card.parameters * _WEIGHT_BYTES[precision]
        if not reason and facts is not None and facts.disk_free_bytes and disk > facts.disk_free_bytes:
            reason = f"needs about {disk / 1e9:.1f} GB of disk, the device has {facts.disk_free_bytes / 1e9:.1f} GB"
        if reason or entry is None:
            rejected.append(Rejected(name, precision, reason))
            continue
        notes = (f"stand-in for {facts.stand_in_for}",) if facts and facts.stand_in_for else ()
        routes.append(Route(name, precision, entry.proof, disk, memory, notes))
    return RoutePlan(profile.board, tuple(routes), tuple(rejected))


def _lacking(facts: DeviceFacts, name: str, precision: Precision) -> str:
    runtime = facts.runtime(name)
    if runtime is None:
        return f"the agent on {facts.device} does not know it"
    if runtime.problem:
        return f"cannot be used on {facts.device}: {runtime.problem}"
    if precision not in runtime.precisions:
        return f"no {precision.value} kernels on {facts.device}"
    return ""
