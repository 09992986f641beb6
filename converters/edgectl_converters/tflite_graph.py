"""A `.tflite` file as its flatbuffer says it, read with the schema of its own vendor: ports, operators, how layers are
stored. Nothing is run. Needs the package that brings the schema, which imports numpy and no framework.
"""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import Any

from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import CheckpointCorruptError, CheckpointError, ToolchainError

__all__ = ["LAYERS", "TFLITE", "TfliteGraph", "read_tflite"]

TFLITE = "tflite"
"""The form of a component that is such a file already."""
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
"""Kinds of operators whose weights are quantised."""

_IDENTIFIER = b"TFL3"
_WEIGHTS_AT = 1
_DTYPES = {
    "FLOAT32": DType.FLOAT32,
    "FLOAT16": DType.FLOAT16,
    "FLOAT64": DType.FLOAT64,
    "INT8": DType.INT8,
    "UINT8": DType.UINT8,
    "INT16": DType.INT16,
    "UINT16": DType.UINT16,
    "INT32": DType.INT32,
    "UINT32": DType.UINT32,
    "INT64": DType.INT64,
    "UINT64": DType.UINT64,
    "BOOL": DType.BOOL,
}
# What the flatbuffer library raises for bytes that are none, or not all of them.
_UNREADABLE = (
    *(struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, MemoryError),
    RecursionError,
)


class TfliteGraph:
    """The main graph of a file: `operators` are kinds with the schema's own objects."""

    def __init__(self, data: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.tools import flatbuffer_utils

        kinds = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
        self.types = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
        model = flatbuffer_utils.read_model_from_bytearray(data)
        self._buffers = model.buffers
        self._signatures = model.signatureDefs or []
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes or []]
        self._main = model.subgraphs[0]
        self.tensors = self._main.tensors
        self.operators = [(kinds[codes[one.opcodeIndex]], one) for one in self._main.operators or []]
        self._makers = {place: (kind, one) for kind, one in self.operators for place in one.outputs}

    def weights(self, operator: Any) -> Any | None:
        """The tensor in which an operator's weights are stored, before they are widened; None where they are none."""
        place = operator.inputs[_WEIGHTS_AT]
        kind, maker = self._makers.get(place, ("", None))
        if maker is not None and kind == "DEQUANTIZE":
            place = maker.inputs[0]
        tensor = self.tensors[place]
        data = self._buffers[tensor.buffer].data
        return tensor if data is not None and len(data) else None

    def layers(self) -> list[tuple[str, Any, str]]:
        """Kind, stored weights and the type of the activations of every operator with weights."""
        found = []
        for kind, one in self.operators:
            weights = self.weights(one) if kind in LAYERS else None
            if weights is not None:
                entering = one.inputs[2 if kind == "TRANSPOSE_CONV" else 0]
                found.append((kind, weights, self.types[self.tensors[entering].type]))
        return found

    def stored(self) -> dict[str, int]:
        """How many layers are stored in each type; layers that share their weights are one."""
        types = {weights.buffer: self.types[weights.type] for _, weights, _ in self.layers()}
        return dict(sorted(Counter(types.values()).items()))

    def scheme(self) -> str:
        """What most layers are stored and computed in."""
        found = Counter((self.types[weights.type], entering) for _, weights, entering in self.layers())
        if not found:
            return "fp32"
        stored, entering = found.most_common(1)[0][0]
        if stored == "FLOAT16":
            return "w16/a32"
        if entering != "FLOAT32":
            return "w8a16" if entering == "INT16" else "int8"
        return {"INT8": "int8-dynamic", "UINT8": "int8-dynamic", "INT4": "w4a8-dynamic"}.get(stored, "fp32")

    def parameters(self) -> int:
        """How many numbers the layers hold."""
        sizes = {weights.buffer: weights.shape for _, weights, _ in self.layers()}
        total = 0
        for shape in sizes.values():
            count = 1
            for size in shape:
                count *= int(size)
            total += count
        return total

    def ports(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs by the names of the one signature, by those of tensors where there is none.

        Raises:
            CheckpointError: there are several signatures, or a port has a type that is not fed.
        """
        if len(self._signatures) > 1:
            names = ", ".join(_text(one.signatureKey) for one in self._signatures)
            raise CheckpointError(
                f"the file has {len(self._signatures)} signatures ({names}), and a component is one",
                hint="write each of them to a file of its own",
            )
        for one in self._signatures:
            ports = [[(_text(entry.name), entry.tensorIndex) for entry in side] for side in (one.inputs, one.outputs)]
            return self._specs(ports[0]), self._specs(ports[1])
        ports = [
            [(_text(self.tensors[at].name), at) for at in side] for side in (self._main.inputs, self._main.outputs)
        ]
        return self._specs(ports[0]), self._specs(ports[1])

    def _specs(self, ports: list[tuple[str, int]]) -> tuple[TensorSpec, ...]:
        found = []
        for name, place in ports:
            tensor = self.tensors[place]
            kind = self.types[tensor.type]
            if kind not in _DTYPES:
                raise CheckpointError(
                    f"{name!r} is of {kind}, which is not fed", hint="write the file with another type"
                )
            # A free dimension has a size here too, that with which it is run.
            shape = tensor.shape if tensor.shape is not None else []
            found.append(TensorSpec(name, _DTYPES[kind], tuple(int(size) for size in shape)))
        return tuple(found)


def read_tflite(path: Path) -> TfliteGraph:
    """The graph of a file.

    Raises:
        CheckpointCorruptError: it is none, or not whole.
        ToolchainError: the schema is not installed here.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CheckpointCorruptError(f"{path} cannot be read: {exc.strerror}") from exc
    if data[4:8] != _IDENTIFIER:
        raise CheckpointCorruptError(
            f"{path.name} is no .tflite: it begins with {data[:8]!r}", hint="copy it again, as a binary file"
        )
    try:
        return TfliteGraph(data)
    except ImportError as exc:
        raise ToolchainError(
            f"{path.name} is read with its vendor's schema, which is not installed: {exc}",
            hint="pip install 'edgectl-converters[tflite]'",
        ) from exc
    except _UNREADABLE as exc:
        raise CheckpointCorruptError(
            f"{path.name} cannot be read: the file is damaged or cut off", hint="copy the file again"
        ) from exc


def _text(name: Any) -> str:
    return name if isinstance(name, str) else bytes(name).decode(errors="replace")
