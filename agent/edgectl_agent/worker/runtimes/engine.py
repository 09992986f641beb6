"""Engines of NVIDIA's inference libraries, which have one interface under two names.

Facts: an engine runs on the compute capability and by the version it was built with, so both are part of what a build
is bound to, and a library that refuses one says why in its log alone; tensors have addresses, bound once; inputs go
through page-locked memory, since a copy from any other waits for the stream; what is put into the stream is captured as
a CUDA graph where the engine allows it, which saves the launches of each layer. Graphs are of fixed shape.
"""

from __future__ import annotations

import ctypes
import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, check_names, sentence
from edgectl_agent.worker.runtimes.cuda import Cuda
from edgectl_agent.worker.runtimes.engine_build import Log, build_engine, make_log
from edgectl_agent.worker.runtimes.engine_layers import check_precision, parse_layers
from edgectl_protos.domain.artifact import DType, TensorSpec, precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    EdgectlError,
    RuntimeMissingError,
)
from edgectl_protos.worker.messages import Built

__all__ = ["EngineRuntime"]

_SINCE = {"fp16": (5, 3), "int8": (6, 1), "bf16": (8, 0)}
"""Compute capabilities from which on there are real kernels."""
_OTHER = ("incompatible", "not compatible", "version", "compute capability", "rebuild")


class EngineRuntime(Runtime):
    """Engines on the first GPU. `library` is the module; the device's driver is opened by `open_cuda`."""

    library: ClassVar[str]

    def __init__(self, open_cuda: Callable[[], Cuda] = Cuda.open) -> None:
        self._open_cuda = open_cuda

    def _import(self) -> str:
        return str(importlib.import_module(self.library).__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        cuda = self._open_cuda()
        self._launch_one(cuda, version)
        able = tuple(name for name, since in _SINCE.items() if cuda.capability >= since)
        return RuntimeFacts(self.name, version, (cuda.name,), ("fp32", *able))

    def _bound_to(self, version: str) -> dict[str, str]:
        return {"version": version, **self._open_cuda().facts()}

    def _build(
        self, artifact: Path, component: Component, out: Path, cache: Path, progress: Callable[[float], None]
    ) -> Built:
        library = importlib.import_module(self.library)
        return build_engine(library, artifact, component, out, cache, progress, name=self.name)

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        for spec in (*component.inputs, *component.outputs):
            if -1 in spec.shape:
                raise BundleError(f"{self.name} runs graphs of fixed shape; {spec.name!r} is {list(spec.shape)}")
        if not artifact.is_file():
            raise BundleCorruptError(f"{artifact.name} is not in the release")
        cuda, library = self._open_cuda(), importlib.import_module(self.library)
        log, logger = make_log(library)
        engine = library.Runtime(logger).deserialize_cuda_engine(artifact.read_bytes())
        if engine is None:
            raise self._refusal(artifact, log)
        _check_ports(library, engine, component)
        inspector = engine.create_engine_inspector()
        layers = parse_layers(inspector.get_engine_information(library.LayerInformationFormat.ONELINE))
        # Where nothing carries weight it is computed as it is written.
        precision = next(iter(check_precision(layers, component)), precision_of(component.scheme))
        graph = _EngineGraph(self.name, component, LoadedFacts(precision, cuda.name, self._import()), cuda, engine)
        first_s = graph.warm_up()
        graph.facts = LoadedFacts(precision, cuda.name, self._import(), first_s)
        return graph

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not an engine that {self.name} can load: {sentence(error)}")

    def _refusal(self, artifact: Path, log: Log) -> EdgectlError:
        if any(word in log.why.lower() for word in _OTHER):
            return RuntimeMissingError(
                f"{artifact.name} was built for another GPU or version than this one has ({self.name} "
                f"{self._import()}): {log.why}",
                hint="deploy it again, or convert it for this board: edgectl convert --board",
            )
        return BundleCorruptError(f"{artifact.name} is not an engine that {self.name} can load: {log.why}")

    def _launch_one(self, cuda: Cuda, version: str) -> None:
        """Build and run the smallest network: an import proves nothing where a version has no kernels for the GPU.

        Raises:
            DeviceError: it does not run here.
        """
        library = importlib.import_module(self.library)
        log, logger = make_log(library)
        builder = library.Builder(logger)
        typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if typed is None else 1 << int(typed))
        x = network.add_input("x", library.float32, (4,))
        y = network.add_elementwise(x, x, library.ElementWiseOperation.SUM).get_output(0)
        y.name = "y"
        network.mark_output(y)
        plan = builder.build_serialized_network(network, builder.create_builder_config())
        engine = library.Runtime(logger).deserialize_cuda_engine(plan) if plan is not None else None
        major, minor = cuda.capability
        if engine is None:
            raise DeviceError(f"{self.name} {version} does not run on {cuda.name} (SM {major}.{minor}): {log.why}")
        graph = _EngineGraph(self.name, _doubling(self.name), LoadedFacts("fp32", cuda.name, version), cuda, engine)
        try:
            found = graph.infer({"x": np.arange(4, dtype=np.float32)})["y"]
            if not np.array_equal(found, [0.0, 2.0, 4.0, 6.0]):
                raise DeviceError(f"{self.name} {version} computes 2 * [0, 1, 2, 3] on {cuda.name} as {found.tolist()}")
        finally:
            graph.close()


class _EngineGraph(Graph):
    """An execution context with buffers of its own, here and on the GPU."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, cuda: Cuda, engine: Any) -> None:
        super().__init__(runtime, component, facts)
        self._cuda = cuda
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise DeviceError(f"{runtime} has no memory for another context of {component.name!r}")
        self._stream = cuda.make_stream()
        self._captured = 0
        self._held: dict[str, Array] = {}
        self._buffers: dict[str, tuple[int, int, int, Array]] = {}
        """By port: its address on the GPU, its address here, its bytes, and the same as an array."""
        for spec in (*component.inputs, *component.outputs):
            self._buffers[spec.name] = self._buffer(spec)
            self._context.set_tensor_address(spec.name, self._buffers[spec.name][0])
        for spec in component.inputs:
            # An engine may leave a shape free that its profile fixes.
            self._context.set_input_shape(spec.name, spec.shape)
        self._outputs = {spec.name: self._buffers[spec.name][3] for spec in component.outputs}

    def warm_up(self) -> float:
        """Run on zeros, then capture what was run if the engine allows it; the time of the first run in seconds."""
        begun = time.perf_counter()
        self._put()
        self._cuda.wait(self._stream)
        first_s = time.perf_counter() - begun
        try:
            self._captured = self._cuda.capture(self._stream, self._put)
        except DeviceError:
            # Not every engine can be: one that synchronises inside is launched layer by layer.
            self._captured = 0
        self._launch()
        return first_s

    def _buffer(self, spec: TensorSpec) -> tuple[int, int, int, Array]:
        dtype = np.dtype(spec.dtype.value)
        size = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
        device, host = self._cuda.allocate(size), self._cuda.allocate_host(size)
        # An empty tensor has an address too, and none of its bytes.
        here = memoryview((ctypes.c_ubyte * size).from_address(host))
        array = np.frombuffer(here, dtype).reshape(spec.shape) if size else np.zeros(spec.shape, dtype)
        array[...] = np.zeros((), dtype)
        return device, host, size, array

    def _put(self) -> None:
        """Copy in, compute, copy out: all of it into the stream."""
        for spec in self.component.inputs:
            device, host, size, _ = self._buffers[spec.name]
            if size:
                self._cuda.copy_in(device, host, size, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise DeviceError(f"{self._runtime} did not take {self.component.name!r} into its stream")
        for spec in self.component.outputs:
            device, host, size, _ = self._buffers[spec.name]
            if size:
                self._cuda.copy_out(host, device, size, self._stream)

    def _launch(self) -> None:
        if self._captured:
            self._cuda.launch(self._captured, self._stream)
        else:
            self._put()
        self._cuda.wait(self._stream)

    def _fork(self) -> Graph:
        fork = _EngineGraph(self._runtime, self.component, self.facts, self._cuda, self._engine)
        fork.warm_up()
        return fork

    def _bind(self, name: str, array: Array) -> bool:
        self._held[name] = array
        return True

    def _run(self) -> Mapping[str, Array]:
        # The loop may compute in another thread than the one that loaded.
        self._cuda.use()
        for name, array in self._held.items():
            np.copyto(self._buffers[name][3], array)
        self._launch()
        return self._outputs

    def _close(self) -> None:
        self._cuda.use()
        self._held, self._outputs = {}, {}
        if self._captured:
            self._cuda.destroy_captured(self._captured)
        self._context = self._engine = None
        for device, host, _, _ in self._buffers.values():
            self._cuda.free(device)
            self._cuda.free_host(host)
        self._buffers = {}
        self._cuda.destroy_stream(self._stream)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)


def _check_ports(library: Any, engine: Any, component: Component) -> None:
    """Refuse an engine whose tensors are not the manifest's.

    Raises:
        BundleError: a name, shape or type is another one.
    """
    names = [engine.get_tensor_name(at) for at in range(engine.num_io_tensors)]
    taken = [name for name in names if engine.get_tensor_mode(name) == library.TensorIOMode.INPUT]
    check_names("input", taken, component.inputs)
    check_names("output", [name for name in names if name not in taken], component.outputs)
    for spec in (*component.inputs, *component.outputs):
        shape, kind = tuple(engine.get_tensor_shape(spec.name)), engine.get_tensor_dtype(spec.name)
        same = all(here in (-1, wanted) for here, wanted in zip(shape, spec.shape, strict=False))
        if len(shape) != len(spec.shape) or not same or np.dtype(library.nptype(kind)) != np.dtype(spec.dtype.value):
            raise BundleError(
                f"{spec.name!r} of the engine is {kind.name}{list(shape)}; the manifest says "
                f"{spec.dtype.value}{list(spec.shape)}",
                hint="convert the checkpoint again: edgectl convert",
            )


def _doubling(runtime: str) -> Component:
    from edgectl_protos.domain.parity import Tolerance

    x, y = (TensorSpec(name, DType.FLOAT32, (4,)) for name in ("x", "y"))
    return Component("check", runtime, "fp32", "", (x,), (y,), Tolerance(0.0, 0.0, 0.0, 0.0))
