"""What every runtime does for the worker, and which errors may leave it.

The public methods guarantee the errors and check what goes in; a runtime fills the `_hooks`, and every fact
about it stands in its own file. Order: `import_library` → `load` → `infer` … → `close`. The vendor's
library is imported by the first of these, never by the module.
"""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_protos.domain.artifact import Precision, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleError,
    DeviceError,
    EdgectlError,
    RuntimeMissingError,
    ShapeError,
    StateError,
)

__all__ = ["LoadedFacts", "Runtime", "bulk_precision", "check_names", "fits", "sentence"]


@dataclass(frozen=True, slots=True)
class LoadedFacts:
    """What the runtime really uses, read back from it.

    `first_inference_s` is the time of the first inference if loading had to run one, else 0; it is not part
    of the time it takes to load.
    """

    precision: Precision
    provider: str
    version: str
    first_inference_s: float = 0.0


class Runtime(abc.ABC):
    """One runtime with one loaded graph."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self._inputs: dict[str, tuple[TensorSpec, np.dtype[Any]]] = {}
        self._loaded = False

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

    def load(self, artifact: Path, component: Component, threads: int) -> LoadedFacts:
        """Load a graph for latency on this many threads.

        Raises:
            RuntimeMissingError: the runtime is not installed here.
            OperatorError: the graph has an operator that the runtime does not know.
            BundleCorruptError: the artifact cannot be read.
            BundleError: the graph is not the one that the manifest describes.
            PrecisionError: the runtime would use another precision or provider than was asked for.
        """
        self.close()
        self.import_library()
        try:
            facts = self._load(artifact, component, threads)
        except EdgectlError:
            raise
        except self._vendor_errors() as exc:
            raise self._load_error(exc, artifact) from exc
        self._inputs = {spec.name: (spec, np.dtype(spec.dtype.value)) for spec in component.inputs}
        self._loaded = True
        return facts

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the graph once. The outputs are valid until the next call.

        Raises:
            ShapeError: an input is missing, unknown, or of another shape or type than the graph takes.
            DeviceError: the runtime failed.
            StateError: nothing is loaded.
        """
        if not self._loaded:
            raise StateError(f"{self.name} has no graph loaded")
        for name, (spec, dtype) in self._inputs.items():
            array = inputs.get(name)
            if array is None or array.dtype != dtype or not fits(array.shape, spec.shape):
                raise _input_error(spec, array)
        if len(inputs) != len(self._inputs):
            unknown = sorted(set(inputs) - set(self._inputs))
            raise ShapeError(f"the graph has no input {unknown[0]!r}; it has: {', '.join(self._inputs)}")
        try:
            return self._infer(inputs)
        except self._vendor_errors() as exc:
            raise DeviceError(f"{self.name} failed while computing: {sentence(exc)}") from exc

    def close(self) -> None:
        """Drop the graph; closing twice is fine."""
        if self._loaded:
            self._loaded = False
            self._close()

    @abc.abstractmethod
    def _import(self) -> str: ...

    @abc.abstractmethod
    def _facts(self, version: str) -> RuntimeFacts: ...

    @abc.abstractmethod
    def _load(self, artifact: Path, component: Component, threads: int) -> LoadedFacts: ...

    @abc.abstractmethod
    def _infer(self, inputs: dict[str, Array]) -> dict[str, Array]: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    @abc.abstractmethod
    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        """What the library raises; asked for only after it was imported or failed to."""

    @abc.abstractmethod
    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        """The member of our tree that a failed load stands for."""


def bulk_precision(kernels: Iterable[Precision]) -> Precision:
    """The precision of most of the kernels that do the work; fp32 where nothing says otherwise."""
    counted = Counter(kernels)
    return max(counted, key=lambda precision: counted[precision], default=Precision.FP32)


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
