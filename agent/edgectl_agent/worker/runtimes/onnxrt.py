"""ONNX Runtime on the CPU.

Facts: `session.run` wraps numpy inputs without a copy and costs 9 µs for two 480×640 frames, 4 µs more than
bound inputs and outputs, so it is used plain. The library has no way to ask which kernels a session holds,
but its profile of one run names them, with their types and provider: so loading runs the graph once on
zeros. fp16 graphs run on CPUs by casting to fp32. Component options are session configuration entries.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import LoadedFacts, Runtime, bulk_precision, check_names, sentence
from edgectl_protos.domain.artifact import Precision, TensorSpec
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
_TYPES = {"float": Precision.FP32, "float16": Precision.FP16, "bfloat16": Precision.BF16}

_UNKNOWN_OPERATOR = (
    re.compile(r"No Op registered for (?P<op>\S+)"),
    re.compile(r"(?P<op>\S+?)\(-?\d+\) is not a registered function/op"),
    re.compile(r"Could not find an implementation for (?P<op>[^\s(]+)"),
)
_NODE = re.compile(r"In Node, \(\"(?P<a>[^\"]*)\"|node with name '(?P<b>[^']*)'")
_FREE_DIMENSION = 64


class OnnxRuntime(Runtime):
    """`onnxruntime.InferenceSession` with the CPU provider and nothing else."""

    name = "onnxrt"

    def __init__(self) -> None:
        super().__init__()
        self._session: Any = None
        self._outputs: list[str] = []

    def _import(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        # Every build has integer kernels for the CPU; fp16 and bf16 graphs are cast to fp32.
        return RuntimeFacts(self.name, version, (_PROVIDER,), (Precision.FP32, Precision.INT8))

    def _load(self, artifact: Path, component: Component, threads: int) -> LoadedFacts:
        import onnxruntime

        with tempfile.TemporaryDirectory(prefix="edgectl-") as folder:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/kernels"
            for key, value in component.options.items():
                options.add_session_config_entry(key, value)
            session = onnxruntime.InferenceSession(artifact, options, providers=[_PROVIDER])
            session.disable_fallback()
            check_names("input", [port.name for port in session.get_inputs()], component.inputs)
            check_names("output", [port.name for port in session.get_outputs()], component.outputs)
            self._outputs = [spec.name for spec in component.outputs]
            seconds = self._run_on_zeros(session, component)
            kernels = _read_kernels(Path(session.end_profiling()))
        self._session = session
        _check_providers(session.get_providers(), kernels)
        precision = bulk_precision(kernel_precisions(kernels))
        if component.precision in (Precision.FP16, Precision.BF16) and precision is not component.precision:
            raise PrecisionError(
                f"{component.precision.value} was asked for; onnxrt has no kernels for it on this processor "
                f"and would compute in {precision.value}",
                hint="convert at another precision: edgectl convert --precision fp32",
            )
        return LoadedFacts(precision, _PROVIDER, str(onnxruntime.__version__), seconds)

    def _run_on_zeros(self, session: Any, component: Component) -> float:
        zeros = {spec.name: _zeros(spec) for spec in component.inputs}
        started = time.perf_counter()
        try:
            session.run(self._outputs, zeros)
        except self._vendor_errors() as exc:
            free = [spec.name for spec in component.inputs if -1 in spec.shape]
            if not free:
                raise
            raise PrecisionError(
                f"the precision cannot be read back: {free[0]!r} has free dimensions, and a trial failed: "
                f"{sentence(exc)}",
                hint="fix the shape when converting: edgectl convert --help",
            ) from exc
        return time.perf_counter() - started

    def _infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def _close(self) -> None:
        self._session = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        errors = [error for error in vars(state).values() if isinstance(error, type) and issubclass(error, Exception)]
        return (*errors, RuntimeError, ValueError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        text = str(error)
        for pattern in _UNKNOWN_OPERATOR:
            if found := pattern.search(text):
                node = _NODE.search(text)
                where = f" (node {node.group('a') or node.group('b')!r})" if node else ""
                return OperatorError(f"onnxrt does not know the operator {found.group('op')}{where}: {sentence(error)}")
        return BundleCorruptError(f"{artifact.name} is not a graph that onnxrt can load: {sentence(error)}")


def kernel_precisions(kernels: list[dict[str, Any]]) -> Iterator[Precision]:
    """The precision of each kernel that carries weight; of every floating kernel where none does."""
    heavy = [kernel for kernel in kernels if kernel["op_name"] in _INTEGER | _FLOATING]
    for kernel in heavy or kernels:
        if kernel["op_name"] in _INTEGER:
            yield Precision.INT8
        elif precision := _TYPES.get(_first_type(kernel)):
            yield precision


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
