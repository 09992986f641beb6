"""ONNX Runtime on the CPU.

Facts: inputs and outputs are bound by address, so nothing is copied and a denoising pass finds its KV cache where the
last one did. The library has no way to ask which kernels a session holds, but its profile of one run names them, with
their types and provider: so loading runs the graph once on zeros; a graph that does not run on zeros and has nothing
that carries weight is taken all the same. fp16 graphs run on CPUs by casting to fp32. Each session has a pool of
threads that spin after a run: beside another session they steal its core (a prefix of 36 ms took 70), so they stop at
once where a policy has several components. Component options are session configuration entries, and the level of graph
optimisation.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
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
from edgectl_protos.domain.artifact import TensorSpec, precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleCorruptError, EdgectlError, OperatorError, PrecisionError

__all__ = ["OnnxRuntime", "kernel_precisions"]

_PROVIDER = "CPUExecutionProvider"

# Kernels that carry the bulk of a graph: these are integer whatever their first input is …
_INTEGER = frozenset(
    {
        *("QLinearConv", "QLinearConvTranspose", "QLinearMatMul", "QGemm", "QAttention", "ConvInteger"),
        *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
    }
)
# … and these compute in the type of their first input.
_FLOATING = frozenset(
    {
        *("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul"),
        *("FusedMatMul", "TransposeMatMul", "Attention", "MultiHeadAttention", "GroupQueryAttention"),
        *("LSTM", "GRU", "RNN"),
    }
)
_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}

_UNKNOWN_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+)"),
    re.compile(r"(?P<op>\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (?P<op>[^\s(]+)"),
)
_NODE = re.compile(r"In Node, \(\"(?P<a>[^\"]*)\"|node with name '(?P<b>[^']*)'")
_FREE_DIMENSION = 64
_LEVEL = "graph_optimization_level"


class OnnxRuntime(Runtime):
    """`onnxruntime.InferenceSession` with the CPU provider and nothing else."""

    name = "onnxrt"
    options = frozenset({_LEVEL, "session.force_spinning_stop", "session.set_denormal_as_zero"})

    def _import(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        # Every build has integer kernels for the CPU; fp16 and bf16 graphs are cast to fp32.
        return RuntimeFacts(self.name, version, (_PROVIDER,), ("fp32", "int8"))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import onnxruntime

        with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            levels = onnxruntime.GraphOptimizationLevel
            disabled = component.options.get(_LEVEL) == "disabled"
            options.graph_optimization_level = levels.ORT_DISABLE_ALL if disabled else levels.ORT_ENABLE_ALL
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/kernels"
            settings = {} if alone else {"session.force_spinning_stop": "1"}
            entries = {key: value for key, value in component.options.items() if key != _LEVEL}
            for key, value in (settings | entries).items():
                options.add_session_config_entry(key, value)
            session = onnxruntime.InferenceSession(artifact, options, providers=[_PROVIDER])
            session.disable_fallback()
            check_names("input", [port.name for port in session.get_inputs()], component.inputs)
            check_names("output", [port.name for port in session.get_outputs()], component.outputs)
            try:
                seconds = _run_on_zeros(session, component)
            except _vendor_errors() as exc:
                _check_light(artifact, exc)
                seconds = 0.0
            finally:
                profile = session.end_profiling()
            kernels = _read_kernels(Path(profile))
        _check_providers(session.get_providers(), kernels)
        precision = bulk_precision(*kernel_precisions(kernels), component)
        asked = precision_of(component.scheme)
        if asked in ("fp16", "bf16") and precision != asked:
            raise PrecisionError(
                f"{asked} was asked for; onnxrt has no kernels for it on this processor and would use {precision}",
                hint="convert with another scheme: edgectl convert --scheme fp32",
            )
        facts = LoadedFacts(precision, _PROVIDER, str(onnxruntime.__version__), seconds)
        return _OnnxGraph(self.name, component, facts, session)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return _vendor_errors()

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        text = str(error)
        for pattern in _UNKNOWN_OPERATOR:
            if found := pattern.search(text):
                node = _NODE.search(text)
                where = f" (node {node.group('a') or node.group('b')!r})" if node else ""
                return OperatorError(f"onnxrt does not know the operator {found.group('op')}{where}: {sentence(error)}")
        return BundleCorruptError(f"{artifact.name} is not a graph that onnxrt can load: {sentence(error)}")


class _OnnxGraph(Graph):
    """A session with bound inputs and outputs. Outputs of free shape are allocated anew at each run."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, session: Any) -> None:
        super().__init__(runtime, component, facts)
        self._session = session
        self._binding = session.io_binding()
        self._held: dict[str, Array] = {}
        self._names = [spec.name for spec in component.outputs]
        self._fixed = fixed_outputs(component)
        for name, array in (self._fixed or {}).items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def _fork(self) -> Graph:
        # Another binding of the session.
        return _OnnxGraph(self._runtime, self.component, self.facts, self._session)

    def _bind(self, name: str, array: Array) -> bool:
        whole = np.ascontiguousarray(array).reshape(array.shape)
        self._binding.bind_input(name, "cpu", 0, whole.dtype, whole.shape, whole.ctypes.data)
        self._held[name] = whole
        return np.shares_memory(whole, array)

    def _run(self) -> Mapping[str, Array]:
        if self._fixed is not None:
            self._session.run_with_iobinding(self._binding)
            return self._fixed
        for name in self._names:
            # What the last run allocated stays bound otherwise, and has its shape.
            self._binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(self._binding)
        return dict(zip(self._names, self._binding.copy_outputs_to_cpu(), strict=True))

    def _close(self) -> None:
        self._session = self._binding = None
        self._held = {}

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return _vendor_errors()


def _vendor_errors() -> tuple[type[BaseException], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    errors = [error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception)]
    return (*errors, RuntimeError, ValueError)


def _run_on_zeros(session: Any, component: Component) -> float:
    zeros = {spec.name: _zeros(spec) for spec in component.inputs}
    outputs = [spec.name for spec in component.outputs]
    started = time.perf_counter()
    session.run(outputs, zeros)
    return time.perf_counter() - started


def _check_light(artifact: Path, failure: BaseException) -> None:
    """Refuse a graph that does not run on zeros, such as one that is given the shape of something, if an operator of it
    carries weight: in which precision it would compute is not known.
    """
    data = artifact.read_bytes()
    for name in sorted(_INTEGER | _FLOATING):
        # The operator of a node as it stands in the file: field 4, its length, its name.
        if b"\x22" + bytes([len(name)]) + name.encode() in data:
            raise PrecisionError(
                f"the precision of {name} cannot be read back: a trial on inputs of zero failed: {sentence(failure)}",
                hint="fix shapes and what decides them when converting: edgectl convert --help",
            ) from failure


def kernel_precisions(kernels: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The precision of each kernel that carries weight, and of each other floating one."""
    heavy: list[str] = []
    light: list[str] = []
    for kernel in kernels:
        name, precision = kernel["op_name"], _TYPES.get(_first_type(kernel))
        if name in _INTEGER:
            heavy.append("int8")
        elif precision is not None:
            (heavy if name in _FLOATING else light).append(precision)
    return heavy, light


def _first_type(kernel: dict[str, Any]) -> str:
    inputs = kernel.get("input_type_shape") or kernel.get("output_type_shape") or [{}]
    return next(iter(inputs[0]), "")


def _read_kernels(profile: Path) -> list[dict[str, Any]]:
    events = json.loads(profile.read_text())
    return [event["args"] for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]


def _check_providers(session: list[str], kernels: list[dict[str, Any]]) -> None:
    used = {kernel["provider"] for kernel in kernels} | set(session)
    if used != {_PROVIDER}:
        raise PrecisionError(f"onnxrt uses {', '.join(sorted(used))} where {_PROVIDER} alone was asked for")


def _zeros(spec: TensorSpec) -> Array:
    free = [1] + [_FREE_DIMENSION] * len(spec.shape)
    shape = [free[axis] if size == -1 else size for axis, size in enumerate(spec.shape)]
    return np.zeros(shape, spec.dtype.value)
