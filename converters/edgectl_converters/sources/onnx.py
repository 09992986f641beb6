"""Any ONNX graph: its inputs are observations as they are, its first output is the action, whatever it is called.

A file `<name>.golden.npz` beside the graph, with `in.<input>` and `out.<output>`, is its golden data; without one an
oracle makes it on seeded inputs. Weights beside the graph stay beside it: they are copied, never read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgectl_converters.card import CheckpointCard, Declared, Sha256, digest_of_files
from edgectl_converters.sources.bare_graph import bare_policy, bare_program
from edgectl_converters.sources.base import GOLDEN, ONNX, Export, ExportedComponent, ExportRequest, Source
from edgectl_converters.sources.frame_ranges import golden_ranges, golden_spread, graph_ranges
from edgectl_converters.sources.golden_file import check_golden
from edgectl_converters.sources.npz import read_npz
from edgectl_converters.sources.onnx_graph import STANDARD_DOMAIN, graph_files, read_graph, save_graph, write_graph
from edgectl_converters.sources.onnx_opened import BareGraph, golden_file, open_graph
from edgectl_converters.sources.onnx_operators import check_operators
from edgectl_converters.sources.onnx_shapes import set_shape
from edgectl_converters.sources.oracle import Evaluation, difference, disagreement, evaluate
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.errors import CheckpointError, GateError, OperatorError
from edgectl_protos.domain.program import Call, Program

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

__all__ = ["COMPONENT", "OnnxSource"]

COMPONENT = "policy"
_FILE = "policy.onnx"
_ROWS_APART = 1e-3
"""More than that, of its range, between a case alone and one in a batch: they are no cases of their own."""
_BESIDE_GOLDEN_S = 20.0
_AXES_ARE_AN_INPUT = 13
"""The opset since when those of `Unsqueeze` are."""


class OnnxSource(Source):
    """One graph, which is the whole policy."""

    name: ClassVar[str] = "onnx"

    def sniff(self, path: Path) -> bool:
        """A file ending in .onnx."""
        return path.is_file() and path.suffix == ".onnx"

    def card(self, path: Path, sha256: Sha256) -> CheckpointCard:
        """Inputs, outputs, states and size of the graph.

        Raises:
            CheckpointError: it has no inputs or outputs, some that cannot be fed, or sizes that nothing says.
            CheckpointCorruptError: the file is no graph, or not whole.
            CheckpointVersionError: it is newer than the onnx package here.
        """
        return self.declared_card(path, sha256, Declared())

    def declared_card(
        self, path: Path, sha256: Sha256, declared: Declared, footage: Path | None = None
    ) -> CheckpointCard:
        """As `card`, with the sizes and states that the user says.

        Raises:
            CheckpointError: as `card`.
            UsageError: what was said does not fit the graph.
        """
        graph = open_graph(path, declared, footage)
        check_operators(graph.model)
        weights = graph_files(path, graph.model)
        golden = graph.golden
        told = f"golden data: {golden.name}" if golden else "no golden data: an oracle makes it"
        return CheckpointCard(
            path=path,
            source=self.name,
            policy=bare_policy(self.name, graph.inputs, graph.outputs, graph.states),
            parameters=sum(math.prod(initializer.dims) for initializer in graph.model.graph.initializer),
            size_bytes=sum(file.stat().st_size for file in weights),
            toolchain="host",
            digest=digest_of_files(path.parent, [*weights, *([golden] if golden else [])], sha256),
            components=(COMPONENT,),
            notes=(told, *graph.notes),
            schemes=graph.schemes,
            declared=graph.declared,
        )

    def spread(self, path: Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
        """Where the golden data say that values lie; without, where the graph can compute them."""
        golden = golden_file(path)
        if golden:
            return golden_spread(golden)
        try:
            graph = open_graph(path, Declared())
        except CheckpointError:
            # Its sizes are what the user says, and there is nobody to say it here.
            return {}
        return graph.operands

    def ranges(self, path: Path) -> dict[str, tuple[float, float]]:
        """What the golden data and the first nodes of the graph show."""
        golden = golden_file(path)
        return graph_ranges(read_graph(path)) | (golden_ranges(golden) if golden else {})

    def export(self, request: ExportRequest, progress: Callable[[str], None]) -> Export:
        """The graph with static shapes, and golden cases.

        Raises:
            OperatorError: the graph has an operator that its opset does not define, that draws noise, or that nothing
                here computes.
            CheckpointCorruptError: the graph is not valid.
            CheckpointError: nothing here computes it, or it gives other shapes than it declares.
            NonFiniteError: an output holds NaN or infinity.
        """
        import numpy as np
        import onnx

        path, out = Path(request.checkpoint), Path(request.out)
        progress("checking the graph")
        graph = open_graph(path, request.declared)
        check_operators(graph.model)
        model = _write(graph, out / _FILE)
        raw = read_npz(Path(request.observations)) if request.observations else {}
        progress(f"reading {graph.golden.name}" if graph.golden else "computing golden outputs")
        if graph.golden is not None:
            graph, arrays, reference, notes = _with_golden(graph, out / _FILE)
            kind = "recorded"
        else:
            found = evaluate(out / _FILE, _feeds(graph, raw), _names(graph), graph.states, what=path.name)
            graph, arrays = _with_shapes(graph, found), _golden(graph, raw, found)
            _check_rows(graph, raw, arrays)
            reference, notes, kind = found.reference, found.notes, request.inputs_kind
        policy = bare_policy(self.name, graph.inputs, graph.outputs, graph.states)
        program = bare_program(COMPONENT, policy, graph.inputs, graph.outputs, graph.states)
        stored = graph.schemes[0] if graph.schemes else ""
        component = ExportedComponent(COMPONENT, {ONNX: _FILE}, graph.inputs, graph.outputs, stored)
        component, program = _with_leading_one(model, component, program)
        _set_outputs(model, component.outputs)
        save_graph(model, out / _FILE)
        specs = {spec.name: spec for spec in program.tensors}
        cases = len(arrays[f"out.{program.action}"])
        for key in [key for key in arrays if key.startswith("out.")]:
            arrays[key] = arrays[key].reshape(cases, *specs[key[4:]].shape)
        np.savez(out / GOLDEN, allow_pickle=False, **arrays)
        notes = (*graph.notes, *notes)
        return Export(policy, program, (component,), reference, kind, cases, {"onnx": onnx.__version__}, notes)


def _write(graph: BareGraph, file: Path) -> Any:
    """The graph with the sizes of its ports, its weights beside it."""
    model = read_graph(graph.path, weights=True)
    shapes = {value.name: value for value in (*graph.model.graph.input, *graph.model.graph.output)}
    for value in model.graph.input:
        value.CopyFrom(shapes[value.name])
    del model.graph.output[:]
    model.graph.output.extend(graph.model.graph.output)
    if not graph.model.graph.value_info:
        del model.graph.value_info[:]
    write_graph(model, graph.path, file)
    return model


def _names(graph: BareGraph) -> tuple[str, ...]:
    return tuple(spec.name for spec in graph.outputs)


def _feeds(graph: BareGraph, raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cases as the graph takes them, from raw observations; states begin at zero."""
    import numpy as np

    zeros = {spec.name: np.zeros(spec.shape, spec.dtype.value) for spec in graph.inputs if spec.name in graph.states}
    observed = [spec for spec in graph.inputs if spec.name not in graph.states]
    return [
        zeros | {spec.name: np.asarray(raw[spec.name][case]).reshape(spec.shape) for spec in observed}
        for case in range(len(raw[observed[0].name]))
    ]


def _golden(graph: BareGraph, raw: Mapping[str, Any], found: Evaluation) -> Arrays:
    observed = [spec.name for spec in graph.inputs if spec.name not in graph.states]
    return {f"in.{name}": raw[name][: found.cases] for name in observed} | {
        f"out.{name}": values for name, values in found.outputs.items()
    }


def _with_golden(graph: BareGraph, file: Path) -> tuple[BareGraph, Arrays, str, tuple[str, ...]]:
    """The graph with all sizes, the golden data that lies beside it, and what an oracle says to that."""
    assert graph.golden is not None
    golden = graph.golden
    raw = {key[3:]: array for key, array in read_npz(golden).items() if key.startswith("in.")}
    found: Evaluation | None = None
    why = ""
    shapes = {spec.name: math.prod(spec.shape) for spec in graph.inputs if spec.name not in graph.states}
    if all(name in raw and raw[name].ndim and raw[name][:1].size == size for name, size in shapes.items()):
        cast = {spec.name: raw[spec.name].astype(spec.dtype.value) for spec in graph.inputs if spec.name in shapes}
        try:
            feeds = _feeds(graph, cast)
            found = evaluate(file, feeds, _names(graph), graph.states, what=graph.path.name, alone_s=_BESIDE_GOLDEN_S)
        except (CheckpointError, OperatorError, GateError) as exc:
            why = exc.message
    graph = _with_shapes(graph, found)
    policy = bare_policy(OnnxSource.name, graph.inputs, graph.outputs, graph.states)
    program = bare_program(COMPONENT, policy, graph.inputs, graph.outputs, graph.states)
    arrays = check_golden(golden, policy, program, frozenset(f"in.{name}" for name in graph.states))
    if found is None:
        return graph, arrays, golden.name, (f"the golden data is confirmed by no oracle: {why}",)
    specs = {spec.name: spec for spec in program.tensors}
    brought = {key[4:]: array[: found.cases] for key, array in arrays.items() if key.startswith("out.")}
    computed = {name: found.outputs[name].reshape(found.cases, *specs[name].shape) for name in brought}
    apart = disagreement(computed, brought)
    if not apart:
        return graph, arrays, golden.name, (f"the golden data is confirmed by {found.reference}",)
    reference = f"{golden.name}; {found.reference} differs: {apart}"
    return graph, arrays, reference, (f"{found.reference} gives other values than the golden data: {apart}",)


def _with_shapes(graph: BareGraph, found: Evaluation | None) -> BareGraph:
    """The graph with outputs of the sizes that were seen; those whose shape depends on the data are not handed on.

    Raises:
        CheckpointError: the action's does or has no values, or an output has another shape than it declares.
    """
    kept, notes = [], []
    for spec in graph.outputs:
        values = found.outputs.get(spec.name) if found else None
        shape = values.shape[1:] if values is not None else spec.shape
        if 0 in shape and spec == _action(graph):
            raise CheckpointError(
                f"{spec.name!r} of {graph.path.name} is {list(shape)}: an action of no values does nothing",
                hint="export the graph again with an action as its first output",
            )
        if len(shape) != len(spec.shape) or any(b not in (-1, a) for a, b in zip(shape, spec.shape, strict=True)):
            raise CheckpointError(
                f"{graph.path.name} declares {spec.name!r} as {list(spec.shape)} and gives {list(shape)}",
                hint="export the graph again, or take the declared shape out: nothing is reshaped silently",
            )
        varies = found.varying.get(spec.name) if found else None
        if varies is None and -1 not in shape:
            kept.append(replace(spec, shape=shape))
            continue
        why = (
            f"depends on the data: {list(varies[0])} in one case, {list(varies[1])} in another"
            if varies
            else "is not known before it runs, and nothing here runs it"
        )
        if spec.name in graph.states.values() or spec == _action(graph):
            raise CheckpointError(
                f"the shape of {spec.name!r} of {graph.path.name} {why}",
                hint="export it padded to a fixed shape, with how many of it count as another output",
            )
        notes.append(f"not handed on: the shape of the output {spec.name} {why}")
    return replace(graph, outputs=tuple(kept), notes=(*graph.notes, *notes))


def _action(graph: BareGraph) -> TensorSpec:
    return next(spec for spec in graph.outputs if spec.name not in graph.states.values())


def _check_rows(graph: BareGraph, raw: Mapping[str, Any], arrays: Arrays) -> None:
    """See that a case alone gives what it gives in the batch that the file takes.

    Raises:
        CheckpointError: the rows are no cases of their own.
    """
    import numpy as np

    if graph.rows == 1:
        return
    cases = _feeds(graph, raw)
    picks = [row % len(cases) for row in range(graph.rows)]
    batch = {name: np.concatenate([cases[pick][name] for pick in picks]) for name in cases[0]}
    found = evaluate(graph.path, [batch], _names(graph), {})
    for name, values in found.outputs.items():
        alone = arrays[f"out.{name}"]
        alone = alone.reshape(len(alone), -1)[picks]
        apart = difference(values[0].reshape(graph.rows, -1), alone) if values[0].size == alone.size else 1.0
        if apart > _ROWS_APART:
            told = " ".join(f"--shape {s.name}={'x'.join(map(str, (graph.rows, *s.shape[1:])))}" for s in graph.inputs)
            raise CheckpointError(
                f"{graph.path.name} takes {graph.rows} at once, and they are no cases of their own: {name!r} of one "
                f"alone differs by {apart:.1e} of its range",
                hint=f"run it as it is: {told}",
            )


def _set_outputs(model: Any, outputs: tuple[TensorSpec, ...]) -> None:
    by_name = {spec.name: spec for spec in outputs}
    kept = [value for value in model.graph.output if value.name in by_name]
    for value in kept:
        set_shape(value, by_name[value.name].shape)
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _with_leading_one(model: Any, component: ExportedComponent, program: Program) -> tuple[ExportedComponent, Program]:
    """An action without a leading 1, `[n]` or `[3, 2]`, becomes a chunk of one: the graph gets one more output."""
    import numpy as np
    from onnx import helper, numpy_helper

    wanted = program.tensor(program.action)
    assert wanted is not None, "the action is a tensor of the program"
    action = next(spec for spec in component.outputs if spec.name == program.action)
    if wanted.shape in (action.shape, action.shape[1:]):
        return component, program
    chunk = TensorSpec(f"{action.name}__chunk", action.dtype, wanted.shape)
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", STANDARD_DOMAIN)]
    if not opsets:
        model.opset_import.append(helper.make_opsetid("", _AXES_ARE_AN_INPUT))
    if opsets and max(opsets) < _AXES_ARE_AN_INPUT:
        node = helper.make_node("Unsqueeze", [action.name], [chunk.name], name=chunk.name, axes=[0])
    else:
        axes = numpy_helper.from_array(np.array([0], np.int64), f"{chunk.name}_axes")
        model.graph.initializer.append(axes)
        node = helper.make_node("Unsqueeze", [action.name, axes.name], [chunk.name], name=chunk.name)
    model.graph.node.append(node)
    value = next(value for value in model.graph.output if value.name == action.name)
    value.CopyFrom(helper.make_tensor_value_info(chunk.name, value.type.tensor_type.elem_type, wanted.shape))
    (call,) = program.steps
    assert isinstance(call, Call)
    bound = {chunk.name if port == action.name else port: tensor for port, tensor in call.outputs.items()}
    outputs = tuple(chunk if spec == action else spec for spec in component.outputs)
    return replace(component, outputs=outputs), replace(program, steps=(replace(call, outputs=bound),))
