"""ncnn on the CPU, for boards with an Arm processor first of all.

Facts: blobs of the net carry the names of the component's ports, and no shape has a batch dimension; it computes in
float32 unless a packed or half-width format is allowed, so all of those are switched off for fp32. Loading fails by
status, and why goes to the process's standard error alone. `Mat(array)` shares the array's memory; an extractor is made
for each run, as the library asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, check_names, fixed_outputs, sentence
from edgectl_agent.worker.runtimes.trial import launch_one
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleCorruptError, DeviceError, EdgectlError, OperatorError

__all__ = ["NcnnRuntime"]

_LAYER = re.compile(r"^(?P<kind>\w+)\s+\S+\s+\d+\s+\d+(?:\s|$)")
_SUM = b"7767517\n3 4\nInput x 0 1 x\nSplit copy 1 2 x a b\nBinaryOp sum 2 1 a b y 0=0\n"
_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")


class NcnnRuntime(Runtime):
    """`ncnn.Net` from a .param and a .bin beside it."""

    name = "ncnn"

    def _import(self) -> str:
        import ncnn  # type: ignore[import-untyped]

        return str(ncnn.__version__)

    def _facts(self, version: str) -> RuntimeFacts:
        launch_one(self, "sum.param", {"sum.param": _SUM, "sum.bin": b""})
        return RuntimeFacts(self.name, version, ("CPU",), ("fp32",))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import ncnn

        weights = artifact.with_suffix(".bin")
        for file in (artifact, weights):
            if not file.is_file():
                raise BundleCorruptError(f"{file.name} is not in the release")
        _check_layers(ncnn, artifact)
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_vulkan_compute = False
        for option in _HALVES:
            setattr(net.opt, option, False)
        if net.load_param(str(artifact)) or net.load_model(str(weights)):
            raise BundleCorruptError(f"{artifact.name} is not a net that ncnn can load")
        check_names("input", net.input_names(), component.inputs)
        check_names("output", net.output_names(), component.outputs)
        return _Net(self.name, component, LoadedFacts("fp32", "CPU", self._import()), net)

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not a net that ncnn can load: {sentence(error)}")


class _Net(Graph):
    """A net and the arrays that enter its next run."""

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts, net: Any) -> None:
        super().__init__(runtime, component, facts)
        self._net = net
        self._mats: dict[str, tuple[Any, Array]] = {}
        # pnnx takes fixed shapes only.
        self._outputs = fixed_outputs(component) or {}

    def _fork(self) -> Graph:
        return _Net(self._runtime, self.component, self.facts, self._net)

    def _bind(self, name: str, array: Array) -> bool:
        import ncnn

        inner = np.ascontiguousarray(array[0] if array.ndim > 1 and array.shape[0] == 1 else array)
        self._mats[name] = (ncnn.Mat(inner), inner)
        return np.shares_memory(inner, array)

    def _run(self) -> Mapping[str, Array]:
        extractor = self._net.create_extractor()
        for name, (mat, _) in self._mats.items():
            extractor.input(name, mat)
        for name, array in self._outputs.items():
            status, found = extractor.extract(name)
            values = np.array(found)
            if status or values.size != array.size:
                raise DeviceError(f"ncnn gives {list(values.shape)} for {name!r}, not {list(array.shape)} ({status})")
            array[...] = values.reshape(array.shape)
        return self._outputs

    def _close(self) -> None:
        self._mats = {}
        self._net = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)


def _check_layers(ncnn: Any, param: Path) -> None:
    """Name a layer that this build does not know: the library would only print it."""
    lines = param.read_text(errors="replace").splitlines()[2:]
    for line in lines:
        found = _LAYER.match(line)
        if found and ncnn.layer_to_index(found["kind"]) == -1:
            raise OperatorError(f"ncnn does not know the operator {found['kind']}")
