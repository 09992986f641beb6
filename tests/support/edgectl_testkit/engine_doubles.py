"""Doubles of a GPU's driver and of an inference library, for what stands around them: no kernel of theirs is real.

`FakeDriver` has the driver's functions on the memory of this process: what is put into a stream is done at once, and
what is captured is done again at each launch. `fake_library` is a module in which an engine is an ONNX file, computed
by the onnx package's own evaluator, and described in the inspector's grammar.
"""

from __future__ import annotations

import ctypes
import enum
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FakeDriver", "fake_library", "refusing_library"]

OUT_OF_MEMORY, INVALID = 2, 1


class FakeDriver:
    """What `ctypes.CDLL("libcuda.so.1")` would give. `memory_bytes` is what the GPU has; `captures` whether its streams
    can be captured.
    """

    def __init__(self, *, memory_bytes: int = 1 << 30, captures: bool = True) -> None:
        self.left_bytes = memory_bytes
        self.captures = captures
        self.blocks: dict[int, Any] = {}
        self.work: list[Callable[[], None]] | None = None
        self.captured: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.threads: set[int] = set()

    def do(self, work: Callable[[], None]) -> int:
        """Put work into the stream, in a thread that has a context."""
        if threading.get_ident() not in self.threads:
            return INVALID
        if self.work is None:
            work()
        else:
            self.work.append(work)
        return 0

    def cuInit(self, flags: int) -> int:  # noqa: N802 (the driver's own names, here and below)
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:  # noqa: N802
        self.threads.add(threading.get_ident())
        return 0

    def cuDeviceGetName(self, text: Any, size: int, device: Any) -> int:  # noqa: N802
        text.value = b"Double of a GPU"
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 7}[number]
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 12060
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        text._obj.value = {OUT_OF_MEMORY: b"out of memory", INVALID: b"invalid argument"}[status]
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        if size.value > self.left_bytes:
            return OUT_OF_MEMORY
        self.left_bytes -= size.value
        return self._allocate(address, size)

    def cuMemHostAlloc(self, address: Any, size: Any, flags: int) -> int:  # noqa: N802
        return self._allocate(address, size)

    def _allocate(self, address: Any, size: Any) -> int:
        block = ctypes.create_string_buffer(b"\xa5" * size.value, size.value)
        address._obj.value = ctypes.addressof(block)
        self.blocks[ctypes.addressof(block)] = block
        return 0

    def cuMemFree_v2(self, address: Any) -> int:  # noqa: N802
        return 0 if self.blocks.pop(address.value, None) is not None else INVALID

    def cuMemFreeHost(self, address: Any) -> int:  # noqa: N802
        return self.cuMemFree_v2(address)

    def cuStreamCreate(self, stream: Any, flags: int) -> int:  # noqa: N802
        stream._obj.value = 7
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:  # noqa: N802
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:  # noqa: N802
        return 0

    def cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        return self.do(lambda: _copy(to.value, source.value, size.value))

    def cuMemcpyDtoHAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:  # noqa: N802
        return self.do(lambda: _copy(to.value, source.value, size.value))

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        if not self.captures:
            return INVALID
        self.work = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        work, self.work = self.work, None
        number = len(self.captured) + 1
        self.captured[number] = work or []
        graph._obj.value = number
        return 0

    def cuGraphInstantiateWithFlags(self, ready: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        ready._obj.value = graph.value
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        return 0

    def cuGraphExecDestroy(self, ready: Any) -> int:  # noqa: N802
        return 0 if self.captured.pop(ready.value, None) is not None else INVALID

    def cuGraphLaunch(self, ready: Any, stream: Any) -> int:  # noqa: N802
        if threading.get_ident() not in self.threads:
            return INVALID
        self.launches += 1
        for work in self.captured[ready.value]:
            work()
        return 0


def _copy(to: int, source: int, size: int) -> None:
    ctypes.memmove(to, source, size)


def fake_library(driver: FakeDriver, *, datatype: str = "Float", version: str = "10.3.0") -> types.ModuleType:
    """A module of the double: its engines are ONNX files, whose layers the inspector calls `datatype`."""
    module = types.ModuleType("double")
    _add_words(module, version)

    class Context:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine
            self.addresses: dict[str, int] = {}
            self.shapes: dict[str, tuple[int, ...]] = {}

        def set_tensor_address(self, name: str, address: int) -> None:
            self.addresses[name] = address

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
            assert len(shape) == len(self.engine.get_tensor_shape(name))
            self.shapes[name] = shape

        def execute_async_v3(self, stream: int) -> bool:
            driver.do(self.compute)
            return True

        def compute(self) -> None:
            feeds = {name: self.view(name, self.shapes[name]).copy() for name in self.engine.inputs}
            for name, value in zip(self.engine.outputs, self.engine.run(feeds), strict=True):
                self.view(name, np.shape(value))[...] = value

        def view(self, name: str, shape: tuple[int, ...]) -> Any:
            dtype = np.dtype(self.engine.get_tensor_dtype(name).dtype)
            size = int(np.prod(shape)) * dtype.itemsize
            if not size:
                return np.zeros(shape, dtype)
            return np.frombuffer((ctypes.c_ubyte * size).from_address(self.addresses[name]), dtype).reshape(shape)

    class Engine:
        def __init__(self, model: Any) -> None:
            from onnx.reference import ReferenceEvaluator

            self.model = model
            self.inputs = [port.name for port in model.graph.input]
            self.outputs = [port.name for port in model.graph.output]
            self.ports = {port.name: port.type.tensor_type for port in (*model.graph.input, *model.graph.output)}
            self.evaluator = ReferenceEvaluator(model)
            self.num_io_tensors = len(self.ports)

        def run(self, feeds: dict[str, Any]) -> list[Any]:
            return list(self.evaluator.run(self.outputs, feeds))

        def get_tensor_name(self, at: int) -> str:
            return str([*self.inputs, *self.outputs][at])

        def get_tensor_mode(self, name: str) -> Any:
            return module.TensorIOMode.INPUT if name in self.inputs else module.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in self.ports[name].shape.dim)

        def get_tensor_dtype(self, name: str) -> Any:
            import onnx

            kind = onnx.helper.tensor_dtype_to_np_dtype(self.ports[name].elem_type)
            return types.SimpleNamespace(name=str(kind), dtype=kind)

        def create_execution_context(self) -> Context:
            return Context(self)

        def create_engine_inspector(self) -> Any:
            return types.SimpleNamespace(get_engine_information=lambda form: self.describe())

        def describe(self) -> str:
            tensor = f"{{ Name: x, Dimensions: [1,8], Datatype: {datatype}, Format: (Linear) Row major linear format }}"
            return "\n".join(
                f"Name: {node.op_type}_{at}_myl0_{at}, LayerType: gemm, Inputs: [ {tensor}], Constants: [ {tensor}], "
                f"Outputs: [ {tensor}], TacticName: none, StreamId: 0, Metadata: [ONNX Layer: {node.op_type}_{at}]"
                for at, node in enumerate(self.model.graph.node)
            )

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            import onnx
            from google.protobuf.message import DecodeError

            try:
                return Engine(onnx.load_from_string(bytes(data)))
            except (DecodeError, ValueError, RuntimeError, NotImplementedError) as exc:
                self.logger.log(module.ILogger.Severity.ERROR, f"Serialization assertion failed: {exc}")
                return None

    class Network:
        """The network of the check that a library runs on this GPU: it adds x to itself."""

        def add_input(self, name: str, kind: Any, shape: tuple[int, ...]) -> Any:
            return name

        def add_elementwise(self, a: Any, b: Any, operation: Any) -> Any:
            return types.SimpleNamespace(get_output=lambda at: types.SimpleNamespace(name=""))

        def mark_output(self, tensor: Any) -> None:
            assert tensor.name == "y"

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            assert flags == 1
            return Network()

        def create_builder_config(self) -> Any:
            return types.SimpleNamespace()

        def build_serialized_network(self, network: Network, config: Any) -> bytes:
            from onnx import TensorProto, helper

            ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
            graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", ports[:1], ports[1:])
            data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
            return data

    module.Runtime, module.Builder = Runtime, Builder  # type: ignore[attr-defined]
    return module


def refusing_library(message: str) -> types.ModuleType:
    """A library that takes no engine, and says this of each in its log."""
    module = types.ModuleType("double")
    _add_words(module, "10.3.0")

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> None:
            self.logger.log(module.ILogger.Severity.ERROR, message)

    module.Runtime = Runtime  # type: ignore[attr-defined]
    return module


def _add_words(module: Any, version: str) -> None:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        INFO = 3

    class ILogger:
        def log(self, severity: Any, text: str) -> None:
            raise NotImplementedError

    ILogger.Severity = Severity  # type: ignore[attr-defined]
    module.__version__, module.ILogger, module.float32 = version, ILogger, "float32"
    words = types.SimpleNamespace
    module.TensorIOMode = words(INPUT="input", OUTPUT="output")
    module.LayerInformationFormat = words(ONELINE="oneline", JSON="json")
    module.NetworkDefinitionCreationFlag = words(STRONGLY_TYPED=0)
    module.ElementWiseOperation = words(SUM="sum")
    module.nptype = lambda kind: kind.dtype
