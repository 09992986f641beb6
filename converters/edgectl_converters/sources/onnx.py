"""Any ONNX graph: its inputs are observations as they are, its first output is the action, whatever it is called.

Without golden data, the graph's own reference evaluation on seeded inputs is the golden data. Free dimensions are set
to 1. A file `<name>.golden.npz` beside the graph, with `in.<input>` and `out.<output>`, is taken instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from edgectl_converters.card import CheckpointCard, Sha256, digest_of_files
from edgectl_converters.sources.bare_graph import bare_policy, bare_program
from edgectl_converters.sources.base import GOLDEN, Export, ExportedComponent, ExportRequest, Source
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.onnx_graph import (
    check_operators,
    free_values,
    graph_files,
    load_graph,
    read_graph,
    spec_of,
)
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, NonFiniteError
from edgectl_protos.domain.policy import Call, Program

__all__ = ["COMPONENT", "OnnxSource", "golden_file"]

COMPONENT = "policy"
_FILE = "policy.onnx"
# What a graph that is wrong in itself makes the evaluator raise.
_EVALUATOR_ERRORS = (ArithmeticError, AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)


class OnnxSource(Source):
    """One graph, which is the whole policy."""

    name: ClassVar[str] = "onnx"

    def sniff(self, path: Path) -> bool:
        """A file ending in .onnx."""
        return path.is_file() and path.suffix == ".onnx"

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """Inputs, outputs and size of the graph.

        Raises:
            CheckpointError: it has no inputs or outputs, or some that cannot be fed.
            CheckpointCorruptError: the file is no graph, or not whole.
        """
        model = read_graph(path)
        inputs, outputs = _ports(model, path.name)
        golden = golden_file(path)
        files = [*graph_files(path, model), *([golden] if golden else [])]
        free = free_values(model)
        notes = [f"golden data: {golden.name}" if golden else "no golden data: the reference evaluator makes it"]
        notes += [f"free dimensions set to 1: {', '.join(free)}"] if free else []
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=bare_policy(self.name, inputs, outputs),
            parameters=sum(math.prod(initializer.dims) for initializer in model.graph.initializer),
            size_bytes=sum(file.stat().st_size for file in files if file != golden),
            toolchain="host",
            digest=digest_of_files(path.parent, files, sha256),
            components=(COMPONENT,),
            notes=tuple(notes),
        )

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """The graph with static shapes, and golden cases.

        Raises:
            OperatorError: the graph has an operator that its opset does not define.
            CheckpointCorruptError: the graph is not valid, or cannot be evaluated.
            NonFiniteError: an output holds NaN or infinity.
        """
        import numpy as np
        import onnx

        path, out = Path(request.checkpoint), Path(request.out)
        progress("checking the graph")
        model = load_graph(path)
        golden = golden_file(path)
        check_operators(model, model.graph, evaluated=golden is None)
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if not dim.dim_value:
                    dim.dim_value = 1
        _check(model, path.name)
        inputs, outputs = _ports(model, path.name)
        policy = bare_policy(self.name, inputs, outputs)
        component = ExportedComponent(COMPONENT, "onnx", _FILE, inputs, outputs)
        program = bare_program(COMPONENT, policy, inputs, outputs)
        if golden is not None:
            arrays = check_golden(golden, policy, program)
            reference, kind = golden.name, "recorded"
        else:
            progress("computing golden outputs with the reference evaluator")
            arrays = _golden(model, path.name, request.observations, component)
            reference, kind = f"onnx {onnx.__version__} ReferenceEvaluator", request.inputs_kind
        component, program = _with_leading_one(model, component, program)
        _save(model, out / component.file)
        np.savez(out / GOLDEN, allow_pickle=False, **arrays)
        cases = len(next(iter(arrays.values())))
        return Export(policy, program, (component,), reference, kind, cases, {"onnx": onnx.__version__})


def golden_file(path: Path) -> Path | None:
    """Golden data that lies beside the graph."""
    file = path.with_suffix(".golden.npz")
    return file if file.exists() else None


def _ports(model: Any, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    initializers = {initializer.name for initializer in model.graph.initializer}
    inputs = tuple(spec_of(value) for value in model.graph.input if value.name not in initializers)
    outputs = tuple(spec_of(value) for value in model.graph.output)
    if not inputs or not outputs:
        raise CheckpointError(f"{name} has no inputs or no outputs")
    names = [spec.name for spec in (*inputs, *outputs)]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CheckpointError(f"two inputs or outputs of {name} are called {twice!r}")
    return inputs, outputs


def _check(model: Any, name: str) -> None:
    import onnx

    # The checker takes what fits into one file of protobuf.
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        return
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as exc:
        raise CheckpointCorruptError(f"{name} is not a valid graph: {str(exc).splitlines()[0]}") from exc


def _save(model: Any, file: Path) -> None:
    import onnx

    beside = model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF
    onnx.save(model, str(file), save_as_external_data=beside, location=f"{file.name}.data")


def _with_leading_one(model: Any, component: ExportedComponent, program: Program) -> tuple[ExportedComponent, Program]:
    """An action without a leading 1, `[n]` or `[3, 2]`, becomes a chunk of one: the graph gets one more output."""
    import numpy as np
    from onnx import helper, numpy_helper

    first, *others = component.outputs
    wanted = program.tensor(first.name)
    assert wanted is not None, "the action is a tensor of the program"
    if wanted.shape in (first.shape, first.shape[1:]):
        return component, program
    chunk = f"{first.name}__chunk"
    shape = numpy_helper.from_array(np.array(wanted.shape, np.int64), f"{chunk}_shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Reshape", [first.name, shape.name], [chunk], name=chunk))
    kind = model.graph.output[0].type.tensor_type.elem_type
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(chunk, kind, wanted.shape))
    (call,) = program.steps
    assert isinstance(call, Call)
    bound = {chunk: first.name} | {spec.name: spec.name for spec in others}
    outputs = (TensorSpec(chunk, first.dtype, wanted.shape), *others)
    return replace(component, outputs=outputs), replace(program, steps=(replace(call, outputs=bound),))


def _golden(model: Any, name: str, observations: str, component: ExportedComponent) -> dict[str, Any]:
    """Cases by the reference evaluator."""
    import numpy as np
    from onnx.reference import ReferenceEvaluator

    with np.load(observations, allow_pickle=False) as file:
        raw = {key: file[key] for key in file.files}
    outputs = [output.name for output in model.graph.output]
    cases = []
    try:
        evaluator = ReferenceEvaluator(model)
        with np.errstate(all="ignore"):
            for case in range(len(next(iter(raw.values())))):
                feeds = {spec.name: raw[spec.name][case].reshape(spec.shape) for spec in component.inputs}
                cases.append(evaluator.run(None, feeds))
    except _EVALUATOR_ERRORS as exc:
        raise CheckpointCorruptError(
            f"the reference evaluator cannot run {name}: {type(exc).__name__}: {exc}",
            hint=f"put golden data beside it: {Path(name).stem}.golden.npz with in.<input> and out.<output>",
        ) from exc
    arrays: dict[str, Any] = {f"in.{key}": values for key, values in raw.items()}
    for index, output in enumerate(outputs):
        values = np.stack([case[index] for case in cases])
        if not np.isfinite(values).all():
            raise NonFiniteError(
                f"{name} gives {int((~np.isfinite(values)).sum())} values of {output!r} that are not finite, "
                "by the reference evaluator already",
                hint="give it inputs from its own world: --footage DIR",
            )
        arrays[f"out.{output}"] = values
    return arrays
