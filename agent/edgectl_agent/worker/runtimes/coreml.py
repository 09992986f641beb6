"""Core ML on a Mac: ML Programs in a package, on whichever of CPU, GPU and Neural Engine the system takes.

Facts: Core ML Tools is installed on Linux as well and runs nothing there, so elsewhere the runtime says so before it is
imported. The system compiles a package when it is loaded, and names no unit afterwards. Ports have the types float32,
float16 and int32: those of the manifest are put into them and taken from them here. A few names are words of its
language, so `ports` says what a port is called in the package where that is something else. In which types the program
computes is read from the package, which is what the system is given. A model answers one call at a time.
"""

from __future__ import annotations

import json
import sys
import threading
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
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    EdgectlError,
    RuntimeMissingError,
)

__all__ = ["CoreMlRuntime"]

_PROVIDER = "Core ML, all units"
_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_NAMES = "ports"
_FILES = ("Manifest.json", _MODEL)
# Core ML's own codes: of ports, and of values inside.
_PORTS = {65552: np.float16, 65568: np.float32, 131104: np.int32}
_FLOATS = {10: "fp16", 11: "fp32"}
_HEAVY = frozenset({"linear", "conv", "conv_transpose", "matmul", "scaled_dot_product_attention"})


class CoreMlRuntime(Runtime):
    """Packages with an ML Program. `platform` is the system's name as Python has it."""

    name = "coreml"
    options = frozenset({_NAMES})

    def __init__(self, platform: str = sys.platform) -> None:
        self._platform = platform

    def _import(self) -> str:
        if self._platform != "darwin":
            raise RuntimeMissingError(
                f"{self.name} runs on macOS only, and this is {self._platform}",
                hint="deploy to a Mac, whose agent has it: pip install 'edgectl-agent[coreml]'",
            )
        import coremltools

        return str(coremltools.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        return RuntimeFacts(self.name, version, (_PROVIDER,), ("fp32", "fp16"))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import coremltools

        spec = _read(artifact)
        names = _names(component)
        ports: dict[str, tuple[str, Any]] = {}
        for kind, held, specs in (
            ("input", spec.description.input, component.inputs),
            ("output", spec.description.output, component.outputs),
        ):
            found = {names.get(port.name, port.name): port for port in held}
            check_names(kind, found, specs)
            ports |= {one.name: (found[one.name].name, _type(found[one.name], one)) for one in specs}
        precision = bulk_precision(*_floats(spec), component)
        model = coremltools.models.MLModel(str(artifact), compute_units=coremltools.ComputeUnit.ALL)
        facts = LoadedFacts(precision, _PROVIDER, self._import())
        return _Model(self.name, component, facts, model, ports, threading.Lock())

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError, KeyError, OSError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not a package that Core ML can load: {sentence(error)}")


class _Model(Graph):
    """A loaded model; forks run the same one, in turn, and have their own inputs and outputs. `ports` are names and
    types in the package, by the component's names.
    """

    def __init__(
        self,
        runtime: str,
        component: Component,
        facts: LoadedFacts,
        model: Any,
        ports: Mapping[str, tuple[str, Any]],
        lock: threading.Lock,
    ) -> None:
        super().__init__(runtime, component, facts)
        self._model = model
        self._ports = ports
        self._lock = lock
        self._held: dict[str, Array] = {}
        self._outputs = fixed_outputs(component) or {}

    def _fork(self) -> Graph:
        return _Model(self._runtime, self.component, self.facts, self._model, self._ports, self._lock)

    def _bind(self, name: str, array: Array) -> bool:
        port, dtype = self._ports[name]
        inner = np.require(array, dtype, "C")
        self._held[port] = inner
        return np.shares_memory(inner, array)

    def _run(self) -> Mapping[str, Array]:
        with self._lock:
            found = self._model.predict(self._held)
        for name, array in self._outputs.items():
            values = np.asarray(found[self._ports[name][0]])
            if values.shape != array.shape:
                raise DeviceError(f"Core ML gives {list(values.shape)} for {name!r}, not {list(array.shape)}")
            np.copyto(array, values, casting="unsafe")
        return self._outputs

    def _close(self) -> None:
        self._held = {}
        self._model = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError, KeyError, OSError)


def _read(artifact: Path) -> Any:
    """What the package says of its program."""
    from coremltools.proto import Model_pb2

    for file in _FILES:
        if not (artifact / file).is_file():
            raise BundleCorruptError(f"{artifact.name} has no {file}")
    try:
        spec = Model_pb2.Model.FromString((artifact / _MODEL).read_bytes())
    except Exception as exc:  # protobuf's own, whose class the worker does not import
        raise BundleCorruptError(f"{artifact.name} is not a package that Core ML can load: {sentence(exc)}") from exc
    if spec.WhichOneof("Type") != "mlProgram":
        raise BundleError(f"{artifact.name} holds no ML Program", hint="convert the checkpoint again: edgectl convert")
    return spec


def _names(component: Component) -> dict[str, str]:
    """The component's names of ports, by those in the package where they differ."""
    try:
        said = json.loads(component.options.get(_NAMES, "{}"))
        return {str(inside): str(name) for name, inside in said.items()}
    except (ValueError, AttributeError, RecursionError) as exc:
        raise BundleError(
            f"component {component.name!r} does not say which ports have other names: {component.options[_NAMES]!r}",
            hint="convert the checkpoint again: edgectl convert",
        ) from exc


def _type(port: Any, spec: TensorSpec) -> Any:
    """The type of a port, which is as long as the manifest says."""
    array = port.type.multiArrayType
    if tuple(array.shape) != spec.shape or array.dataType not in _PORTS:
        raise BundleError(
            f"the graph's {spec.name!r} is {list(array.shape)} (type {array.dataType}); the manifest says "
            f"{spec.dtype.value}{list(spec.shape)}",
            hint="convert the checkpoint again: edgectl convert",
        )
    return _PORTS[array.dataType]


def _floats(spec: Any) -> tuple[list[str], list[str]]:
    """In which floating type each operator computes: those with products, and the others."""
    function = spec.mlProgram.functions["main"]
    heavy, light = [], []
    for operation in function.block_specializations[function.opset].operations:
        kind = _FLOATS.get(operation.outputs[0].type.tensorType.dataType) if operation.outputs else None
        if kind and operation.type in _HEAVY:
            heavy.append(kind)
        elif kind and operation.type not in ("const", "cast"):
            light.append(kind)
    return heavy, light
