"""Golden outputs of a program that is one bare graph, by an oracle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgectl_converters.sources.npz import read_npz
from edgectl_converters.sources.oracle import Evaluation, evaluate
from edgectl_converters.sources.parts.graphs import Part
from edgectl_protos.domain.errors import CheckpointError
from edgectl_protos.domain.program import Call, Program

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["golden_of"]


def golden_of(graph: Path, part: Part, call: Call, program: Program, observations: Path) -> tuple[Arrays, Evaluation]:
    """`in.` and `out.` arrays of the call, for the raw observations in the .npz `observations`, and who says so.

    Raises:
        CheckpointError: no oracle runs the graph, or an output has another shape than it declares.
        OperatorError: for want of an operator.
        NonFiniteError: an output holds NaN or infinity.
    """
    import numpy as np

    raw = read_npz(observations)
    written = {tensor: port for port, tensor in call.outputs.items()}
    states = {port: written[tensor] for port, tensor in call.inputs.items() if tensor in program.states}
    specs = {spec.name: spec for spec in part.inputs}
    observed = {port: tensor for port, tensor in call.inputs.items() if port not in states}
    zeros = {port: np.zeros(specs[port].shape, specs[port].dtype.value) for port in states}
    count = len(raw[next(iter(observed.values()))])
    cases = [
        zeros | {port: np.asarray(raw[tensor][case]).reshape(specs[port].shape) for port, tensor in observed.items()}
        for case in range(count)
    ]
    found = evaluate(graph, cases, tuple(call.outputs), states, what=part.path.name)
    golden: Arrays = {f"in.{tensor}": raw[tensor][: found.cases] for tensor in observed.values()}
    declared = {spec.name: spec for spec in part.outputs}
    for port, tensor in call.outputs.items():
        values, spec = found.outputs.get(port), program.tensor(tensor)
        if values is None or values.shape[1:] != declared[port].shape or spec is None:
            gives = [list(shape) for shape in found.varying.get(port, ())] or list(
                values.shape[1:] if values is not None else ()
            )
            raise CheckpointError(
                f"{part.path.name} declares {port!r} as {list(declared[port].shape)} and gives {gives}",
                hint="export the graph again with outputs of fixed shapes",
            )
        golden[f"out.{tensor}"] = values.reshape(found.cases, *spec.shape)
    return golden, found
