"""What every runtime does for the worker, and which errors may leave it.

A `Runtime` loads artifacts into `Graph`s. The public methods guarantee the errors and check what goes in; a runtime
fills the `_hooks`, and every fact about it stands in its own file. Order: `import_library` → `load` → `infer` …
→ `close`; one whose artifacts only the device can build has `bound_to` and `build` beside it. The vendor's library is
imported by the first of these, never by the module.
"""

from __future__ import annotations

import abc
import errno
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.codec.onnx_files import check_onnx_files
from edgectl_protos.domain.artifact import DType, TensorSpec, precision_of
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import ComponentFacts, RuntimeFacts
from edgectl_protos.domain.errors import (
    BuildError,
    BundleError,
    DeviceError,
    DiskFullError,
    EdgectlError,
    RuntimeMissingError,
    ShapeError,
    StateError,
)
from edgectl_protos.worker.messages import Built

__all__ = [
    "Graph",
    "LoadedFacts",
    "Runtime",
    "bulk_precision",
    "check_names",
    "check_no_text",
    "fits",
    "fixed_outputs",
    "sentence",
]

_FLOATS = {DType.FLOAT16: "fp16", DType.FLOAT32: "fp32"}


@dataclass(frozen=True, slots=True)
class LoadedFacts:
    """What the runtime really uses, read back from it: fp32, fp16, bf16 or int8, and the provider.

    `first_inference_s` is the time of the first inference if loading had to run one, else 0; it is not part of the time
    it takes to load. `simulated`: the processor that the artifact is for is simulated.
    """

    precision: str
    provider: str
    version: str
    first_inference_s: float = 0.0
    simulated: bool = False

    def of(self, component: Component) -> ComponentFacts:
        """The facts of a component that was loaded so."""
        return ComponentFacts(
            name=component.name,
            runtime=component.runtime,
            runtime_version=self.version,
            scheme=component.scheme,
            precision=self.precision,
            provider=self.provider,
            simulated=self.simulated,
        )


class Graph(abc.ABC):
    """One loaded component with its own buffers.

    Where all shapes are fixed, the outputs are the same arrays at every call, valid until the next one; an input that
    is the same array as before is not bound anew. `fork` gives a second set of buffers over the same weights; closing
    a graph closes its forks.
    """

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts) -> None:
        self.facts = facts
        self.component = component
        self._runtime = runtime
        self._inputs = {spec.name: (spec, np.dtype(spec.dtype.value)) for spec in component.inputs}
        self._bound: dict[str, Array] = {}
        self._closed = False
        self._forks: weakref.WeakSet[Graph] = weakref.WeakSet()

    def infer(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run the graph once.

        Raises:
            ShapeError: an input is missing, unknown, or of another shape or type than the graph takes.
            DeviceError: the runtime failed.
            StateError: the graph was closed.
        """
        if self._closed:
            raise StateError(f"{self._runtime} has no graph loaded")
        bound = self._bound
        try:
            for name, array in inputs.items():
                if bound.get(name) is not array:
                    self._check(name, array)
                    if self._bind(name, array):
                        bound[name] = array
                    else:
                        bound.pop(name, None)
            if len(inputs) != len(self._inputs):
                missing = next(spec for name, (spec, _) in self._inputs.items() if name not in inputs)
                raise _input_error(missing, None)
            return self._run()
        except EdgectlError:
            raise
        except self._vendor_errors() as exc:
            raise DeviceError(f"{self._runtime} failed while computing: {sentence(exc)}") from exc

    def fork(self) -> Graph:
        """A graph over the same weights with buffers of its own.

        Raises:
            StateError: the graph was closed.
        """
        if self._closed:
            raise StateError(f"{self._runtime} has no graph loaded")
        fork = self._fork()
        self._forks.add(fork)
        return fork

    def close(self) -> None:
        """Drop the graph; closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._bound = {}
        for fork in list(self._forks):
            fork.close()
        self._close()

    def _check(self, name: str, array: Array) -> None:
        if name not in self._inputs:
            raise ShapeError(f"the graph has no input {name!r}; it has: {', '.join(self._inputs)}")
        spec, dtype = self._inputs[name]
        if array.dtype != dtype or not fits(array.shape, spec.shape):
            raise _input_error(spec, array)

    @abc.abstractmethod
    def _fork(self) -> Graph: ...

    @abc.abstractmethod
    def _bind(self, name: str, array: Array) -> bool:
        """Take this array as an input; whether later changes of its values will be seen without binding it again."""

    @abc.abstractmethod
    def _run(self) -> Mapping[str, Array]: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    @abc.abstractmethod
    def _vendor_errors(self) -> tuple[type[BaseException], ...]: ...


class Runtime(abc.ABC):
    """One runtime in this process."""

    name: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset()
    """Settings that a component may make."""

    def import_library(self) -> str:
        """Import the vendor's library; its version.

        Raises:
            RuntimeMissingError: it is not installed here, or does not load.
        """
        try:
            return self._import()
        except (ImportError, OSError) as exc:
            raise RuntimeMissingError(
                f"{self.name} cannot be imported: {sentence(exc)}",
                hint=f"install it on the device: pip install 'edgectl-agent[{self.name}]'",
            ) from exc

    def probe(self) -> RuntimeFacts:
        """What this runtime offers here; never raises for a runtime that is missing or broken."""
        try:
            return self._facts(self.import_library())
        except EdgectlError as exc:
            return RuntimeFacts(self.name, "", (), (), problem=exc.message)
        except self._vendor_errors() as exc:
            return RuntimeFacts(self.name, "", (), (), problem=sentence(exc))

    def load(self, artifact: Path, component: Component, threads: int, *, alone: bool = True) -> Graph:
        """Load a component for latency on this many threads. `alone`: no other graph runs in this process.

        Raises:
            RuntimeMissingError: the runtime is not installed here.
            OperatorError: the graph has an operator that the runtime does not know.
            BundleCorruptError: the artifact cannot be read.
            BundlePathError: the graph names a file outside its folder.
            BundleError: the graph is not the one that the manifest describes, or asks for a setting that it may not.
            PrecisionError: the runtime would use another precision or provider than was asked for.
        """
        self.import_library()
        if refused := sorted(set(component.options) - self.options):
            raise BundleError(
                f"component {component.name!r} sets {refused[0]}, which {self.name} does not take from a bundle; "
                f"it takes: {', '.join(sorted(self.options)) or 'nothing'}",
                hint="convert the checkpoint again: edgectl convert",
            )
        check_no_text(component)
        for graph in self._onnx_graphs(artifact):
            check_onnx_files(graph)
        try:
            return self._load(artifact, component, threads, alone)
        except EdgectlError:
            raise
        except self._vendor_errors() as exc:
            raise self._load_error(exc, artifact) from exc

    def bound_to(self) -> dict[str, str]:
        """What decides whether an artifact that is built here loads, by name: versions, the processor, the driver.

        Raises:
            RuntimeMissingError: the runtime is not installed here, or builds nothing.
            DeviceError: it cannot tell.
        """
        version = self.import_library()
        try:
            return self._bound_to(version)
        except EdgectlError:
            raise
        except self._vendor_errors() as exc:
            raise DeviceError(f"{self.name} cannot tell what it builds for: {sentence(exc)}") from exc

    def build(
        self, artifact: Path, component: Component, out: Path, cache: Path, progress: Callable[[float], None]
    ) -> Built:
        """Build what this runtime opens from what the release carries, as the component's recipe says, into the empty
        folder `out`. `cache` is a folder for what makes the next build faster; `progress` is 0..1.

        Raises:
            RuntimeMissingError: the runtime is not installed here, or builds nothing.
            OperatorError: the graph has an operator that the builder does not know.
            PrecisionError: the builder takes another precision than was asked for.
            BundleCorruptError: the artifact cannot be read.
            DiskFullError: there is no room for what was built.
            BuildError: the builder failed.
        """
        self.import_library()
        for graph in self._onnx_graphs(artifact):
            check_onnx_files(graph)
        try:
            return self._build(artifact, component, out, cache, progress)
        except EdgectlError:
            raise
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(
                    f"no space left on the device while building {component.name!r}",
                    hint=f"free some space on the file system of {out.parent}, then deploy again",
                ) from exc
            raise BuildError(f"{self.name} cannot build {component.name!r}: {sentence(exc)}") from exc
        except MemoryError as exc:
            raise BuildError(
                f"{self.name} had no memory left while building {component.name!r}",
                hint="free memory on the device, or add swap, then deploy again",
            ) from exc
        except self._vendor_errors() as exc:
            raise BuildError(f"{self.name} cannot build {component.name!r}: {sentence(exc)}") from exc

    def close(self) -> None:  # noqa: B027 (most runtimes start nothing)
        """End what the runtime itself started; graphs are closed before."""

    def _onnx_graphs(self, artifact: Path) -> list[Path]:
        """What of an artifact this runtime will read as ONNX graphs, which may name files. By default what is called
        so; a runtime that reads whatever it is given as one says so.
        """
        return sorted(artifact.rglob("*.onnx")) if artifact.is_dir() else [artifact] * (artifact.suffix == ".onnx")

    @abc.abstractmethod
    def _import(self) -> str: ...

    @abc.abstractmethod
    def _facts(self, version: str) -> RuntimeFacts: ...

    def _bound_to(self, version: str) -> dict[str, str]:
        raise RuntimeMissingError(f"{self.name} builds nothing on the device")

    def _build(
        self, artifact: Path, component: Component, out: Path, cache: Path, progress: Callable[[float], None]
    ) -> Built:
        raise RuntimeMissingError(f"{self.name} builds nothing on the device")

    @abc.abstractmethod
    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph: ...

    @abc.abstractmethod
    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        """What the library raises; asked for only after it was imported or failed to."""

    @abc.abstractmethod
    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        """The member of our tree that a failed load stands for."""


def bulk_precision(heavy: Iterable[str], light: Iterable[str], component: Component) -> str:
    """The precision of most of the kernels that carry weight; fp32 where nothing says otherwise.

    Where none does, most of the other floating kernels decide; but one that computes in a type of the component's own
    ports computes as the graph is written, whatever is asked for.
    """
    if counted := Counter(heavy):
        return counted.most_common(1)[0][0]
    found = next((precision for precision, _ in Counter(light).most_common(1)), "fp32")
    ports = {_FLOATS.get(spec.dtype) for spec in (*component.inputs, *component.outputs)}
    written = found != "fp32" and found in ports
    return precision_of(component.scheme) if written else found


def check_names(kind: str, graph: Collection[str], specs: tuple[TensorSpec, ...]) -> None:
    """Refuse a graph whose inputs or outputs are not those of the manifest.

    Raises:
        BundleError: a name is missing on either side (a graph may have outputs that nobody asks for).
    """
    asked = {spec.name for spec in specs}
    if asked - set(graph) or (kind == "input" and set(graph) - asked):
        raise BundleError(
            f"the graph's {kind}s are {', '.join(sorted(graph))}; the manifest says {', '.join(sorted(asked))}",
            hint="convert the checkpoint again: edgectl convert",
        )


def check_no_text(component: Component) -> None:
    """Refuse a component with a port that no graph can have.

    Raises:
        BundleError: it takes or gives a text.
    """
    for spec in (*component.inputs, *component.outputs):
        if spec.dtype is DType.TEXT:
            raise BundleError(f"component {component.name!r} takes or gives a text, {spec.name!r}; no graph does")


def fixed_outputs(component: Component) -> dict[str, Array] | None:
    """Arrays for the outputs, made once; None where a shape is free."""
    if any(-1 in spec.shape for spec in component.outputs):
        return None
    return {spec.name: np.zeros(spec.shape, spec.dtype.value) for spec in component.outputs}


def sentence(error: BaseException, limit: int = 400) -> str:
    """A vendor's message as one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def fits(shape: tuple[int, ...], spec: tuple[int, ...]) -> bool:
    """Whether an array of this shape is one of the specification, where -1 is a free dimension."""
    if shape == spec:
        return True
    return len(shape) == len(spec) and all(want in (-1, have) for have, want in zip(shape, spec, strict=True))


def _input_error(spec: TensorSpec, array: Array | None) -> ShapeError:
    wanted = f"{spec.dtype.value}{list(spec.shape)}"
    if array is None:
        return ShapeError(f"the graph's input {spec.name!r} ({wanted}) was not given")
    got = f"{np.dtype(array.dtype).name}{list(array.shape)}"
    return ShapeError(f"the graph's input {spec.name!r} takes {wanted}, got {got}")
