"""What was read back from a Core ML package against what its scheme says: gates, or the error that names what is wrong.

Facts: Core ML has at most five axes; a weight that Core ML Tools skips is in its log alone, so each that is not stored
as the scheme says must have a reason that the scheme gives.
"""

from __future__ import annotations

from collections import Counter

from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.mil_weights import KINDS, Package, Stored
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import OperatorError, ParityError, PrecisionError

__all__ = ["BLOCK", "FLOATS", "INTEGERS", "LEAST", "gates_of", "stays"]

BLOCK = 32
LEAST = 2048
"""Elements up to which a weight stays as it is: rounding it gains nothing."""
FLOATS = {"fp32": "fp32", "fp16": "fp16", "w8/a16": "fp16", "w4g32/a16": "fp16"}
"""In which type a scheme computes."""
INTEGERS = {"w8/a16": "int8", "w4g32/a16": "int4"}
"""In which type a scheme stores weights that it rounds."""
_ROUNDED = {"int8": frozenset(KINDS), "int4": frozenset({"linear", "matmul"})}


def gates_of(found: Package, request: BuildRequest) -> tuple[GateResult, ...]:
    """The gates of a package.

    Raises:
        OperatorError: a tensor has more axes than Core ML has.
        PrecisionError: something is stored or computed in another type than the scheme says.
        ParityError: a weight is not what it was, or not there.
    """
    return (_shapes(found, request), _types(found, request), _counts(found, request), _weights(found, request))


def _shapes(found: Package, request: BuildRequest) -> GateResult:
    """What the Neural Engine takes."""
    if found.deep:
        raise OperatorError(
            f"{request.component}: Core ML has at most 5 axes; {len(found.deep)} tensors have more, as {found.deep[0]}",
            hint="another runtime may take it: --runtime NAME",
        )
    note = "most axes of a tensor; all shapes are fixed, no state is kept inside"
    return GateResult("axes", request.component, float(found.largest_rank), 5.0, True, note)


def _types(found: Package, request: BuildRequest) -> GateResult:
    """In which types products and convolutions are computed."""
    asked = FLOATS[request.scheme]
    if wrong := [f"{count} {kind} in {kept}" for kind, kept, count in found.computed if kept != asked]:
        raise PrecisionError(
            f"{request.component}: {asked} was asked for, and there are {', '.join(wrong)}",
            hint="ask for another: --scheme fp32",
        )
    if found.infinite and asked == "fp16":
        raise PrecisionError(
            f"{request.component}: {found.infinite[0]} is infinite in {asked} ({len(found.infinite)} constants are)",
            hint="ask for another: --scheme fp32",
        )
    total = float(sum(count for *_, count in found.computed))
    words = ", ".join(f"{count} {kind}" for kind, _, count in found.computed)
    return GateResult("operators", request.component, total, total, True, f"in {asked}: {words or 'none'}")


def _counts(found: Package, request: BuildRequest) -> GateResult:
    """How many weights are stored as the scheme says, and why others are not."""
    wanted = INTEGERS.get(request.scheme, FLOATS[request.scheme])
    right = [weight for weight in found.stored if weight.type == wanted]
    left: Counter[str] = Counter()
    for weight in found.stored:
        if weight.type == wanted:
            continue
        why = stays(weight, wanted)
        if not why or weight.type != FLOATS[request.scheme]:
            raise PrecisionError(
                f"{request.component}: {weight.name} is stored in {weight.type}, {request.scheme} was asked for",
                hint="ask for another: --scheme fp16",
            )
        left[f"{weight.type} {weight.kind}, {why}"] += 1
    if request.scheme in INTEGERS and not right:
        raise PrecisionError(
            f"{request.component} has no weight that {request.scheme} rounds; "
            + "; ".join(f"{count} {words}" for words, count in sorted(left.items())),
            hint="convert it as it is: --scheme fp16",
        )
    note = f"weights in {wanted}" + "".join(f"; {count} stay {words}" for words, count in sorted(left.items()))
    return GateResult("stored", request.component, float(len(right)), float(len(right)), True, note)


def stays(weight: Stored, wanted: str) -> str:
    """Why a weight is not rounded; empty where it is."""
    if weight.kind not in _ROUNDED.get(wanted, ()):
        return "not of linear maps"
    if weight.stacked:
        return "whose stacked matrices would share scales"
    if weight.size <= LEAST:
        return f"of at most {LEAST} elements"
    if wanted == "int4" and weight.inputs % BLOCK:
        return f"not of whole blocks of {BLOCK}"
    return ""


def _weights(found: Package, request: BuildRequest) -> GateResult:
    """Whether the weights are those that went in."""
    if found.lost:
        raise ParityError(f"{request.component}: {found.lost[0]} is not in the package ({len(found.lost)} are not)")
    if far := max((one for one in found.unlike if one.excess > 1), key=lambda one: one.excess, default=None):
        raise ParityError(
            f"{request.component}: {far.name} in the package differs by {far.error:.3g} of its deviation, "
            f"{far.excess:.3g} times what rounding does",
            hint="nothing was written; ask for another: --scheme fp32",
            excess=far.excess,
        )
    worst = max(found.unlike, key=lambda one: one.error, default=None)
    if worst is None:
        return GateResult("weights", request.component, 0.0, 0.0, True, "nothing to compare with")
    excess = max(one.excess for one in found.unlike)
    note = f"{len(found.unlike)} weights as exported, {excess:.2f} of what rounding may do at most; worst {worst.name}"
    return GateResult("weights", request.component, _figure(worst.error), _figure(worst.limit), True, note)


def _figure(value: float) -> float:
    return float(f"{value:.3g}")
