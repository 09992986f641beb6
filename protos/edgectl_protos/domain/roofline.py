"""The least time that a component can take: its counted work against what a machine cannot exceed. Pure.

A multiplication with its addition is two operations. Bytes are those that must cross the memory's bus at every call:
each weight once, each port once; what passes between layers may stay in a cache, so that a floor is never too high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.program import Generate, Program, flat_steps

__all__ = ["Ceiling", "Floor", "Work", "calls_of", "floor_of", "weight_bytes"]

_WEIGHT_BYTES = {
    **{"fp32": 4.0, "fp16": 2.0, "f16": 2.0, "bf16": 4.0, "int8": 1.0, "int8-dynamic": 1.0},
    # Blocks of weights with their scales, in bits: 8.5, 4.85 and 2.06.
    **{"q8_0": 1.06, "q4_k_m": 0.61, "tq2_0": 0.26},
}
_WIDTHS = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int16": 2.0, "int8": 1.0}


@dataclass(frozen=True, slots=True)
class Work:
    """What one call of a component takes: operations of its matrix products and convolutions, its weights (how many,
    each once), and the bytes of its ports.
    """

    operations: int
    weights: int
    port_bytes: int


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a machine cannot exceed: operations a second by precision, bytes a second; absent or 0 where unknown.

    `measured`: on the machine itself; else from its maker's documents.
    """

    operations_per_s: dict[str, float] = field(default_factory=dict)
    bytes_per_s: float = 0.0
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Floor:
    """The least time of one call. `bound` says by what: `compute` or `bandwidth`; `partial`: the other is not known."""

    seconds: float
    bound: str
    partial: bool = False


def floor_of(work: Work, scheme: str, ceiling: Ceiling) -> Floor | None:
    """The floor of a component in a scheme; None where neither its rate nor the bandwidth is known."""
    rate = ceiling.operations_per_s.get(precision_of(scheme), 0.0)
    # What is stored wider than it is computed in may be narrowed once, when it is loaded.
    width = min(weight_bytes(scheme), _WIDTHS.get(precision_of(scheme), 4.0))
    moved = work.weights * width + work.port_bytes
    partial = not rate or not ceiling.bytes_per_s
    floors = []
    if rate:
        floors.append(Floor(work.operations / rate, "compute", partial))
    if ceiling.bytes_per_s:
        floors.append(Floor(moved / ceiling.bytes_per_s, "bandwidth", partial))
    return max(floors, key=lambda floor: floor.seconds, default=None)


def weight_bytes(scheme: str) -> float:
    """Bytes of one weight as it is stored in this scheme."""
    if scheme.startswith("w") and (digits := scheme[1:].split("g")[0].split("a")[0].rstrip("/")).isdecimal():
        return int(digits) / 8
    return _WEIGHT_BYTES.get(scheme, 4.0)


def calls_of(program: Program) -> Mapping[str, int]:
    """How often one inference runs each component. One that generates is not here: its calls depend on the text."""
    calls: dict[str, int] = {}
    for step, passes in flat_steps(program.steps):
        component = "" if isinstance(step, Generate) else getattr(step, "component", "")
        if component:
            calls[component] = calls.get(component, 0) + passes
    return calls
