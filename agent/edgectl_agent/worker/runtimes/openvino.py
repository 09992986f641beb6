"""OpenVINO, on the CPU or on the NPU that a component's options name.

Facts: on CPUs with bf16 it computes fp32 graphs in bf16 unless told otherwise, and answers a hint of f16
with bf16, so the hint is always set and what the compiled graph really holds is read back. `infer(dict)`
costs 72 µs for two 480×640 frames, tensors bound once 19 µs: so inputs and outputs are bound, and an input again only
when another array comes. Pinned threads made paced inferences 20 % faster on an idle machine and twice as slow
beside one busy process: a robot has busy processes, so they are not pinned. Options of the component are compile
options and win over these; the device is one of them. What an NPU's compiler made of a graph is not told: rounding in
the graph says int8, else it computes in what its hint says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    EdgectlError,
    OperatorError,
    PrecisionError,
    RuntimeMissingError,
)

__all__ = ["OpenVinoRuntime"]

_CPU, _NPU, _DEVICE = "CPU", "NPU", "device"
_HINT = "INFERENCE_PRECISION_HINT"
_CAPABILITIES = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16", "INT8": "int8"}
# What a hint needs of the processor; f32 runs everywhere.
_HINT_NEEDS = {"f16": "FP16", "bf16": "BF16"}

_HEAVY = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul", "ScaledDotProductAttention"})
_NO_WORK = frozenset({"Input", "Output", "Const", "Reorder", "Reshape", "Transpose", "Split", "Concatenation"})
_FLOATS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
_TYPES = {**_FLOATS, "u8": "int8", "i8": "int8"}
_ROUNDING = "FakeQuantize"
_UNKNOWN_OPERATOR = re.compile(r"No conversion rule found for operations: (?P<op>[^\n]+)")


class OpenVinoRuntime(Runtime):
    """Compiled models on one device."""

    name = "openvino"
    options = frozenset({_DEVICE, _HINT, "DYNAMIC_QUANTIZATION_GROUP_SIZE", "KV_CACHE_PRECISION"})

    def _import(self) -> str:
        import openvino

        return str(openvino.__version__).split("-", 1)[0]

    def _facts(self, version: str) -> RuntimeFacts:
        import openvino

        launch_one(self)
        core = openvino.Core()
        devices = tuple(device for device in (_CPU, _NPU) if device in core.available_devices)
        names = {name for device in devices for name in core.get_property(device, "OPTIMIZATION_CAPABILITIES")}
        precisions = tuple(precision for name, precision in _CAPABILITIES.items() if name in names)
        return RuntimeFacts(self.name, version, devices, precisions)

    def _onnx_graphs(self, artifact: Path) -> list[Path]:
        return [] if artifact.suffix == ".xml" else [artifact]

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import openvino

        core = openvino.Core()
        given = dict(component.options)
        device = given.pop(_DEVICE, _CPU)
        _check_device(core, device)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if device == _CPU:
            options |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False, _HINT: "f32"}
        options |= given
        needed = _HINT_NEEDS.get(str(options.get(_HINT)))
        if needed and needed not in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
            raise PrecisionError(
                f"{_HINT}={options[_HINT]} was asked for, and this processor has no {needed} kernels",
                hint="convert with another scheme: edgectl convert --scheme fp32",
            )
        model = core.read_model(artifact)
        check_names("input", [_one_of(port, component.inputs) for port in model.inputs], component.inputs)
        check_names("output", {name for port in model.outputs for name in port.names}, component.outputs)
        rounded = any(node.get_type_name() == _ROUNDING for node in model.get_ordered_ops())
        compiled = core.compile_model(model, device, options)
        provider = ",".join(compiled.get_property("EXECUTION_DEVICES"))
        if provider != device:
            raise PrecisionError(f"OpenVINO uses {provider} where {device} was asked for")
        if device == _CPU:
            precision = bulk_precision(*_kernel_precisions(compiled.get_runtime_model()), component)
        else:
            hinted = str(compiled.get_property(_HINT).get_type_name())
            precision = "int8" if rounded else _FLOATS.get(hinted, hinted)
        return _CompiledGraph(self.name, component, LoadedFacts(precision, provider, self._import()), compiled)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        if found := _UNKNOWN_OPERATOR.search(str(error)):
            return OperatorError(f"openvino does not know the operator {found.group('op').strip()}")
        return BundleCorruptError(f"{artifact.name} is not a graph that openvino can load: {sentence(error)}")


class _CompiledGraph(Graph):
    """One inference request of a compiled model."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, compiled: Any) -> None:
        import openvino

        super().__init__(runtime, component, facts)
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._tensor = openvino.Tensor
        self._held: dict[str, Array] = {}
        self._names = [spec.name for spec in component.outputs]
        self._fixed = fixed_outputs(component)
        for name, array in (self._fixed or {}).items():
            self._request.set_tensor(name, self._tensor(array, shared_memory=True))

    def _fork(self) -> Graph:
        return _CompiledGraph(self._runtime, self.component, self.facts, self._compiled)

    def _bind(self, name: str, array: Array) -> bool:
        # OpenVINO shares writeable memory only. A copy does not follow changes of the array it was made from. The
        # request does not keep the array alive.
        shared = np.require(array, requirements=["C", "W"])
        self._request.set_tensor(name, self._tensor(shared, shared_memory=True))
        self._held[name] = shared
        return shared is array or np.shares_memory(shared, array)

    def _run(self) -> Mapping[str, Array]:
        self._request.infer(share_outputs=True)
        if self._fixed is not None:
            return self._fixed
        # The request's own memory would change under a state that is fed back.
        return {name: self._request.get_tensor(name).data.copy() for name in self._names}

    def _close(self) -> None:
        self._compiled = self._request = None
        self._held = {}

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError)


def _check_device(core: Any, device: str) -> None:
    """Refuse a device that a bundle may not ask for, or that is not here.

    Raises:
        BundleError: it may not.
        RuntimeMissingError: it is not here.
    """
    if device not in (_CPU, _NPU):
        raise BundleError(f"a bundle may not ask for the device {device!r}; it may for: {_CPU}, {_NPU}")
    if device not in core.available_devices:
        found = ", ".join(core.available_devices)
        raise RuntimeMissingError(
            f"OpenVINO finds no {device} here; it finds: {found}",
            hint="install the driver of the device, or convert for another board: edgectl convert --board NAME",
        )


def _one_of(port: Any, specs: tuple[TensorSpec, ...]) -> str:
    """The name by which the manifest knows this port, which may have several."""
    asked = {spec.name for spec in specs}
    return next((str(name) for name in sorted(port.names) if name in asked), str(port.any_name))


def _kernel_precisions(graph: Any) -> tuple[list[str], list[str]]:
    """The precision of each kernel that carries weight, and of each other floating one that computes."""
    heavy, light = [], []
    for node in graph.get_ordered_ops():
        info = node.get_rt_info()
        layer, kind = _text(info, "layerType"), _text(info, "runtimePrecision")
        if kind in _FLOATS:
            # It may be the type in which weights are stored; the primitive's name ends in that of the arithmetic.
            computed = _text(info, "primitiveType").rpartition("_")[2]
            kind = computed if computed in _FLOATS else kind
        if layer in _HEAVY and kind in _TYPES:
            heavy.append(_TYPES[kind])
        elif layer not in _NO_WORK and kind in _FLOATS:
            light.append(_FLOATS[kind])
    return heavy, light


def _text(info: Any, key: str) -> str:
    return str(info[key].astype(str)) if key in info else ""
