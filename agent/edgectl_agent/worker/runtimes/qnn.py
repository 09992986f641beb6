"""Hexagon processors (HTP) of Snapdragon by ONNX Runtime's QNN provider, from a context; on x86 their simulator.

Facts: the provider is a library that ONNX Runtime loads, once in a process. A context for another SoC, or one with a
byte changed, loads and runs without a word: so its digest, its SoC, the architecture of its processor and its version
of the SDK are compared with what the manifest says and with what is here. On x86 the provider offers a processor of
kind CPU, the simulator of whichever SoC the context is for: its values are evidence, its times are none. In which
precision a context computes was read back when it was made, and stands in the options beside its digest. What the
context does not hold would run on the CPU: the session refuses that.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, check_names
from edgectl_agent.worker.runtimes.ort_sessions import SessionGraph, session_errors, session_refusal
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    EdgectlError,
    PrecisionError,
    RuntimeMissingError,
)

__all__ = ["QnnRuntime"]

_PROVIDER = "QNNExecutionProvider"
_COMPATIBILITY = f"ep_compatibility_info.{_PROVIDER}"
_HARDWARE, _SIMULATOR = "QNN HTP", "QNN HTP simulator"
_PRECISIONS = ("int8", "int16")
_AGAIN = "convert for this board again: edgectl convert --board NAME"
_OPTIONS = ("soc_id", "htp_arch", "compatibility", "precision", "context_sha256")


class QnnRuntime(Runtime):
    """Sessions over a context binary with the QNN provider and nothing else."""

    name = "qnn"
    options = frozenset(_OPTIONS)

    def _import(self) -> str:
        import onnxruntime

        library = _library()
        if not _devices():
            onnxruntime.register_execution_provider_library(_PROVIDER, library.get_library_path())
        return f"{library.__version__} (SDK {_sdk()})"

    def _facts(self, version: str) -> RuntimeFacts:
        _, provider = _device()
        return RuntimeFacts(self.name, version, (provider,), _PRECISIONS)

    def _onnx_graphs(self, artifact: Path) -> list[Path]:
        return [artifact]

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import onnxruntime

        told = component.options
        if missing := [key for key in _OPTIONS if key not in told]:
            raise BundleError(f"component {component.name!r} does not say its {missing[0]}", hint=_AGAIN)
        _check_context(artifact.with_suffix(".bin"), told["context_sha256"])
        device, provider = _device()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        soc, arch = told["soc_id"], told["htp_arch"]
        settings = {"backend_path": _library().get_qnn_htp_path(), "soc_model": soc, "htp_arch": arch}
        options.add_provider_for_devices([device], settings | {"offload_graph_io_quantization": "0"})
        session = onnxruntime.InferenceSession(artifact, options)
        check_names("input", [port.name for port in session.get_inputs()], component.inputs)
        check_names("output", [port.name for port in session.get_outputs()], component.outputs)
        found = session.get_modelmeta().custom_metadata_map.get(_COMPATIBILITY, "")
        _check_compatibility(found, told, device if provider == _HARDWARE else None)
        if told["precision"] not in _PRECISIONS:
            raise PrecisionError(f"the context computes in {told['precision']}, which {provider} does not", hint=_AGAIN)
        simulated = provider == _SIMULATOR
        facts = LoadedFacts(told["precision"], provider, self.import_library(), simulated=simulated)
        return SessionGraph(self.name, component, facts, session)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return session_errors()

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return session_refusal(self.name, error, artifact)


def _devices() -> list[Any]:
    import onnxruntime

    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER]


def _device() -> tuple[Any, str]:
    """The processor, and what it is called.

    Raises:
        RuntimeMissingError: there is none, nor a simulator of one.
    """
    import platform

    found = {device.device.type.name: device for device in _devices()}
    if "NPU" in found:
        return found["NPU"], _HARDWARE
    if "CPU" in found and platform.machine() in ("x86_64", "AMD64"):
        return found["CPU"], _SIMULATOR
    raise RuntimeMissingError("this computer has no Hexagon processor that the provider can reach")


def _library() -> Any:
    # By name: type checkers run where it is not installed.
    return importlib.import_module("onnxruntime_qnn")


def _sdk() -> str:
    return str(_library().build_and_package_info.qnn_version)


def _check_context(context: Path, digest: str) -> None:
    try:
        found = hashlib.sha256(context.read_bytes()).hexdigest()
    except OSError as exc:
        raise BundleCorruptError(f"{context.name}, the context of model.onnx, cannot be read: {exc.strerror}") from exc
    if found != digest:
        raise BundleCorruptError(
            f"{context.name} is not the context that the manifest names: sha256 {found[:12]} for {digest[:12]}",
            hint=_AGAIN,
        )


def _check_compatibility(found: str, told: dict[str, str], hardware: Any) -> None:
    """Refuse a context of another SoC, architecture or SDK; the text is the provider's own: its version, the kind of
    processor, SDK, version of its interface, architecture, SoC …
    """
    if found != told["compatibility"]:
        raise BundleError(f"the context is for {found or 'no device'}; the manifest says {told['compatibility']}")
    parts = [*found.split(":"), *[""] * 6]
    sdk, arch, soc = parts[2], parts[4], parts[5]
    if (soc, arch) != (told["soc_id"], told["htp_arch"]):
        raise BundleError(
            f"the context is for SoC {soc or '?'} (v{arch or '?'}), the board {told['soc_id']} (v{told['htp_arch']})",
            hint=_AGAIN,
        )
    if sdk != _sdk():
        raise BundleError(
            f"the context was made with QNN SDK {sdk or '?'}, and here is {_sdk()}",
            hint="have the same version of onnxruntime-qnn on the device and in the toolchain",
        )
    if hardware is not None:
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        answer = state.get_model_compatibility_for_ep_devices([hardware], found)
        if answer.name != "EP_SUPPORTED_OPTIMAL":
            raise BundleError(f"this processor answers {answer.name} to the context for {found}", hint=_AGAIN)
