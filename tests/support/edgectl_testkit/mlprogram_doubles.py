"""A double of Apple's library, for what stands around it: a package that holds the tiny policy's description as JSON,
and a model that computes the tiny policy in numpy. Nothing of Core ML itself is real.
"""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from edgectl_testkit.bundles import ACTION_DIM, CHUNK, tiny_component

__all__ = ["fake_library", "package_files"]

_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_FLOAT32 = 65568


def package_files(names: Mapping[str, str], entry: str, **said: Any) -> dict[str, bytes]:
    """The tiny policy's package below `entry`, its ports under these names."""
    component = tiny_component()
    ports = {
        kind: [[names.get(spec.name, spec.name), list(spec.shape), _FLOAT32] for spec in specs]
        for kind, specs in (("input", component.inputs), ("output", component.outputs))
    }
    document = {**ports, "type": "mlProgram", "operations": [["const", 10], ["linear", 11], ["add", 10]], **said}
    return {f"{entry}/Manifest.json": b"{}", f"{entry}/{_MODEL}": json.dumps(document).encode()}


class _Spec:
    def __init__(self, document: dict[str, Any]) -> None:
        def port(name: str, shape: list[int], kind: int) -> Any:
            array = types.SimpleNamespace(shape=shape, dataType=kind)
            return types.SimpleNamespace(name=name, type=types.SimpleNamespace(multiArrayType=array))

        def operation(kind: str, code: int) -> Any:
            tensor = types.SimpleNamespace(tensorType=types.SimpleNamespace(dataType=code))
            return types.SimpleNamespace(type=kind, outputs=[types.SimpleNamespace(type=tensor)])

        self.description = types.SimpleNamespace(
            input=[port(*one) for one in document["input"]], output=[port(*one) for one in document["output"]]
        )
        block = types.SimpleNamespace(operations=[operation(*one) for one in document["operations"]])
        main = types.SimpleNamespace(opset="CoreML8", block_specializations={"CoreML8": block})
        self.mlProgram = types.SimpleNamespace(functions={"main": main})
        self._type = document["type"]

    @classmethod
    def FromString(cls, data: bytes) -> _Spec:  # noqa: N802 (the library's own name)
        try:
            return cls(json.loads(data))
        except ValueError as exc:
            raise DecodeError("Error parsing message") from exc

    def WhichOneof(self, field: str) -> str:  # noqa: N802 (the library's own name)
        return str(self._type)


class _Model:
    def __init__(self, path: str, compute_units: enum.Enum) -> None:
        spec = _Spec.FromString(Path(path, _MODEL).read_bytes())
        (self._out,) = [port.name for port in spec.description.output]
        self._ins = [port.name for port in spec.description.input]

    def predict(self, held: Mapping[str, Any]) -> dict[str, Any]:
        if any(array.dtype != np.float32 or not array.flags.c_contiguous for array in held.values()):
            raise RuntimeError("a port takes another type")
        top, wrist, state = (held[name] for name in self._ins)
        total = top.mean() + wrist.mean() + 0.5 * state.sum()
        base = np.fromfunction(lambda _, c, a: 0.01 * c + 0.1 * a, (1, CHUNK, ACTION_DIM))
        return {self._out: (total + base).astype(np.float32)}


class _Unit(enum.Enum):
    ALL = 1


def fake_library() -> Any:
    """A module to stand for Core ML Tools on a Mac."""
    module: Any = types.ModuleType("coremltools")
    module.__version__ = "9.0"
    module.__path__ = []
    module.ComputeUnit = _Unit
    module.models = types.SimpleNamespace(MLModel=_Model)
    module.proto = types.SimpleNamespace(Model_pb2=types.SimpleNamespace(Model=_Spec))
    return module
