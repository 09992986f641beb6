"""int8 as builders of engines take it, and as much of it as the component stands.

Symmetric, activations per tensor and weights per channel, biases in fp32: these builders take neither zero points, nor
unsigned activations, nor integer biases. The host cannot run what they build, so what int8 loses is measured here, on
the graph that they are given: where all layers lose too much, the most sensitive stay in fp32, as few as will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.calibration import read_calibration
from edgectl_converters.targets.onnx_quantizer import WITH_WEIGHTS, Prepared, outputs_of
from edgectl_converters.targets.sensitivity import KEEP_VARIANTS, damage, held_out, kept, rank_layers
from edgectl_protos.domain.errors import ParityError, RouteError

__all__ = ["quantise_symmetric"]

_ALLOWED = 0.1
"""Root mean square error of an output, in parts of its deviation: what actions may be off by in int8."""
_QUANTIZER = {
    **{"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    # A pair at what enters a layer is enough: what leaves it stays in fp32 until the next one.
    "OpTypesToExcludeOutputQuantization": list(WITH_WEIGHTS),
}


def quantise_symmetric(
    request: BuildRequest, graph: Path, out: Path, progress: Callable[[str], None]
) -> dict[str, str]:
    """Write the graph in int8; what to say of it in the provenance.

    Raises:
        RouteError: it has no layer with constant weights.
        ParityError: even with the most sensitive layers in fp32 it is too far off.
    """
    calls = read_calibration(request)
    progress(f"quantising {request.component} to int8 with {len(calls)} captured calls")
    prepared = Prepared(graph, out.parent, WITH_WEIGHTS)
    layers = tuple(prepared.layers)
    if not layers:
        raise RouteError(
            f"{request.component!r} has no layer with constant weights, so that nothing of it can be int8",
            hint="convert it with another scheme: --scheme fp16",
        )
    _, held = held_out(calls)
    exact = outputs_of(prepared.path, held)

    def outputs_with(chosen: Sequence[str]) -> list[dict[str, Any]]:
        prepared.quantise(chosen, calls, out, activations="int8", extra=_QUANTIZER)
        return outputs_of(out, held)

    def error_with(chosen: Sequence[str]) -> float:
        return math.sqrt(damage(outputs_with(chosen), exact))

    left: tuple[str, ...] = ()
    error = error_with(layers)
    if error > _ALLOWED:
        ranking = rank_layers(layers, exact, outputs_with, progress)
        for variant in KEEP_VARIANTS:
            left = kept(variant, ranking)
            error = error_with([name for name in layers if name not in left])
            if error <= _ALLOWED:
                break
        else:
            raise ParityError(
                f"{request.component!r} in int8 is off by {error:.2g} of its outputs' deviation, with {len(left)} of "
                f"{len(layers)} layers in fp32; {_ALLOWED} is allowed",
                hint="convert it with another scheme, or with footage of the task: --scheme fp16, --footage DIR",
            )
    settings = {"format": "QDQ", "activations": "int8 symmetric", "weights": "int8 per channel"}
    settings |= {"quantised_layers": str(len(layers) - len(left)), "calibration_calls": str(len(calls))}
    settings |= {"int8_error": f"{error:.2g}"}
    if left:
        settings["left_in_fp32"] = f"{len(left)} of {len(layers)} layers: {', '.join(left)}"
    return settings
