"""ExecuTorch: a `.pte`, most of it on XNNPACK.

Facts: its Python package needs torch, so it lives in an interpreter that has both; the package's front imports its
whole compiler, 3 s and 120 MB, so the compiled module behind it is asked. A program names no ports, only their
order; edgectl writes the names into a method of its own, and where that is missing order, types and shapes are all that
is checked. In which types the delegates compute is read from the file, which is what XNNPACK is given. One thread pool
serves the process, and may be made anew only while nothing runs. A method gives new tensors at each call unless it is
asked for its own, which are read before the next one. Errors have a number and no operator's name.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import (
    Graph,
    LoadedFacts,
    Runtime,
    check_names,
    fixed_outputs,
    sentence,
)
from edgectl_protos.codec.pte import PteMethod, read_pte
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    DocumentError,
    EdgectlError,
    OperatorError,
    RuntimeMissingError,
)

__all__ = ["ExecutorchRuntime"]

_METHOD, _PORTS = "forward", "edgectl_ports"
"""What is run, and what gives the names of its ports: two lines, inputs and outputs, with tabs between."""
_BACKEND = "XnnpackBackend"
_INTEGERS = {"qint8", "quint8", "qdint8", "qpint8"}
_DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64"}
_DTYPES |= {11: "bool", 27: "uint16", 28: "uint32", 29: "uint64"}


class ExecutorchRuntime(Runtime):
    """Methods named `forward` of `.pte` programs."""

    name = "executorch"

    def _import(self) -> str:
        # torch first: it brings the libraries that the other is linked with.
        import torch  # noqa: F401
        from executorch.extension.pybindings import _C  # noqa: F401

        return importlib.metadata.version("executorch")

    def _facts(self, version: str) -> RuntimeFacts:
        from executorch.extension.pybindings import _C

        if not _C._is_available(_BACKEND):
            raise RuntimeMissingError(f"this build of {self.name} has no {_BACKEND}")
        return RuntimeFacts(self.name, version, (_BACKEND,), ("fp32", "int8"))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        from executorch.extension.pybindings import _C

        methods = _methods(artifact)
        method = methods[_METHOD]
        if lacking := sorted(set(method.operators) - set(_C._get_operator_names())):
            raise OperatorError(
                f"executorch does not know the operator {lacking[0]}",
                hint="convert it with the version of the device: edgectl convert",
            )
        if lacking := sorted(set(method.delegates) - set(_C._get_registered_backend_names())):
            raise RuntimeMissingError(f"{artifact.name} needs {lacking[0]}, which this build of {self.name} lacks")
        _check_ports(methods, component)
        if _C._threadpool_get_thread_count() != threads:
            _C._unsafe_reset_threadpool(threads)
        program = _C._load_program(str(artifact))
        loaded = program.load_method(_METHOD)
        _check_shapes(loaded.method_meta(), component)
        facts = LoadedFacts(_precision(method), _provider(method), self._import())
        return _Method(self.name, component, facts, (program, loaded), threading.Lock())

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError, IndexError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not a program that executorch can load: {sentence(error)}")


class _Method(Graph):
    """A loaded method; forks run the same one, in turn, and have their own inputs and outputs."""

    def __init__(
        self, runtime: str, component: Component, facts: LoadedFacts, loaded: tuple[Any, Any], lock: threading.Lock
    ) -> None:
        super().__init__(runtime, component, facts)
        self._loaded = loaded
        self._lock = lock
        self._held: dict[str, Any] = {}
        self._order = [spec.name for spec in component.inputs]
        self._outputs = fixed_outputs(component) or {}

    def _fork(self) -> Graph:
        return _Method(self._runtime, self.component, self.facts, self._loaded, self._lock)

    def _bind(self, name: str, array: Array) -> bool:
        import torch

        inner = array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")
        self._held[name] = torch.from_numpy(inner)
        return inner is array

    def _run(self) -> Mapping[str, Array]:
        method = self._loaded[1]
        with self._lock:
            method.set_inputs([self._held[name] for name in self._order])
            method.execute()
            for (name, array), found in zip(self._outputs.items(), method.get_outputs(False), strict=True):
                values = found.numpy()
                if values.shape != array.shape or values.dtype != array.dtype:
                    raise DeviceError(f"executorch gives {list(values.shape)} for {name!r}, not {list(array.shape)}")
                np.copyto(array, values)
        return self._outputs

    def _close(self) -> None:
        self._held = {}
        self._loaded = (None, None)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError, IndexError)


def _methods(artifact: Path) -> dict[str, PteMethod]:
    try:
        methods = read_pte(artifact)
    except FileNotFoundError as exc:
        raise BundleCorruptError(f"{artifact.name} is not in the release") from exc
    except (DocumentError, OSError) as exc:
        raise BundleCorruptError(f"{artifact.name} is not a program that executorch can load: {exc}") from exc
    if _METHOD not in methods:
        raise BundleError(f"{artifact.name} has no method {_METHOD!r}; it has: {', '.join(sorted(methods)) or 'none'}")
    return methods


def _check_ports(methods: Mapping[str, PteMethod], component: Component) -> None:
    """Refuse a program whose ports are not those of the manifest, in their order."""
    said = methods[_PORTS].texts if _PORTS in methods else ()
    for kind, line, specs in zip(("input", "output"), said, (component.inputs, component.outputs), strict=False):
        names = line.split("\t")
        check_names(kind, names, specs)
        if names != [spec.name for spec in specs]:
            raise BundleError(f"the graph's {kind}s are {', '.join(names)}, in another order than the manifest says")


def _check_shapes(metadata: Any, component: Component) -> None:
    sides = (
        ("input", component.inputs, metadata.num_inputs(), metadata.input_tensor_meta),
        ("output", component.outputs, metadata.num_outputs(), metadata.output_tensor_meta),
    )
    for kind, specs, count, meta in sides:
        if count != len(specs):
            raise BundleError(f"the graph has {count} {kind}s; the manifest says {len(specs)}")
        for at, spec in enumerate(specs):
            found = meta(at)
            shape, dtype = tuple(found.sizes()), _DTYPES.get(found.dtype(), f"type {found.dtype()}")
            if (shape, dtype) != (spec.shape, spec.dtype.value):
                raise BundleError(
                    f"the graph's {kind} {at}, {spec.name!r}, is {dtype}{list(shape)}; the manifest says {_said(spec)}",
                    hint="convert the checkpoint again: edgectl convert",
                )


def _said(spec: TensorSpec) -> str:
    return f"{spec.dtype.value}{list(spec.shape)}"


def _precision(method: PteMethod) -> str:
    """In which type most of the nodes with weights take what enters them; fp32 where there are none."""
    counted: Counter[str] = Counter()
    for (entering, _), count in method.weighted.items():
        counted["int8" if entering in _INTEGERS else entering] += count
    return counted.most_common(1)[0][0] if counted else "fp32"


def _provider(method: PteMethod) -> str:
    return ", ".join(sorted(method.delegates)) or "portable"
