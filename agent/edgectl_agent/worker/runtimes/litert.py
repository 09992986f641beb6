"""LiteRT on the CPU, through XNNPACK.

Facts: ports are bound by the names of the file's one signature (by tensor names where it has none); its converter
stores 64-bit integers as 32-bit ones, so an int64 port is narrowed on its way in, and a value that does not fit is
refused. The default delegate is XNNPACK, and an operator that it does not take runs in LiteRT's own kernels without a
word: which operators it took follows from the delegates' own inputs and outputs, since nothing lists them. Weights of
integers beside floating activations are computed in int8 (activations are quantised at every call); weights that pass
through DEQUANTIZE are computed as floats. An interpreter has one set of buffers: a fork loads the file again, which is
mapped once. Inputs and outputs are copied: no call binds memory of ours.
"""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import (
    Graph,
    LoadedFacts,
    Runtime,
    bulk_precision,
    check_names,
    fixed_outputs,
    sentence,
)
from edgectl_agent.worker.runtimes.trial import launch_one
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    EdgectlError,
    OperatorError,
    PrecisionError,
    ShapeError,
)

__all__ = ["LiteRtRuntime"]

_PROVIDER = "XNNPACK"
_DELEGATE = "DELEGATE"
_PRODUCT = "BATCH_MATMUL"
_HEAVY = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", _PRODUCT})
_FLOATS = {"FLOAT32": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16"}
_INTEGERS = {"INT8": "int8", "UINT8": "int8", "INT4": "int8", "INT2": "int8", "INT16": "int16"}
_SUM = bytes.fromhex(
    "1c00000054464c3314001800140010000c000000080000000000040014000000140000008c000000940000006401000003000000010000"
    "001000000000000a0010000c00080004000a0000000c0000001c0000003c0000000f00000073657276696e675f64656661756c74000100"
    "00000c00000008000c00080004000800000001000000040000000100000079000000010000000c00000000000600080004000600000004"
    "0000000100000078000000010000000400000020ffffff01000000100000000c00140010000c00080004000c0000001000000050000000"
    "5400000058000000010000001400000000000e001400000010000c000b0004000e000000100000000000000b0c0000001000000078ffff"
    "ff010000000100000002000000000000000000000001000000010000000100000000000000020000003400000004000000e0ffffff0800"
    "00000c00000001000000790000000200000001000000040000000c000c0008000000000004000c000000080000000c0000000100000078"
    "00000002000000010000000400000001000000080000000400040004000000"
)
"""`y = x + x` over float32[1, 4], with one signature."""
_STORED = {"int64": "int32"}
"""What the converter stores another type as."""
_UNKNOWN_OPERATOR = (
    re.compile(r"unresolved custom op: (?P<op>[^\s.]+)"),
    re.compile(r"Didn't find op for builtin opcode '(?P<op>\w+)'"),
)


class LiteRtRuntime(Runtime):
    """`Interpreter` with its default delegate."""

    name = "litert"

    def _import(self) -> str:
        import importlib.metadata

        import ai_edge_litert.interpreter  # noqa: F401 - what is asked is whether it loads

        return importlib.metadata.version("ai-edge-litert")

    def _facts(self, version: str) -> RuntimeFacts:
        launch_one(self, "sum.tflite", {"sum.tflite": _SUM})
        return RuntimeFacts(self.name, version, (_PROVIDER,), ("fp32", "int8"))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        if not artifact.is_file():
            raise BundleCorruptError(f"{artifact.name} is not in the release")
        interpreter = _opened(artifact, threads)
        inputs, outputs = _ports(interpreter)
        check_names("input", inputs, component.inputs)
        check_names("output", outputs, component.outputs)
        interpreter.allocate_tensors()
        _check_ports(interpreter.get_input_details(), inputs, component.inputs)
        _check_ports(interpreter.get_output_details(), outputs, component.outputs)
        operators = _operators(artifact)
        # Products of two activations carry no weights, and are never quantised.
        heavy = [one.precision for one in operators if one.kind in _HEAVY and one.kind != _PRODUCT and one.precision]
        light = [one.precision for one in operators if one.kind not in _HEAVY or one.kind == _PRODUCT]
        precision = bulk_precision(heavy, filter(None, light), component)
        facts = LoadedFacts(precision, _provider(interpreter, operators), self._import())
        return _Interpreted(self.name, component, facts, interpreter, artifact, threads)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        for pattern in _UNKNOWN_OPERATOR:
            if found := pattern.search(str(error)):
                return OperatorError(f"litert does not know the operator {found['op']}: {sentence(error)}")
        return BundleCorruptError(f"{artifact.name} is not a graph that litert can load: {sentence(error)}")


class _Interpreted(Graph):
    """An interpreter, and the arrays that enter its next run."""

    def __init__(
        self, runtime: str, component: Component, facts: LoadedFacts, interpreter: Any, artifact: Path, threads: int
    ) -> None:
        super().__init__(runtime, component, facts)
        self._interpreter = interpreter
        self._again = (artifact, threads)
        self._arrays: dict[str, Array] = {}
        self._input_at, self._output_at = _ports(interpreter)
        # Shapes are fixed: ports of free shape are refused when the graph is loaded.
        self._outputs = fixed_outputs(component) or {}

    def _fork(self) -> Graph:
        artifact, threads = self._again
        interpreter = _opened(artifact, threads)
        interpreter.allocate_tensors()
        return _Interpreted(self._runtime, self.component, self.facts, interpreter, artifact, threads)

    def _bind(self, name: str, array: Array) -> bool:
        self._arrays[name] = array
        return True

    def _run(self) -> Mapping[str, Array]:
        for name, array in self._arrays.items():
            self._interpreter.set_tensor(self._input_at[name], _narrowed(name, array))
        self._interpreter.invoke()
        for name, array in self._outputs.items():
            found = self._interpreter.tensor(self._output_at[name])()
            if found.shape != array.shape:
                raise DeviceError(f"litert gives {list(found.shape)} for {name!r}, not {list(array.shape)}")
            np.copyto(array, found)
            # The interpreter runs only while nothing looks into its memory.
            del found
        return self._outputs

    def _close(self) -> None:
        self._arrays = {}
        self._interpreter = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Operator:
    """One operator of the file: its place, its kind, and the precision in which it computes, empty if in none."""

    at: int
    kind: str
    precision: str


def _opened(artifact: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(artifact), num_threads=threads)


def _ports(interpreter: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Inputs and outputs by name: where their tensors are.

    Raises:
        BundleError: there are several signatures.
    """
    signatures = interpreter._get_full_signature_list()
    if len(signatures) > 1:
        raise BundleError(
            f"the graph has {len(signatures)} signatures ({', '.join(sorted(signatures))}); one can be run",
            hint="write each of them to a file of its own",
        )
    for signature in signatures.values():
        return dict(signature["inputs"]), dict(signature["outputs"])
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    return {one["name"]: one["index"] for one in inputs}, {one["name"]: one["index"] for one in outputs}


def _check_ports(details: list[dict[str, Any]], places: Mapping[str, int], specs: Iterable[TensorSpec]) -> None:
    """Refuse ports of other shapes or types than the manifest says.

    Raises:
        BundleError: there is one.
    """
    found = {one["index"]: one for one in details}
    for spec in specs:
        tensor = found[places[spec.name]]
        shape, dtype = tuple(int(size) for size in tensor["shape"]), np.dtype(tensor["dtype"]).name
        wanted = spec.dtype.value
        if shape != spec.shape:
            raise BundleError(
                f"{spec.name!r} of the graph is {list(shape)}; the manifest says {list(spec.shape)}, and litert takes "
                "fixed shapes",
                hint="convert the checkpoint again: edgectl convert",
            )
        if dtype not in (wanted, _STORED.get(wanted)):
            raise BundleError(
                f"{spec.name!r} of the graph is {dtype}; the manifest says {wanted}",
                hint="convert the checkpoint again: edgectl convert",
            )


def _narrowed(name: str, array: Array) -> Array:
    """The array as the converter stores its type.

    Raises:
        ShapeError: a value does not fit.
    """
    stored = _STORED.get(array.dtype.name)
    if stored is None:
        return array
    limits = np.iinfo(stored)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise ShapeError(f"the graph's input {name!r} is stored as {stored}, and holds a value that does not fit")
    return array.astype(stored)


def _operators(artifact: Path) -> list[_Operator]:
    """The operators of the file's main graph, in their order, which is that of the interpreter's nodes."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    types = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    with open(artifact, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model = schema.Model.GetRootAs(data, 0)
        graph = model.Subgraphs(0)
        found = []
        for at in range(graph.OperatorsLength()):
            operator = graph.Operators(at)
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Codes above 126 stand in the newer field alone.
            kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            places = [operator.Inputs(index) for index in range(operator.InputsLength())]
            entering = [types[graph.Tensors(place).Type()] for place in places if place >= 0]
            found.append(_Operator(at, kind, _precision(kind, entering)))
    return found


def _precision(kind: str, entering: list[str]) -> str:
    """In what an operator computes, by the types of its activations and, if it is heavy, of its weights."""
    if not entering:
        return ""
    # A transposed convolution takes its shape first, its activations last.
    activations = entering[2 if kind == "TRANSPOSE_CONV" else 0]
    if kind in _HEAVY and activations in _INTEGERS:
        return _INTEGERS[activations]
    if kind in _HEAVY and entering[1] in _INTEGERS:
        return "int8"
    return _FLOATS.get(activations, "")


def _provider(interpreter: Any, operators: list[_Operator]) -> str:
    """What computes the heavy operators: XNNPACK, and which it did not take.

    Raises:
        PrecisionError: there is no delegate.
    """
    taken = _delegated(interpreter)
    heavy = [one for one in operators if one.kind in _HEAVY]
    if heavy and not taken:
        raise PrecisionError(
            f"{_PROVIDER} was asked for, and takes none of the operators, of which {len(heavy)} carry weight",
            hint="convert with another scheme: edgectl convert --scheme fp32",
        )
    outside = Counter(one.kind for one in heavy if one.at not in taken)
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(outside.items()))
    return f"{_PROVIDER}, without {words}" if words else _PROVIDER


def _delegated(interpreter: Any) -> set[int]:
    """Places of the operators that the delegates run: what leads from their outputs back to their inputs."""
    nodes = interpreter._get_ops_details()
    makers = {out: node for node in nodes if node["op_name"] != _DELEGATE for out in map(int, node["outputs"])}
    taken: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == _DELEGATE):
        border, wanted = set(map(int, delegate["inputs"])), list(map(int, delegate["outputs"]))
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and node["index"] not in taken:
                taken.add(int(node["index"]))
                wanted += [place for place in map(int, node["inputs"]) if place not in border]
    return taken
