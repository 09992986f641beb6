"""Golden outputs of a program that is one bare graph, by the onnx package's reference evaluator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.npz import read_npz
from edgectl_protos.domain.errors import CheckpointCorruptError, NonFiniteError
from edgectl_protos.domain.policy import Call, Program

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["evaluate"]

# What a graph that is wrong in itself makes the evaluator raise; an unknown operator is NotImplementedError.
_EVALUATOR_ERRORS = (ArithmeticError, AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


def evaluate(graph: Path, call: Call, program: Program, observations: Path) -> Arrays:
    """`in.` and `out.` arrays of the call, for the raw observations in the .npz `observations`.

    Raises:
        CheckpointCorruptError: the graph cannot be evaluated.
        NonFiniteError: an output holds NaN or infinity.
    """
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    raw = read_npz(observations)
    ports = list(call.outputs)
    shapes = {tensor: program.tensor(tensor) for tensor in call.outputs.values()}
    cases: list[list[Any]] = []
    try:
        model = onnx.load(str(graph))
        sizes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in model.graph.input
        }
        evaluator = ReferenceEvaluator(model)
        with np.errstate(all="ignore"):
            for case in range(len(next(iter(raw.values())))):
                feeds = {port: raw[tensor][case].reshape(sizes[port]) for port, tensor in call.inputs.items()}
                cases.append(list(evaluator.run(ports, feeds)))
    except _EVALUATOR_ERRORS as exc:
        raise CheckpointCorruptError(
            f"the reference evaluator cannot run {graph.name}: {type(exc).__name__}: {exc}",
            hint="put golden data beside the policy file: golden.npz; see docs/policy-file.md",
        ) from exc
    found: Arrays = {f"in.{tensor}": raw[tensor] for tensor in call.inputs.values()}
    for index, tensor in enumerate(call.outputs.values()):
        values = np.stack([case[index] for case in cases])
        if not np.isfinite(values).all():
            raise NonFiniteError(
                f"{graph.name} gives {int((~np.isfinite(values)).sum())} values of {tensor!r} that are not finite, "
                "by the reference evaluator already",
                hint="give it inputs from its own world: --footage DIR",
            )
        spec = shapes[tensor]
        found[f"out.{tensor}"] = values.reshape(len(cases), *spec.shape) if spec else values
    return found
