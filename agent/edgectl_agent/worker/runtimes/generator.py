"""Generators: runtimes that own a KV cache and are asked token by token.

`CachedGenerator` makes one of any graph whose component binds states (its KV cache as inputs and outputs); a runtime
with a cache of its own gives a `TextGraph`, which is one.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, sentence
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleError, DeviceError, StateError

__all__ = ["CachedGenerator", "Generator", "TextGraph"]

_POSITIONS = "positions"


class Generator(abc.ABC):
    """A language component. Every `prefill` begins a new text."""

    @abc.abstractmethod
    def prefill(self, ids: Array) -> Array:
        """Take token ids [n] (int64); the logits [vocabulary] of the token after them."""

    @abc.abstractmethod
    def decode(self, token: int) -> Array:
        """Take one token; the logits [vocabulary] of the next."""

    def token_bytes(self, length: int) -> int:
        """What must be read for one token of a text of this length, weights and cache; 0 where nobody can say."""
        return 0


class TextGraph(Graph, Generator):
    """A component of a runtime that keeps the cache itself: (ids [1, n] int64) → (logits [1, vocabulary] float32) of
    the token after them. `infer` is a prefill.

    Raises:
        BundleError: the component has other ports.
    """

    def __init__(self, runtime: str, component: Component, facts: LoadedFacts) -> None:
        super().__init__(runtime, component, facts)
        ports = [(spec.dtype, len(spec.shape)) for spec in (*component.inputs, *component.outputs)]
        if ports != [(DType.INT64, 2), (DType.FLOAT32, 2)] or component.outputs[0].shape[0] != 1:
            raise BundleError(
                f"component {component.name!r} is no language model: it makes no logits [1, vocabulary] of ids [1, n]",
                hint="convert the checkpoint again: edgectl convert",
            )
        self.vocabulary = component.outputs[0].shape[1]
        self._ids = np.zeros((1, 0), np.int64)

    def prefill(self, ids: Array) -> Array:
        """Begin a text with these ids [n].

        Raises:
            ShapeError: there is none, or there are more than the context holds.
            DeviceError: the runtime failed.
            StateError: the graph was closed.
        """
        return self._guarded(self._prefill, np.ascontiguousarray(ids, np.int64).reshape(-1))

    def decode(self, token: int) -> Array:
        """Go on with this token.

        Raises:
            ShapeError: the context is full.
            DeviceError: the runtime failed.
            StateError: the graph was closed.
        """
        return self._guarded(self._decode, token)

    def _guarded(self, hook: Callable[[Any], Array], value: Any) -> Array:
        if self._closed:
            raise StateError(f"{self._runtime} has no graph loaded")
        try:
            return hook(value)
        except self._vendor_errors() as exc:
            raise DeviceError(f"{self._runtime} failed while generating: {sentence(exc)}") from exc

    @abc.abstractmethod
    def _prefill(self, ids: Array) -> Array: ...

    @abc.abstractmethod
    def _decode(self, token: int) -> Array: ...

    def _bind(self, name: str, array: Array) -> bool:
        self._ids = array
        return True

    def _run(self) -> Mapping[str, Array]:
        logits = self._prefill(np.ascontiguousarray(self._ids).reshape(-1))
        return {self.component.outputs[0].name: logits.reshape(1, -1)}


class CachedGenerator(Generator):
    """A graph of (ids [1, n], states …, positions [1, n] if it has them) → (logits [1, n, vocabulary], states …)."""

    def __init__(self, graph: Graph, component: Component) -> None:
        self._graph = graph
        self._component = component
        self._states = [spec for spec in component.inputs if spec.name in component.states]
        others = [spec.name for spec in component.inputs if spec.name not in component.states]
        self._positions = _POSITIONS in others
        ids = [name for name in others if name != _POSITIONS]
        logits = [spec.name for spec in component.outputs if spec.name not in component.states.values()]
        if len(ids) != 1 or len(logits) != 1:
            raise BundleError(
                f"component {component.name!r} cannot generate: beside its states it takes {', '.join(others)} "
                f"and gives {', '.join(logits)}",
                hint="convert the checkpoint again: edgectl convert",
            )
        self._ids, self._logits = ids[0], logits[0]
        self._cache: dict[str, Array] = {}
        self._length = 0

    def prefill(self, ids: Array) -> Array:
        """Begin a text with these ids."""
        for spec in self._states:
            if -1 in spec.shape or spec.name not in self._cache:
                self._cache[spec.name] = _empty(spec)
            else:
                self._cache[spec.name].fill(0)
        self._length = 0
        return self._step(np.ascontiguousarray(ids, np.int64).reshape(1, -1))

    def decode(self, token: int) -> Array:
        """Go on with this token."""
        return self._step(np.array([[token]], np.int64))

    def _step(self, ids: Array) -> Array:
        feeds = {self._ids: ids, **self._cache}
        count = ids.shape[1]
        if self._positions:
            feeds[_POSITIONS] = np.arange(self._length, self._length + count, dtype=np.int64)[None]
        outputs = self._graph.infer(feeds)
        for spec in self._states:
            found = outputs[self._component.states[spec.name]]
            if -1 in spec.shape:
                self._cache[spec.name] = found
            else:
                # The graph gives it in the same place each time, and may write there before it has read its input.
                np.copyto(self._cache[spec.name], found)
        self._length += count
        logits: Array = outputs[self._logits].reshape(-1, outputs[self._logits].shape[-1])[-1]
        return logits


def _empty(spec: TensorSpec) -> Array:
    return np.zeros([0 if size == -1 else size for size in spec.shape], spec.dtype.value)
