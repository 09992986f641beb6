"""Small .tflite files, written by hand with the schema that comes with LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgectl_testkit.bundles import ACTION_DIM, CHUNK, HEIGHT, STATE_DIM, WIDTH

__all__ = ["Operator", "Tensor", "convolution_file", "tiny_file", "write_file"]

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: a constant if it has values; `scale` where it is quantised, one for each row."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    values: Any = None
    scale: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator between tensors by name; a custom one if its kind is no builtin."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


_OPTIONS = {
    "MEAN": "Reducer",
    "SUM": "Reducer",
    "ADD": "Add",
    "MUL": "Mul",
    "CONV_2D": "Conv2D",
    "FULLY_CONNECTED": "FullyConnected",
    "CONV_3D": "Conv3D",
}


def write_file(
    tensors: Sequence[Tensor],
    operators: Sequence[Operator],
    inputs: Sequence[str],
    outputs: Sequence[str],
    signatures: Sequence[str] = ("serving_default",),
) -> bytes:
    """The bytes of a file with one graph, and as many signatures of it as there are names."""
    places = {tensor.name: at for at, tensor in enumerate(tensors)}
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    graph.inputs, graph.outputs = [places[name] for name in inputs], [places[name] for name in outputs]
    for tensor in tensors:
        made = schema.TensorT()
        made.name, made.shape, made.type = tensor.name.encode(), list(tensor.shape), _TYPES[tensor.dtype]
        if tensor.values is not None:
            buffer = schema.BufferT()
            values = np.ascontiguousarray(np.broadcast_to(tensor.values, tensor.shape), tensor.dtype)
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        if tensor.scale:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = list(tensor.scale)
            made.quantization.zeroPoint = [0] * len(tensor.scale)
        graph.tensors.append(made)
    for operator in operators:
        code = schema.OperatorCodeT()
        builtin = getattr(schema.BuiltinOperator, operator.kind, None)
        code.builtinCode = schema.BuiltinOperator.CUSTOM if builtin is None else builtin
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode = operator.kind if builtin is None else None
        code.version = 1
        made = schema.OperatorT()
        made.opcodeIndex = len(model.operatorCodes)
        made.inputs, made.outputs = [places[n] for n in operator.inputs], [places[n] for n in operator.outputs]
        if name := _OPTIONS.get(operator.kind):
            made.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
            made.builtinOptions = getattr(schema, f"{name}OptionsT")()
            for key, value in operator.options.items():
                setattr(made.builtinOptions, key, value)
        model.operatorCodes.append(code)
        graph.operators.append(made)
    model.subgraphs = [graph]
    model.signatureDefs = [_signature(name, places, inputs, outputs) for name in signatures]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _signature(name: str, places: Mapping[str, int], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey = name
    for key, ports in (("inputs", inputs), ("outputs", outputs)):
        found = []
        for port in ports:
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = port, places[port]
            found.append(entry)
        setattr(signature, key, found)
    return signature


def tiny_file(unknown: str = "", signatures: Sequence[str] = ("serving_default",)) -> bytes:
    """The tiny policy: the means of both cameras and half the sum of the state, added to a ramp; `unknown` is a custom
    operator in it.
    """
    frame = (1, 3, HEIGHT, WIDTH)
    base = (0.01 * np.arange(CHUNK)[:, None] + 0.1 * np.arange(ACTION_DIM))[None]
    tensors = [
        Tensor("top", frame),
        Tensor("wrist", frame),
        Tensor("state", (1, STATE_DIM)),
        Tensor("planes", (3,), "int32", [1, 2, 3]),
        Tensor("last", (1,), "int32", [1]),
        Tensor("half", (1,), values=0.5),
        Tensor("base", base.shape, values=base),
        *(Tensor(name, (1,)) for name in ("a", "b", "c", "d", "e", "f")),
        Tensor("action", base.shape),
    ]
    operators = [
        Operator("MEAN", ("top", "planes"), ("a",)),
        Operator("MEAN", ("wrist", "planes"), ("b",)),
        Operator("SUM", ("state", "last"), ("c",)),
        Operator(unknown or "MUL", ("c", "half"), ("d",)),
        Operator("ADD", ("a", "b"), ("e",)),
        Operator("ADD", ("e", "d"), ("f",)),
        Operator("ADD", ("base", "f"), ("action",)),
    ]
    return write_file(tensors, operators, ("top", "wrist", "state"), ("action",), signatures)


def convolution_file(stored: str = "float32") -> bytes:
    """y [1, 4, 4, 8]: a convolution of x [1, 4, 4, 3], its weights float32 or int8 (computed dynamically)."""
    kernel = np.random.default_rng(3).integers(-127, 128, (8, 1, 1, 3))
    scale = [0.01] * 8 if stored == "int8" else []
    tensors = [
        Tensor("x", (1, 4, 4, 3)),
        Tensor("kernel", kernel.shape, stored, kernel if stored == "int8" else kernel * 0.01, scale),
        Tensor("bias", (8,), values=0.0),
        Tensor("y", (1, 4, 4, 8)),
    ]
    convolution = Operator("CONV_2D", ("x", "kernel", "bias"), ("y",), {"strideH": 1, "strideW": 1})
    return write_file(tensors, [convolution], ("x",), ("y",))
