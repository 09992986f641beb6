"""A policy cut into parts: what each policy type's file returns, and how a part becomes an ONNX graph.

Runs inside a LeRobot toolchain. A part is a torch module with example arguments and names for its ports; ports have a
batch dimension of 1, the program's tensors have none. Facts: only torch.onnx.export(dynamo=True) writes valid graphs
for these nets; over 2 GiB it puts weights into `<file>.data` whatever it is told; an output may not be called like a
module's scope.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgectl_converters.sources.base import ONNX, PT2, ExportedComponent
from edgectl_converters.sources.torch_program import write_program
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.program import Step

__all__ = ["Part", "Split", "export_part", "make_part", "patched", "port_specs", "tensor_of"]

_OPSET = 20

Rewrite = Callable[[Any], object]
Within = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One component to be: example inputs and what the module gave for them, by port, in order.

    `within` is entered while the module runs; `rewrite` changes the exported program in place.
    """

    name: str
    module: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    within: Within = nullcontext
    rewrite: Rewrite | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The core of a program: from normalised observations to the normalised `chunk`.

    `tensors` are those that `steps` write, `noise` the shapes of what is drawn, with a leading pass dimension where it
    is drawn in a loop; `arrays` are float32.
    """

    parts: tuple[Part, ...]
    steps: tuple[Step, ...]
    tensors: tuple[TensorSpec, ...]
    chunk: str
    noise: dict[str, tuple[int, ...]] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)


def port_specs(ports: dict[str, Any]) -> tuple[TensorSpec, ...]:
    """Names, types and shapes of a part's ports."""
    return tuple(
        TensorSpec(name, DType(str(value.dtype).removeprefix("torch.")), tuple(value.shape))
        for name, value in ports.items()
    )


def tensor_of(name: str, value: Any) -> TensorSpec:
    """The tensor of the program that meets a port with this value: the batch dimension is dropped."""
    return TensorSpec(name, DType(str(value.dtype).removeprefix("torch.")), tuple(value.shape[1:]))


def make_part(
    name: str,
    module: Any,
    inputs: dict[str, Any],
    outputs: Sequence[str],
    *,
    within: Within = nullcontext,
    rewrite: Rewrite | None = None,
) -> Part:
    """A part, its example outputs computed."""
    import torch

    module = module.eval()
    with torch.no_grad(), within():
        found = module(*inputs.values())
    values = found if isinstance(found, (tuple, list)) else (found,)
    return Part(name, module, inputs, dict(zip(outputs, values, strict=True)), within, rewrite)


def export_part(part: Part, folder: Path, forms: Collection[str]) -> ExportedComponent:
    """Write `<name>.<form>` into the folder for each of the forms."""
    import torch

    # The fast path of attention cannot be traced.
    torch.backends.mha.set_fastpath_enabled(False)
    files = {form: f"{part.name}.{form}" for form in forms}
    with torch.no_grad(), part.within():
        exported = torch.export.export(part.module, tuple(part.inputs.values()), strict=False)
        if part.rewrite is not None:
            part.rewrite(exported)
        if PT2 in files:
            write_program(exported, folder / files[PT2])
        if ONNX in files:
            _write_onnx(exported, part, folder / files[ONNX])
    return ExportedComponent(part.name, files, port_specs(part.inputs), port_specs(part.outputs))


def _write_onnx(exported: Any, part: Part, file: Path) -> None:
    import torch

    program = torch.onnx.export(
        exported,
        (),
        dynamo=True,
        input_names=list(part.inputs),
        output_names=list(part.outputs),
        opset_version=_OPSET,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    _forget_sources(program.model.graph)
    program.save(str(file))


def _forget_sources(graph: Any) -> None:
    """Drop what the exporter notes at each node: stack traces with paths of this machine, and the traced code."""
    graph.metadata_props.clear()
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph.all_nodes():
        node.metadata_props.clear()
        values += node.outputs
    for value in values:
        value.metadata_props.clear()


@contextmanager
def patched(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes of an object or module for a while.

    What stood in the object itself is put back; what came from its class shows through again.
    """
    own = vars(owner)
    before = {name: own[name] for name in values if name in own}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in values:
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)
