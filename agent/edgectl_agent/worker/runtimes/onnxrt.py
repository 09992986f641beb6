"""ONNX Runtime, on the CPU or on an NVIDIA GPU where a component's options name that provider.

Facts: the library has no way to ask which kernels a session holds, but its profile of one run names them, with their
types and provider: so loading runs the graph once on zeros; a graph that does not run on zeros and has nothing that
carries weight is taken all the same. fp16 graphs run on CPUs by casting to fp32. Each session has a pool of threads
that spin after a run: beside another session they steal its core (a prefix of 36 ms took 70), so they stop at once
where a policy has several components. Component options are session configuration entries, the level of graph
optimisation, and the provider. A provider takes what it can, and the CPU the rest without a word: kernels that carry
weight must all be the provider's, others on the CPU are counted beside its name. CUDA rounds fp32 products to TF32
unless it is told not to. NVIDIA's compiler makes one kernel of many operators, whose precision is the one that it was
allowed: that setting is read back. Products with four-bit weights compute in the type of their activations where their
level of accuracy is 1, as their target writes it.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, bulk_precision, check_names, sentence
from edgectl_agent.worker.runtimes.ort_sessions import SessionGraph, session_errors, session_refusal
from edgectl_agent.worker.runtimes.trial import launch_one
from edgectl_protos.domain.artifact import TensorSpec, precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleError, EdgectlError, PrecisionError, RuntimeMissingError

__all__ = ["OnnxRuntime", "kernel_precisions", "placed"]

_CPU, _CUDA, _TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_SETTINGS: dict[str, dict[str, str]] = {_CPU: {}, _CUDA: {"use_tf32": "0"}, _TENSORRT: {}}
_HALF = "trt_fp16_enable"
_ENGINE = "TRTKernel"

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
        *("LSTM", "GRU", "RNN", "MatMulNBits"),
    }
)
_TYPES = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16"}

_FREE_DIMENSION = 64
_LEVEL, _PROVIDER = "graph_optimization_level", "provider"


class OnnxRuntime(Runtime):
    """`onnxruntime.InferenceSession` with one provider, and never the CPU's in its stead."""

    name = "onnxrt"
    options = frozenset({_LEVEL, _PROVIDER, "session.force_spinning_stop", "session.set_denormal_as_zero"})

    def _import(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        launch_one(self)
        # Every build has integer kernels for the CPU; fp16 and bf16 graphs are cast to fp32 there.
        providers = tuple(name for name in _SETTINGS if name in _available())
        half = ("fp16",) if len(providers) > 1 else ()
        return RuntimeFacts(self.name, version, providers, ("fp32", *half, "int8"))

    def _onnx_graphs(self, artifact: Path) -> list[Path]:
        return [artifact]

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import onnxruntime

        asked = precision_of(component.scheme)
        provider = component.options.get(_PROVIDER, _CPU)
        _check_provider(provider)
        given = _SETTINGS[provider] | ({_HALF: str(int(asked == "fp16"))} if provider == _TENSORRT else {})
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
            entries = {key: value for key, value in component.options.items() if key not in (_LEVEL, _PROVIDER)}
            for key, value in (settings | entries).items():
                options.add_session_config_entry(key, value)
            session = onnxruntime.InferenceSession(artifact, options, providers=[(provider, given)])
            session.disable_fallback()
            check_names("input", [port.name for port in session.get_inputs()], component.inputs)
            check_names("output", [port.name for port in session.get_outputs()], component.outputs)
            try:
                seconds = _run_on_zeros(session, component)
            except session_errors() as exc:
                _check_light(artifact, exc)
                seconds = 0.0
            finally:
                profile = session.end_profiling()
            kernels = _read_kernels(Path(profile))
        used = placed(provider, kernels)
        halved = session.get_provider_options().get(_TENSORRT, {}).get(_HALF) in ("1", "True")
        precision = bulk_precision(*kernel_precisions(kernels, "fp16" if halved else "fp32"), component)
        if asked in ("fp16", "bf16") and precision != asked:
            raise PrecisionError(
                f"{asked} was asked for; {used} has no kernels for it here and would use {precision}",
                hint="convert with another scheme: edgectl convert --scheme fp32",
            )
        facts = LoadedFacts(precision, used, str(onnxruntime.__version__), seconds)
        return SessionGraph(self.name, component, facts, session)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return session_errors()

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return session_refusal(self.name, error, artifact)


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


def kernel_precisions(kernels: list[dict[str, Any]], engine: str = "fp32") -> tuple[list[str], list[str]]:
    """The precision of each kernel that carries weight, and of each other floating one; `engine` is that of kernels
    which are many operators.
    """
    heavy: list[str] = []
    light: list[str] = []
    for kernel in kernels:
        name, precision = kernel["op_name"], _TYPES.get(_first_type(kernel))
        if name in _INTEGER:
            heavy.append("int8")
        elif name.startswith(_ENGINE):
            heavy.append(engine)
        elif precision is not None:
            (heavy if name in _FLOATING else light).append(precision)
    return heavy, light


def _first_type(kernel: dict[str, Any]) -> str:
    inputs = kernel.get("input_type_shape") or kernel.get("output_type_shape") or [{}]
    return next(iter(inputs[0]), "")


def _read_kernels(profile: Path) -> list[dict[str, Any]]:
    events = json.loads(profile.read_text())
    return [event["args"] for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]


def _available() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _check_provider(provider: str) -> None:
    """Refuse one that may not be asked for, or is not here.

    Raises:
        BundleError: it is not one of those that a bundle may name.
        RuntimeMissingError: this build of the library does not have it.
    """
    if provider not in _SETTINGS:
        raise BundleError(f"a bundle may not ask for {provider!r}; it may for: {', '.join(_SETTINGS)}")
    if provider not in _available():
        raise RuntimeMissingError(
            f"onnxruntime has no {provider} here; it has: {', '.join(_available())}",
            hint="install the build for this processor: pip install onnxruntime-gpu, or convert for another board",
        )


def placed(provider: str, kernels: list[dict[str, Any]]) -> str:
    """The provider, and how many kernels that carry no weight are beside it on the CPU.

    Raises:
        PrecisionError: one that carries weight is elsewhere, or any is where nobody asked for.
    """
    elsewhere = [kernel for kernel in kernels if kernel["provider"] != provider]
    heavy = [k for k in elsewhere if k["provider"] != _CPU or k["op_name"] in _INTEGER | _FLOATING]
    if heavy:
        found = ", ".join(sorted({f"{kernel['op_name']} on {kernel['provider']}" for kernel in heavy}))
        raise PrecisionError(f"onnxrt would use {found} where {provider} alone was asked for")
    if elsewhere and len(elsewhere) == len(kernels):
        raise PrecisionError(f"none of {len(kernels)} kernels is on {provider}, which was asked for")
    return f"{provider} ({len(elsewhere)} of {len(kernels)} kernels on the CPU)" if elsewhere else provider


def _zeros(spec: TensorSpec) -> Array:
    free = [1] + [_FREE_DIMENSION] * len(spec.shape)
    shape = [free[axis] if size == -1 else size for axis, size in enumerate(spec.shape)]
    return np.zeros(shape, spec.dtype.value)
